package hold

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// casualties are whom a test takes out: each of the three, and each pair.
var casualties = []struct {
	name string
	of   func(v *victims) []int
}{
	{"coordinator", func(v *victims) []int { return []int{v.coordinator} }},
	{"freezer", func(v *victims) []int { return []int{v.freezer} }},
	{"sentinel", func(v *victims) []int { return []int{v.sentinel} }},
	{"coordinator and freezer", func(v *victims) []int { return []int{v.coordinator, v.freezer} }},
	{"coordinator and sentinel", func(v *victims) []int { return []int{v.coordinator, v.sentinel} }},
	{"freezer and sentinel", func(v *victims) []int { return []int{v.freezer, v.sentinel} }},
}

func signalAll(t *testing.T, pids []int, s syscall.Signal) {
	t.Helper()
	for _, pid := range pids {
		if err := syscall.Kill(pid, s); err != nil {
			t.Fatalf("kill %d: %v", pid, err)
		}
	}
}

// awaitStopped waits until every thread of a process that was sent SIGSTOP has stopped: until one of them has taken the
// signal, the others run on.
func awaitStopped(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		running := 0
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		for _, task := range tasks {
			b, _ := os.ReadFile(task)
			if i := bytes.LastIndexByte(b, ')'); i < 0 || len(b) < i+3 || b[i+2] != 'T' {
				running++
			}
		}
		if len(tasks) > 0 && running == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("process %d: %d of %d threads run after SIGSTOP", pid, running, len(tasks))
		}
	}
}

// strike kills or stops several processes at once: a process that notices the death of another must not be killed
// while it is thawing, which makes a btrfs read-only.
func strike(t *testing.T, pids []int, s syscall.Signal) {
	t.Helper()
	signalAll(t, pids, syscall.SIGSTOP)
	if s == syscall.SIGKILL {
		time.Sleep(2 * time.Millisecond)
		signalAll(t, pids, s)
	}
}

// hold brings a coordinator to the point where all is held.
func (v *victims) hold(t *testing.T) {
	t.Helper()
	fmt.Fprintln(v.stdin)
	for _, want := range []string{"holding", "held"} {
		if got := v.hear(t, 10*time.Second); got != want {
			t.Fatalf("the coordinator said %q, want %q", got, want)
		}
	}
}

// TestKilledWhileHeld: a death is noticed at once, long before the deadline.
func TestKilledWhileHeld(t *testing.T) {
	scratch := setUp(t)
	var all []*fileSystem
	for _, kind := range kinds {
		all = append(all, makeFS(t, scratch, kind, 320))
	}
	for _, c := range casualties {
		t.Run(c.name, func(t *testing.T) {
			run := t.TempDir()
			v := launch(t, run, 10*time.Second, all...)
			v.hold(t)
			mustBlock(t, all...)
			strike(t, c.of(v), syscall.SIGKILL)
			began := time.Now()
			mustWrite(t, time.Second, all...)
			t.Logf("writable %v after the kill", time.Since(began))
			if strings.Contains(c.name, "coordinator") {
				v.mustBeGone(t)
				if n := records(t, run); n != 0 {
					t.Errorf("%d records left in RUN/held", n)
				}
			}
		})
	}
}

// TestStoppedWhileHeld: nobody notices that somebody is stopped, but each has the deadline.
func TestStoppedWhileHeld(t *testing.T) {
	scratch := setUp(t)
	var all []*fileSystem
	for _, kind := range kinds {
		all = append(all, makeFS(t, scratch, kind, 320))
	}
	for _, c := range casualties {
		t.Run(c.name, func(t *testing.T) {
			v := launch(t, scratch, time.Second, all...)
			began := time.Now()
			v.hold(t)
			strike(t, c.of(v), syscall.SIGSTOP)
			mustBlock(t, all...)
			mustWrite(t, 2*time.Second, all...)
			t.Logf("writable %v after the hold began", time.Since(began))
		})
	}
}

