package copies_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/copies/copiestest"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Each file system is mounted so that its copy is read as it was taken, that nothing outside of it is written (storage
// 07: the journal may be the original's), that it gives nothing which its original doesn't (storage 08), and that the
// subvolume is the original's, not the default (storage 04).
func TestMount(t *testing.T) {
	for _, c := range []struct {
		fs, subvolume string
		luns          int
		readOnly      bool
		data          []string
	}{
		{"ext4", "", 1, true, []string{"noload,errors=continue"}},
		{"ext4", "", 1, false, []string{"errors=continue"}},
		{"xfs", "", 1, true, []string{"norecovery,nouuid"}},
		{"xfs", "", 1, false, []string{"nouuid"}},
		{"btrfs", "", 2, true, []string{"subvolid=5", "subvolid=5,rescue=nologreplay"}},
		{"btrfs", "/", 1, false, []string{"subvolid=5"}},
		{"btrfs", "home", 2, true, []string{"subvol=home", "subvol=home,rescue=nologreplay"}},
		{"vfat", "", 1, true, nil},
	} {
		t.Run(c.fs+c.subvolume, func(t *testing.T) {
			x := newWorld(t)
			k, _, luns := x.hardware(c.luns, disk.StyleGPT)
			v := x.w.Volume("/srv/a", c.fs, luns...)
			v.Subvolume = c.subvolume
			s := x.create(k, vss.ContextAppRollback, v)
			must(t, x.host.Mount(t.Context(), s.here[0], "/mnt/a", c.readOnly))
			at, err := s.here[0].Source(t.Context())
			must(t, err)
			want := mount.Options{
				Device: at.Devices[0], Type: c.fs, ReadOnly: c.readOnly, NoSUID: true, NoDev: true, Data: c.data,
			}
			if len(at.Devices) > 1 || c.fs == "btrfs" {
				want.Others = at.Devices[1:]
			}
			o, _, _ := x.w.MountedAt("/mnt/a")
			if d := cmp.Diff(want, o); d != "" {
				t.Errorf("options:\n%s", d)
			}
		})
	}
	x := newWorld(t)
	k, _, luns := x.hardware(1, disk.StyleGPT)
	s := x.create(k, vss.ContextAppRollback, x.w.Volume("/srv/a", "", luns[0]))
	wantCode(t, "no file system", x.host.Mount(t.Context(), s.here[0], "/mnt/a", true), vss.ErrVolumeNotSupported)
	must(t, x.removeLUN(s.records[0].LUNs[0].Copy))
	wantCode(t, "no disk", x.host.Mount(t.Context(), k.Open(s.records[0]), "/mnt/a", true), vss.ErrMissingDisk)
}

// TestMountAsOriginal: the id names the subvolume, not the path (storage 04), noexec of the original is kept (storage
// 08), and nothing of a document becomes another option (trust 3).
func TestMountAsOriginal(t *testing.T) {
	x := newWorld(t)
	k, _, luns := x.hardware(1, disk.StyleGPT)
	v := x.w.Volume("/srv/a", "btrfs", luns[0])
	v.Subvolume, v.SubvolumeID, v.NoExec = "/@", "257", true
	s := x.create(k, vss.ContextAppRollback, v)
	must(t, x.host.Mount(t.Context(), s.here[0], "/mnt/a", true))
	o, _, _ := x.w.MountedAt("/mnt/a")
	if !o.NoExec || !slices.Equal(o.Data, []string{"subvolid=257", "subvolid=257,rescue=nologreplay"}) {
		t.Errorf("options %+v", o)
	}
	for _, id := range []string{"", "5,device=/dev/sda", "-1"} {
		s.records[0].SubvolumeID, s.records[0].Subvolume = id, "@,device=/dev/sda"
		if err := x.host.Mount(t.Context(), k.Open(s.records[0]), "/mnt/b", true); err == nil {
			t.Errorf("mounted with subvolume id %q", id)
		}
	}
}

