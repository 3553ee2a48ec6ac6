package mount

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// restricted are the attributes of mounts of copies: read-only, without set-user-id programs and devices.
var restricted = unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}

// Detached returns the root of the mount at path once more, as a mount that is nowhere: restricted, without what is
// mounted below it. It ceases to exist when the descriptor is closed, unless Attach has put it somewhere, also in
// another mount namespace.
func Detached(path string) (*os.File, error) {
	dir, err := OpenFolder(path)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return clone(dir)
}

// DetachedTop is Detached for a btrfs on a device: it shows the top level, with all subvolumes. The file system must be
// mounted already, read-only.
func DetachedTop(device string) (*os.File, error) {
	fs, err := unix.Fsopen("btrfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fs)
	if err = unix.FsconfigSetString(fs, "source", device); err == nil {
		err = unix.FsconfigSetString(fs, "subvolid", "5")
	}
	if err == nil {
		err = unix.FsconfigSetFlag(fs, "ro")
	}
	if err == nil {
		err = unix.FsconfigCreate(fs)
	}
	if err != nil {
		return nil, &os.PathError{Op: "mount the top level of", Path: device, Err: err}
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, int(restricted.Attr_set))
	if err != nil {
		return nil, &os.PathError{Op: "mount the top level of", Path: device, Err: err}
	}
	return os.NewFile(uintptr(fd), device), nil
}

// clone returns a detached, restricted mount of what an open file shows.
func clone(f *os.File) (*os.File, error) {
	const flags = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH
	fd, err := unix.OpenTree(int(f.Fd()), "", flags)
	if err != nil {
		return nil, &os.PathError{Op: "open_tree", Path: f.Name(), Err: err}
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &restricted); err != nil {
		_ = unix.Close(fd)
		return nil, &os.PathError{Op: "mount_setattr", Path: f.Name(), Err: err}
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// Parts returns a detached mount for each folder or file of a detached mount, by its path from the root. No component
// may be a symbolic link. Before Linux 6.15 only mounts that are in this namespace can be cloned, so the whole is
// attached over the root of the file-system tree meanwhile, where no path leads. The error names the path that failed;
// os.ErrNotExist if it doesn't exist.
func Parts(whole *os.File, paths []string) ([]*os.File, error) {
	if err := Attach(whole, "/"); err != nil {
		return nil, err
	}
	defer func() { _ = unix.Unmount(byDescriptor(whole), unix.MNT_DETACH) }()
	return PartsHere(whole, paths)
}

// PartsHere is Parts for a folder of this mount namespace.
func PartsHere(whole *os.File, paths []string) ([]*os.File, error) {
	var out []*os.File
	for _, p := range paths {
		part, err := part(whole, p)
		if err != nil {
			for _, f := range out {
				_ = f.Close()
			}
			return nil, &os.PathError{Op: "open", Path: p, Err: err}
		}
		out = append(out, part)
	}
	return out, nil
}

func part(whole *os.File, path string) (*os.File, error) {
	name := strings.TrimPrefix(filepath.Clean(path), "/")
	if name == "" {
		return clone(whole)
	}
	how := unix.OpenHow{
		Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH,
	}
	fd, err := unix.Openat2(int(whole.Fd()), name, &how)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	return clone(f)
}

// Show shows an open file or folder at path as well, as it is.
func Show(f *os.File, path string) error {
	fd, err := unix.OpenTree(int(f.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return &os.PathError{Op: "bind", Path: path, Err: err}
	}
	tree := os.NewFile(uintptr(fd), path)
	defer tree.Close()
	return Attach(tree, path)
}

// Attach mounts what Detached or Parts returned at path in this namespace. The last component of path is not followed
// if it is a symbolic link.
func Attach(f *os.File, path string) error {
	at, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(at)
	err = unix.MoveMount(int(f.Fd()), "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err != nil {
		return &os.PathError{Op: "attach", Path: path, Err: err}
	}
	return nil
}
