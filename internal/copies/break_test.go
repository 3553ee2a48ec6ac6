package copies_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// exposed is a set of an ext4 and a btrfs copy, the first of which is exposed.
func (x *world) exposed() (s *set, k copies.Kind, path string) {
	x.Helper()
	k, _, luns := x.hardware(2, disk.StyleGPT)
	s = x.create(
		k,
		vss.ContextAppRollback,
		x.w.Volume("/srv/a", "ext4", luns[0]),
		x.w.Volume("/srv/b", "btrfs", luns[1]),
	)
	path = filepath.Join(x.dir, "exposed", "a")
	must(x, x.host.Expose(x.Context(), s.here[0], path, 0))
	return s, k, path
}

// breakCase is how a set is broken and what its disks are then.
type breakCase struct {
	name     string
	flags    vss.BreakFlags
	hide     bool // the originals
	reverted bool
}

var breakCases = []breakCase{
	{"plain", 0, false, false},
	{"plain, originals hidden", 0, true, true},
	{"read/write", vss.BreakMakeReadWrite, false, false},
	{"read/write, reverted", vss.BreakMakeReadWrite | vss.BreakRevertIdentityAll, true, true},
	{"identities kept", vss.BreakRevertIdentityNone, true, false},
	{"masked", vss.BreakMaskLUNs, false, false},
}

func (x *world) hideOriginals(s *set) {
	for _, r := range s.records {
		for _, l := range r.LUNs {
			x.w.Show(l.Original, false)
		}
	}
	must(x, x.host.Rescan(x.Context()))
}

// state is what a break changes of a copy's disk.
type state struct {
	Table    *disk.Table
	Device   string
	ReadOnly bool
	FSID     string
}

func (x *world) state(s *set) []state {
	var out []state
	for _, r := range s.records {
		l := r.LUNs[0].Copy
		d := x.w.Device(l)
		out = append(out, state{x.w.TableOf(l), d, x.w.RefusesWrites(d), x.w.FileSystemID(disk.PartitionNode(d, 1))})
	}
	return out
}

func TestBreak(t *testing.T) {
	for _, c := range breakCases {
		t.Run(c.name, func(t *testing.T) {
			x := newWorld(t)
			s, k, path := x.exposed()
			if c.hide {
				x.hideOriginals(s)
			}
			before := x.state(s)
			x.calls.Reset()
			b, err := k.(copies.Breaker).CheckBreak(t.Context(), s.records, c.flags)
			must(t, err)
			if d := cmp.Diff(before, x.state(s)); d != "" || len(x.calls.Calls()) > 0 || len(b.Before()) != 2 {
				t.Errorf("CheckBreak changed something:\n%s", d)
			}
			must(t, b.Apply(t.Context()))
			must(t, b.Finish(t.Context()))
			x.checkBroken(s, c, b.Result(t.Context()), before)
			o, _, mounted := x.w.MountedAt(path)
			readWrite, masked := c.flags&vss.BreakMakeReadWrite != 0, c.flags&vss.BreakMaskLUNs != 0
			if mounted == masked || mounted && o.ReadOnly == readWrite {
				t.Errorf("mounted %v with %+v", mounted, o)
			}
			want := []string(nil)
			if readWrite || masked {
				want = []string{"OnLunStateChange"}
			}
			if d := cmp.Diff(want, x.methods(k)); d != "" {
				t.Errorf("calls:\n%s", d)
			}
			if l := x.w.Locked(); len(l) > 0 {
				t.Errorf("locked %v", l)
			}
		})
	}
}

