package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/counters/counterstest"
)

// thawed says whether a file system was frozen until now, by thawing it.
func (f *faultWorld) thawed(root string) bool {
	f.Helper()
	err := thawForeign(root)
	if err != nil && err != unix.EINVAL {
		f.Fatalf("FITHAW %s: %v", root, err)
	}
	return err == nil
}

// must ends the test if a preparation fails.
func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// TestForeignFreeze: another program freezes and thaws as it likes, before and during a creation. What it holds stays
// held, what it lets go fails the set, and none of ours stays behind.
func TestForeignFreeze(t *testing.T) {
	f := newFaultWorld(t)
	t.Cleanup(f.rescue)
	other := f.volume("c", "64M", "ext4", "gpt")
	all := append(slices.Clone(f.volumes), other)
	args := append([]string{"create", "--no-writers", "--hold-limit", holdLimit.String()}, all...)

	t.Run("frozen before", func(t *testing.T) {
		f := f.in(t)
		f.must(freezeForeign(other))
		f.refused("VSS_E_VOLUME_IN_USE", args...)
		f.flows(f.load, holdLimit+time.Second, "after a set with a volume that was frozen")
		if !f.thawed(other) {
			t.Error("the other program's freeze is gone")
		}
		f.clean()
	})
	t.Run("frozen just before the hold", func(t *testing.T) {
		f := f.in(t)
		p := f.pauseAt("create/hold/before", holdLimit, all...)
		f.must(freezeForeign(other))
		p.goOn()
		if set, failed := p.end(); set != nil || failed.Result != "VSS_E_VOLUME_IN_USE" || failed.Hint == "" {
			t.Errorf("%+v, %+v", set, failed)
		}
		f.flows(f.load, holdLimit+time.Second, "after a set with a volume that was frozen")
		if !f.thawed(other) {
			t.Error("the other program's freeze is gone")
		}
		f.clean()
	})
	for _, point := range []string{"create/hold/after", "create/commit/after"} {
		t.Run("thawed by another at "+strings.ReplaceAll(point, "/", " "), func(t *testing.T) {
			f := f.in(t)
			p := f.pauseAt(point, 5*time.Second, all...)
			if !f.thawed(other) {
				t.Error("our hold is not one")
			}
			p.goOn()
			if set, failed := p.end(); set != nil || failed.Result != "VSS_E_HOLD_WRITES_TIMEOUT" || failed.Hint == "" {
				t.Errorf("%+v, %+v", set, failed)
			}
			f.flows(f.load, holdLimit+time.Second, "after another had thawed")
			f.clean()
		})
	}
	t.Run("thawed and frozen again by another", func(t *testing.T) {
		f := f.in(t)
		p := f.pauseAt("create/commit/after", 5*time.Second, all...)
		if err := freezeForeign(other); err != unix.EBUSY {
			t.Errorf("a freeze of what we hold: %v", err)
		}
		p.goOn()
		set, failed := p.end()
		if set == nil {
			t.Fatalf("a freeze that was refused failed the set: %+v", failed)
		}
		f.vss(nil, "delete", set.SetID)
		f.clean()
	})
	counterstest.End(t, f.load)
}

// in is the same host in a subtest.
func (f *faultWorld) in(t *testing.T) *faultWorld {
	w := *f.world
	w.TB = t
	return &faultWorld{world: &w, volumes: f.volumes, load: f.load, base: f.base}
}

