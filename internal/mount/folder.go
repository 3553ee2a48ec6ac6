package mount

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Folder shows a folder at another one, read-only and without set-user-id programs and devices, and returns the id of
// the mount. What is mounted below the folder isn't shown. No component of path may be a symbolic link.
func Folder(folder, path string) (id uint64, err error) {
	dir, err := OpenFolder(path)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	fd, err := unix.OpenTree(unix.AT_FDCWD, folder, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return 0, &os.PathError{Op: "bind", Path: folder, Err: err}
	}
	defer unix.Close(fd)
	if err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &restricted); err == nil {
		err = unix.MoveMount(fd, "", int(dir.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	}
	if err != nil {
		return 0, &os.PathError{Op: "bind", Path: path, Err: err}
	}
	return idAt(path)
}

// MakeFolder opens a folder below root as OpenFolder does, and makes what is missing of it. No component of path may be
// a symbolic link (unix.ELOOP), and none below root a mount (unix.EXDEV); nothing is made outside of root. Without a
// root nothing is made.
func MakeFolder(root, path string) (*os.File, error) {
	if root == "" {
		return OpenFolder(path)
	}
	rest, err := filepath.Rel(root, path)
	if err != nil {
		return nil, err
	}
	at, err := OpenFolder(root)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(root, 0o755); err == nil { // the configuration names it
			at, err = OpenFolder(root)
		}
	}
	for _, name := range strings.Split(rest, "/") {
		if err != nil {
			return nil, err
		}
		at, err = below(at, name, path)
	}
	return at, err
}

// below opens a folder in another one, which it closes, and makes it if it doesn't exist.
func below(dir *os.File, name, path string) (*os.File, error) {
	defer dir.Close()
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV,
	}
	fd, err := unix.Openat2(int(dir.Fd()), name, &how)
	if errors.Is(err, unix.ENOENT) {
		if err = unix.Mkdirat(int(dir.Fd()), name, 0o755); err == nil || errors.Is(err, unix.EEXIST) {
			fd, err = unix.Openat2(int(dir.Fd()), name, &how)
		}
	}
	if err != nil {
		return nil, &os.PathError{Op: "make folder", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// ReadFolder lists a folder that was opened as a location only.
func ReadFolder(dir *os.File) ([]os.DirEntry, error) { return os.ReadDir(byDescriptor(dir) + "/.") }
