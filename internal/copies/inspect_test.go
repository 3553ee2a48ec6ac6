package copies_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// findings inspects the host and its kinds, and returns what differs but for findings about nothing wrong.
func (x *world) findings(known copies.Known) []copies.Finding {
	x.Helper()
	must(x, x.store.View(func(tx *catalog.Tx) (err error) {
		known.Copies, err = tx.Snapshots()
		return err
	}))
	out, err := x.host.Inspect(x.Context(), known, x.kind)
	must(x, err)
	for _, k := range x.kinds {
		more, err := k.Inspect(x.Context(), known)
		must(x, err)
		out = append(out, more...)
	}
	return out
}

func TestInspect(t *testing.T) {
	for _, c := range []struct {
		name   string
		spoil  func(*world, *set) (end func())
		want   string // in the one finding
		repair bool   // and after it all is well
	}{
		{"at rest", func(*world, *set) func() { return nil }, "", false},
		{"an orphan", func(x *world, s *set) func() {
			must(x, x.store.Update(func(tx *catalog.Tx) error { return tx.RemoveSnapshot(s.ids[0]) }))
			must(x, os.Remove(x.host.DeviceObject(s.records[0])))
			return nil
		}, "not recorded here", false},
		{"a deletion that was cut off", func(x *world, s *set) func() {
			s.records[0].State = vss.StateDeleted
			must(x, s.put())
			return nil
		}, "is deleted, but its data still exists", true},
		{"a lost LUN", func(x *world, s *set) func() {
			must(x, x.removeLUN(s.records[0].LUNs[0].Copy))
			return nil
		}, "is lost", false},
		{"a LUN that isn't here", func(x *world, s *set) func() {
			must(x, s.here[0].Withdraw(x.Context(), true))
			return nil
		}, "is not on this host", true},
		{"an original without a device", func(x *world, s *set) func() {
			d, _ := x.w.ByInformation(x.Context(), &s.records[0].LUNs[0].Original)
			must(x, x.w.Uninstall(x.Context(), d, true))
			return nil
		}, "has no device here", true},
		{"a flagged original", func(x *world, s *set) func() {
			d, _ := x.w.ByInformation(x.Context(), &s.records[0].LUNs[0].Original)
			must(x, x.w.SetFlags(x.Context(), d, vss.FlagsShadowCopy, 0))
			return nil
		}, "carries the flags of one", true},
		{"a table that can't be read", func(x *world, _ *set) func() {
			return x.failing("Table", vss.ErrVolumeNotSupported)
		}, "can't be read", false},
		{"twins", func(x *world, s *set) func() {
			d, _ := x.w.ByInformation(x.Context(), &s.records[0].LUNs[0].Copy)
			l, err := x.w.Lock(x.Context(), d)
			must(x, err)
			must(x, l.SetIdentity(x.Context(), s.records[0].LUNs[0].OriginalIdentity))
			l.Unlock()
			return nil
		}, "have the same disk identity", false},
		{"a device object that leads nowhere", func(x *world, s *set) func() {
			must(x, os.Remove(x.host.DeviceObject(s.records[0])))
			return nil
		}, "leads nowhere", true},
		{"a stale device object", func(x *world, _ *set) func() {
			must(x, os.Symlink("/nowhere", filepath.Join(x.dir, "dev", "HarddiskVolumeShadowCopy77")))
			return nil
		}, "is of no copy", true},
		{"an exposure that isn't mounted", func(x *world, s *set) func() {
			s.records[0].ExposedAt = filepath.Join(x.dir, "exposed", "a")
			must(x, s.put())
			return nil
		}, "is not mounted", true},
		{"an array that doesn't answer", func(x *world, _ *set) func() {
			x.w.Infos = []copies.ArrayInfo{{Err: errors.New("no")}}
			return nil
		}, "doesn't answer", false},
		{"a full pool", func(x *world, _ *set) func() {
			pools := []array.PoolInfo{{Name: "full", Size: 100, Free: 9}, {Name: "half", Size: 100, Free: 10}}
			x.w.Infos = []copies.ArrayInfo{{Info: array.Info{Name: "a", Pools: pools}}}
			return nil
		}, "pool full of array a", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newWorld(t)
			s, _, _ := x.one()
			// device objects lead to devices, which are files here
			x.objects(s)
			if end := c.spoil(x, s); end != nil {
				defer end()
			}
			got := x.findings(copies.Known{})
			if c.want == "" {
				if len(got) > 0 {
					t.Errorf("found %+v", got)
				}
				return
			}
			i := slices.IndexFunc(got, func(f copies.Finding) bool { return strings.Contains(f.What, c.want) })
			if i < 0 || len(got) > 1 || got[i].Hint == "" && got[i].Severity == "error" {
				t.Fatalf("found %+v, want %q", got, c.want)
			}
			if (got[i].Repair != nil) != c.repair {
				t.Fatalf("repair %v", got[i].Repair != nil)
			}
			busy := x.findings(copies.Known{Busy: map[vss.SnapshotSetID]bool{s.id: true}, Creating: true})
			if s.x.concerns(c.name) && len(busy) > 0 {
				t.Errorf("of a busy set: %+v", busy)
			}
			if c.repair {
				must(t, got[i].Repair(t.Context()))
				x.objects(s)
				if left := x.findings(copies.Known{}); len(left) > 0 {
					t.Errorf("left %+v", left)
				}
			}
		})
	}
}