// TestMountsChange: volumes are unmounted, mounted again and elsewhere, while a set of them is made.
func TestMountsChange(t *testing.T) {
	f := newFaultWorld(t)
	t.Cleanup(f.rescue)
	point := f.volume("c", "64M", "ext4", "gpt")
	f.write(filepath.Join(point, "file"), "text")
	node := f.lun("c").Disk.Partitions[0].Device
	second := filepath.Join(f.dir, "mnt-second")
	f.must(os.MkdirAll(second, 0o755))
	for _, c := range []struct {
		name, at string
		flags    int // of umount
		again    bool
	}{
		{"unmounted before it is opened", "create/end-prepare/after", 0, false},
		{"unmounted before it is opened, mounted elsewhere", "create/end-prepare/after", 0, true},
		{"lazily unmounted before the hold", "create/hold/before", unix.MNT_DETACH, false},
		{"lazily unmounted before the hold, mounted elsewhere", "create/hold/before", unix.MNT_DETACH, true},
		{"lazily unmounted while held", "create/commit/after", unix.MNT_DETACH, false},
		{"lazily unmounted while the copy arrives", "create/import/before", unix.MNT_DETACH, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := f.in(t)
			p := f.pauseAt(c.at, 5*time.Second, f.volumes[0], point)
			if c.at == "create/hold/before" {
				if err := unix.Unmount(point, 0); err != unix.EBUSY {
					t.Errorf("a plain unmount of a volume that is about to be held: %v", err)
				}
			}
			f.must(unix.Unmount(point, c.flags))
			if c.again {
				f.must(unix.Mount(node, second, "ext4", 0, ""))
			}
			p.goOn()
			set, failed := p.end()
			t.Logf("the set: %v, %s %s", set != nil, failed.Result, failed.Cause)
			if set == nil && (failed.Result == "" || failed.Hint == "") {
				t.Errorf("a failure that says too little: %+v", failed)
			}
			if c.again {
				f.writable(second)
				f.must(unix.Unmount(second, 0))
			}
			f.must(unix.Mount(node, point, "ext4", 0, ""))
			f.writable(point)
			f.flows(f.load, holdLimit+time.Second, c.name)
			f.clean()
			if set != nil {
				f.has(set.ShadowCopies[1].ID, "file", "text")
				f.vss(nil, "delete", set.SetID)
			}
			f.clean()
		})
	}
	t.Run("bind mounts", func(t *testing.T) {
		f := f.in(t)
		f.must(unix.Mount(point, second, "", unix.MS_BIND, ""))
		defer unix.Unmount(second, 0)
		f.refused("VSS_E_OBJECT_ALREADY_EXISTS", "create", "--no-writers", point, second)
		s := f.create("--no-writers", second)
		f.has(s.ShadowCopies[0].ID, "file", "text")
		f.vss(nil, "delete", s.SetID)
	})
	t.Run("lazily unmounted and in use", func(t *testing.T) {
		f := f.in(t)
		open, err := os.Create(filepath.Join(point, "open"))
		f.must(err)
		f.must(unix.Unmount(point, unix.MNT_DETACH))
		r := f.try("create", "--no-writers", node) // no mount shows it, but it is written
		var s setDoc
		if r.code == 0 {
			f.must(json.Unmarshal(r.stdout, &s))
		}
		if r.code == 0 && (s.Consistency != "crash" || s.ConsistencyReason == "") {
			t.Errorf("a copy of what could not be held is %s consistent: %s", s.Consistency, s.ConsistencyReason)
		}
		_, err = open.WriteString("still written")
		f.must(err)
		f.must(open.Sync())
		f.must(open.Close())
		f.must(unix.Mount(node, point, "ext4", 0, ""))
		f.writable(point)
		f.forget("")
		f.clean()
	})
	counterstest.End(t, f.load)
}

// writable: a volume is not held.
func (f *faultWorld) writable(root string) {
	f.Helper()
	wrote := make(chan error, 1)
	go func() { wrote <- os.WriteFile(filepath.Join(root, "writable"), []byte(root), 0o644) }()
	select {
	case err := <-wrote:
		f.must(err)
	case <-time.After(holdLimit + 5*time.Second):
		f.must(thawForeign(root))
		f.Errorf("%s was held", root)
	}
}

// has: a copy can be exposed and has a file.
func (f *faultWorld) has(id, name, text string) {
	f.Helper()
	at := filepath.Join(f.run, "exposed", "has")
	f.vss(nil, "expose", id, at)
	if b, err := os.ReadFile(filepath.Join(at, name)); err != nil || string(b) != text {
		f.Errorf("the copy has %q, %v", b, err)
	}
	f.vss(nil, "unexpose", id)
}

