package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// otherNamespace splits a path as Info.Path returns it for a mount of another namespace: /proc/PID/root/POINT.
func otherNamespace(path string) (pid, point string, ok bool) {
	rest, ok := strings.CutPrefix(path, "/proc/")
	if !ok {
		return "", "", false
	}
	pid, rest, ok = strings.Cut(rest, "/")
	point, below := strings.CutPrefix(rest, "root/")
	if !ok || !below || pid == "" || strings.Trim(pid, "0123456789") != "" {
		return "", "", false
	}
	return pid, "/" + point, true
}

// unmountInside unmounts what is at point in the mount namespace of a process, as Unmount does in this one. A process
// that was started with a namespace of its own keeps the mounts of that time for its lifetime, even if they are
// unmounted elsewhere; mostly nothing uses them.
func unmountInside(pid, point string, o Owner, force bool) error {
	all := table(pid, "")
	slices.Reverse(all)
	i := slices.IndexFunc(all, func(m Info) bool { return m.Point == point })
	if i < 0 || point == "/" {
		return nil
	}
	m := all[i]
	if o.ID != 0 && m.ID != o.ID || o.ID == 0 && !m.On(o.Devices...) {
		return fmt.Errorf("%w (%s)", ErrForeign, m.Source)
	}
	parent, err := folderInside(pid, filepath.Dir(point))
	if err != nil {
		return err
	}
	defer parent.Close()
	namespace, err := os.Open("/proc/" + pid + "/ns/mnt")
	if err != nil {
		return err
	}
	defer namespace.Close()
	return onOwnThread(func() error {
		return unmountEntering(namespace, parent, filepath.Base(point), m.ID, force)
	})
}

// onOwnThread runs f on a thread that ends with it, so that f may change what belongs to its thread.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // a thread whose goroutine ends without unlocking it ends, too
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread() // the main thread doesn't end; while it is locked f gets another one
			done <- onOwnThread(f)
			return
		}
		done <- f()
	}()
	return <-done
}

// folderInside opens a folder of a process's file system as a location only. No component may be a symbolic link.
func folderInside(pid, path string) (*os.File, error) {
	root, err := os.OpenFile("/proc/"+pid+"/root", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_IN_ROOT,
	}
	fd, err := unix.Openat2(int(root.Fd()), path, &how)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// unmountEntering moves the calling thread into a mount namespace and unmounts the mount with that id at name in
// parent.
func unmountEntering(namespace, parent *os.File, name string, id uint64, force bool) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // a thread that shares its working directory can't enter
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("setns", err)
	}
	if err := unix.Fchdir(int(parent.Fd())); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	name = "./" + name
	if now, err := idAt(name); err != nil || now != id {
		return err // another process has unmounted it meanwhile
	}
	err := unix.Unmount(name, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EBUSY) && force {
		err = unix.Unmount(name, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
	if errors.Is(err, unix.EINVAL) {
		return nil
	}
	return os.NewSyscallError("umount2", err)
}
