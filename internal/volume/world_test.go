package volume

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
)

// image makes a sparse file in dir.
func image(t testing.TB, path string, size int64) string {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return path
}

// attach puts a loop device on a file for the time of the test. Another test may take the free number first: then the
// next.
func attach(t testing.TB, path string) string {
	t.Helper()
	img, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	for range 100 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Fatal(err)
		}
		device := fmt.Sprintf("/dev/loop%d", n)
		dev, err := os.OpenFile(device, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = unix.IoctlLoopConfigure(int(dev.Fd()), &unix.LoopConfig{Fd: uint32(img.Fd())})
		dev.Close()
		if errors.Is(err, unix.EBUSY) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { detach(t, device) })
		return device
	}
	t.Fatal("no free loop device")
	return ""
}

func detach(t testing.TB, device string) {
	t.Helper()
	if err := disk.DeletePartitions(device); err != nil {
		t.Error(err)
	}
	if err := disk.SetReadOnly(device, false); err != nil { // the flag would outlive the file
		t.Error(err)
	}
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	if err := unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0); err != nil {
		t.Errorf("detach %s: %v", device, err)
	}
}

func command(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// mkfs makes a file system on devices and labels it.
func mkfs(t testing.TB, kind, label string, devices ...string) {
	t.Helper()
	switch kind {
	case "ext4":
		command(t, "mkfs.ext4", append([]string{"-q", "-F", "-L", label}, devices...)...)
	case "xfs":
		command(t, "mkfs.xfs", append([]string{"-q", "-f", "-L", label}, devices...)...)
	case "btrfs":
		command(t, "mkfs.btrfs", append([]string{"-q", "-f", "-L", label}, devices...)...)
	}
}

// mountAt mounts for the time of the test.
func mountAt(t testing.TB, source, point, kind string, flags uintptr, data string) string {
	t.Helper()
	if err := os.MkdirAll(point, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(source, point, kind, flags, data); err != nil {
		t.Fatalf("mount %s at %q: %v", source, point, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(point, 0); err != nil {
			t.Errorf("unmount %q: %v", point, err)
		}
	})
	return point
}

func bind(t testing.TB, from, to string) string {
	t.Helper()
	return mountAt(t, from, to, "", unix.MS_BIND, "")
}

// fresh makes a file system of kind on a new loop device and mounts it at dir/name.
func fresh(t testing.TB, dir, name, kind string) (device, point string) {
	t.Helper()
	size := map[string]int64{"ext4": 16 << 20, "xfs": 304 << 20, "btrfs": 128 << 20}[kind]
	device = attach(t, image(t, filepath.Join(dir, name+".img"), size))
	mkfs(t, kind, name, device)
	return device, mountAt(t, device, filepath.Join(dir, name), kind, 0, "")
}

func find(t testing.TB, h *Host, name string) *Volume {
	t.Helper()
	v, err := h.Find(t.Context(), name)
	if err != nil {
		t.Fatalf("Find(%q): %v", name, err)
	}
	return v
}

func scratch(t testing.TB) string {
	t.Helper()
	lane.Host(t)
	return lane.Scratch(t)
}