// one is a set of one ext4 copy.
func (x *world) one() (*set, copies.Kind, copies.Copy) {
	x.Helper()
	k, _, luns := x.hardware(1, disk.StyleGPT)
	s := x.create(k, vss.ContextAppRollback, x.w.Volume("/srv/a", "ext4", luns[0]))
	return s, k, s.here[0]
}

func TestExposePaths(t *testing.T) {
	x := newWorld(t)
	_, _, c := x.one()
	real, err := filepath.EvalSymlinks(x.dir)
	must(t, err)
	empty, full, file, link := filepath.Join(
		real,
		"empty",
	), filepath.Join(
		real,
		"full",
	), filepath.Join(
		real,
		"file",
	), filepath.Join(
		real,
		"link",
	)
	must(t, os.MkdirAll(empty, 0o755))
	must(t, os.MkdirAll(filepath.Join(full, "x"), 0o755))
	must(t, os.WriteFile(file, nil, 0o600))
	must(t, os.Symlink(real, link))
	root := filepath.Join(x.dir, "exposed")
	for _, p := range []struct {
		name string
		user uint32
		code vss.Code
		path string // where it is then
	}{
		{"", 0, vss.ErrInvalidArg, ""},
		{"relative", 0, vss.ErrInvalidArg, ""},
		{"/", 0, vss.ErrInvalidArg, ""},
		{real + "/../x", 0, vss.ErrInvalidArg, ""},
		{filepath.Join(real, "none"), 0, vss.ErrObjectNotFound, ""},
		{file, 0, vss.ErrInvalidArg, ""},
		{filepath.Join(file, "below"), 0, vss.ErrInvalidArg, ""},
		{full, 0, vss.ErrInvalidArg, ""},
		{link, 0, vss.ErrInvalidArg, ""},
		{filepath.Join(link, "empty"), 0, vss.ErrInvalidArg, ""},
		{empty, 1000, vss.ErrAccessDenied, ""},
		{"X:", 1000, vss.ErrAccessDenied, ""},
		{filepath.Join(root, "a", "b"), 1000, vss.OK, filepath.Join(root, "a", "b")},
		{empty + "/", 0, vss.OK, empty},
		{"x:", 0, vss.OK, filepath.Join(x.dir, "letters", "X")},
	} {
		err := x.host.Expose(t.Context(), c, p.name, p.user)
		wantCode(t, p.name, err, p.code)
		if err != nil && vss.Hint(err) == "" {
			t.Errorf("%s: no hint", p.name)
		}
		if p.code != vss.OK {
			continue
		}
		r := c.Record()
		if o, _, ok := x.w.MountedAt(p.path); !ok || !o.ReadOnly || r.ExposedAt != p.path || x.host.Path(r) != p.path ||
			r.Attributes&(vss.AttrExposedLocally|vss.AttrNotSurfaced) != vss.AttrExposedLocally {
			t.Errorf("%s: mounted %v, %+v, at %q, %v", p.name, ok, o, r.ExposedAt, r.Attributes.Names())
		}
		must(t, x.host.Unexpose(t.Context(), c, 0))
		if x.w.IsPoint(p.path) || r.ExposedAt != "" ||
			r.Attributes&(vss.AttrExposedLocally|vss.AttrNotSurfaced) != vss.AttrNotSurfaced {
			t.Errorf("%s: still exposed", p.name)
		}
		wantCode(t, "unexposed again", x.host.Unexpose(t.Context(), c, 0), vss.ErrObjectNotFound)
	}
	must(t, os.WriteFile(root+"-file", nil, 0o600))
	config := x.w.Config(x.dir, x.store, x.events)
	config.ExposeRoots, config.Letters = []string{root + "-file"}, func(string) bool { return true }
	h, err := copies.NewHost(config)
	must(t, err)
	wantCode(t, "a root that is a file", h.Expose(t.Context(), c, root+"-file/x", 0), vss.ErrInvalidArg)
	wantCode(t, "a letter in use", h.Expose(t.Context(), c, "X:", 0), vss.ErrInvalidArg)
}

