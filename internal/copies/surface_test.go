package copies_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// transported is a set of two volumes that was made and not surfaced, as a document describes it.
func (x *world) transported() (*set, copies.Kind) {
	x.Helper()
	k, _, luns := x.hardware(3, disk.StyleGPT)
	s := x.begin(
		k,
		vss.ContextAppRollback|vss.AttrTransportable,
		x.w.Volume("/srv/a", "ext4", luns[0]),
		x.w.Volume("/srv/b", "xfs", luns[1], luns[2]),
	)
	s.reach(collected)
	must(x, s.m.PreFinalCommit(x.Context()))
	must(x, s.m.PostFinalCommit(x.Context()))
	for i, r := range s.records {
		if !copies.MadeHere(r) {
			x.Errorf("copy %d wasn't made here", i)
		}
		d := copies.ToDocument(r)
		again, err := copies.FromDocument(d)
		must(x, err)
		if copies.MadeHere(&again) {
			x.Errorf("copy %d of a document was made here", i)
		}
		again.Order, again.Count = i, r.Count
		if d := cmp.Diff(d, copies.ToDocument(&again)); d != "" {
			x.Errorf("a document's copy changed:\n%s", d)
		}
		s.records[i] = &again
	}
	return s, k
}

func TestImport(t *testing.T) {
	x := newWorld(t)
	s, k := x.transported()
	here, missing, err := k.Surface(t.Context(), s.id, s.records, false)
	must(t, err)
	if len(here) != 2 || len(missing) > 0 {
		t.Fatalf("%d are here, missing %v", len(here), missing)
	}
	must(t, x.host.Place(t.Context(), here))
	if !copies.MadeHere(s.records[1]) || s.records[1].DeviceNumber != 2 || here[1].Record() != s.records[1] ||
		here[1].Kind() != k {
		t.Errorf("record %+v", s.records[1])
	}
	// a second import is refused; where a service died in the first it goes on
	_, _, err = k.Surface(t.Context(), s.id, s.records, false)
	wantCode(t, "a second import", err, vss.ErrBadState)
	here, missing, err = k.Surface(t.Context(), s.id, s.records, true)
	if len(here) != 2 || len(missing) > 0 || err != nil {
		t.Errorf("%d are here, missing %v, %v", len(here), missing, err)
	}
	must(t, x.host.Place(t.Context(), nil))
}

// Copies that don't arrive are missing, the others are here; what isn't imported is masked again.
func TestImportMissing(t *testing.T) {
	x := newWorld(t)
	s, k := x.transported()
	x.calls.Reset()
	// the first LUN of the second copy doesn't exist any more
	lost := s.records[1].LUNs[0].Copy
	must(t, x.removeLUN(lost))
	here, missing, err := k.Surface(t.Context(), s.id, s.records, false)
	if err != nil || len(here) != 1 || len(missing) != 1 || here[0].Record() != s.records[0] {
		t.Fatalf("%d are here, missing %v, %v", len(here), missing, err)
	}
	wantCode(t, "the copy", missing[0], vss.ErrMissingDisk)
	must(t, x.host.Place(t.Context(), here))
	left := s.records[1].LUNs[1].Copy
	if x.w.Device(left) == "" {
		t.Error("the other LUN didn't arrive")
	}
	if n := len(slices.DeleteFunc(x.methods(k), func(m string) bool { return m != "LocateLuns" })); n != 4 {
		t.Errorf("LocateLuns was called %d times", n) // all at once, then each of three
	}
	k.(copies.Importer).SendAway(t.Context(), s.records)
	if x.w.Device(left) != "" || x.w.Device(s.records[0].LUNs[0].Copy) == "" {
		t.Error("the LUNs are not where they belong")
	}
	if got := x.happened(); len(got) > 0 {
		t.Errorf("events %v", got)
	}
}

// removeLUN removes a LUN from its array.
func (x *world) removeLUN(l vss.LUNInformation) error {
	d, ok := x.w.ByInformation(x.Context(), &l)
	if !ok {
		return errors.New("no such LUN")
	}
	x.w.RemoveLUN(d.LUN.ID)
	return nil
}

// What can't be masked again is an event.
func TestSendAwayFails(t *testing.T) {
	x := newWorld(t)
	s, k := x.transported()
	end := x.broken("OnLunStateChange", vss.E("OnLunStateChange", vss.ErrOutOfMemory, nil))
	k.(copies.Importer).SendAway(t.Context(), s.records)
	end()
	if got := x.happened(); len(got) != 3 || got[0] != "provider-failed" {
		t.Errorf("events %v", got)
	}
	defer x.failing("Uninstall", vss.ErrVolumeInUse)()
	k.(copies.Importer).SendAway(t.Context(), s.records)
	if got := x.happened(); len(got) < 4 {
		t.Errorf("events %v", got)
	}
}

