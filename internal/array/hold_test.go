package array_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestHold commits as a coordinator does: two mounted LUNs whose file systems are held, with unwritten data in the
// page cache. Each copy is a clean file system with all that was written before.
func TestHold(t *testing.T) {
	for _, kind := range []string{"btrfs", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, kind, 1<<30, 8*mib)
			dir := lane.Scratch(t)
			var origins []vss.LUNID
			var roots []*os.File
			for _, name := range []string{"data", "log"} {
				l := w.lun(name, 64*mib)
				device := w.attach(l.ID)
				must(t, run("mkfs.ext4", "-q", device))
				at := filepath.Join(dir, name)
				must(t, os.Mkdir(at, 0o700))
				must(t, unix.Mount(device, at, "ext4", 0, ""))
				t.Cleanup(func() { must(t, unix.Unmount(at, 0)) })
				must(t, os.WriteFile(filepath.Join(at, "file"), []byte(name), 0o600))
				must(t, os.WriteFile(filepath.Join(at, "bulk"), make([]byte, 16*mib), 0o600))
				root, err := os.Open(at)
				must(t, err)
				t.Cleanup(func() { root.Close() })
				origins, roots = append(origins, l.ID), append(roots, root)
			}
			set, _ := w.prepare("", origins...)
			thaw := func() {
				for _, r := range roots {
					_ = unix.IoctlSetInt(int(r.Fd()), mount.FITHAW, 0)
				}
			}
			defer thaw()
			for _, r := range roots {
				must(t, unix.IoctlSetInt(int(r.Fd()), mount.FIFREEZE, 0))
			}
			start := time.Now()
			skew, err := w.CommitCopies(ctx, set, "here")
			held := time.Since(start)
			thaw()
			must(t, err)
			t.Logf("cut in %v, skew %v", held.Round(10*time.Microsecond), skew.Round(10*time.Microsecond))
			if skew > held {
				t.Errorf("a skew of %v in a cut of %v", skew, held)
			}
			copies, err := w.FinishCopies(ctx, set, "here")
			must(t, err)
			must(t, w.KeepCopies(ctx, set, "here"))
			for i, c := range copies {
				device := w.attach(c.ID)
				if err := run("e2fsck", "-fn", device); err != nil {
					t.Errorf("copy %d: e2fsck: %v", i, err)
				}
				at := filepath.Join(dir, "copy")
				must(t, os.MkdirAll(at, 0o700))
				must(t, unix.Mount(device, at, "ext4", unix.MS_RDONLY, ""))
				b, err := os.ReadFile(filepath.Join(at, "file"))
				must(t, unix.Unmount(at, 0))
				if want := []string{"data", "log"}[i]; err != nil || string(b) != want {
					t.Errorf("copy %d has %q, %v; want %q", i, b, err, want)
				}
			}
		})
	}
}
