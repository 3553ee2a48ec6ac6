package hold

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/boot"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestThawAll: all three have died.
func TestThawAll(t *testing.T) {
	scratch := setUp(t)
	var all []*fileSystem
	var names []string
	for _, kind := range kinds {
		fs := makeFS(t, scratch, kind, 320)
		all, names = append(all, fs), append(names, fs.dir)
	}
	v := launch(t, scratch, 10*time.Second, all...)
	v.hold(t)
	if thawed, err := ThawAll(scratch); len(thawed) > 0 || err != nil || records(t, scratch) != 1 {
		t.Errorf("ThawAll of a hold under way: %v, %v", thawed, err)
	}
	mustBlock(t, all...)
	strike(t, v.pids(), syscall.SIGKILL)
	<-v.reaped
	v.mustBeGone(t)
	mustBlock(t, all...)
	// one of them can only be reached below another mount, at a second place
	over := all[0].dir
	second := filepath.Join(scratch, "second")
	if err := os.Mkdir(second, 0o700); err != nil {
		t.Fatal(err)
	}
	command(t, "mount", "--bind", over, second)
	defer unix.Unmount(second, 0)
	command(t, "mount", "-t", "tmpfs", "none", over)
	defer unix.Unmount(over, 0)
	thawed, err := ThawAll(scratch)
	if err != nil {
		t.Error(err)
	}
	if d := cmp.Diff(names, thawed); d != "" {
		t.Errorf("thawed (-want +got):\n%s", d)
	}
	mustWrite(t, time.Second, all...)
	if n := records(t, scratch); n != 0 {
		t.Errorf("%d records left", n)
	}
	if thawed, err := ThawAll(scratch); len(thawed) > 0 || err != nil {
		t.Errorf("second ThawAll: %v, %v", thawed, err)
	}
	if thawed, err := ThawAll(filepath.Join(scratch, "nowhere")); len(thawed) > 0 || err != nil {
		t.Errorf("ThawAll without a folder: %v, %v", thawed, err)
	}
}

// TestThawAllStoppedGuards: the coordinator was killed just now and both guards are stopped, so nobody would do it.
func TestThawAllStoppedGuards(t *testing.T) {
	scratch := setUp(t)
	fs := makeFS(t, scratch, "xfs", 320)
	v := launch(t, scratch, time.Second, fs)
	v.hold(t)
	signalAll(t, []int{v.freezer, v.sentinel}, syscall.SIGSTOP)
	mustBlock(t, fs)
	signalAll(t, []int{v.coordinator}, syscall.SIGKILL) // some of its threads may be alive for a while
	thawed, err := ThawAll(scratch)
	if d := cmp.Diff([]string{fs.dir}, thawed); d != "" || err != nil {
		t.Errorf("thawed (-want +got):\n%s%v", d, err)
	}
	mustWrite(t, time.Second, fs)
	v.mustBeGone(t)
}

// TestKilled: a process that is being killed is recognised by its status, even if its threads remain.
func TestKilled(t *testing.T) {
	for status, want := range map[string]bool{
		"Name:\tvssd\nState:\tS (sleeping)\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n": false,
		"Name:\tvssd\nState:\tT (stopped)\nSigPnd:\t0000000000040000\nShdPnd:\t0000000000004000\n":  false,
		"Name:\tvssd\nState:\tD (disk sleep)\nSigPnd:\t0000000000000100\n":                          true,
		"Name:\tvssd\nState:\tD (disk sleep)\nShdPnd:\t0000000000000100\n":                          true,
		"Name:\tvssd\nState:\tZ (zombie)\nThreads:\t2\n":                                            true,
		"": false,
	} {
		if got := killed([]byte(status)); got != want {
			t.Errorf("killed is %v of\n%s", got, status)
		}
	}
}