// checkBroken checks the disks of a set that was broken.
func (x *world) checkBroken(s *set, c breakCase, result []copies.Broken, before []state) {
	x.Helper()
	readWrite, masked := c.flags&vss.BreakMakeReadWrite != 0, c.flags&vss.BreakMaskLUNs != 0
	for i, r := range s.records {
		d, _ := x.w.ByInformation(x.Context(), &r.LUNs[0].Copy)
		if d.LUN.Kind != "plain" {
			x.Errorf("LUN %d is of kind %s", i, d.LUN.Kind)
		}
		want := copies.Broken{
			LUN:            r.LUNs[0].LUNID,
			OriginalVolume: r.OriginalVolume,
			Masked:         masked,
			ReadWrite:      readWrite,
			Reverted:       c.reverted,
		}
		if !masked {
			want.Device, want.VolumeDevice = before[i].Device, disk.PartitionNode(before[i].Device, 1)
		}
		if diff := cmp.Diff(want, result[i]); diff != "" {
			x.Errorf("result:\n%s", diff)
		}
		if masked {
			if d.Device != "" || len(d.LUN.MappedTo) > 0 {
				x.Errorf("masked LUN %d is %s, shown to %v", i, d.Device, d.LUN.MappedTo)
			}
			continue
		}
		tab := x.w.TableOf(r.LUNs[0].Copy)
		flags := vss.FlagNoAutoMount
		if !readWrite {
			flags |= vss.FlagReadOnly
		}
		if tab.Flags != flags || x.w.RefusesWrites(d.Device) == readWrite {
			x.Errorf("LUN %d: flags %v, read-only %v", i, tab.Flags, x.w.RefusesWrites(d.Device))
		}
		if got := tab.Identity.Disk == r.LUNs[0].OriginalIdentity.Disk; got != c.reverted {
			x.Errorf("LUN %d: reverted %v", i, got)
		}
		x.checkFileSystem(r, c, x.w.FileSystemID(disk.PartitionNode(d.Device, 1)))
	}
}

// checkFileSystem checks the identity of a broken copy's file system: a writable one differs from its original, unless
// its disk has its original's identity.
func (x *world) checkFileSystem(r *catalog.Snapshot, c breakCase, got string) {
	x.Helper()
	switch {
	case r.FileSystem == "btrfs" && c.reverted:
		if got != r.FileSystemUUID {
			x.Errorf("btrfs has id %q, want its original's", got)
		}
	case r.FileSystem == "btrfs":
		if got != r.CopyUUID {
			x.Errorf("btrfs has id %q, want its own", got)
		}
	case c.flags&vss.BreakMakeReadWrite != 0 && !c.reverted:
		if got == "" {
			x.Error("a writable ext4 has its original's UUID")
		}
	case got != "":
		x.Errorf("ext4 was given %q", got)
	}
}

// A break that fails anywhere is undone: disks, identities, mounts are what they were, and the same break succeeds
// then.
func TestBreakUndone(t *testing.T) {
	points := []string{
		"Unmount",
		"Lock",
		"SetReadOnly",
		"SetIdentity",
		"SetFlags",
		"SetBtrfsFSID",
		"SetFileSystemUUID",
		"Mount",
		"Uninstall",
		"OnLunStateChange",
	}
	reached := map[string]int{}
	for _, c := range breakCases {
		for _, point := range points {
			for nth := 1; ; nth++ {
				x := newWorld(t)
				s, k, path := x.exposed()
				if c.hide {
					x.hideOriginals(s)
				}
				before := x.state(s)
				b, err := k.(copies.Breaker).CheckBreak(t.Context(), s.records, c.flags)
				must(t, err)
				if !x.failNth(point, nth, func() error { return b.Apply(t.Context()) }) {
					break
				}
				reached[point]++
				if nth%2 == 0 { // as recovery does it, which doesn't know where the copies were mounted
					rec := catalog.Break{
						Set:       s.id,
						Before:    b.Before(),
						ReadWrite: c.flags&vss.BreakMakeReadWrite != 0,
						MaskLUNs:  c.flags&vss.BreakMaskLUNs != 0,
					}
					b = k.(copies.Breaker).ResumeBreak(s.records, rec)
				}
				if err := b.Undo(t.Context()); err != nil {
					t.Errorf("%s, %s %d: undo: %v", c.name, point, nth, err)
				}
				must(t, b.Undo(t.Context()))
				after := x.state(s)
				for i := range after { // an ext4 that was given another UUID has its original's again
					if s.records[i].FileSystem == "ext4" &&
						(after[i].FSID == "" || after[i].FSID == s.records[i].FileSystemUUID) {
						after[i].FSID = before[i].FSID
					}
					after[i].Device, before[i].Device = "", ""
				}
				if d := cmp.Diff(before, after); d != "" {
					t.Errorf("%s, %s %d: not undone:\n%s", c.name, point, nth, d)
				}
				if o, _, ok := x.w.MountedAt(path); nth%2 != 0 && !ok || ok && !o.ReadOnly {
					t.Errorf("%s, %s %d: mounted %v, %+v", c.name, point, nth, ok, o)
				}
				if l := x.w.Locked(); len(l) > 0 {
					t.Errorf("%s, %s %d: locked %v", c.name, point, nth, l)
				}
			}
		}
	}
	for _, p := range points {
		if reached[p] == 0 {
			t.Errorf("no break failed at %s", p)
		}
	}
}

