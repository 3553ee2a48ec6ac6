package server

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unsafe"

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
		groups, err := unix.Getgroups()
		if err == nil {
			err = setGroups(nil) // those of this process aren't the account's
		}
		if err == nil {
			err = setID(unix.SYS_SETRESGID, gid)
		}
		if err == nil {
			if err = setID(unix.SYS_SETRESUID, uid); err == nil {
				err = f()
			}
		}
		back := errors.Join(setID(unix.SYS_SETRESUID, root), setID(unix.SYS_SETRESGID, group), setGroups(groups))
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

// setGroups sets the supplementary groups of this thread.
func setGroups(groups []int) error {
	ids := make([]uint32, len(groups), len(groups)+1) // never without an element to point to
	for i, g := range groups {
		ids[i] = uint32(g)
	}
	first := uintptr(unsafe.Pointer(unsafe.SliceData(ids)))
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(ids)), first, 0); e != 0 {
		return fmt.Errorf("set the groups of an account: %w", e)
	}
	return nil
}

// counting returns a function that reports whether the servers of a process's account count.
func (f Finder) counting() func(*Process) bool {
	last := systemMax()
	var named []int
	for _, name := range f.Accounts {
		if u, err := user.Lookup(name); err == nil {
			if uid, err := strconv.Atoi(u.Uid); err == nil {
				named = append(named, uid)
			}
		}
	}
	return func(p *Process) bool {
		return p.UID <= last || p.UID == os.Geteuid() || slices.Contains(named, p.UID)
	}
}

// systemMax returns the highest ID of system accounts. Source: login.defs(5), SYS_UID_MAX.
func systemMax() int {
	text, err := os.ReadFile("/etc/login.defs")
	if err == nil {
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) == 2 && f[0] == "SYS_UID_MAX" {
				if n, err := strconv.Atoi(f[1]); err == nil {
					return n
				}
			}
		}
	}
	return 999
}
