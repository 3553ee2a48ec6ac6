package mount

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Load makes the kernel open a file system, which replays its log, and close it again. It is mounted nowhere, so that
// nothing is left when this process is killed. Flags are options without a value, such as nouuid.
func Load(fsType, device string, flags ...string) error {
	fd, err := unix.Fsopen(fsType, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("fsopen", err)
	}
	err = unix.FsconfigSetString(fd, "source", device)
	for _, f := range flags {
		if err == nil {
			err = unix.FsconfigSetFlag(fd, f)
		}
	}
	if err == nil {
		err = unix.FsconfigCreate(fd)
	}
	return errors.Join(err, unix.Close(fd))
}

// Hidden returns the root of a new file system in memory that is mounted nowhere and may hold device nodes. It ceases
// to exist when the descriptor is closed.
func Hidden() (fd int, err error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, os.NewSyscallError("fsconfig", err)
	}
	fd, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC)
	return fd, os.NewSyscallError("fsmount", err)
}