// failNth lets the nth call of an operation of the host, or method of a provider, fail while f runs, and reports
// whether f came so far.
func (x *world) failNth(op string, nth int, f func() error) bool {
	n := 0
	hit := func(o string) error {
		if o == op {
			n++
			if n == nth {
				return errors.New("injected")
			}
		}
		return nil
	}
	x.w.Fail = func(o, _ string) error { return hit(o) }
	x.calls.Before(func(_ context.Context, c providertest.Call) error { return hit(c.Method) })
	err := f()
	x.w.Fail = nil
	x.calls.Before(nil)
	if (err != nil) != (n >= nth) {
		x.Errorf("%s %d: reached %d times, %v", op, nth, n, err)
	}
	return err != nil
}

// A break that was cut off after its last step is undone at the next start: what is mounted for writing becomes a copy
// again.
func TestBreakUndoneAfterCrash(t *testing.T) {
	x := newWorld(t)
	s, k, path := x.exposed()
	before := x.state(s)
	b, err := k.(copies.Breaker).CheckBreak(t.Context(), s.records, vss.BreakMakeReadWrite)
	must(t, err)
	must(t, b.Apply(t.Context()))
	b = k.(copies.Breaker).ResumeBreak(s.records, catalog.Break{Set: s.id, Before: b.Before(), ReadWrite: true})
	x.w.Busy = func(o string) bool { return o == path }
	wantCode(t, "in use", b.Undo(t.Context()), vss.ErrVolumeInUse)
	x.w.Busy = nil
	must(t, b.Undo(t.Context()))
	after := x.state(s)
	if after[0].FSID != s.records[0].FileSystemUUID {
		t.Errorf("the ext4 has UUID %q", after[0].FSID)
	}
	after[0].FSID = before[0].FSID
	if d := cmp.Diff(before, after); d != "" {
		t.Errorf("not undone:\n%s", d)
	}
	if o, _, ok := x.w.MountedAt(path); !ok || !o.ReadOnly {
		t.Errorf("mounted %v, %+v", ok, o)
	}
}

// A break that masks and is cut off by a crash goes on.
func TestBreakMaskResumed(t *testing.T) {
	x := newWorld(t)
	s, k, _ := x.exposed()
	b, err := k.(copies.Breaker).CheckBreak(t.Context(), s.records, vss.BreakMaskLUNs)
	must(t, err)
	x.failNth("Uninstall", 2, func() error { return b.Apply(t.Context()) })
	b = k.(copies.Breaker).ResumeBreak(s.records, catalog.Break{Set: s.id, Before: b.Before(), MaskLUNs: true})
	end := x.broken("OnLunStateChange", vss.E("OnLunStateChange", vss.ErrOutOfMemory, nil))
	wantCode(t, "resumed", b.Apply(t.Context()), vss.ErrOutOfMemory)
	end()
	must(t, x.removeLUN(s.records[1].LUNs[0].Copy)) // deleted meanwhile
	must(t, b.Apply(t.Context()))
	must(t, b.Finish(t.Context()))
	d, _ := x.w.ByInformation(t.Context(), &s.records[0].LUNs[0].Copy)
	if d.Device != "" || d.LUN.Kind != "plain" || len(d.LUN.MappedTo) > 0 {
		t.Errorf("%+v", d)
	}
	end = x.failing("MakePlain", vss.ErrUnexpected)
	wantCode(t, "Finish", b.Finish(t.Context()), vss.ErrUnexpected)
	end()
}

