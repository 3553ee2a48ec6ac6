//go:build linux && (amd64 || arm64)

package hold

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Missing in x/sys: _IOWR('X', 119, int) and _IOWR('X', 120, int), which are encoded in this way on the architectures
// named above, and differently on some others.
const (
	fifreeze = 0xC0045877
	fithaw   = 0xC0045878
)

// freezeSuper blocks until the file system is flushed and frozen.
func freezeSuper(fd int) error { return superIoctl(fd, fifreeze) }

// thawSuper waits for a flush in progress and thaws. EINVAL: not frozen, or not yet.
func thawSuper(fd int) error { return superIoctl(fd, fithaw) }

func superIoctl(fd int, request uintptr) error {
	for {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, 0)
		switch errno {
		case 0:
			return nil
		case syscall.EINTR:
		default:
			return errno
		}
	}
}

// clock returns CLOCK_MONOTONIC in nanoseconds, which is the same for all processes.
func clock() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}