// TestUnmountedWhileHeld: the descriptors still reach it.
func TestUnmountedWhileHeld(t *testing.T) {
	scratch := setUp(t)
	fs := makeFS(t, scratch, "ext4", 64)
	g := start(t, scratch, 5*time.Second, fs)
	if err := g.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(fs.dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Release(); err != nil {
		t.Error(err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if err := thawSuper(int(fs.root.Fd())); err != syscall.EINVAL {
		t.Errorf("thaw after the release: %v, want EINVAL", err)
	}
	fs.root.Close()
	fs.mount(t)
	mustWrite(t, time.Second, fs)
}

// TestUnmountedAndAllDead: nobody can reach it any more; that is told.
func TestUnmountedAndAllDead(t *testing.T) {
	scratch := setUp(t)
	fs, still := makeFS(t, scratch, "ext4", 64), makeFS(t, scratch, "xfs", 320)
	v := launch(t, scratch, 10*time.Second, fs, still)
	v.hold(t)
	signalAll(t, v.pids(), syscall.SIGSTOP)
	if err := unix.Unmount(fs.dir, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	signalAll(t, v.pids(), syscall.SIGKILL)
	<-v.reaped
	v.mustBeGone(t)
	thawed, err := ThawAll(scratch)
	if d := cmp.Diff([]string{still.dir}, thawed); d != "" {
		t.Errorf("thawed (-want +got):\n%s", d)
	}
	if !errors.Is(err, vss.ErrObjectNotFound) {
		t.Errorf("ThawAll: %v, want VSS_E_OBJECT_NOT_FOUND for %s", err, fs.dir)
	}
	if err := thawSuper(int(fs.root.Fd())); err != nil { // only this test's own descriptor still reaches it
		t.Errorf("it was not frozen any more: %v", err)
	}
	fs.root.Close()
	fs.mount(t)
}

// TestThawAllOldRecords: records of another boot, cut off, or of a newer program.
func TestThawAllOldRecords(t *testing.T) {
	run := t.TempDir()
	dir := filepath.Join(run, heldDir)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"1-1":          `{"format":2}`,
		"999999999-1":  `{"format":1,"boot":"another","volumes":[{"name":"x","device":"7:0"}]}`,
		"999999999-22": `{"format":1,"bo`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	thawed, err := ThawAll(run)
	if len(thawed) > 0 || !errors.Is(err, errNewer) {
		t.Errorf("ThawAll: %v, %v", thawed, err)
	}
	if n := records(t, run); n != 1 {
		t.Errorf("%d records left, want that of the newer program", n)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(
		[]byte(
			`{"format":1,"boot":"b","coordinator":{"pid":1,"start":2},"guards":[{"pid":3,"start":4}],` +
				`"volumes":[{"name":"/x","device":"7:1","type":"ext4","source":"/dev/loop1","mount":30,"point":"/x"}]}`,
		),
	)
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRecord(b)
		if err == nil && r.Format != recordFormat {
			t.Errorf("format %d accepted", r.Format)
		}
	})
}

// TestThawOfAnother: a stale record thaws only the file system that it was made of, not another one that has its device
// number now (trust 10).
func TestThawOfAnother(t *testing.T) {
	scratch := setUp(t)
	fs := makeFS(t, scratch, "ext4", 32)
	root, err := os.Open(fs.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	right, err := locate("data", root, allMounts())
	if err != nil {
		t.Fatal(err)
	}
	if err := freezeSuper(int(root.Fd())); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = thawSuper(int(root.Fd())) }()
	id, err := boot.ID()
	if err != nil {
		t.Fatal(err)
	}
	thawed := func(v heldVolume) bool {
		r := record{Format: recordFormat, Boot: id, Coordinator: process{PID: 1 << 22}, Volumes: []heldVolume{v}}
		if err := os.MkdirAll(filepath.Join(scratch, heldDir), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := r.publish(filepath.Join(scratch, heldDir, "4194304-1")); err != nil {
			t.Fatal(err)
		}
		names, _ := ThawAll(scratch)
		return len(names) > 0
	}
	for what, change := range map[string]func(*heldVolume){
		"type":             func(v *heldVolume) { v.Type = "xfs" },
		"source and mount": func(v *heldVolume) { v.Source, v.Mount, v.UUID = "/dev/sdz1", 1, "" },
		"device":           func(v *heldVolume) { v.Device = "7:4093" },
		"nothing known":    func(v *heldVolume) { v.Type, v.Source, v.Mount, v.UUID = "", "", 1, "" },
	} {
		wrong := right
		change(&wrong)
		if thawed(wrong) {
			t.Fatalf("another %s: thawed", what)
		}
	}
	if right.UUID != "" {
		wrong := right
		wrong.UUID = "00"
		if thawed(wrong) {
			t.Fatal("another UUID: thawed")
		}
	}
	if !thawed(right) {
		t.Error("the file system of the record is still frozen")
	}
}