// What a break can't do is refused before anything changes.
func TestBreakRefused(t *testing.T) {
	x := newWorld(t)
	s, k, path := x.exposed()
	before := x.state(s)
	check := func(flags vss.BreakFlags) error {
		_, err := k.(copies.Breaker).CheckBreak(t.Context(), s.records, flags)
		return err
	}
	wantCode(t, "visible originals", check(vss.BreakRevertIdentityAll), vss.ErrBreakRevertIDFailed)
	end := x.failing("Identity", vss.ErrUnexpected)
	wantCode(t, "an identity that can't be read", check(0), vss.ErrUnexpected)
	end()
	s.records[0].Imported = false
	wantCode(t, "not imported", check(0), vss.ErrObjectNotFound)
	s.records[0].Imported = true
	b, err := k.(copies.Breaker).CheckBreak(t.Context(), s.records, 0)
	must(t, err)
	x.w.Busy = func(o string) bool { return o == path }
	err = b.Apply(t.Context())
	wantCode(t, "in use", err, vss.ErrVolumeInUse)
	if !strings.Contains(vss.Hint(err), "fuser") {
		t.Errorf("hint %q", vss.Hint(err))
	}
	must(t, b.Undo(t.Context()))
	if d := cmp.Diff(before, x.state(s)); d != "" {
		t.Errorf("changed:\n%s", d)
	}
	x.w.Busy = nil
	must(t, x.removeLUN(s.records[1].LUNs[0].Copy))
	wantCode(t, "a lost LUN", check(0), vss.ErrMissingDisk)
	wantCode(t, "undo with a lost LUN", b.Undo(t.Context()), vss.ErrMissingDisk)
}

// Each provider's break has its own LUNs only.
func TestBreakOfSeveral(t *testing.T) {
	x := newWorld(t)
	one, _, luns := x.hardware(1, disk.StyleGPT)
	two, _, others := x.hardware(1, disk.StyleGPT)
	a := x.create(one, vss.ContextAppRollback, x.w.Volume("/srv/a", "ext4", luns[0]))
	b := x.create(two, vss.ContextAppRollback, x.w.Volume("/srv/b", "ext4", others[0]))
	x.calls.Reset()
	var before []catalog.BreakLUN
	for k, s := range map[copies.Kind]*set{one: a, two: b} {
		br, err := k.(copies.Breaker).CheckBreak(t.Context(), s.records, vss.BreakMakeReadWrite)
		must(t, err)
		must(t, br.Apply(t.Context()))
		before = append(before, br.Before()...)
	}
	for k, s := range map[copies.Kind]*set{one: a, two: b} {
		calls := x.calls.Of(k.Properties().ID)
		if len(calls) != 1 || len(calls[0].LUNs) == 0 ||
			!slices.ContainsFunc(
				calls[0].LUNs,
				func(l vss.LUNInformation) bool { return l.SameLUN(&s.records[0].LUNs[0].Copy) },
			) {
			t.Errorf("%s was called with %v", k.Properties().Name, calls)
		}
		for _, l := range calls[0].LUNs {
			if !l.SameLUN(&s.records[0].LUNs[0].Copy) && !l.SameLUN(&s.records[0].LUNs[0].Original) {
				t.Errorf("%s heard of another's LUN", k.Properties().Name)
			}
		}
		if r := k.(copies.Breaker).ResumeBreak(s.records, catalog.Break{Before: before}).Before(); len(r) != 1 ||
			r[0].LUNID != s.records[0].LUNs[0].LUNID {
			t.Errorf("resumed with %v", r)
		}
	}
}
