package hold

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Names of the guard processes: the first of their arguments.
const (
	freezerName  = "vss-freezer"
	sentinelName = "vss-sentinel"
)

// Descriptors that a guard inherits.
const (
	boardFD = 3 + iota
	coordinatorFD
	peerFD
	freezerFD // pidfd of the freezer, for the sentinel
	statFD    // the freezer's /proc/PID/stat
	volumeFD  // the first volume
)

// guard is common to both guard processes.
type guard struct {
	b           *board
	fds         []int
	coordinator *link
	peer        *link
	freezer     int // pidfd
	freezerStat int
	record      string
}

// IsGuard reports whether Start has started this process as a guard; main must then call RunGuard and nothing else.
func IsGuard(args []string) bool {
	return len(args) == 3 && (args[0] == freezerName || args[0] == sentinelName)
}

// RunGuard runs a guard process and returns its exit code.
func RunGuard() int {
	signal.Ignore(
		syscall.SIGTERM,
		syscall.SIGINT,
		syscall.SIGHUP,
		syscall.SIGQUIT,
		syscall.SIGUSR1,
		syscall.SIGUSR2,
		syscall.SIGPIPE,
		syscall.SIGTSTP,
		syscall.SIGTTIN,
		syscall.SIGTTOU,
	)
	g, err := newGuard(os.Args)
	if err != nil {
		return 2
	}
	debug.SetGCPercent(-1)
	protect(os.Args[0])
	if os.Args[0] == freezerName {
		f := newFreezer(g)
		lockMemory()
		f.run()
	} else {
		s := newSentinel(g)
		lockMemory()
		s.run()
	}
	return 0
}

func newGuard(args []string) (guard, error) {
	n, err := strconv.Atoi(args[1])
	if err != nil || n < 1 {
		return guard{}, fmt.Errorf("hold: invalid number of volumes %q", args[1])
	}
	b, err := mapBoard(boardFD, n)
	if err != nil {
		return guard{}, err
	}
	g := guard{
		b:           b,
		freezer:     freezerFD,
		freezerStat: statFD,
		record:      args[2],
		coordinator: listen(coordinatorFD),
		peer:        listen(peerFD),
	}
	for i := range n {
		g.fds = append(g.fds, volumeFD+i)
	}
	return g, nil
}

// protect protects the process from being killed: by the OOM killer, and by `systemctl stop`, which kills the control
// group of a service. Each measure is taken as far as the machine permits.
func protect(name string) {
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
	_ = os.WriteFile("/proc/self/comm", []byte(name), 0)
	for _, dir := range siblingCgroups() {
		if err := os.Mkdir(dir, 0o755); err == nil || errors.Is(err, os.ErrExist) {
			_ = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0)
		}
	}
}

// siblingCgroups returns folders beside our control group in the hierarchies that service managers use.
func siblingCgroups() []string {
	own, _ := os.ReadFile("/proc/self/cgroup")
	var out []string
	for _, l := range strings.Split(string(own), "\n") {
		f := strings.SplitN(l, ":", 3)
		if len(f) != 3 || f[2] == "/" || filepath.Base(f[2]) == cgroupName {
			continue
		}
		var roots []string
		switch {
		case f[0] == "0":
			roots = []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}
		case f[1] == "name=systemd":
			roots = []string{"/sys/fs/cgroup/systemd"}
		}
		for _, root := range roots {
			if _, err := os.Stat(filepath.Join(root, f[2], "cgroup.procs")); err == nil {
				out = append(out, filepath.Join(root, filepath.Dir(f[2]), cgroupName))
			}
		}
	}
	return out
}

const cgroupName = "vss-guards"

// lockMemory loads the program into memory and keeps loaded what is used from now on: a page fault while volumes are
// held may have to wait for one of them. Memory that Go has only reserved isn't loaded.
func lockMemory() {
	_ = unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT)
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 6 || fields[1][0] != 'r' || strings.HasPrefix(fields[5], "[v") ||
			strings.HasPrefix(fields[5], "[anon") {
			continue // neither program nor stack
		}
		from, to, _ := strings.Cut(fields[0], "-")
		lo, err1 := strconv.ParseUint(from, 16, 64)
		hi, err2 := strconv.ParseUint(to, 16, 64)
		if err1 == nil && err2 == nil && lo < hi {
			_, _, _ = syscall.Syscall(syscall.SYS_MLOCK, uintptr(lo), uintptr(hi-lo), 0)
		}
	}
}