// TestDeviceRemoved: somebody detaches the loop device of a copy, and of a LUN. Both are missed and put back by a
// repair, and the copy is whole.
func TestDeviceRemoved(t *testing.T) {
	f := newFaultWorld(t)
	f.vss(nil, "lun", "create", "spare", "--size", "64M")
	f.write(filepath.Join(f.volumes[0], "file"), "text")
	s := f.create("--no-writers", f.volumes[0])
	id := s.ShadowCopies[0].ID
	var device, spare string
	var luns []lunDoc
	f.vss(&luns, "lun", "list")
	for _, l := range luns {
		switch {
		case slices.Contains(s.ShadowCopies[0].LUNs, l.ID):
			device = l.Device
		case l.Name == "spare":
			spare = l.Device
		}
	}
	f.tool("partx", "-d", device)
	f.tool("losetup", "-d", device, spare)
	r := f.try("doctor")
	t.Logf("doctor: exit %d: %s", r.code, r.stdout)
	if r.code == 0 || !strings.Contains(string(r.stdout), "of copy "+id+" is not on this host") ||
		!strings.Contains(string(r.stdout), "LUN spare is shown to this host") {
		t.Errorf("a copy and a LUN without their devices are not missed: %s", r.stdout)
	}
	f.try("doctor", "--repair")
	f.clean()
	f.has(id, "file", "text")
	f.vss(nil, "delete", s.SetID)
	f.clean()
	counterstest.End(t, f.load)
}