// A failed exposure leaves nothing; the mount of another is not taken off.
func TestExposeFails(t *testing.T) {
	x := newWorld(t)
	s, k, c := x.one()
	path := filepath.Join(x.dir, "exposed", "a")
	end := x.failing("Mount", vss.ErrUnexpected)
	wantCode(t, "Mount", x.host.Expose(t.Context(), c, path, 0), vss.ErrUnexpected)
	end()
	if d := cmp.Diff([]string{"expose-failed"}, x.happened()); d != "" || c.Record().ExposedAt != "" {
		t.Errorf("events:\n%s", d)
	}
	must(t, x.host.Expose(t.Context(), c, path, 0))
	x.w.Busy = func(o string) bool { return o == path }
	wantCode(t, "in use", x.host.Unexpose(t.Context(), c, 0), vss.ErrVolumeInUse)
	x.w.Busy = nil
	// another service of a later start knows the mount by its devices
	later, err := copies.NewHost(x.w.Config(x.dir, x.store, x.events))
	must(t, err)
	r := *c.Record()
	must(t, later.Unexpose(t.Context(), k.Open(&r), 0))
	_, err = x.w.Mount(path, mount.Options{Device: "/dev/else"})
	must(t, err)
	err = x.host.Unexpose(t.Context(), c, 0)
	if !errors.Is(err, mount.ErrForeign) || !x.w.IsPoint(path) {
		t.Errorf("another's mount: %v", err)
	}
	must(t, x.store.Close())
	c.Record().ExposedAt = ""
	path = filepath.Join(x.dir, "exposed", "b")
	if x.host.Expose(t.Context(), c, path, 0) == nil || x.w.IsPoint(path) || c.Record().ExposedAt != "" {
		t.Error("exposed without a catalogue")
	}
	_ = s
}

func TestPrivateMounts(t *testing.T) {
	x := newWorld(t)
	_, _, c := x.one()
	path, err := x.host.MountPrivate(t.Context(), c, "token")
	must(t, err)
	again, err := x.host.MountPrivate(t.Context(), c, "token")
	if again != path || err != nil || x.host.Path(c.Record()) != path || !x.w.IsPoint(path) {
		t.Errorf("%q, then %q, %v", path, again, err)
	}
	end := x.failing("Unmount", vss.ErrUnexpected)
	x.host.UnmountPrivate([]string{path})
	end()
	must(t, x.host.Sweep()) // what is left is swept at the next start
	if x.w.IsPoint(path) || x.host.Path(c.Record()) != "" {
		t.Error("it is still there")
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder: %v", err)
	}
	path, err = x.host.MountPrivate(t.Context(), c, "token")
	must(t, err)
	x.host.UnmountPrivate([]string{path})
	if x.w.IsPoint(path) {
		t.Error("it is still mounted")
	}
	end = x.failing("Mount", vss.ErrUnexpected)
	_, err = x.host.MountPrivate(t.Context(), c, "other")
	wantCode(t, "Mount", err, vss.ErrUnexpected)
	end()
	must(t, os.RemoveAll(filepath.Join(x.dir, "run", "mnt")))
	must(t, os.WriteFile(filepath.Join(x.dir, "run", "mnt"), nil, 0o600))
	_, err = x.host.MountPrivate(t.Context(), c, "other")
	wantCode(t, "a file in its place", err, vss.ErrUnexpected)
	_, err = x.w.Mount(filepath.Join(x.dir, "run", "mnt", "left"), mount.Options{})
	must(t, err)
	defer x.failing("Unmount", vss.ErrUnexpected)()
	must(t, x.host.Sweep())
}

