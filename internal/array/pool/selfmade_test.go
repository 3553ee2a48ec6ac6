package pool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/array/loopdev"
	"github.com/stillpoint-vss/stillpoint/internal/array/pool/pooltest"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newLUN() vss.LUNID { return vss.LUNID{GUID: vss.NewGUID()} }

func TestSelfMadeGrows(t *testing.T) {
	lane.Host(t)
	dir := pooltest.Folder(t, "ext4", 6<<30)
	image := filepath.Join(dir, "default.img")
	p, err := OpenSelfMade(image, filepath.Join(dir, "run"))
	must(t, err)
	defer p.Close()
	if p.WritePaths() != nil {
		t.Error("it writes before it exists")
	}
	if err := p.Room(8 << 30); !errors.Is(err, vss.VDSErrNotEnoughSpace) {
		t.Errorf("more than the disk has: %v", err)
	}
	if _, err := os.Stat(image); err == nil {
		t.Error("a refusal made the pool")
	}
	must(t, p.Room(100<<20))
	size := reserved(t, image)
	if size != firstSize {
		t.Errorf("it begins with %d MiB", size>>20)
	}
	must(t, p.Room(2<<30))
	if s, err := p.Space(); err != nil || s.Free < 2<<30 {
		t.Errorf("space %+v, %v", s, err)
	}
	size = reserved(t, image)
	if size < 2<<30 || size > 3<<30 {
		t.Errorf("it grew to %d MiB", size>>20)
	}
	id := newLUN() // what is used and freed stays reserved
	must(t, p.Create(id, 512<<20))
	pooltest.Write(t, p.Backing(id).Path, 0, 'a', 512<<20)
	must(t, p.Delete(id))
	if now := reserved(t, image); now != size {
		t.Errorf("%d of %d MiB are reserved after a delete", now>>20, size>>20)
	}
	if err := p.Room(5 << 30); !errors.Is(err, vss.VDSErrNotEnoughSpace) {
		t.Errorf("more than the disk has: %v", err)
	}
}

// reserved is what a file takes of its disk; it must be all of its length.
func reserved(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Stat(path, &st))
	if st.Blocks*512 < st.Size {
		t.Errorf("%d of %d MiB are reserved", st.Blocks>>11, st.Size>>20)
	}
	return st.Size
}

// A process that died leaves the pool mounted; the next one takes it over, and one that comes in between gets nothing
// and spoils nothing.
func TestSelfMadeTakenOver(t *testing.T) {
	lane.Host(t)
	dir := lane.Scratch(t)
	image, mount := filepath.Join(dir, "state", "default.img"), filepath.Join(dir, "run", "p")
	p, err := OpenSelfMade(image, mount)
	must(t, err)
	must(t, p.Room(10<<20))
	id := newLUN()
	must(t, p.Create(id, 8<<20))
	pooltest.Write(t, p.Backing(id).Path, 0, 'a', 1<<20)
	st, err := os.Stat(mount)
	must(t, err)
	if st.Mode().Perm()&0o077 != 0 {
		t.Errorf("the mount is open to others: %v", st.Mode())
	}

	// Another process, other mount point: refused, and nothing of its attempt stays.
	if _, err := OpenSelfMade(image, filepath.Join(dir, "other")); !errors.Is(err, vss.VDSErrDeviceInUse) {
		t.Fatalf("a second owner got %v", err)
	}
	if b, _ := os.ReadFile("/proc/self/mounts"); strings.Contains(string(b), filepath.Join(dir, "other")) {
		t.Error("the second owner's mount is left")
	}
	pooltest.Want(t, p.Backing(id).Path, 0, 'a', 1<<20)

	// The device of a LUN outlives Close, and the pool with it.
	f, err := os.OpenFile(p.Backing(id).Path, os.O_RDWR, 0)
	must(t, err)
	device, err := loopdev.Attach(f, 0)
	must(t, err)
	f.Close()
	must(t, p.Close())
	pooltest.Want(t, device, 0, 'a', 1<<20)
	pooltest.Write(t, device, 0, 'b', 1<<20)
	p, err = OpenSelfMade(image, mount)
	must(t, err)
	if d, ok := loopdev.Find(p.Backing(id).Path); !ok || d != device {
		t.Errorf("the device is not found again: %q", d)
	}
	must(t, p.Room(2<<30)) // it still grows
	must(t, loopdev.Detach(device))
	must(t, p.Close())
	if _, ok := loopdev.Find(image); ok {
		t.Error("an unused pool stays attached")
	}
	p, err = OpenSelfMade(image, mount)
	must(t, err)
	pooltest.Want(t, p.Backing(id).Path, 0, 'b', 1<<20)
	must(t, p.Close())
	must(t, p.Close())
}

// A process that died while it made the pool leaves a file that isn't one.
func TestSelfMadeHalfMade(t *testing.T) {
	lane.Host(t)
	dir := lane.Scratch(t)
	image := filepath.Join(dir, "default.img")
	must(t, os.WriteFile(image+".new", []byte("half"), 0o600))
	p, err := OpenSelfMade(image, filepath.Join(dir, "run"))
	must(t, err)
	must(t, p.Room(10<<20))
	must(t, p.Close())
	if _, err := os.Stat(image + ".new"); err == nil {
		t.Error("the half file is there still")
	}
}

func TestOpenRefused(t *testing.T) {
	lane.Host(t)
	ext4 := pooltest.Folder(t, "ext4", 64<<20)
	if _, err := Open(ext4); !errors.Is(err, vss.ErrVolumeNotSupported) {
		t.Errorf("ext4: %v", err)
	}
	if left, _ := os.ReadDir(ext4); len(left) > 1 { // lost+found
		t.Errorf("left behind: %v", left)
	}
	if _, err := Open(filepath.Join(ext4, "nowhere")); !errors.Is(err, vss.ErrObjectNotFound) {
		t.Errorf("nowhere: %v", err)
	}
	xfs := pooltest.Folder(t, "xfs", 512<<20)
	for _, b := range []string{"{", `{"format":"x"}`, ""} {
		must(t, os.WriteFile(filepath.Join(xfs, "pool.json"), []byte(b), 0o600))
		if _, err := Open(xfs); !errors.Is(err, vss.VDSErrProviderCacheCorrupt) {
			t.Errorf("pool.json %q: %v", b, err)
		}
	}
}
