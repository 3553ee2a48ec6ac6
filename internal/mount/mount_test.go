package mount_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/array/loopdev"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/internal/mount"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// device returns a loop device that holds a new file system.
func device(t testing.TB, dir, kind string) string {
	t.Helper()
	f, err := os.CreateTemp(dir, kind)
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(400<<20))
	if out, err := exec.Command("mkfs."+kind, "-q", f.Name()).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.%s: %v: %s", kind, err, out)
	}
	name, err := loopdev.Attach(f, 0)
	must(t, err)
	t.Cleanup(func() { must(t, loopdev.Detach(name)) })
	return name
}

func folder(t testing.TB, parts ...string) string {
	t.Helper()
	path := filepath.Join(parts...)
	must(t, os.MkdirAll(path, 0o700))
	return path
}

func TestFileSystems(t *testing.T) {
	lane.Host(t)
	for _, kind := range []string{"ext4", "xfs", "btrfs"} {
		t.Run(kind, func(t *testing.T) {
			dir := lane.Scratch(t)
			ours, others := device(t, dir, kind), device(t, dir, "ext4")
			point := folder(t, dir, "point")
			if mount.IsPoint(point) {
				t.Error("a folder is a mount point")
			}
			must(t, mount.Load(kind, ours))
			id, err := mount.FileSystem(point, mount.Options{
				Device: ours, Type: kind, ReadOnly: true, NoSUID: true, NoDev: true, Data: []string{
					"no-such-option", "",
				},
			})
			must(t, err)
			at := slices.IndexFunc(mount.List(), func(m mount.Info) bool { return m.ID == id })
			if at < 0 {
				t.Fatalf("mount %d isn't in the list", id)
			}
			m := mount.List()[at]
			if m.Point != point || m.Type != kind || !m.ReadOnly() || !m.Here() || !m.On(others, ours) || m.On(others) {
				t.Errorf("mount %+v", m)
			}
			var st unix.Statfs_t
			must(t, unix.Statfs(point, &st))
			if want := int64(unix.ST_NOSUID | unix.ST_NODEV | unix.ST_RDONLY); st.Flags&want != want {
				t.Errorf("flags %#x", st.Flags)
			}
			must(t, mount.Reconfigure(point, false))
			must(t, os.WriteFile(filepath.Join(point, "file"), nil, 0o600))
			must(t, mount.Reconfigure(point, true))

			for _, o := range []mount.Owner{
				{}, {ID: id + 1}, {Devices: []string{others}}, {Devices: []string{"/dev/none"}},
			} {
				if err := mount.Unmount(point, o, true); !errors.Is(err, mount.ErrForeign) {
					t.Errorf("unmount by %+v: %v", o, err)
				}
			}
			must(t, mount.Unmount(point, mount.Owner{Devices: []string{others, ours}}, false))
			must(t, mount.Unmount(point, mount.Owner{ID: id}, false)) // nothing is there
			if mount.IsPoint(point) {
				t.Error("still mounted")
			}
		})
	}
}

func TestUnmountCovered(t *testing.T) {
	lane.Host(t)
	dir := lane.Scratch(t)
	ours := device(t, dir, "ext4")
	point := folder(t, dir, "point")
	id, err := mount.FileSystem(point, mount.Options{Device: ours, Type: "ext4"})
	must(t, err)
	must(t, mount.Memory(point, 0o755))
	for _, o := range []mount.Owner{{ID: id}, {Devices: []string{ours}}} {
		if err := mount.Unmount(point, o, true); !errors.Is(err, mount.ErrForeign) {
			t.Errorf("unmount below another mount: %v", err)
		}
	}
	all := mount.Below(dir)
	if len(all) != 2 || all[1].ID != id {
		t.Fatalf("mounts %+v", all)
	}
	must(t, mount.Unmount(point, mount.Owner{ID: all[0].ID}, false))
	must(t, mount.Unmount(point, mount.Owner{ID: id}, false))
}

// TestReusedID: the kernel gives the id of a mount that ended to the next one, which isn't its owner's (storage 10).
func TestReusedID(t *testing.T) {
	lane.Host(t)
	dir := lane.Scratch(t)
	ours, point := device(t, dir, "ext4"), folder(t, dir, "point")
	must(t, mount.Memory(point, 0o755))
	id := mount.Below(dir)[0].ID
	defer func() { must(t, mount.Unmount(point, mount.Owner{ID: id}, false)) }()
	o := mount.Owner{ID: id, Devices: []string{ours}}
	if err := mount.Unmount(point, o, true); !errors.Is(err, mount.ErrForeign) {
		t.Errorf("another mount with our id: %v", err)
	}
	if err := o.Owns(point); !errors.Is(err, mount.ErrForeign) {
		t.Errorf("it is ours: %v", err)
	}
}

// TestTypeWithoutDevice: a type that came in a document isn't mounted if it ignores the device (trust 3).
func TestTypeWithoutDevice(t *testing.T) {
	lane.Host(t)
	dir := lane.Scratch(t)
	o := mount.Options{Device: "/dev/null", Type: "proc"}
	if _, err := mount.FileSystem(folder(t, dir, "point"), o); err == nil {
		t.Error("proc is mounted")
	}
}

func TestUnmountInUse(t *testing.T) {
	lane.Host(t)
	dir := lane.Scratch(t)
	ours := device(t, dir, "ext4")
	point := folder(t, dir, "point")
	id, err := mount.FileSystem(point, mount.Options{Device: ours, Type: "ext4"})
	must(t, err)
	f, err := os.Create(filepath.Join(point, "file"))
	must(t, err)
	defer f.Close()
	if err := mount.Unmount(point, mount.Owner{ID: id}, false); !errors.Is(err, unix.EBUSY) {
		t.Errorf("unmount in use: %v", err)
	}
	must(t, mount.Unmount(point, mount.Owner{ID: id}, true))
	if mount.IsPoint(point) {
		t.Error("still mounted")
	}
	must(t, f.Close())
}

func TestSymbolicLinks(t *testing.T) {
	lane.Host(t)
	dir := lane.Scratch(t)
	ours := device(t, dir, "ext4")
	point := folder(t, dir, "real", "point")
	must(t, os.Symlink("real", filepath.Join(dir, "link")))
	must(t, os.Symlink("point", filepath.Join(dir, "real", "last")))
	for _, path := range []string{filepath.Join(dir, "link", "point"), filepath.Join(dir, "real", "last")} {
		if _, err := mount.FileSystem(path, mount.Options{Device: ours, Type: "ext4"}); !errors.Is(err, unix.ELOOP) {
			t.Errorf("mount at %s: %v", path, err)
		}
	}
	id, err := mount.FileSystem(point, mount.Options{Device: ours, Type: "ext4"})
	must(t, err)
	if mount.IsPoint(filepath.Join(dir, "real", "last")) {
		t.Error("a symbolic link is a mount point")
	}
	must(t, mount.Unmount(filepath.Join(dir, "real", "last"), mount.Owner{ID: id}, true)) // a link isn't a mount point
	if !mount.IsPoint(point) {
		t.Error("a link was followed")
	}
	must(t, mount.Unmount(filepath.Join(dir, "link", "point"), mount.Owner{ID: id}, false))
	must(t, mount.Unmount(filepath.Join(dir, "none", "point"), mount.Owner{ID: id}, false))
}
