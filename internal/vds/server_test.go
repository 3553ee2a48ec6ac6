package vds_test

import (
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// What `vss lun` sends and shows.
func TestServer(t *testing.T) {
	w := newWorld(t)
	s := vds.NewServer(w.Manager)
	arrays, err := s.ListArrays(ctx, &vssv1.ListArraysRequest{})
	must(t, err)
	if a := arrays.GetArrays(); len(a) != 1 || a[0].GetName() != "local" || len(a[0].GetPools()) != 1 ||
		a[0].GetPools()[0].GetFree() <= 0 ||
		a[0].GetTargets()[0] != "loop" {
		t.Errorf("%v", arrays)
	}
	l, err := s.CreateLun(ctx, &vssv1.CreateLunRequest{Name: "a", Size: lunSize})
	must(t, err)
	if l.GetDevice() == "" || l.GetDisk().GetStyle() != "none" || l.GetKind() != "plain" ||
		!strings.HasPrefix(l.GetVpd83(), "naa.6") ||
		l.GetMappedTo()[0] != "here" {
		t.Errorf("%v", l)
	}
	for style, want := range map[string]string{"gpt": "{", "mbr": "0x", "none": ""} {
		l, err = s.FormatLun(ctx, &vssv1.FormatLunRequest{Lun: "a", FileSystem: "ext4", Style: style})
		must(t, err)
		p := l.GetDisk().GetPartitions()
		if l.GetDisk().GetStyle() != style || !strings.HasPrefix(l.GetDisk().GetId(), want) || len(p) != 1 ||
			p[0].GetFileSystem() != "ext4" ||
			p[0].GetUuid() == "" ||
			p[0].GetDevice() == "" ||
			p[0].GetSize() == 0 {
			t.Errorf("%v", l)
		}
		l, err = s.SetLunReadOnly(ctx, &vssv1.SetLunReadOnlyRequest{Lun: "a", ReadOnly: true})
		must(t, err)
		if !l.GetReadOnly() || l.GetDisk().GetPartitions()[0].GetFlags() != uint32(vss.FlagReadOnly) {
			t.Errorf("%v", l)
		}
		_, err = s.ChangeLunFlags(
			ctx,
			&vssv1.ChangeLunFlagsRequest{Lun: "a", Clear: uint32(vss.FlagReadOnly), Set: uint32(vss.FlagHidden)},
		)
		must(t, err)
	}
	_, err = s.ChangeLunFlags(ctx, &vssv1.ChangeLunFlagsRequest{Lun: "a", Set: 1 << 8})
	wantCode(t, err, vss.ErrInvalidArg)
	_, err = s.FormatLun(ctx, &vssv1.FormatLunRequest{Lun: "a", FileSystem: "ext4", Style: "apm"})
	wantCode(t, err, vss.ErrInvalidArg)
	p := w.folder("p")
	_, err = s.MountLun(ctx, &vssv1.MountLunRequest{Lun: "a", Path: p, Persist: true})
	must(t, err)
	_, err = s.MaskLun(ctx, &vssv1.MaskLunRequest{Lun: "a"})
	wantCode(t, err, vss.VDSErrDeviceInUse)
	_, err = s.UnmountLun(ctx, &vssv1.UnmountLunRequest{Lun: "a"})
	must(t, err)
	_, err = s.ExtendLun(ctx, &vssv1.ExtendLunRequest{Lun: "a", Size: 2 * lunSize})
	must(t, err)
	_, err = s.MaskLun(ctx, &vssv1.MaskLunRequest{Lun: "a"})
	must(t, err)
	_, err = w.array.Map(ctx, w.get("a").LUN.ID, "here")
	must(t, err)
	list, err := s.RescanLuns(ctx, &vssv1.RescanLunsRequest{})
	must(t, err)
	if len(list.GetLuns()) != 1 {
		t.Errorf("arrived %v", list)
	}
	l, err = s.RenameLun(ctx, &vssv1.RenameLunRequest{Lun: "a", Name: "b"})
	must(t, err)
	shown, err := s.ShowLun(ctx, &vssv1.LunRequest{Lun: l.GetDevice()})
	must(t, err)
	list, err = s.ListLuns(ctx, &vssv1.ListLunsRequest{})
	must(t, err)
	if len(list.GetLuns()) != 1 || shown.GetName() != "b" || shown.GetSize() != 2*lunSize {
		t.Errorf("%v, %v", shown, list)
	}
	was, err := s.DeleteLun(ctx, &vssv1.DeleteLunRequest{Lun: "b"})
	must(t, err)
	if was.GetDevice() == "" || was.GetDisk().GetPartitions()[0].GetFileSystem() != "ext4" {
		t.Errorf("it was %v", was)
	}
	_, err = s.UnmaskLun(ctx, &vssv1.UnmaskLunRequest{Lun: "b"})
	wantCode(t, err, vss.VDSErrObjectNotFound)
}

// What other programs do to a disk is seen at once, though unchanged disks aren't read again.
func TestShowsWhatIsThere(t *testing.T) {
	w := newWorld(t)
	s := vds.NewServer(w.Manager)
	d := w.formatted("a", disk.StyleGPT, "ext4")
	part := disk.PartitionNode(d.Device, 1)
	show := func() *vssv1.Lun {
		t.Helper()
		l, err := s.ShowLun(ctx, &vssv1.LunRequest{Lun: "a"})
		must(t, err)
		return l
	}
	first := show()
	if again := show(); !proto.Equal(first, again) {
		t.Errorf("%v, then %v", first, again)
	}
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v %s", args, err, out)
		}
	}
	run("sgdisk", "-G", d.Device)
	if l := show(); l.GetDisk().GetId() == first.GetDisk().GetId() ||
		l.GetDisk().GetPartitions()[0].GetId() == first.GetDisk().GetPartitions()[0].GetId() {
		t.Errorf("after new ids %v", l)
	}
	run("mkfs.xfs", "-q", "-f", part)
	if p := show().GetDisk().GetPartitions()[0]; p.GetFileSystem() != "xfs" ||
		p.GetUuid() == first.GetDisk().GetPartitions()[0].GetUuid() {
		t.Errorf("after mkfs.xfs %v", p)
	}
	must(t, disk.DeletePartitions(d.Device))
	if p := show().GetDisk().GetPartitions()[0]; p.GetDevice() != "" {
		t.Errorf("the kernel doesn't know it: %v", p)
	}
	run("sgdisk", "-Z", d.Device)
	if l := show(); l.GetDisk().GetStyle() != "none" {
		t.Errorf("without a table %v", l)
	}
}

