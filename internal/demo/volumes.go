package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/requester"
)

// volume is one of the two originals.
type volume struct {
	name, fs string
	size     int64
	point    string     // where it is mounted
	lun      *vssv1.Lun // as it was when it was new
}

// pg is the folder of the database on a volume.
func (v *volume) pg() string { return filepath.Join(v.point, "pg") }

func (r *run) path(names ...string) string {
	return filepath.Join(append([]string{r.dir}, names...)...)
}

// options lead to a service of the demo's own. Its configuration is its own as well: that of the machine may name pools
// that real LUNs are in.
func (r *run) options() requester.ConnectOptions {
	return requester.ConnectOptions{State: r.path("state"), Run: r.path("run"), Config: r.path("vss.toml"), Exe: r.Exe}
}

func (r *run) makeVolumes(ctx context.Context) error {
	if err := os.WriteFile(r.path("vss.toml"), []byte("[host]\nname = \"demo\"\n"), 0o644); err != nil {
		return err
	}
	var err error
	if r.client, err = requester.Connect(ctx, r.options()); err != nil {
		return err
	}
	r.disks = vssv1.NewDisksClient(r.client.Conn())
	r.Listener.Note("scratch", r.dir)
	r.data = &volume{name: "data", fs: "xfs", size: 512 << 20}
	r.wal = &volume{name: "wal", fs: "ext4", size: 384 << 20}
	for _, v := range []*volume{r.data, r.wal} {
		if _, err := r.disks.CreateLun(ctx, &vssv1.CreateLunRequest{Name: v.name, Size: v.size}); err != nil {
			return err
		}
		if v.lun, err = r.disks.FormatLun(ctx, &vssv1.FormatLunRequest{Lun: v.name, FileSystem: v.fs, Style: "gpt", Label: v.name}); err != nil {
			return err
		}
		v.point = r.path("mnt", v.name)
		if err := os.MkdirAll(v.point, 0o755); err != nil {
			return err
		}
		if _, err := r.disks.MountLun(ctx, &vssv1.MountLunRequest{Lun: v.name, Path: v.point}); err != nil {
			return err
		}
		r.Listener.Note(v.name, fmt.Sprintf("%d MiB, %s on GPT, %s, mounted at mnt/%s", v.size>>20, v.fs, v.lun.GetDevice(), v.name))
	}
	return nil
}
