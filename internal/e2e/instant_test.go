package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/counters/counterstest"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// connect reaches the service as a program does.
func (w *world) connect() *requester.Client {
	w.Helper()
	c, err := requester.Connect(context.Background(),
		requester.ConnectOptions{State: w.state, Run: w.run, Config: w.config, Exe: "/proc/self/exe"})
	if err != nil {
		w.Fatalf("connect: %v\n%s", err, w.log())
	}
	w.Cleanup(func() { c.Close() })
	return c
}

// TestInstant creates sets under the counter load and looks into every copy: one instant, and a file system without
// fault.
func TestInstant(t *testing.T) {
	for _, c := range []struct {
		name  string
		full  int
		kinds []string
	}{
		{"two volumes", 200, []string{"ext4", "xfs"}},
		{"eight volumes", 50, []string{"ext4", "ext4", "ext4", "ext4", "ext4", "xfs", "btrfs", "ext4"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			var volumes []string
			for i, kind := range c.kinds {
				style := []string{"gpt", "mbr", "whole-disk"}[i%3]
				volumes = append(volumes, w.volume(fmt.Sprintf("v%d", i),
					map[string]string{"ext4": "64M", "xfs": "320M", "btrfs": "256M"}[kind], kind, style))
			}
			load := counterstest.Start(t, volumes...)
			client := w.connect()
			var last uint64
			for range lane.Soak(c.full) {
				last = w.lookInto(client, volumes, c.kinds, last)
				if t.Failed() {
					break
				}
			}
			counterstest.End(t, load)
		})
	}
}

// lookInto makes a set that goes with its session, and checks each copy. It gives the first counter, which must have
// grown.
func (w *world) lookInto(c *requester.Client, volumes, kinds []string, last uint64) uint64 {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	made, err := c.Create(ctx, requester.Options{Program: "test", Context: vss.ContextFileShareBackup,
		Volumes: volumes}, nil)
	if err != nil {
		w.Fatalf("create: %v\n%s", err, w.log())
	}
	defer made.Session.Close()
	var roots []string
	for i, s := range made.Set.Snapshots {
		if s.OriginalVolume != volumes[i] {
			w.Fatalf("copy %d is of %s, not of %s", i, s.OriginalVolume, volumes[i])
		}
		m, err := made.Session.MountSnapshot(ctx, s.ID)
		if err != nil {
			w.Fatalf("mount %s: %v", kinds[i], err)
		}
		roots = append(roots, m.Path)
	}
	now := counterstest.OneInstant(w, roots)
	if now <= last {
		w.Errorf("the counter is %d after %d: the copy is older than the last one", now, last)
	}
	for i, s := range made.Set.Snapshots {
		w.fsck(kinds[i], s.DeviceObject)
	}
	return now
}

// fsck checks the file system on a copy's device. A held XFS still has a log to recover, so it is checked on a writable
// clone that was mounted once; btrfs is checked as it is.
func (w *world) fsck(kind, device string) {
	w.Helper()
	switch kind {
	case "ext4":
		w.tool("e2fsck", "-fn", device)
	case "btrfs":
		w.tool("btrfs", "check", "--force", "--readonly", device)
	case "xfs":
		clone := filepath.Join(w.dir, "clone.img")
		point := filepath.Join(w.dir, "mnt-clone")
		if err := os.MkdirAll(point, 0o755); err != nil {
			w.Fatal(err)
		}
		w.tool("cp", "--sparse=always", device, clone)
		defer os.Remove(clone)
		w.tool("mount", "-o", "loop,nouuid", clone, point)
		w.tool("umount", point)
		w.tool("xfs_repair", "-n", clone)
	}
}

// tool runs a program that must succeed.
func (w *world) tool(name string, args ...string) string {
	w.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		w.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}