// Deletion takes the copy from this host, then from the array, then from the catalogue.
func TestDelete(t *testing.T) {
	x := newWorld(t)
	s, k, c := x.one()
	path := filepath.Join(x.dir, "exposed", "a")
	must(t, x.host.Expose(t.Context(), c, path, 0))
	private, err := x.host.MountPrivate(t.Context(), c, "token")
	must(t, err)
	object, l := x.host.DeviceObject(c.Record()), c.Record().LUNs[0]
	x.calls.Reset()
	must(t, x.host.Delete(t.Context(), c, false))
	if x.w.IsPoint(path) || x.w.IsPoint(private) || x.w.Device(l.Copy) != "" || len(s.stored()) > 0 {
		t.Errorf("left: %v", s.stored())
	}
	if _, err := os.Lstat(object); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("device object: %v", err)
	}
	if d := cmp.Diff([]string{"OnLunEmpty"}, x.methods(k)); d != "" {
		t.Errorf("calls:\n%s", d)
	}
}

// A LUN stays until its last copy is deleted.
func TestDeleteSharedLUN(t *testing.T) {
	x := newWorld(t)
	k, a, luns := x.hardware(1, disk.StyleGPT)
	s := x.create(
		k,
		vss.ContextAppRollback,
		x.w.Volume("/srv/a", "ext4", luns[0]),
		x.w.Volume("/srv/b", "ext4", luns[0]),
	)
	must(t, x.host.Delete(t.Context(), s.here[0], false))
	if a.Copies() != 1 || x.w.Device(s.records[1].LUNs[0].Copy) == "" {
		t.Error("the LUN went with its first copy")
	}
	must(t, x.host.Delete(t.Context(), s.here[1], false))
	if a.Copies() != 0 {
		t.Error("the LUN is still there")
	}
}

// What fails before the copy is recorded as deleted leaves it as it was; after that the deletion is resumed.
func TestDeleteFails(t *testing.T) {
	for _, op := range []string{"Unmount", "Uninstall"} {
		x := newWorld(t)
		s, _, c := x.one()
		path := filepath.Join(x.dir, "exposed", "a")
		must(t, x.host.Expose(t.Context(), c, path, 0))
		end := x.failing(op, vss.ErrVolumeInUse)
		wantCode(t, op, x.host.Delete(t.Context(), c, false), vss.ErrVolumeInUse)
		end()
		at, err := c.Source(t.Context())
		must(t, err)
		if got := s.stored(); len(got) != 1 || got[0].State != vss.StateCreated || !x.w.IsPoint(path) ||
			!x.w.RefusesWrites(x.w.Device(c.Record().LUNs[0].Copy)) {
			t.Errorf("%s: %+v", op, got)
		}
		if target, _ := os.Readlink(x.host.DeviceObject(c.Record())); target != at.Devices[0] {
			t.Errorf("%s: the device object leads to %s", op, target)
		}
		must(t, x.host.Delete(t.Context(), c, true))
	}
	x := newWorld(t)
	s, k, c := x.one()
	end := x.broken("OnLunEmpty", vss.E("OnLunEmpty", vss.ErrOutOfMemory, nil))
	wantCode(t, "OnLunEmpty", x.host.Delete(t.Context(), c, false), vss.ErrOutOfMemory)
	end()
	left := s.stored()
	if len(left) != 1 || left[0].State != vss.StateDeleted {
		t.Fatalf("left %+v", left)
	}
	x.w.Show(left[0].LUNs[0].Copy, true)
	must(t, x.host.Rescan(t.Context())) // the next start brings the disk back
	end = x.failing("Uninstall", vss.ErrVolumeInUse)
	wantCode(t, "Uninstall", x.host.Delete(t.Context(), k.Open(&left[0]), true), vss.ErrVolumeInUse)
	end()
	must(t, x.host.Delete(t.Context(), k.Open(&left[0]), true))
	if len(s.stored()) > 0 || x.w.Device(left[0].LUNs[0].Copy) != "" {
		t.Error("not deleted")
	}

	x = newWorld(t)
	s, _, c = x.one()
	x.w.Fail = func(op, _ string) error { // neither the deletion nor bringing it back works
		if op == "Uninstall" || op == "SetReadOnly" || op == "Rescan" {
			return vss.E(op, vss.ErrVolumeInUse, nil)
		}
		return nil
	}
	wantCode(t, "Delete", x.host.Delete(t.Context(), c, false), vss.ErrVolumeInUse)
	x.w.Fail = nil
	c.Record().Imported = false
	end = x.failing("Uninstall", vss.ErrVolumeInUse)
	wantCode(t, "not imported", x.host.Delete(t.Context(), c, false), vss.ErrVolumeInUse)
	end()
	must(t, x.store.Close())
	if x.host.Delete(t.Context(), c, false) == nil {
		t.Error("deleted without a catalogue")
	}
	_ = s
}