func TestSurfaceFailures(t *testing.T) {
	for _, c := range []struct {
		name    string
		fail    func(*world) (end func())
		missing int
		code    vss.Code
	}{
		{"LocateLuns", func(x *world) func() {
			return x.broken("LocateLuns", vss.E("LocateLuns", vss.ErrProviderVeto, nil))
		}, 0, vss.ErrProviderVeto},
		{"FillInLunInfo", func(x *world) func() { return x.broken("FillInLunInfo", errors.New("no")) }, 2, vss.OK},
		{"Rescan", func(x *world) func() { return x.failing("Rescan", vss.ErrUnexpected) }, 2, vss.OK},
		{"RenewIdentity", func(x *world) func() { return x.failing("RenewIdentity", vss.ErrUnexpected) }, 2, vss.OK},
		{"SetReadOnly", func(x *world) func() {
			return x.failing("SetReadOnly", vss.ErrUnexpected)
		}, 0, vss.ErrUnexpected},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newWorld(t)
			s, k := x.transported()
			defer c.fail(x)()
			_, missing, err := k.Surface(t.Context(), s.id, s.records, false)
			if len(missing) != c.missing {
				t.Errorf("missing %v", missing)
			}
			wantCode(t, "Surface", err, c.code)
		})
	}
}

// A btrfs whose identity can't be renewed isn't here; a copy whose partition isn't where it was isn't linked.
func TestSurfaceVolumes(t *testing.T) {
	for op, code := range map[string]vss.Code{"SetBtrfsFSID": vss.ErrUnexpected, "PartitionAt": vss.ErrMissingVolume} {
		x := newWorld(t)
		k, _, luns := x.hardware(1, disk.StyleGPT)
		s := x.begin(k, vss.ContextBackup, x.w.Volume("/srv/a", "btrfs", luns[0])).reach(collected)
		end := x.failing(op, vss.ErrUnexpected)
		here, missing, err := k.Surface(t.Context(), s.id, s.records, false)
		if len(here) != 0 || len(missing) != 1 || err != nil || vss.CodeOf(missing[0]) != code {
			t.Errorf("%s: %d are here, missing %v, %v", op, len(here), missing, err)
		}
		end()
	}
	x := newWorld(t)
	k, _, luns := x.hardware(1, disk.StyleGPT)
	s := x.create(k, vss.ContextBackup, x.w.Volume("/srv/a", "ext4", luns[0]))
	for _, extents := range [][]vss.Extent{nil, {{LUN: 1}}, {{LUN: -1}}, {{LUN: 0, Start: 5}}} {
		r := *s.records[0]
		r.Extents = extents
		_, err := k.Open(&r).Source(t.Context())
		wantCode(t, "Source", err, vss.ErrMissingVolume)
		wantCode(t, "Place", x.host.Place(t.Context(), []copies.Copy{k.Open(&r)}), vss.ErrMissingVolume)
	}
	must(t, x.removeLUN(s.records[0].LUNs[0].Copy))
	c := k.Open(s.records[0])
	_, err := c.Source(t.Context())
	wantCode(t, "Source", err, vss.ErrMissingDisk)
	wantCode(t, "ReadOnly", c.ReadOnly(t.Context(), true), vss.ErrMissingDisk)
	wantCode(t, "Restore", x.host.Restore(t.Context(), c), vss.ErrMissingDisk)
	must(t, c.Withdraw(t.Context(), true))
	if copies.On(s.records[0], vss.LUNID{}) || !copies.On(s.records[0], s.records[0].LUNs[0].LUNID) {
		t.Error("On is wrong")
	}
}

func TestBadDocument(t *testing.T) {
	_, err := copies.FromDocument(
		&document.Snapshot{LUNs: []document.LUNMapping{{Identity: document.DiskIdentity{Style: "clay"}}}},
	)
	wantCode(t, "FromDocument", err, vss.ErrInvalidArg)
	d := copies.ToDocument(&catalog.Snapshot{LUNs: []catalog.LUN{{}}})
	if d.LUNs[0].Flags != vss.FlagsShadowCopy {
		t.Errorf("a disk without a table has flags %v", d.LUNs[0].Flags)
	}
}

// TestSubvolumes: two subvolumes of one btrfs are one file system, which gets one identity once (storage 03).
func TestSubvolumes(t *testing.T) {
	x := newWorld(t)
	k, _, luns := x.hardware(2, disk.StyleGPT)
	root, home := x.w.Volume("/", "btrfs", luns...), x.w.Volume("/home", "btrfs", luns...)
	times := 0
	x.w.Fail = func(op, _ string) error {
		if op == "SetBtrfsFSID" {
			times++
		}
		return nil
	}
	s := x.create(k, vss.ContextAppRollback, root, home)
	if times != 2 || s.records[0].CopyUUID == "" || s.records[0].CopyUUID != s.records[1].CopyUUID {
		t.Errorf("%d devices were given an fsid; copies %s and %s", times, s.records[0].CopyUUID, s.records[1].CopyUUID)
	}
}
