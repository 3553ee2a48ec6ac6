//go:build linux && (amd64 || arm64)

package hold

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/mount"
)

// freezeSuper blocks until the file system is flushed and frozen.
func freezeSuper(fd int) error { return superIoctl(fd, mount.FIFREEZE) }

// thawSuper waits for a flush in progress and thaws. EINVAL: not frozen, or not yet.
func thawSuper(fd int) error { return superIoctl(fd, mount.FITHAW) }

func superIoctl(fd int, request uintptr) error { return ioctl(fd, request, nil) }

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	for {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
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
