package pooltest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/array/loopdev"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
)

// Folder is an empty folder on a new file system of its own, which is removed at the end of the test. Kind is "btrfs",
// "xfs" or "ext4".
func Folder(t testing.TB, kind string, size int64) string {
	t.Helper()
	scratch := lane.Scratch(t)
	image := filepath.Join(scratch, "disk")
	f, err := os.OpenFile(image, os.O_CREATE|os.O_RDWR, 0o600)
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(size))
	args := map[string][]string{
		"btrfs":       {"mkfs.btrfs", "-q", "-m", "single", image},
		"btrfs-mixed": {"mkfs.btrfs", "-q", "--mixed", "-m", "single", "-d", "single", image},
		"xfs":         {"mkfs.xfs", "-q", image}, "ext4": {"mkfs.ext4", "-q", image},
	}[kind]
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	device, err := loopdev.Attach(f, unix.LO_FLAGS_DIRECT_IO)
	must(t, err)
	dir := filepath.Join(scratch, "mount")
	must(t, os.Mkdir(dir, 0o700))
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
			_ = unix.Unmount(dir, unix.MNT_DETACH)
		}
		if err := loopdev.Detach(device); err != nil {
			t.Errorf("detach: %v", err)
		}
	})
	must(t, unix.Mount(device, dir, strings.TrimSuffix(kind, "-mixed"), unix.MS_NOATIME, ""))
	return dir
}

// Write writes a run of one byte to an image, durably.
func Write(t testing.TB, image string, at int64, fill byte, length int) {
	t.Helper()
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt(bytes.Repeat([]byte{fill}, length), at)
	must(t, err)
	must(t, f.Sync())
}

// Want checks that a run of an image is full of one byte.
func Want(t testing.TB, image string, at int64, fill byte, length int) {
	t.Helper()
	f, err := os.Open(image)
	must(t, err)
	defer f.Close()
	got := make([]byte, length)
	_, err = f.ReadAt(got, at)
	must(t, err)
	for i, b := range got {
		if b != fill {
			t.Fatalf("%s: byte %d is %#x, want %#x", image, at+int64(i), b, fill)
		}
	}
}

var extentLine = regexp.MustCompile(`(?m)^ *\d+: +\d+\.\. +\d+:.*$`)

// Extents counts an image's extents, and those of them that are shared, as filefrag sees them.
func Extents(t testing.TB, image string) (all, shared int) {
	t.Helper()
	out, err := exec.Command("filefrag", "-s", "-v", image).CombinedOutput()
	if err != nil {
		t.Fatalf("filefrag: %v: %s", err, out)
	}
	for _, l := range extentLine.FindAllString(string(out), -1) {
		all++
		if strings.Contains(l, "shared") {
			shared++
		}
	}
	return all, shared
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
