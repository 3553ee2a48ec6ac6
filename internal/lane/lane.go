// Package lane is how tests say what they need: the host lane needs root and this kernel's loop devices, the lab lane root
// and user-mode-linux. A lane that can't run is skipped aloud on a developer's machine and is a failure where
// VSS_REQUIRE_LANES names it, as CI does.
package lane

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
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

// require skips or fails the test if there is a reason why its lane can't run.
func require(t testing.TB, lane, why string) {
	t.Helper()
	if why == "" {
		return
	}
	if slices.Contains(strings.Split(os.Getenv("VSS_REQUIRE_LANES"), ","), lane) {
		t.Fatalf("the %s lane must run here, but %s", lane, why)
	}
	t.Skipf("%s lane: %s (make test runs it as root)", lane, why)
}

// Soak is how many times to run a case that an issue wants full times: full in `make soak` (VSS_SOAK=1), else a tenth, at
// least 3.
func Soak(full int) int {
	if os.Getenv("VSS_SOAK") != "" {
		return full
	}
	return max(full/10, 3)
}

// Scratch is a fresh directory for images and state. At the end of the test it must carry no mount and back no loop device
// any more: what is left is reported as a failure and taken down, so that one failing test doesn't spoil the next.
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

// backing is the file behind a loop device, "" when it has none.
func backing(loop string) string {
	b, _ := os.ReadFile(filepath.Join("/sys/block", loop, "loop/backing_file"))
	return strings.TrimSuffix(strings.TrimSpace(string(b)), " (deleted)")
}
