package mount

import (
	"os"

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
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err == nil {
		err = unix.MoveMount(fd, "", int(dir.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	}
	if err != nil {
		return 0, &os.PathError{Op: "bind", Path: path, Err: err}
	}
	return idAt(path)
}
