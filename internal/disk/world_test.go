package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const mib = 1 << 20

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, want vss.Code) {
	t.Helper()
	if got := vss.CodeOf(err); got != want {
		t.Fatalf("error %v has code %s, want %s", err, got.Name(), want.Name())
	}
}

// run runs a tool of Debian and gives what it prints.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// script is run with a standard input.
func script(t testing.TB, input, name string, args ...string) {
	t.Helper()
	c := exec.Command(name, args...)
	c.Stdin = strings.NewReader(input)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// image makes a sparse file.
func image(t testing.TB, path string, size int64) string {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(size))
	return path
}

// temp is an image for a test that needs no device.
func temp(t testing.TB, size int64) string {
	t.Helper()
	return image(t, filepath.Join(t.TempDir(), "disk"), size)
}

// attach puts a loop device with sectors of a size on a file for the time of the test.
func attach(t testing.TB, path string, sector uint32) string {
	t.Helper()
	img, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer img.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	must(t, err)
	defer control.Close()
	for range 100 { // another test may take the free number first
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		must(t, err)
		device := fmt.Sprintf("/dev/loop%d", n)
		dev, err := os.OpenFile(device, os.O_RDWR, 0)
		must(t, err)
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &unix.LoopConfig{Fd: uint32(img.Fd()), Size: sector})
		dev.Close()
		if errors.Is(err, unix.EBUSY) {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		must(t, err)
		t.Cleanup(func() { detach(t, device) })
		return device
	}
	t.Fatal("no free loop device")
	return ""
}

func detach(t testing.TB, device string) {
	t.Helper()
	// both would outlive the file
	if err := errors.Join(DeletePartitions(device), SetReadOnly(device, false)); err != nil {
		t.Error(err)
	}
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	must(t, err)
	if err := unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0); err != nil {
		t.Errorf("detach %s: %v", device, err)
	}
	f.Close()
	for range 500 { // another program that looks at all disks may have it open for a moment
		if _, err := os.Stat("/sys/block/" + filepath.Base(device) + "/loop"); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%s keeps its file", device)
}

// device is a new disk of the host lane.
func device(t testing.TB, size int64, sector uint32) string {
	t.Helper()
	lane.Host(t)
	return attach(t, image(t, filepath.Join(lane.Scratch(t), "disk"), size), sector)
}

// mountAt mounts until the returned function, or the end of the test, takes it down.
func mountAt(t testing.TB, source, kind, options string) (point string, unmount func()) {
	t.Helper()
	point = t.TempDir()
	if err := unix.Mount(source, point, kind, 0, options); err != nil {
		t.Fatalf("mount %s: %v", source, err)
	}
	mounted := true
	unmount = func() {
		t.Helper()
		if !mounted {
			return
		}
		if err := unix.Unmount(point, 0); err != nil {
			t.Errorf("unmount %s: %v", source, err)
			_ = unix.Unmount(point, unix.MNT_DETACH)
		}
		mounted = false
	}
	t.Cleanup(unmount)
	return point, unmount
}

func table(t testing.TB, device string) *Table {
	t.Helper()
	d, err := Read(device)
	must(t, err)
	return d
}

// edit opens a disk for the time of f.
func edit(t testing.TB, device string, f func(*Editor)) {
	t.Helper()
	e, err := Open(t.Context(), device)
	must(t, err)
	defer e.Close()
	f(e)
	if now, err := Read(device); err != nil || fmt.Sprint(now) != fmt.Sprint(e.Table()) {
		t.Errorf("the editor has %v, the disk %v (%v)", e.Table(), now, err)
	}
}

func content(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

func poke(t testing.TB, path string, at int64, b ...byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(b, at)
	must(t, errors.Join(err, f.Close()))
}

// sfdisk is what util-linux reads from a disk.
type sfdisk struct {
	Label, ID  string
	Partitions []struct {
		Start, Size             int64
		Type, UUID, Name, Attrs string
	}
}

func sfdiskOf(t testing.TB, device string) sfdisk {
	t.Helper()
	var v struct{ PartitionTable sfdisk }
	out, err := exec.Command("sfdisk", "-J", device).Output()
	if err == nil {
		err = json.Unmarshal(out, &v)
	}
	if err != nil {
		t.Fatalf("sfdisk -J %s: %v: %s", device, err, out)
	}
	return v.PartitionTable
}

// sound has sgdisk check both copies of a GPT.
func sound(t testing.TB, device string) {
	t.Helper()
	if out := run(t, "sgdisk", "-v", device); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v: %s", out)
	}
}