// TestStruckWhileFreezing: a freeze completes also when its caller was killed in the middle, and doesn't come back
// when it was stopped.
func TestStruckWhileFreezing(t *testing.T) {
	scratch := setUp(t)
	for _, signal := range []struct {
		name  string
		what  syscall.Signal
		limit time.Duration
	}{{"kill", syscall.SIGKILL, 10 * time.Second}, {"stop", syscall.SIGSTOP, 400 * time.Millisecond}} {
		for i, c := range casualties {
			kind := kinds[i%len(kinds)]
			t.Run(signal.name+" "+c.name+" "+kind, func(t *testing.T) {
				busy, stall := makeStalling(t, scratch, kind, 320)
				quiet := makeFS(t, scratch, "ext4", 64)
				v := launch(t, scratch, signal.limit, busy, quiet)
				busy.dirty(t, 16)
				resume := stall()
				fmt.Fprintln(v.stdin)
				if got := v.hear(t, 10*time.Second); got != "holding" {
					t.Fatalf("the coordinator said %q", got)
				}
				began := time.Now()
				for within(quiet.write(), 50*time.Millisecond) { // until quiet is frozen; busy can't flush
				}
				strike(t, c.of(v), signal.what)
				if signal.what == syscall.SIGSTOP { // noticed at the deadline only; the flush takes longer
					mustWrite(t, signal.limit+150*time.Millisecond, quiet)
				} else {
					time.Sleep(20 * time.Millisecond)
				}
				resume()
				mustWrite(t, max(signal.limit, 2*time.Second)+time.Second, quiet, busy)
				t.Logf("writable %v after the hold began", time.Since(began))
				time.Sleep(killAfter + 200*time.Millisecond) // nothing may be frozen later on either
				mustWrite(t, time.Second, quiet, busy)
			})
		}
	}
}

// TestEndOfFileMeansDone: the freezer's socket closes only when its last thread is through with its ioctl, be it
// killed.
func TestEndOfFileMeansDone(t *testing.T) {
	scratch := setUp(t)
	busy, stall := makeStalling(t, scratch, "ext4", 320)
	quiet := makeFS(t, scratch, "xfs", 320)
	g := start(t, scratch, 10*time.Second, busy, quiet)
	busy.dirty(t, 16)
	resume := stall()
	failed := make(chan error, 1)
	go func() { failed <- g.Hold(t.Context()) }()
	for g.b.marks[0].state.Load() != freezing {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond) // its thread is in the ioctl, which can't end
	g.freezer.kill()
	killed := time.Now()
	const flush = 100 * time.Millisecond
	time.AfterFunc(flush, resume)
	for !g.line.gone.Load() {
		if time.Since(killed) > 9*time.Second {
			t.Fatal("no end of file")
		}
		time.Sleep(time.Millisecond)
	}
	ended := time.Since(killed)
	if p, err := processOf(g.freezer.proc.Pid); err == nil {
		time.Sleep(20 * time.Millisecond)
		if p.alive() {
			t.Error("end of file while the freezer still has threads")
		}
	}
	if err := <-failed; !errors.Is(err, vss.ErrHoldWritesTimeout) {
		t.Errorf("Hold: %v", err)
	}
	if ended < flush {
		t.Errorf("end of file %v after the kill, before the flush was over", ended)
	}
	mustWrite(t, time.Second, quiet, busy)
	t.Logf("end of file %v after the kill", ended)
}

