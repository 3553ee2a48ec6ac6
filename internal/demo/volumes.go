package demo

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/stillpoint-vss/stillpoint/requester"
)

// volume is one of the two original volumes.
type volume struct {
	name, fs string
	size     int64
	point    string        // where it is mounted
	lun      requester.LUN // as it was after formatting
}

// pg returns the directory of the database on the volume.
func (v *volume) pg() string { return filepath.Join(v.point, "pg") }

func (r *run) path(names ...string) string {
	return filepath.Join(append([]string{r.dir}, names...)...)
}

// options returns the options for connecting to the demonstration's own service. It also has its own configuration,
// because that of the host may name pools with the LUNs of real volumes.
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
	r.disks = r.client.Disks()
	r.Listener.Note("directory", r.dir)
	r.data = &volume{name: "data", fs: "xfs", size: 512 << 20}
	r.wal = &volume{name: "wal", fs: "ext4", size: 384 << 20}
	for _, v := range []*volume{r.data, r.wal} {
		if _, err := r.disks.CreateLUN(ctx, requester.NewLUN{Name: v.name, Size: v.size}); err != nil {
			return err
		}
		format := requester.NewFormat{FileSystem: v.fs, Style: "gpt", Label: v.name}
		if v.lun, err = r.disks.FormatLUN(ctx, v.name, format); err != nil {
			return err
		}
		v.point = r.path("mnt", v.name)
		if err := os.MkdirAll(v.point, 0o755); err != nil {
			return err
		}
		if _, err := r.disks.MountLUN(ctx, v.name, 0, v.point, false); err != nil {
			return err
		}
		r.Listener.Note(v.name,
			fmt.Sprintf("%d MiB, %s on GPT, %s, mounted at mnt/%s", v.size>>20, v.fs, v.lun.Device, v.name))
	}
	return nil
}