// small is a file system of its own for one folder of a host, with a function that fills it to the last byte.
func (w *world) small(dir, kind, size string) (fill func() (free func())) {
	w.Helper()
	w.must(os.MkdirAll(dir, 0o755))
	switch kind {
	case "tmpfs":
		w.must(unix.Mount("none", dir, "tmpfs", 0, "mode=755,size="+size))
	default:
		image := dir + ".img"
		w.tool("truncate", "-s", size, image)
		w.tool("mkfs."+kind, "-q", image)
		w.tool("mount", "-o", "loop", image, dir)
	}
	w.Cleanup(func() {
		for range 100 { // the last thread of the service may be on its way out
			if unix.Unmount(dir, 0) == nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	w.Cleanup(w.end) // before it goes
	return func() func() {
		filler := filepath.Join(dir, "filler")
		out, err := os.Create(filler)
		w.must(err)
		for n := 1 << 20; n > 0; {
			if _, err := out.Write(make([]byte, n)); err != nil {
				n /= 2
			}
		}
		_ = out.Sync()
		w.must(out.Close())
		return func() { w.must(os.Remove(filler)) }
	}
}

// TestFullDisks: where catalogue or run folder have no room a creation fails with a result, or gets by without it;
// nothing is held, nothing is lost, and when there is room again all is well.
func TestFullDisks(t *testing.T) {
	for _, c := range []struct {
		name, kind, size string
		dir              func(w *world) string
	}{
		{"catalogue", "ext4", "24M", func(w *world) string { return w.state }},
		{"run folder", "tmpfs", "4M", func(w *world) string { return w.run }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			pool := filepath.Join(w.dir, "pool")
			w.small(pool, "xfs", "1500M")
			w.configure(fmt.Sprintf("[service]\nidle_exit = \"1h\"\n[[array.pools]]\nname = \"p\"\ntype = "+
				"\"reflink\"\npath = %q\n", pool))
			fill := w.small(c.dir(w), c.kind, c.size)
			volumes := []string{w.volume("a", "64M", "ext4", "gpt"), w.volume("b", "320M", "xfs", "mbr")}
			load := counterstest.Start(t, volumes...)
			kept := w.create("--no-writers", volumes[0])
			p := (&faultWorld{world: w, volumes: volumes, load: load}).pauseAt("create/hold/before", holdLimit,
				volumes...)
			free := fill()
			p.goOn()
			if set, failed := p.end(); set == nil && (failed.Result == "" || failed.Hint == "") {
				t.Errorf("a failure that says too little: %+v", failed)
			} else {
				t.Logf("full when the hold begins: the set: %v, %s %s", set != nil, failed.Result, failed.Cause)
			}
			w.flows(load, holdLimit+time.Second, "with a full "+c.name)
			for range 3 {
				r := w.try("create", "--no-writers", "--hold-limit", holdLimit.String(), volumes[0], volumes[1])
				var doc struct{ Error failure }
				w.must(json.Unmarshal(r.stdout, &doc))
				t.Logf("exit %d, %s: %s", r.code, doc.Error.Result, doc.Error.Cause)
				if r.code != 0 && (doc.Error.Result == "" || doc.Error.Hint == "") {
					t.Errorf("a failure that says too little: %s", r.stdout)
				}
				w.flows(load, holdLimit+time.Second, "with a full "+c.name)
			}
			w.stop(unix.SIGKILL)
			w.try("list", "shadows") // a start without room
			w.stop(unix.SIGKILL)
			free()
			found := false
			for _, s := range w.shadows() {
				found = found || s.SetID == kept.SetID
			}
			if !found {
				t.Errorf("the acknowledged set %s is lost", kept.SetID)
			}
			w.clean()
			w.create("--no-writers", volumes[0], volumes[1])
			counterstest.End(t, load)
			w.vss(nil, "delete", "--all")
			w.clean()
		})
	}
}

// TestStaleFiles: thousands of files of others and of dead processes in the run folder are no hindrance.
func TestStaleFiles(t *testing.T) {
	w := newWorld(t)
	w.configure("[service]\nidle_exit = \"1h\"\n")
	point := w.volume("a", "64M", "ext4", "gpt")
	w.create("--no-writers", point)
	w.stop(unix.SIGKILL)
	for _, dir := range []string{"held", "writers", "providers", "exposed", "private", "dev", "hooks"} {
		w.must(os.MkdirAll(filepath.Join(w.run, dir), 0o755))
	}
	for i := range 2000 {
		w.write(filepath.Join(w.run, "held", fmt.Sprintf("%d-%d", 4194304+i, i)),
			[]string{"", "{", `{"format":1,"boot":"of yesterday"}`, "\x00\xff"}[i%4])
		w.write(filepath.Join(w.run, "writers", fmt.Sprintf("stale%d.sock", i)), "")
		w.write(filepath.Join(w.run, "providers", fmt.Sprintf("stale%d.sock", i)), "")
		w.must(os.Symlink("/nowhere", filepath.Join(w.run, "dev", fmt.Sprintf("HarddiskVolumeShadowCopy%d", 100000+i))))
		w.must(os.Mkdir(filepath.Join(w.run, "exposed", fmt.Sprintf("stale%d", i)), 0o755))
		w.write(filepath.Join(w.run, fmt.Sprintf("stale%d", i)), "")
	}
	began := time.Now()
	w.vss(nil, "list", "shadows")
	started := time.Since(began)
	s := w.create(point)
	t.Logf("start: %v, start and creation: %v", started, time.Since(began))
	if time.Since(began) > time.Minute {
		t.Error("stale files cost minutes")
	}
	w.vss(nil, "delete", s.SetID)
	w.vss(nil, "doctor", "--repair")
	w.clean()
}

// TestOutOfMemory: the service gets no more memory from the moment on at which it holds. It may die of it; nothing
// stays held.
func TestOutOfMemory(t *testing.T) {
	f := newFaultWorld(t)
	t.Cleanup(f.rescue)
	for _, point := range []string{"create/open-volumes/before", "create/hold/before", "create/hold/after",
		"create/commit/after"} {
		p := f.pauseAt(point, holdLimit, f.volumes...)
		var before unix.Rlimit
		f.must(unix.Prlimit(f.service(), unix.RLIMIT_AS, &unix.Rlimit{Cur: 1 << 20, Max: unix.RLIM_INFINITY}, &before))
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		var greedy []*exec.Cmd // calls that need memory
		for range 4 {
			c := f.command(ctx, "--json", "list", "volumes")
			f.must(c.Start())
			greedy = append(greedy, c)
		}
		p.goOn()
		f.flows(f.load, holdLimit+time.Second, "without memory at "+point)
		set, failed := p.end()
		for _, c := range greedy {
			_ = c.Wait()
		}
		cancel()
		t.Logf("%s: the set: %v, %s %s", point, set != nil, failed.Result, failed.Cause)
		f.restart()
		f.clean()
		f.forget("")
	}
	counterstest.End(t, f.load)
}