// TestStruckAtRandom kills one or two of the three at any moment between the order to hold and some time after.
func TestStruckAtRandom(t *testing.T) {
	scratch := setUp(t)
	var all []*fileSystem
	for _, kind := range kinds {
		all = append(all, makeFS(t, scratch, kind, 320))
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("VSS_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("VSS_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for round := range lane.Soak(200) {
		c := casualties[random.IntN(len(casualties))]
		after := time.Duration(random.IntN(60_000)) * time.Microsecond
		t.Run(fmt.Sprintf("%d %s after %v", round, c.name, after), func(t *testing.T) {
			for _, fs := range all {
				fs.dirty(t, 4)
			}
			v := launch(t, t.TempDir(), 10*time.Second, all...)
			fmt.Fprintln(v.stdin)
			time.Sleep(after)
			strike(t, c.of(v), syscall.SIGKILL)
			mustWrite(t, time.Second, all...)
			time.Sleep(2 * retry)
			mustWrite(t, time.Second, all...)
		})
	}
}

// TestStoppedBeforeHold: a freezer that wakes up long after the hold was given up freezes nothing.
func TestStoppedBeforeHold(t *testing.T) {
	scratch := setUp(t)
	fs := makeFS(t, scratch, "ext4", 64)
	for _, guard := range []string{"freezer", "sentinel"} {
		t.Run(guard, func(t *testing.T) {
			g := start(t, scratch, 500*time.Millisecond, fs)
			c := g.freezer
			if guard == "sentinel" {
				c = g.sentinel
			}
			signalAll(t, []int{c.proc.Pid}, syscall.SIGSTOP)
			awaitStopped(t, c.proc.Pid)
			if err := g.Hold(t.Context()); err == nil {
				t.Error("Hold succeeded")
			} else {
				t.Log(err)
			}
			mustWrite(t, 500*time.Millisecond, fs)
			_ = c.proc.Signal(syscall.SIGCONT)
			time.Sleep(100 * time.Millisecond)
			mustWrite(t, 500*time.Millisecond, fs)
		})
	}
}

// TestIdleGuards: guards that have nothing to do go with their coordinator.
func TestIdleGuards(t *testing.T) {
	scratch := setUp(t)
	fs := makeFS(t, scratch, "ext4", 64)
	for _, stopped := range []bool{false, true} {
		v := launch(t, scratch, time.Second, fs)
		if stopped {
			signalAll(t, []int{v.freezer}, syscall.SIGSTOP)
		}
		began := time.Now()
		signalAll(t, []int{v.coordinator}, syscall.SIGKILL)
		v.mustBeGone(t)
		t.Logf("freezer stopped: %v; gone after %v", stopped, time.Since(began))
	}
}

// TestSignalsIgnored: what a service manager or a terminal sends doesn't end a guard.
func TestSignalsIgnored(t *testing.T) {
	scratch := setUp(t)
	fs := makeFS(t, scratch, "ext4", 64)
	g := start(t, scratch, 2*time.Second, fs)
	if err := g.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT} {
		signalAll(t, []int{g.freezer.proc.Pid, g.sentinel.proc.Pid}, s)
	}
	time.Sleep(50 * time.Millisecond)
	mustBlock(t, fs)
	if _, err := g.Release(); err != nil {
		t.Error(err)
	}
}

// TestGuardProcess: a guard is out of others' way: session, memory, out-of-memory killer.
func TestGuardProcess(t *testing.T) {
	scratch := setUp(t)
	fs := makeFS(t, scratch, "ext4", 64)
	g := start(t, scratch, 2*time.Second, fs)
	for _, c := range []*child{g.freezer, g.sentinel} {
		proc := fmt.Sprintf("/proc/%d/", c.proc.Pid)
		score, err := os.ReadFile(proc + "oom_score_adj")
		if got := strings.TrimSpace(string(score)); err != nil || got != "-1000" && mayLowerScore(t) {
			t.Errorf("oom_score_adj of %d is %s (%v)", c.proc.Pid, got, err)
		}
		status, err := os.ReadFile(proc + "status")
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range strings.Split(string(status), "\n") {
			if strings.HasPrefix(l, "VmLck") || strings.HasPrefix(l, "VmRSS") || strings.HasPrefix(l, "Name") {
				t.Log(l)
			}
			if l == "VmLck:\t       0 kB" {
				t.Error("no memory is locked")
			}
		}
		if sid, err := syscall.Getpgid(c.proc.Pid); err != nil || sid != c.proc.Pid {
			t.Errorf("guard %d is in the group of %d (%v)", c.proc.Pid, sid, err)
		}
		fds, _ := filepath.Glob(proc + "fd/*")
		for _, fd := range fds {
			to, _ := os.Readlink(fd)
			if n := filepath.Base(fd); n <= "2" && len(n) == 1 && to != "/dev/null" {
				t.Errorf("descriptor %s of a guard is %s", n, to)
			}
		}
	}
}

// mayLowerScore says whether root here has what it takes to lower oom_score_adj: containers take it away.
func mayLowerScore(t *testing.T) bool {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		t.Fatal(err)
	}
	return data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

// TestCgroup: a service manager that kills all of a service's cgroup doesn't reach the guards.
func TestCgroup(t *testing.T) {
	scratch := setUp(t)
	base := "/sys/fs/cgroup"
	if _, err := os.Stat(base + "/unified/cgroup.procs"); err == nil {
		base += "/unified"
	}
	slice := filepath.Join(base, fmt.Sprintf("vss-test-%d", os.Getpid()))
	service := filepath.Join(slice, "service")
	if err := os.MkdirAll(service, 0o755); err != nil {
		t.Logf("no cgroup of our own to be had (%v): that is best effort", err)
		return
	}
	t.Cleanup(func() {
		for _, dir := range []string{service, filepath.Join(slice, cgroupName), slice} {
			for range 40 {
				if err := os.Remove(dir); err == nil || os.IsNotExist(err) {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
	})
	fs := makeFS(t, scratch, "ext4", 64)
	dir, err := os.Open(service)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	v := launchBy(t, func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	}, scratch, 2*time.Second, fs)
	for _, pid := range []int{v.freezer, v.sentinel} {
		in, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
		if err != nil || !strings.Contains(string(in), "/"+filepath.Base(slice)+"/"+cgroupName) {
			t.Errorf("guard %d is in %s (%v)", pid, in, err)
		}
	}
	v.hold(t)
	if err := os.WriteFile(filepath.Join(service, "cgroup.kill"), []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, time.Second, fs)
	v.mustBeGone(t)
}
