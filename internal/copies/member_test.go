package copies_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/copies/copiestest"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/vss"
)

var sequence = []string{
	"OnLoad",
	"AreLunsSupported",
	"BeginPrepareSnapshot",
	"EndPrepareSnapshots",
	"PreCommitSnapshots",
	"CommitSnapshots",
	"PostCommitSnapshots",
	"GetTargetLuns",
	"LocateLuns",
	"FillInLunInfo",
	"OnLunStateChange",
	"PreFinalCommitSnapshots",
	"OnLunStateChange",
	"PostFinalCommitSnapshots",
}

// A LUN copy is born with the flags, gets an identity of its own and is read-only; its original is what it was. The
// provider is called in the order of the specification.
func TestLUNCopy(t *testing.T) {
	for _, style := range []disk.Style{disk.StyleGPT, disk.StyleMBR, disk.StyleNone} {
		t.Run(style.String(), func(t *testing.T) {
			x := newWorld(t)
			k, _, luns := x.hardware(2, style)
			v := x.w.Volume("/srv/a", "ext4", luns[0])
			before := x.w.TableOf(luns[0])
			s := x.create(k, vss.ContextAppRollback, v)
			if d := cmp.Diff(before, x.w.TableOf(luns[0])); d != "" {
				t.Errorf("the original's table changed:\n%s", d)
			}
			if d := cmp.Diff(sequence, x.methods(k)); d != "" {
				t.Errorf("calls:\n%s", d)
			}
			r := s.records[0]
			if r.Kind != catalog.KindLUN || !r.Imported || r.DeviceNumber != 1 || r.ServiceMachine != copiestest.Name ||
				len(r.LUNs) != 1 ||
				r.LUNs[0].LUNID.IsZero() {
				t.Errorf("record %+v", r)
			}
			if want := vss.AttrHardwareAssisted | vss.AttrDifferential; r.Attributes&want != want {
				t.Errorf("attributes %v", r.Attributes.Names())
			}
			copied, device := r.LUNs[0].Copy, x.w.Device(r.LUNs[0].Copy)
			tab := x.w.TableOf(copied)
			if style != disk.StyleNone &&
				(tab.Identity.Disk == before.Identity.Disk || tab.Flags&vss.FlagsShadowCopy != vss.FlagsShadowCopy) {
				t.Errorf("the copy's table: %+v", tab)
			}
			if d, _ := x.w.ByDevice(t.Context(), device); style == disk.StyleNone &&
				d.LUN.Flags != vss.FlagsShadowCopy {
				t.Errorf("flags in the array: %v", d.LUN.Flags)
			}
			if !x.w.RefusesWrites(device) || len(x.w.Locked()) > 0 {
				t.Errorf("read-only %v, locked %v", x.w.RefusesWrites(device), x.w.Locked())
			}
			object := x.host.DeviceObject(r)
			at, err := s.here[0].Source(t.Context())
			must(t, err)
			if target, err := os.Readlink(object); err != nil || target != at.Devices[0] {
				t.Errorf("%s leads to %q, %v; want %q", object, target, err, at.Devices[0])
			}
			if _, err := os.Stat(filepath.Join(x.dir, "run", "creating")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the list of disks in creation: %v", err)
			}
		})
	}
}

// A LUN that carries two volumes of the set is flagged, copied and renewed once.
func TestSharedLUN(t *testing.T) {
	x := newWorld(t)
	k, a, luns := x.hardware(2, disk.StyleGPT)
	s := x.create(
		k,
		vss.ContextAppRollback,
		x.w.Volume("/srv/a", "ext4", luns[0]),
		x.w.Volume("/srv/b", "btrfs", luns[0], luns[1]),
	)
	if n := a.Copies(); n != 2 {
		t.Errorf("%d copies of 2 LUNs", n)
	}
	if s.records[0].LUNs[0].LUNID != s.records[1].LUNs[0].LUNID || len(s.rec.Flagged) != 2 {
		t.Errorf("LUNs %v and %v, %d flagged", s.records[0].LUNs, s.records[1].LUNs, len(s.rec.Flagged))
	}
	at, err := s.here[1].Source(t.Context())
	must(t, err)
	if len(at.Devices) != 2 || s.records[1].CopyUUID == "" || x.w.FileSystemID(at.Devices[1]) != s.records[1].CopyUUID {
		t.Errorf("devices %v, fsid %q and %q", at.Devices, s.records[1].CopyUUID, x.w.FileSystemID(at.Devices[1]))
	}
	d, _ := x.w.ByInformation(t.Context(), &luns[0])
	if !s.m.Uses(d.LUN.ID) || s.m.Uses(s.records[0].LUNs[0].LUNID) {
		t.Error("Uses doesn't know the originals")
	}
}