// Everybody at once: nothing is lost, nothing is attached twice.
func TestConcurrent(t *testing.T) {
	w := newWorld(t)
	var all sync.WaitGroup
	for i := range 6 {
		all.Go(func() {
			name := fmt.Sprint("lun", i)
			for range 3 {
				d, err := w.Unmask(ctx, name, "")
				if i == 0 || err != nil {
					if d, err = w.Find(ctx, name); err != nil {
						continue
					}
				}
				if _, ok := w.ByDevice(ctx, d.Device); !ok && i != 0 {
					t.Errorf("%s is not at %s", name, d.Device)
				}
				if _, err := w.Rescan(ctx, vds.RescanOptions{}); err != nil {
					t.Error(err)
				}
				info := d.LUN.Information()
				if x, ok := w.ByInformation(ctx, &info); !ok || x.LUN.ID != d.LUN.ID {
					t.Errorf("%s not found by page 0x83", name)
				}
				if _, err := w.Mask(ctx, name, "", false); err != nil {
					t.Error(err)
				}
			}
		})
		w.formatted(fmt.Sprint("lun", i), disk.StyleGPT, "ext4")
	}
	all.Wait()
	locateAll(t, w)
	devices := map[string]string{}
	disks, err := w.Disks(ctx)
	must(t, err)
	for _, d := range disks {
		if o := devices[d.Device]; o != "" && d.Device != "" {
			t.Errorf("%s and %s are both at %s", o, d.LUN.Name, d.Device)
		}
		devices[d.Device] = d.LUN.Name
	}
}
