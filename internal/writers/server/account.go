package server

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// As calls f with the effective user and group ID of an account, on a thread of its own. It needs root, unless the
// account is that of this process. If the former IDs can't be restored, the thread ends with its goroutine.
func As(uid, gid int, f func() error) error {
	root, group := os.Geteuid(), os.Getegid()
	if root == uid {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := setID(unix.SYS_SETRESGID, gid)
		if err == nil {
			if err = setID(unix.SYS_SETRESUID, uid); err == nil {
				err = f()
			}
		}
		back := errors.Join(setID(unix.SYS_SETRESUID, root), setID(unix.SYS_SETRESGID, group))
		if back == nil {
			runtime.UnlockOSThread()
		}
		done <- errors.Join(err, back)
	}()
	return <-done
}

// setID sets one effective ID of this thread; the functions of package syscall would set that of all threads.
func setID(call uintptr, id int) error {
	const keep = ^uintptr(0)
	if _, _, e := unix.RawSyscall(call, keep, uintptr(id), keep); e != 0 {
		return fmt.Errorf("become account %d: %w", id, e)
	}
	return nil
}