// After a failure at any step, undo leaves no flag, lock, list or copy, and the provider was aborted.
func TestUndoAtEveryStep(t *testing.T) {
	x := newWorld(t)
	k, a, luns := x.hardware(2, disk.StyleGPT)
	before := []*disk.Table{x.w.TableOf(luns[0]), x.w.TableOf(luns[1])}
	last := len(x.begin(k, vss.ContextBackup).steps())
	for n := range last {
		x.calls.Reset()
		s := x.begin(k, vss.ContextBackup, x.w.Volume("/srv/a", "xfs", luns[0]), x.w.Volume("/srv/b", "xfs", luns[1]))
		s.reach(n)
		s.m.Release()
		for _, c := range s.here {
			x.host.Withdraw(t.Context(), c)
		}
		must(t, s.m.Unmark(t.Context()))
		s.m.Release()
		must(t, s.m.Abort(t.Context()))
		must(t, k.DropRemains(t.Context(), s.id, s.records))
		must(t, k.DropRemains(t.Context(), s.id, s.records))
		if n := a.Copies(); n != 0 {
			t.Errorf("after step %d: %d copies are left", n, n)
		}
		for i, l := range luns {
			// Unmark runs before Release in a creation; here Release came first, as at a crash: RestoreOriginals does
			// it
			must(t, x.host.RestoreOriginals(t.Context(), s.rec))
			if d := cmp.Diff(before[i], x.w.TableOf(l)); d != "" {
				t.Errorf("after step %d:\n%s", n, d)
			}
		}
		if l := x.w.Locked(); len(l) > 0 {
			t.Errorf("after step %d: locked %v", n, l)
		}
		links, _ := filepath.Glob(filepath.Join(x.dir, "dev", "*"))
		if len(links) > 0 {
			t.Errorf("after step %d: device objects %v", n, links)
		}
		if !slices.Contains(x.methods(k), "AbortSnapshots") {
			t.Errorf("after step %d: calls %v", n, x.methods(k))
		}
	}
}

// Flags that an original had before are there again; those that it hadn't are cleared, by partition on GPT.
func TestFlagsOfOriginals(t *testing.T) {
	for _, style := range []disk.Style{disk.StyleGPT, disk.StyleMBR} {
		x := newWorld(t)
		k, _, luns := x.hardware(1, style)
		d, _ := x.w.ByInformation(t.Context(), &luns[0])
		must(t, x.w.SetFlags(t.Context(), d, vss.FlagReadOnly|vss.FlagNoAutoMount, 0))
		before := x.w.TableOf(luns[0])
		s := x.begin(k, vss.ContextBackup, x.w.Volume("/srv/a", "ext4", luns[0])).reach(stepMark + 1)
		if f := x.w.TableOf(luns[0]).Flags; f&vss.FlagsShadowCopy != vss.FlagsShadowCopy {
			t.Errorf("%v: flags %v are set", style, f)
		}
		b, err := os.ReadFile(filepath.Join(x.dir, "run", "creating"))
		if string(b) != d.Device+"\n" || err != nil {
			t.Errorf("the list of disks in creation: %q, %v", b, err)
		}
		end := x.failing("Edit.Set", vss.ErrUnexpected)
		if s.m.Unmark(t.Context()) == nil {
			t.Errorf("%v: Unmark succeeded", style)
		}
		end()
		wantCode(t, "Verify of flags that are set", s.m.Verify(t.Context()), vss.ErrUnexpected)
		must(t, s.m.Unmark(t.Context()))
		must(t, s.m.Verify(t.Context()))
		must(t, s.m.Unmark(t.Context()))
		s.m.Release()
		if d := cmp.Diff(before, x.w.TableOf(luns[0])); d != "" {
			t.Errorf("%v: not restored:\n%s", style, d)
		}
		// a crash while they were set: what was recorded restores them
		s = x.begin(k, vss.ContextBackup, x.w.Volume("/srv/a", "ext4", luns[0])).reach(stepMark + 1)
		s.m.Release()
		must(t, x.host.Sweep())
		must(t, x.host.RestoreOriginals(t.Context(), s.rec))
		if d := cmp.Diff(before, x.w.TableOf(luns[0])); d != "" || !x.w.RefusesWrites(x.w.Device(luns[0])) {
			t.Errorf("%v: not restored after a crash:\n%s", style, d)
		}
	}
}

