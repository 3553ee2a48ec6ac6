package disk

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/mount"
)

// openUnseen opens a disk, of which node is open, for writing without a notification of others. udev watches the nodes
// of disks (inotify, IN_CLOSE_WRITE) and runs its rules for a disk and all its partitions when a writable descriptor
// is closed, mounted or not. A watch is on the node, not on the disk behind it: so the disk is opened by a node of
// our own, in a file system that is mounted nowhere and ends with the descriptor. Locks (flock) are on the node, too:
// this descriptor takes none.
func openUnseen(node *os.File) (*blocks, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(node.Fd()), &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return openBlocks(node.Name(), os.O_RDWR)
	}
	dir, err := mount.Hidden()
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	const name = "disk"
	if err := unix.Mknodat(dir, name, unix.S_IFBLK|0o600, int(st.Rdev)); err != nil {
		return nil, os.NewSyscallError("mknodat", err)
	}
	const mode = unix.O_RDWR | unix.O_DIRECT
	fd, err := unix.Openat(dir, name, mode|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: node.Name(), Err: err}
	}
	return newBlocks(os.NewFile(uintptr(fd), node.Name()), mode)
}
