package copies_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestImportOfOthers: what a document calls copies is left as it is unless it is one by the array's record: an original
// (spec 2), a copy of another set, a set that was broken since (trust 3).
func TestImportOfOthers(t *testing.T) {
	for name, forge := range map[string]func(x *world, s *set, original vss.LUNInformation){
		"an original": func(_ *world, s *set, original vss.LUNInformation) { s.records[0].LUNs[0].Copy = original },
		"another set": func(_ *world, s *set, _ vss.LUNInformation) { s.records[0].SetID.GUID = vss.NewGUID() },
		"a broken volume": func(x *world, s *set, _ vss.LUNInformation) {
			must(x, x.w.MakePlain(x.Context(), []vss.LUNID{s.records[0].LUNs[0].LUNID}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newWorld(t)
			k, _, luns := x.hardware(1, disk.StyleGPT)
			s := x.create(k, vss.ContextAppRollback, x.w.Volume("/srv/a", "ext4", luns[0]))
			own := x.w.Device(s.records[0].LUNs[0].Copy)
			forge(x, s, luns[0])
			isOwn := func(op, object string) bool { return name == "an original" && op == "Uninstall" && object == own }
			r := s.records[0]
			var changed []string
			x.w.Fail = func(op, object string) error {
				if isOwn(op, object) {
					return nil // what the set really has
				}
				switch op {
				case "Uninstall", "RenewIdentity", "SetReadOnly", "SetFlags", "Rescan", "SetBtrfsFSID":
					changed = append(changed, op+" "+object)
				}
				return nil
			}
			before := len(x.calls.Calls())
			_, _, err := k.Surface(t.Context(), r.SetID, s.records, false)
			wantCode(t, "import", err, vss.ErrBadState)
			k.(copies.Importer).SendAway(t.Context(), s.records)
			wantCode(t, "read/write", k.Open(r).ReadOnly(t.Context(), false), vss.ErrBadState)
			_ = k.Open(r).Withdraw(t.Context(), true)
			none := func(vss.LUNID) bool { return false }
			_ = k.Open(r).TakeAway(t.Context(), none, true)
			_ = k.Open(r).Remove(t.Context(), none, true)
			_ = k.DropRemains(t.Context(), r.SetID, s.records)
			for _, c := range x.calls.Calls()[before:] {
				if c.Method != "AbortSnapshots" {
					changed = append(changed, c.Method)
				}
			}
			if len(changed) > 0 {
				t.Errorf("changed: %q", changed)
			}
		})
	}
}

// TestExposeThroughLinks: nothing is made where a link in the expose root leads (trust 5), neither at the exposure nor
// when a copy is exposed again at the next start.
func TestExposeThroughLinks(t *testing.T) {
	x := newWorld(t)
	_, _, c := x.one()
	real, err := filepath.EvalSymlinks(x.dir)
	must(t, err)
	root, etc := filepath.Join(real, "root"), filepath.Join(real, "etc")
	must(t, errors.Join(os.Mkdir(root, 0o755), os.Mkdir(etc, 0o755), os.Symlink(etc, filepath.Join(root, "link"))))
	cfg := x.w.Config(x.dir, x.store, x.events)
	cfg.ExposeRoots = []string{root}
	h, err := copies.NewHost(cfg)
	must(t, err)
	at := filepath.Join(root, "link", "nologin")
	wantCode(t, "through a link", h.Expose(t.Context(), c, at, 1000), vss.ErrInvalidArg)
	c.Record().ExposedAt = at
	if err := h.Restore(t.Context(), c); err == nil {
		t.Error("it is restored through a link")
	}
	if _, err := os.Lstat(filepath.Join(etc, "nologin")); err == nil {
		t.Error("the folder was made")
	}
	c.Record().ExposedAt = filepath.Join(root, "a", "b")
	must(t, h.Restore(t.Context(), c))
	wantCode(t, "of root", h.Unexpose(t.Context(), withExposure(c, "/mnt/root"), 1000), vss.ErrAccessDenied) // spec 8
	must(t, h.Unexpose(t.Context(), withExposure(c, filepath.Join(root, "a", "b")), 1000))
}

func withExposure(c copies.Copy, at string) copies.Copy {
	c.Record().ExposedAt = at
	return c
}

// TestRefusedDelete leaves the mounts of sessions as they were (spec 9).
func TestRefusedDelete(t *testing.T) {
	x := newWorld(t)
	_, _, c := x.one()
	var paths []string
	for _, token := range []string{"one", "two"} {
		p, err := x.host.MountPrivate(t.Context(), c, token)
		must(t, err)
		paths = append(paths, p)
	}
	busy := paths[1]
	x.w.Busy = func(object string) bool { return object == busy }
	wantCode(t, "a session's file is open", x.host.Delete(t.Context(), c, false), vss.ErrVolumeInUse)
	x.w.Busy = nil
	x.w.Fail = func(op, _ string) error {
		if op == "Uninstall" {
			return vss.E(op, vss.ErrVolumeInUse, nil)
		}
		return nil
	}
	wantCode(t, "the disk is open", x.host.Delete(t.Context(), c, false), vss.ErrVolumeInUse)
	for _, p := range paths {
		if o, _, ok := x.w.MountedAt(p); !ok || !o.ReadOnly {
			t.Errorf("%s is not mounted any more", p)
		}
	}
	x.w.Fail = nil
	must(t, x.host.Delete(t.Context(), c, true))
	for _, p := range paths {
		if x.w.IsPoint(p) {
			t.Errorf("%s is still mounted", p)
		}
	}
}

// TestForeignMount: another file system at an exposure stays, and doctor reports it (storage 10, trust 11).
func TestForeignMount(t *testing.T) {
	x := newWorld(t)
	_, _, c := x.one()
	real, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	must(t, x.host.Expose(t.Context(), c, real, 0))
	must(t, x.w.Unmount(real, mount.Owner{ID: x.w.Below(filepath.Dir(real))[0].ID}, false))
	_, err = x.w.Mount(real, mount.Options{Device: "/dev/other"})
	must(t, err)
	wantCode(t, "unexpose", x.host.Unexpose(t.Context(), c, 0), vss.ErrVolumeInUse)
	wantCode(t, "delete", x.host.Delete(t.Context(), c, true), vss.ErrVolumeInUse)
	found, err := x.host.Inspect(t.Context(), copies.Known{Copies: (&set{x: x, id: c.Record().SetID}).stored()}, x.kind)
	must(t, err)
	// In memory there are no devices to which device objects could lead.
	found = slices.DeleteFunc(found, func(f copies.Finding) bool { return f.Severity != "error" })
	if len(found) != 1 {
		t.Errorf("findings %+v", found)
	}
	if o, _, ok := x.w.MountedAt(real); !ok || o.Device != "/dev/other" {
		t.Error("the other file system is gone")
	}
}

// TestOriginal: a copy's volume is found by LUN, place and file system, not by its name (storage 11, spec 5).
func TestOriginal(t *testing.T) {
	x := newWorld(t)
	k, _, luns := x.hardware(2, disk.StyleGPT)
	v, w := x.w.Volume("/srv/a", "btrfs", luns[0]), x.w.Volume("/srv/a", "btrfs", luns[1])
	v.UUID, v.SubvolumeID, w.UUID, w.SubvolumeID = "u", "256", "u", "256"
	r := x.create(k, vss.ContextAppRollback, v).records[0]
	v.Name = "/srv/b"
	other, sub, place := *v, *v, *v
	other.UUID, sub.SubvolumeID = "formatted again", "257"
	place.Extents = []vss.Extent{{Start: v.Extents[0].Start + 4096, Length: 4096}}
	if !x.host.Original(t.Context(), v)(r) {
		t.Error("renamed: it isn't found")
	}
	for name, o := range map[string]func() bool{
		"another LUN":         func() bool { return x.host.Original(t.Context(), w)(r) },
		"another file system": func() bool { return x.host.Original(t.Context(), &other)(r) },
		"another subvolume":   func() bool { return x.host.Original(t.Context(), &sub)(r) },
		"another partition":   func() bool { return x.host.Original(t.Context(), &place)(r) },
	} {
		if o() {
			t.Error(name)
		}
	}
}