// A partition that another program adds while the flags are set stays, unflagged, and fails the set (trust 8).
func TestTableChangedMeanwhile(t *testing.T) {
	x := newWorld(t)
	k, _, luns := x.hardware(1, disk.StyleGPT)
	d, _ := x.w.ByInformation(t.Context(), &luns[0])
	s := x.begin(k, vss.ContextBackup, x.w.Volume("/srv/a", "ext4", luns[0])).reach(stepMark + 1)
	added := disk.Partition{Number: 7, Start: 1 << 20, Size: 1 << 20, Data: true, Flags: vss.FlagReadOnly}
	x.w.AddPartition(d.LUN.ID, added)
	must(t, s.m.Unmark(t.Context()))
	tab := x.w.TableOf(luns[0])
	for _, p := range tab.Partitions {
		if want := map[bool]vss.DiskFlags{true: vss.FlagReadOnly}[p.Number == 7]; p.Flags != want {
			t.Errorf("partition %d has flags %v, want %v", p.Number, p.Flags, want)
		}
	}
	if tab.Partitions[len(tab.Partitions)-1].Number != 7 {
		t.Errorf("the partition that was added is missing: %+v", tab.Partitions)
	}
	if err := s.m.Verify(t.Context()); !errors.Is(err, disk.ErrTableChanged) {
		t.Errorf("Verify: %v", err)
	}
	s.m.Release()
}

// Originals that can't be restored now are errors; those that don't exist any more are not.
func TestRestoreOriginals(t *testing.T) {
	x := newWorld(t)
	k, a, luns := x.hardware(2, disk.StyleGPT)
	s := x.begin(k, vss.ContextBackup, x.w.Volume("/srv/a", "ext4", luns...)).reach(stepMark + 1)
	s.m.Release()
	codes := map[string]vss.Code{
		"SetReadOnly": vss.ErrUnexpected, "Edit": vss.ErrVolumeInUse, "Edit.Clear": vss.ErrUnexpected,
	}
	for op, code := range codes {
		end := x.failing(op, code)
		wantCode(t, op, x.host.RestoreOriginals(t.Context(), s.rec), code)
		end()
	}
	a.Show(luns[0], false)
	must(t, x.host.Rescan(t.Context()))
	wantCode(t, "hidden", x.host.RestoreOriginals(t.Context(), s.rec), vss.ErrMissingDisk)
	a.Remove(luns[0])
	must(t, x.host.RestoreOriginals(t.Context(), s.rec))
	if f := x.w.TableOf(luns[1]).Flags; f != 0 {
		t.Errorf("flags %v of the other one", f)
	}
}

// What the host can't do with an original fails the step, and nothing stays locked.
func TestMemberFailures(t *testing.T) {
	for _, c := range []struct {
		op    string
		steps int
	}{
		{"WritePaths", 1}, {"Edit", 2}, {"Edit.Set", 3}, {"Edit.Clear", 6}, {"Table", 8}, {"SetReadOnly", 11},
		{"RenewIdentity", 11},
		{"Lock", 12},
	} {
		t.Run(c.op, func(t *testing.T) {
			x := newWorld(t)
			k, _, luns := x.hardware(1, disk.StyleGPT)
			s := x.begin(k, vss.ContextBackup, x.w.Volume("/srv/a", "ext4", luns[0]))
			defer x.failing(c.op, vss.ErrOutOfMemory)()
			for i, f := range s.steps() {
				err := f(t.Context())
				if err == nil && i+1 < c.steps {
					continue
				}
				if i+1 != c.steps || err == nil {
					t.Errorf("step %d of %d: %v", i+1, c.steps, err)
				}
				break
			}
			x.w.Fail = nil
			s.m.Release()
			if l := x.w.Locked(); len(l) > 0 {
				t.Errorf("locked %v", l)
			}
		})
	}
	x := newWorld(t)
	k, _, luns := x.hardware(1, disk.StyleGPT)
	s := x.begin(k, vss.ContextBackup, x.w.Volume("/srv/a", "ext4", luns[0]))
	resume, err := s.m.Pause(t.Context())
	must(t, err)
	if x.w.Paused != 1 {
		t.Errorf("paused %d times", x.w.Paused)
	}
	resume()
	end := x.failing("Pause", vss.ErrAccessDenied)
	_, err = s.m.Pause(t.Context())
	wantCode(t, "Pause", err, vss.ErrAccessDenied)
	end()
	wantCode(t, "Collect of another's copy", s.m.Collect(t.Context(), []*catalog.Snapshot{{}}), vss.ErrUnexpected)
	if x.w.Paused != 0 {
		t.Error("still paused")
	}
	x.w.Fail = func(op, _ string) error {
		if op == "Edit.Close" {
			return errors.New("no")
		}
		return nil
	}
	s.reach(stepIntent + 1)
	s.m.Release() // is logged only
}