// After a start a copy is what its record says.
func TestRestore(t *testing.T) {
	x := newWorld(t)
	_, k, c := x.one()
	path := filepath.Join(x.dir, "exposed", "a")
	must(t, x.host.Expose(t.Context(), c, path, 0))
	r := *c.Record()
	must(t, c.Withdraw(t.Context(), true)) // the machine starts anew
	must(t, os.RemoveAll(filepath.Join(x.dir, "dev")))
	must(t, os.RemoveAll(path))
	later, err := copies.NewHost(x.w.Config(x.dir, x.store, x.events))
	must(t, err)
	must(t, later.Rescan(t.Context()))
	must(t, later.Restore(t.Context(), k.Open(&r)))
	must(t, later.Restore(t.Context(), k.Open(&r)))
	if o, _, ok := x.w.MountedAt(path); !ok || !o.ReadOnly || !x.w.RefusesWrites(x.w.Device(r.LUNs[0].Copy)) {
		t.Errorf("mounted %v, %+v", ok, o)
	}
	stale := filepath.Join(x.dir, "dev", "HarddiskVolumeShadowCopy99")
	must(t, os.Symlink("/nowhere", stale))
	later.SweepLinks([]catalog.Snapshot{r})
	if _, err := os.Lstat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a stale device object: %v", err)
	}
	if _, err := os.Lstat(later.DeviceObject(&r)); err != nil {
		t.Errorf("the copy's device object: %v", err)
	}
	end := x.failing("Uninstall", vss.ErrVolumeInUse)
	later.Withdraw(t.Context(), k.Open(&r)) // is logged only
	end()
	r.ExposedAt = filepath.Join(x.dir, "catalog.db", "x")
	if later.Restore(t.Context(), k.Open(&r)) == nil {
		t.Error("restored an exposure below a file")
	}
	must(t, os.RemoveAll(filepath.Join(x.dir, "dev")))
	wantCode(t, "no folder of device objects", later.Restore(t.Context(), k.Open(&r)), vss.ErrUnexpected)
}

func TestNewHost(t *testing.T) {
	w := copiestest.New()
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	c := w.Config(dir, nil, nil)
	c.DeviceDir = filepath.Join(dir, "file", "dev")
	_, err := copies.NewHost(c)
	wantCode(t, "a file in the way", err, vss.ErrUnexpected)
	must(t, os.Mkdir(filepath.Join(dir, "run"), 0o755))
	must(t, os.Symlink(filepath.Join(dir, "run"), filepath.Join(dir, "link")))
	c = w.Config(dir, nil, nil)
	c.RunDir, c.Mounts = filepath.Join(dir, "link"), nil
	_, err = copies.NewHost(c)
	must(t, err)
}

// Place reserves numbers and links; without a catalogue the copies have none.
func TestPlaceFails(t *testing.T) {
	x := newWorld(t)
	k, _, luns := x.hardware(1, disk.StyleGPT)
	s := x.begin(k, vss.ContextBackup, x.w.Volume("/srv/a", "ext4", luns[0])).reach(collected)
	here, _, err := k.Surface(t.Context(), s.id, s.records, false)
	must(t, err)
	must(t, x.store.Close())
	if x.host.Place(t.Context(), here) == nil || s.records[0].DeviceNumber != 0 ||
		x.host.DeviceObject(s.records[0]) != "" {
		t.Errorf("number %d", s.records[0].DeviceNumber)
	}
}
