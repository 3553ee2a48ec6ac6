package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Options describe a file system to be mounted.
type Options struct {
	Device   string   // the block device that holds it
	Others   []string // the other devices of a btrfs
	Type     string   // as in /proc/filesystems
	ReadOnly bool
	NoSUID   bool
	NoDev    bool
	NoExec   bool
	NoATime  bool
	Data     []string // option strings of the file system, tried in this order until one works; none: no options
}

func (o Options) flags() uintptr {
	var flags uintptr
	for _, f := range []struct {
		on   bool
		flag uintptr
	}{
		{o.ReadOnly, unix.MS_RDONLY}, {o.NoSUID, unix.MS_NOSUID}, {o.NoDev, unix.MS_NODEV},
		{o.NoExec, unix.MS_NOEXEC}, {o.NoATime, unix.MS_NOATIME},
	} {
		if f.on {
			flags |= f.flag
		}
	}
	return flags
}

// data returns the option strings to try.
func (o Options) data() []string {
	others := ""
	for _, d := range o.Others {
		others += ",device=" + d
	}
	tries := o.Data
	if len(tries) == 0 {
		tries = []string{""}
	}
	out := make([]string, len(tries))
	for i, t := range tries {
		out[i] = strings.TrimPrefix(t+others, ",")
	}
	return out
}

// FileSystem mounts a file system at an existing folder and returns the id of the mount. No component of path may be a
// symbolic link: the error is then unix.ELOOP. Of several option strings the error is that of the last.
func FileSystem(path string, o Options) (id uint64, err error) {
	if !needsDevice(o.Type) {
		return 0, fmt.Errorf("mount %s at %s: no file system %q is on a block device", o.Device, path, o.Type)
	}
	dir, err := OpenFolder(path)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	for _, data := range o.data() {
		if err = unix.Mount(o.Device, byDescriptor(dir), o.Type, o.flags(), data); err == nil {
			return idAt(path)
		}
	}
	return 0, fmt.Errorf("mount %s (%s) at %s: %w", o.Device, o.Type, path, err)
}

// needsDevice reports whether file systems of a type are on block devices: /proc/filesystems marks those that aren't.
// One that the kernel hasn't loaded yet counts as if it were.
func needsDevice(fsType string) bool {
	b, _ := os.ReadFile("/proc/filesystems")
	return !slices.Contains(strings.Split(string(b), "\n"), "nodev\t"+fsType)
}

// Memory mounts an empty file system in memory at path. Its root has the given permissions.
func Memory(path string, mode os.FileMode) error {
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, fmt.Sprintf("mode=%#o", mode.Perm())); err != nil {
		return &os.PathError{Op: "mount tmpfs", Path: path, Err: err}
	}
	return nil
}

// KeepPrivate keeps mounts that are made in this process's mount namespace out of all others. What others unmount is
// still unmounted here.
func KeepPrivate() error {
	return os.NewSyscallError("mount", unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""))
}

// OpenFolder opens a folder as a location only (O_PATH). No component of path may be a symbolic link: the error is then
// unix.ELOOP.
func OpenFolder(path string) (*os.File, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &how)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// byDescriptor returns a path that names an open file, also when the path it was opened by has changed.
func byDescriptor(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// ErrForeign is the cause of the error that Unmount returns for the mount of another owner.
var ErrForeign = errors.New("another mount is there")

// Owner identifies the mounts of one owner. A mount belongs to it if it has the id and shows a file system on one of
// the devices; what isn't known isn't compared. The id alone doesn't suffice: the kernel gives that of a mount which
// ended to the next one.
type Owner struct {
	ID      uint64   // as FileSystem and List return it; 0: not known
	Devices []string // nodes of block devices; none: not known
}

// Unmount unmounts the file system at path if it belongs to the owner. It returns nil if nothing is mounted there,
// and an error that wraps ErrForeign, with the mount untouched, if it belongs to another. A mount in use is
// unix.EBUSY; with force it disappears at once instead, and its file system is released when the last user closes it.
// Only the topmost of several mounts at one path is unmounted. The last component of path is not followed if it is a
// symbolic link. A path of another mount namespace, as Info.Path returns it, is unmounted there.
func Unmount(path string, o Owner, force bool) error {
	if pid, point, ok := otherNamespace(path); ok {
		if err := unmountInside(pid, point, o, force); err != nil {
			return &os.PathError{Op: "unmount", Path: path, Err: err}
		}
		return nil
	}
	parent, err := os.OpenFile(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	at := filepath.Join(byDescriptor(parent), filepath.Base(path))
	if !IsPoint(at) {
		return nil
	}
	if err := o.check(at); err != nil {
		return &os.PathError{Op: "unmount", Path: path, Err: err}
	}
	err = unix.Unmount(at, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EBUSY) && force {
		err = unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
	if err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: another caller has just unmounted it
		return &os.PathError{Op: "unmount", Path: path, Err: err}
	}
	return nil
}

// Owns returns nil if what is mounted at path belongs to the owner, and an error that wraps ErrForeign if nothing is
// mounted there or it belongs to another.
func (o Owner) Owns(path string) error {
	if !IsPoint(path) {
		return fmt.Errorf("%w: none", ErrForeign)
	}
	return o.check(path)
}

// check returns an error that wraps ErrForeign unless the mount at path belongs to the owner.
func (o Owner) check(path string) error {
	id, err := idAt(path)
	if err != nil {
		return err
	}
	for _, m := range List() {
		if m.ID != id {
			continue
		}
		if (o.ID == 0 || o.ID == id) && (len(o.Devices) == 0 && o.ID != 0 || m.On(o.Devices...)) {
			return nil
		}
		return fmt.Errorf("%w: %s (%s), mount %d", ErrForeign, m.Source, m.Type, id)
	}
	return ErrForeign
}

// Reconfigure makes a mounted file system, and the mount at path, read-only or read/write. Files that are open for
// writing are unix.EBUSY.
func Reconfigure(path string, readOnly bool) error {
	fd, err := unix.Fspick(unix.AT_FDCWD, path, unix.FSPICK_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	key := "rw"
	if readOnly {
		key = "ro"
	}
	if err = unix.FsconfigSetFlag(fd, key); err == nil {
		err = unix.FsconfigReconfigure(fd)
	}
	if err == nil && !readOnly {
		err = unix.MountSetattr(unix.AT_FDCWD, path, 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY})
	}
	return err
}
