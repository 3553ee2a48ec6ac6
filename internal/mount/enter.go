package mount

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Enter moves the calling thread, which must be locked, into namespaces of the process whose folder in /proc is given.
// After an error the thread must not be used any more.
func Enter(process string, names ...string) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	for _, n := range names {
		fd, err := unix.Open(filepath.Join(process, "ns", n), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = unix.Setns(fd, 0)
		_ = unix.Close(fd)
		if err != nil {
			return err
		}
	}
	return nil
}