// What a kind can't copy is an obstacle with the reason; a provider's failure is not.
func TestConsider(t *testing.T) {
	x := newWorld(t)
	k, _, luns := x.hardware(1, disk.StyleGPT)
	v := x.w.Volume("/srv/a", "ext4", luns[0])
	obstacle := func(what string, err error, want string) {
		t.Helper()
		var o *copies.Obstacle
		if !errors.As(err, &o) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an obstacle with %q", what, err, want)
		}
	}
	consider := func(c vss.Context) error {
		_, err := k.Consider(t.Context(), v, c)
		return err
	}
	must(t, consider(vss.ContextBackup))
	if ok, err := k.Supports(t.Context(), v, vss.ContextBackup); !ok || err != nil {
		t.Errorf("Supports: %v, %v", ok, err)
	}
	obstacle("a context", consider(vss.ContextClientAccessible), "client-accessible")
	if ok, _ := k.Supports(t.Context(), v, vss.ContextClientAccessible); ok {
		t.Error("a client-accessible copy is supported")
	}
	end := x.failing("CanFlag", vss.ErrVolumeNotSupported)
	obstacle("no room for flags", consider(vss.ContextBackup), "injected")
	end()
	v.DeviceReadOnly = true
	obstacle("a read-only LUN", consider(vss.ContextBackup), "read-only")
	v.DeviceReadOnly = false
	disks := v.Disks
	for want, d := range map[string][]string{"no disk of this host": nil, "is not a LUN": {"/dev/sda"}} {
		v.Disks = d
		obstacle("no LUN", consider(vss.ContextBackup), want)
		if ok, err := k.Supports(t.Context(), v, vss.ContextBackup); ok || err != nil {
			t.Errorf("Supports %v: %v, %v", d, ok, err)
		}
	}
	v.Disks = disks
	end = x.broken("AreLunsSupported", vss.E("AreLunsSupported", vss.ErrOutOfMemory, nil))
	err := consider(vss.ContextBackup)
	var o *copies.Obstacle
	if errors.As(err, &o) || vss.CodeOf(err) != vss.ErrOutOfMemory {
		t.Errorf("the provider's failure: %v", err)
	}
	end()
	end = x.broken("FillInLunInfo", errors.New("no"))
	if ok, err := k.Supports(t.Context(), v, vss.ContextBackup); ok || err != nil {
		t.Errorf("Supports: %v, %v", ok, err)
	}
	end()
	// a copy of a copy, and a LUN of another provider's array
	s := x.create(k, vss.ContextBackup, v)
	c := x.w.Volume("/srv/c", "ext4", s.records[0].LUNs[0].Copy)
	_, err = k.Consider(t.Context(), c, vss.ContextBackup)
	obstacle("a copy", err, "is a shadow copy itself")
	_, _, others := x.hardware(1, disk.StyleGPT)
	_, err = k.Consider(t.Context(), x.w.Volume("/srv/o", "ext4", others[0]), vss.ContextBackup)
	obstacle("another array's LUN", err, "can't copy its LUNs")
	if ok, _ := k.Supports(t.Context(), x.w.Volume("/srv/o", "ext4", others[0]), vss.ContextBackup); ok {
		t.Error("another array's LUN is supported")
	}
	if yes, n, err := k.Snapshotted(t.Context(), v); yes || n != 0 || err != nil {
		t.Errorf("Snapshotted: %v, %v, %v", yes, n, err)
	}
	if ids := x.host.LUNs(t.Context(), v); len(ids) != 1 {
		t.Errorf("LUNs %v", ids)
	}
	must(t, k.Unload(t.Context(), true))
}
