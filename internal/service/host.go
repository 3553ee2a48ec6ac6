package service

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/mount"
)

// becomeHost gives a service that a command has started the surroundings of the host instead of those of the command:
// umask, descriptors, limits, control group and namespaces are those of process 1, as far as the kernel allows. The
// environment was chosen by the command (requester.Connect). It may start the program anew.
func becomeHost(o Options) {
	unix.Umask(0o022)
	closeInherited()
	limitsOf(1)
	joinGroup(1)
	joinNamespaces(1, o)
}

// closeInherited closes the descriptors from 3 on that a program can have left open for this one. Those of this
// process itself are closed on exec.
func closeInherited() {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd < 3 {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
}

// minFiles is the least number of files that the service can have open.
const minFiles = 65536

// limitsOf takes over the resource limits of a process, with as many open files as the service needs.
func limitsOf(pid int) {
	for resource := unix.RLIMIT_CPU; resource <= unix.RLIMIT_RTTIME; resource++ {
		var l unix.Rlimit
		if unix.Prlimit(pid, resource, nil, &l) != nil {
			continue
		}
		switch resource {
		case unix.RLIMIT_NOFILE:
			l.Cur, l.Max = max(l.Cur, minFiles), max(l.Max, minFiles)
		case unix.RLIMIT_MEMLOCK:
			l.Cur, l.Max = math.MaxUint64, math.MaxUint64 // the guards lock their memory
		}
		if unix.Prlimit(0, resource, &l, nil) == nil {
			continue
		}
		var own unix.Rlimit // without CAP_SYS_RESOURCE the hard limit stays
		if unix.Prlimit(0, resource, nil, &own) == nil {
			own.Cur = min(l.Cur, own.Max)
			_ = unix.Prlimit(0, resource, &own, nil)
		}
	}
}

// joinGroup moves this process into the control group of a process, in the unified hierarchy.
func joinGroup(pid int) {
	of := func(pid string) string {
		b, _ := os.ReadFile(filepath.Join("/proc", pid, "cgroup"))
		for line := range strings.Lines(string(b)) {
			if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
				return path
			}
		}
		return ""
	}
	if want := of(strconv.Itoa(pid)); want != "" && want != of("self") {
		_ = os.WriteFile(filepath.Join("/sys/fs/cgroup", want, "cgroup.procs"), []byte("0"), 0)
	}
}

// joinNamespaces enters the mount, network, IPC and host name namespaces of a process, and starts the program anew in
// them if they are others. It doesn't if the service's folders are other ones there.
func joinNamespaces(pid int, o Options) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	var enter []string
	for _, ns := range []string{"net", "ipc", "uts", "mnt"} {
		theirs, err := os.Readlink(filepath.Join(dir, "ns", ns))
		if err != nil {
			return
		}
		if own, _ := os.Readlink("/proc/self/ns/" + ns); own != theirs {
			enter = append(enter, ns)
		}
	}
	if len(enter) == 0 || !sameFolder(filepath.Join(dir, "root"), o.Run) {
		return
	}
	runtime.LockOSThread() // for ever: if the program isn't started anew, this thread must not be used by others
	if mount.Enter(dir, enter...) == nil {
		_ = unix.Exec("/proc/self/exe", os.Args, os.Environ())
	}
	os.Exit(1) // this thread is in between
}

// sameFolder reports whether a path leads to the same folder below another root.
func sameFolder(root, path string) bool {
	path, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	here, err := os.Stat(path)
	if err != nil {
		return false
	}
	there, err := os.Stat(filepath.Join(root, path))
	return err == nil && os.SameFile(here, there)
}
