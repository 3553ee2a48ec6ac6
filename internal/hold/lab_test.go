package hold

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/lab"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestLabRoot holds the root file system, with this program, its state and its log on it.
func TestLabRoot(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			if !lab.Enter(t, lab.Guest{Root: kind, Disks: []lab.Disk{{Size: 400 << 20}}}) {
				return
			}
			root := existing(t, "/root", kind)
			run := runDir(t)
			t.Run("release", func(t *testing.T) { holdWithLog(t, run, root) })
			killEach(t, root)
			thawAfterAll(t, root)
		})
	}
}

// TestLabDevices holds file systems on LVM volumes, thick and thin, and on a plain device-mapper device.
func TestLabDevices(t *testing.T) {
	if !lab.Enter(t, lab.Guest{
		Disks:   []lab.Disk{{Size: 2 << 30}, {Size: 400 << 20}},
		Modules: []string{"dm-mod", "dm-thin-pool"}, Timeout: 2 * time.Minute,
	}) {
		return
	}
	command(t, "vgcreate", "-q", "vg", "/dev/ubda")
	command(t, "lvcreate", "-q", "-y", "-L", "320M", "-n", "thick", "vg")
	command(t, "lvcreate", "-q", "-y", "--type", "thin-pool", "-L", "1G", "-n", "pool", "vg")
	command(t, "lvcreate", "-q", "-y", "-V", "320M", "-T", "vg/pool", "-n", "thin")
	var all []*fileSystem
	for dev, kind := range map[string]string{"/dev/vg/thick": "ext4", "/dev/vg/thin": "xfs",
		lab.Flakey(t, "plain", "/dev/ubdb"): "xfs"} {
		dir := "/mnt/" + filepath.Base(dev)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		command(t, "mkfs."+kind, "-q", dev)
		command(t, "mount", dev, dir)
		fs := existing(t, dir, kind)
		t.Cleanup(func() { fs.unmount(t) })
		all = append(all, fs)
	}
	run := runDir(t)
	t.Run("release", func(t *testing.T) { holdWithLog(t, run, all...) })
	killEach(t, all...)
	thawAfterAll(t, all...)
}

// existing is a file system that is mounted already.
func existing(t *testing.T, dir, kind string) *fileSystem {
	t.Helper()
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &fileSystem{dir: dir, kind: kind, root: root}
}

// runDir is on a tmpfs, as RUN is: what is held can't take a record.
func runDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "vss-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// holdWithLog holds and releases, with a log on the first of those that are held.
func holdWithLog(t *testing.T, run string, all ...*fileSystem) {
	log, err := os.Create(filepath.Join(all[0].dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	logger := slog.New(slog.NewTextHandler(log, nil))
	g, err := Start(t.Context(), Config{RunDir: run, Limit: 5 * time.Second, Logger: logger}, volumes(all...))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for _, fs := range all {
		fs.dirty(t, 8)
	}
	if err := g.Preflush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := g.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustBlock(t, all...)
	r, err := g.Release()
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, time.Second, all...)
	t.Logf("held for %v, frozen after %v", r.End.Sub(r.Start), r.Frozen.Sub(r.Start))
	if err := g.Close(); err != nil {
		t.Error(err)
	}

	// and once more, too long
	g, err = Start(t.Context(), Config{RunDir: run, Limit: time.Second, Logger: logger}, volumes(all...))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustBlock(t, all...)
	mustWrite(t, 2*time.Second, all...)
	if _, err := g.Release(); !errors.Is(err, vss.ErrHoldWritesTimeout) {
		t.Errorf("Release past the limit: %v, want VSS_E_HOLD_WRITES_TIMEOUT", err)
	}
}

// killEach kills each of the three, and each pair, while all is held.
func killEach(t *testing.T, all ...*fileSystem) {
	for _, c := range casualties {
		t.Run(c.name, func(t *testing.T) {
			run := runDir(t)
			v := launch(t, run, 10*time.Second, all...)
			v.hold(t)
			mustBlock(t, all...)
			strike(t, c.of(v), syscall.SIGKILL)
			began := time.Now()
			mustWrite(t, time.Second, all...)
			t.Logf("writable %v after the kill", time.Since(began))
			if strings.Contains(c.name, "coordinator") {
				v.mustBeGone(t)
				if n := records(t, run); n != 0 {
					t.Errorf("%d records left in RUN/held", n)
				}
			}
		})
	}
}

// thawAfterAll: all three have died, and what the next start does is all that there is.
func thawAfterAll(t *testing.T, all ...*fileSystem) {
	t.Run("all three", func(t *testing.T) {
		run := runDir(t)
		v := launch(t, run, 10*time.Second, all...)
		v.hold(t)
		strike(t, v.pids(), syscall.SIGKILL)
		<-v.reaped
		mustBlock(t, all...)
		var names []string
		for _, fs := range all {
			names = append(names, fs.dir)
		}
		thawed, err := ThawAll(run)
		if d := cmp.Diff(names, thawed); d != "" || err != nil {
			t.Errorf("thawed (-want +got):\n%s%v", d, err)
		}
		mustWrite(t, time.Second, all...)
	})
}
