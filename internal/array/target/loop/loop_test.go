package loop_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/array/loopdev"
	"github.com/stillpoint-vss/stillpoint/internal/array/target/loop"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const size = 32 << 20

var (
	ctx  = context.Background()
	host loop.Initiator
)

// image is a LUN's mapping with a disk image of its own.
func image(t *testing.T, dir string) array.Mapping {
	t.Helper()
	home, err := os.MkdirTemp(dir, "lun")
	must(t, err)
	path := filepath.Join(home, "image")
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, os.Truncate(path, size))
	target, data := loop.Target{}, array.Backing{Path: path}
	must(t, target.Export(ctx, array.LUN{}, data, "h"))
	a, ok := target.Address(ctx, array.LUN{}, data, "h")
	if !ok || a.Type != "loop" || a.Path != path || a.DirectIO || target.Bus() != vss.BusFileBackedVirtual {
		t.Errorf("address %+v", a)
	}
	data.DirectIO = true
	if direct, _ := target.Address(ctx, array.LUN{}, data, "h"); !direct.DirectIO {
		t.Errorf("address %+v of %+v", direct, data)
	}
	return array.Mapping{LUN: array.LUN{Name: "x"}, Address: a}
}

func find(m array.Mapping) (device string, ok bool) {
	device = host.Find([]array.Mapping{m})[0]
	return device, device != ""
}

// attach is what a host does with a LUN: it attaches one that it doesn't find.
func attach(t *testing.T, m array.Mapping) string {
	t.Helper()
	device, ok := find(m)
	if !ok {
		var err error
		device, err = host.Attach(ctx, m)
		must(t, err)
	}
	t.Cleanup(func() {
		if device, ok := find(m); ok { // its number may be somebody else's by now
			_ = host.Detach(ctx, device)
		}
	})
	return device
}

func TestAttach(t *testing.T) {
	lane.Host(t)
	dir := lane.Scratch(t)
	m, other := image(t, dir), image(t, dir)
	if d, ok := find(m); ok {
		t.Errorf("found %s before it was attached", d)
	}
	device := attach(t, m)
	if again := attach(t, m); again != device {
		t.Errorf("attached twice: %s and %s", device, again)
	}
	if d, ok := find(m); !ok || d != device {
		t.Errorf("found %s, want %s", d, device)
	}
	if d, ok := find(other); ok {
		t.Errorf("another LUN's image found at %s", d)
	}
	link := m
	link.Address.Path = filepath.Join(dir, "link", "image")
	must(t, os.Symlink(filepath.Dir(m.Address.Path), filepath.Dir(link.Address.Path)))
	if d, _ := find(link); d != device {
		t.Errorf("by another path it is %q", d)
	}
	must(t, os.Truncate(m.Address.Path, 2*size))
	must(t, host.Resize(ctx, device))
	f, err := os.Open(device)
	must(t, err)
	if n, err := f.Seek(0, 2); n != 2*size || err != nil {
		t.Errorf("%d bytes after resizing", n)
	}
	f.Close()
	must(t, host.Detach(ctx, device))
	if d, ok := find(m); ok {
		t.Errorf("found %s after detaching", d)
	}
	if b := loopdev.Backing(device); b != "" {
		t.Errorf("it has %s still", b)
	}
	must(t, os.Remove(m.Address.Path))
	if _, err := host.Attach(ctx, m); !errors.Is(err, vss.ErrMissingDisk) {
		t.Errorf("attached what isn't there: %v", err)
	}
}

// A partition of one LUN never shows on the next one that gets the number, and a busy one keeps its device.
func TestPartitions(t *testing.T) {
	lane.Host(t)
	m := image(t, lane.Scratch(t))
	device := attach(t, m)
	table, err := disk.Create(device, disk.StyleGPT, "data")
	must(t, err)
	nodes, err := disk.AddPartitions(device, table)
	must(t, err)
	node := nodes[0]
	f, err := os.Open(node)
	must(t, err)
	if err := host.Detach(ctx, device); !errors.Is(err, vss.VDSErrDeviceInUse) {
		t.Errorf("detached with an open partition: %v", err)
	}
	if _, err := os.Stat(node); err != nil {
		t.Errorf("a refused detach took the partition: %v", err)
	}
	f.Close()
	must(t, host.Detach(ctx, device))
	if _, err := os.Stat(node); err == nil {
		t.Errorf("%s outlives its disk", node)
	}

	// A partition that somebody left behind by a plain detach goes before the next LUN is there.
	device = attach(t, m)
	_, err = disk.AddPartitions(device, table)
	must(t, err)
	must(t, loopdev.Detach(device))
	if left, _ := filepath.Glob(device + "p*"); len(left) == 0 {
		t.Log("this kernel leaves no partitions behind")
	}
	next := attach(t, image(t, filepath.Dir(filepath.Dir(m.Address.Path))))
	if left, _ := filepath.Glob(next + "p*"); len(left) > 0 {
		t.Errorf("the new LUN has partitions %v", left)
	}
}

func TestDetachMounted(t *testing.T) {
	lane.Host(t)
	dir := lane.Scratch(t)
	m := image(t, dir)
	device := attach(t, m)
	f, err := os.OpenFile(device, os.O_RDWR|unix.O_EXCL, 0) // as a mount claims it
	must(t, err)
	if err := host.Detach(ctx, device); !errors.Is(err, vss.VDSErrDeviceInUse) {
		t.Errorf("detached a claimed disk: %v", err)
	}
	f.Close()
	if d, ok := find(m); !ok || d != device {
		t.Error("a refused detach let the image go")
	}
	must(t, host.Detach(ctx, device))
}

// Many attach at once; each gets a device of its own and nobody's else is disturbed.
func TestAttachAtOnce(t *testing.T) {
	lane.Host(t)
	dir := lane.Scratch(t)
	const n = 16
	devices := make([]string, n)
	var all sync.WaitGroup
	for i := range n {
		m := image(t, dir)
		all.Go(func() {
			var err error
			if devices[i], err = host.Attach(ctx, m); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	seen := map[string]bool{}
	for _, d := range devices {
		if seen[d] {
			t.Errorf("%s twice", d)
		}
		seen[d] = true
		if d != "" {
			must(t, host.Detach(ctx, d))
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
