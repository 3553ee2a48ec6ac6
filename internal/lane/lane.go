// Package lane declares what tests require: the host lane requires root and this kernel's loop devices, the lab lane
// root and user-mode Linux. A test whose lane can't run is skipped, or fails if VSS_REQUIRE_LANES names the lane, as
// in CI.
package lane

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Host marks a test of the host lane: it runs as root with loop devices, ext4, XFS and btrfs of this kernel.
func Host(t testing.TB) {
	t.Helper()
	why := ""
	switch {
	case os.Geteuid() != 0:
		why = "it needs root"
	case !exists("/dev/loop-control"):
		why = "it needs loop devices"
	}
	require(t, "host", why)
	allowWrites()
}

// allowWrites ends the read-only state of loop devices that no file is bound to. The kernel keeps it when a file is
// detached, and mount(8) then mounts the next file read-only.
func allowWrites() {
	all, _ := filepath.Glob("/sys/block/loop*")
	for _, dir := range all {
		if ro, err := os.ReadFile(filepath.Join(dir, "ro")); err != nil || string(ro) != "1\n" ||
			exists(filepath.Join(dir, "loop/backing_file")) {
			continue
		}
		if f, err := os.OpenFile(filepath.Join("/dev", filepath.Base(dir)), os.O_RDONLY, 0); err == nil {
			_ = unix.IoctlSetPointerInt(int(f.Fd()), unix.BLKROSET, 0)
			f.Close()
		}
	}
}

// Lab marks a test of the lab lane: it runs as root, with kernels of its own.
func Lab(t testing.TB) {
	t.Helper()
	why := ""
	switch {
	case os.Geteuid() != 0:
		why = "it needs root"
	case !exists("/usr/lib/uml/modules"):
		why = "it needs Debian's package user-mode-linux"
	case !exists("/dev/net/tun"):
		why = "it needs /dev/net/tun"
	default:
		for _, tool := range []string{"linux.uml", "ip", "udevadm", "dmsetup", "lvcreate", "mkfs.ext4", "mkfs.xfs"} {
			if _, err := exec.LookPath(tool); err != nil {
				why = "it needs the program " + tool
			}
		}
	}
	require(t, "lab", why)
}

// require skips or fails the test if its lane can't run for the reason why.
func require(t testing.TB, lane, why string) {
	t.Helper()
	if why == "" {
		return
	}
	if slices.Contains(strings.Split(os.Getenv("VSS_REQUIRE_LANES"), ","), lane) {
		t.Fatalf("the %s lane is required, but %s", lane, why)
	}
	t.Skipf("%s lane: %s (make test runs it as root)", lane, why)
}

// Soak returns how often to run a case: full times in `make soak` (VSS_SOAK=1), otherwise a tenth of that, at least 3.
func Soak(full int) int {
	if os.Getenv("VSS_SOAK") != "" {
		return full
	}
	return max(full/10, 3)
}

// SoakOnly marks a test that only `make soak` runs, for the reason why.
func SoakOnly(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("VSS_SOAK") == "" {
		t.Skipf("soak only: %s (make soak runs it)", why)
	}
}

// Scratch returns a new directory for images and state. At the end of the test no mount or loop device may use it:
// remaining ones are reported as a failure and removed, so that they don't affect the next test.
func Scratch(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vss-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, left := range sweep(dir) {
			t.Errorf("left behind: %s", left)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("left behind: %v", err)
		}
	})
	return dir
}

func exists(p string) bool { _, err := os.Stat(p); return err == nil }

// backing returns the file behind a loop device, "" if there is none.
func backing(loop string) string {
	b, _ := os.ReadFile(filepath.Join("/sys/block", loop, "loop/backing_file"))
	return strings.TrimSuffix(strings.TrimSpace(string(b)), " (deleted)")
}
