package service

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/mount"
)

// TestShutDown: doctor reports a file system that the kernel has shut down, once for all of its mounts, and no other
// (users A).
func TestShutDown(t *testing.T) {
	mounts := []mount.Info{
		{Device: "7:0", Type: "xfs", Point: "/a", Source: "/dev/loop0"},
		{Device: "7:0", Type: "xfs", Point: "/a2", Source: "/dev/loop0"},
		{Device: "7:1", Type: "ext4", Point: "/b", Source: "/dev/loop1"},
		{Device: "0:20", Type: "proc", Point: "/proc"},
		{Device: "7:2", Type: "ext4", Point: "/slow", Source: "/dev/loop2"},
	}
	found := shutDown(mounts, func(path string) error {
		switch path {
		case "/a", "/a2", "/proc":
			return &os.PathError{Op: "open", Path: path, Err: unix.EIO}
		case "/slow":
			return os.ErrDeadlineExceeded
		}
		return nil
	})
	if len(found) != 2 || found[0].Severity != "error" || found[1].Severity != "warning" {
		t.Errorf("%+v", found)
	}
	if err := probe(t.TempDir()); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
}