// concerns reports whether a case of TestInspect is about a set, which may be busy.
func (x *world) concerns(name string) bool {
	return slices.Contains(
		[]string{
			"an orphan",
			"a deletion that was cut off",
			"a lost LUN",
			"a LUN that isn't here",
			"a flagged original",
			"a device object that leads nowhere",
			"an exposure that isn't mounted",
		},
		name,
	)
}

// objects makes device objects that exist lead to something.
func (x *world) objects(s *set) {
	for _, r := range s.records {
		object := filepath.Join(x.dir, "dev", "HarddiskVolumeShadowCopy1")
		if _, err := os.Lstat(object); err == nil && r.DeviceNumber == 1 {
			must(x, os.Remove(object))
			must(x, os.Symlink(x.dir, object))
		}
	}
}

// Other findings: a disk without its partitions, a copy of a provider that isn't loaded, a host that can't be
// inspected.
func TestInspectMore(t *testing.T) {
	x := newWorld(t)
	s, _, _ := x.one()
	x.objects(s)
	x.w.Unpartition(s.records[0].LUNs[0].Original)
	got := x.findings(copies.Known{})
	if len(got) != 1 || !strings.Contains(got[0].What, "without its partitions") || got[0].Repair == nil {
		t.Errorf("found %+v", got)
	}
	x.w.Fail = nil
	s.records[0].ExposedAt = filepath.Join(x.dir, "exposed", "a")
	must(t, s.put())
	x.kinds = nil
	for _, f := range x.findings(copies.Known{}) {
		if strings.Contains(f.What, "is not mounted") {
			wantCode(t, "repair without a provider", f.Repair(t.Context()), vss.ErrProviderNotRegistered)
		}
	}
	end := x.failing("Disks", vss.ErrUnexpected)
	_, err := x.host.Inspect(context.Background(), copies.Known{}, x.kind)
	wantCode(t, "Inspect", err, vss.ErrUnexpected)
	end()
	// a transportable copy that was handed on isn't an orphan
	x = newWorld(t)
	k, _, luns := x.hardware(1, disk.StyleGPT)
	x.begin(k, vss.ContextBackup|vss.AttrTransportable, x.w.Volume("/srv/a", "ext4", luns[0])).reach(collected - 1)
	if got := x.findings(copies.Known{}); len(got) != 1 {
		t.Errorf("a copy that isn't final and has no record: %+v", got)
	}
	x = newWorld(t)
	handed, _ := x.transported()
	must(t, x.store.Update(func(tx *catalog.Tx) error { return tx.RemoveSet(handed.id) }))
	if got := x.findings(copies.Known{}); len(got) != 0 {
		t.Errorf("a copy that was handed on: %+v", got)
	}
}
