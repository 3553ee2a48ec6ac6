package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// bootWithin is how long a guest may take until it executes commands: about ten times of what it needs, for machines
// under load.
const bootWithin = 2 * time.Minute

// ErrDied means that the guest's kernel ended, or was cut off, while a call waited for it.
var ErrDied = errors.New("the guest died")

// Machine is a booted guest; it keeps its disks and its directory when it is cut off and booted again.
type Machine struct {
	g        Guest
	t        testing.TB
	dir      string
	exe      string // this program, by its path in the guest
	disks    []string
	th       *thread
	tap, mac string
	boots    int
	mu       sync.Mutex // guards what follows
	now      *running   // nil when it is off
}

// running is one run of a guest.
type running struct {
	cmd     *exec.Cmd
	line    sender
	console string // file with the kernel's log
	dead    chan struct{}
	up      chan frame
	mu      sync.Mutex
	calls   map[uint32]call
	last    uint32
}

// Boot starts a guest and waits until it executes commands. It is cut off at the end of the test. Like all methods of
// Machine except Run, it ends the test if it fails.
func Boot(t testing.TB, g Guest) *Machine {
	t.Helper()
	th := threadFor(t)
	m := newMachine(t, g, th)
	m.Boot()
	return m
}

func newMachine(t testing.TB, g Guest, th *thread) *Machine {
	t.Helper()
	if !mainCalled {
		t.Fatal("this package's TestMain must call lab.Main")
	}
	g.fill()
	m := &Machine{g: g, t: t, th: th, dir: newDir(t)}
	t.Cleanup(m.Cut)
	var err error
	if m.exe, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	if m.disks, err = g.images(m.dir); err != nil {
		t.Fatal(err)
	}
	return m
}

// Dir returns a directory of the host that the guest can write to, as /lab. If the host changes a file after the guest
// has read it, the guest may see the old content.
func (m *Machine) Dir() string { return m.dir }

// Disk returns the path of the file of disk i.
func (m *Machine) Disk(i int) string { return m.disks[i] }

// Boot switches the guest on, after Cut or Halt.
func (m *Machine) Boot() {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bootWithin)
	defer cancel()
	if err := m.boot(ctx); err != nil {
		m.t.Fatal(err)
	}
}

func (m *Machine) boot(ctx context.Context) error {
	m.boots++
	boot := filepath.Join(m.dir, fmt.Sprintf("boot-%d", m.boots))
	if err := os.Mkdir(boot, 0o700); err != nil {
		return err
	}
	about, err := json.Marshal(plan{Guest: m.g, Fresh: m.boots == 1})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(m.dir, planFile), about, 0o600); err != nil {
		return err
	}
	r := &running{console: filepath.Join(boot, "console"), dead: make(chan struct{}), up: make(chan frame, 1),
		calls: map[uint32]call{}}
	if err := r.start(m.th, m.g.kernel(m, boot)); err != nil {
		return err
	}
	m.mu.Lock()
	m.now = r
	m.mu.Unlock()
	select {
	case f := <-r.up:
		r.up <- f // kept for later: it is sent once in a run
		if f.kind == frameFailed {
			err = fmt.Errorf("%s can't set itself up: %s", m.g.Name, f.data)
		}
	case <-r.dead:
		err = ErrDied
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		m.Cut()
		return fmt.Errorf("boot %s: %w\n%s", m.g.Name, err, r.log())
	}
	return nil
}

// start starts the kernel and listens on its line.
func (r *running) start(th *thread, args []string) error {
	fromUs, toGuest, err := os.Pipe()
	if err != nil {
		return err
	}
	defer fromUs.Close()
	fromGuest, toUs, err := os.Pipe()
	if err != nil {
		toGuest.Close()
		return err
	}
	defer toUs.Close()
	console, err := r.watch()
	if err != nil {
		toGuest.Close()
		fromGuest.Close()
		return err
	}
	defer console.Close()
	r.cmd = exec.Command("linux.uml", args...)
	r.cmd.Stdout, r.cmd.Stderr = console, console
	r.cmd.ExtraFiles = []*os.File{fromUs, toUs}
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC,
		Pdeathsig: syscall.SIGKILL, Setsid: true}
	if err := th.do(r.cmd.Start); err != nil {
		toGuest.Close()
		fromGuest.Close()
		return err
	}
	r.line.w = toGuest
	go func() {
		for {
			f, err := readFrame(fromGuest)
			if err != nil {
				return
			}
			r.deliver(f)
		}
	}()
	go r.remind()
	go func() {
		_ = r.cmd.Wait() // returns when the PID namespace has ended; the disks' locks are released only then
		close(r.dead)
		toGuest.Close()
		fromGuest.Close()
	}()
	return nil
}

// remind sends the kernel its timer signal four times a second. Occasionally one is lost between the two kernels
// (linux.uml 6.1 on 6.18, five times in two hours of busy guests: the next event was in the past, and no timer was
// armed), and then nothing that waits for a time continues. Another signal makes the kernel check what is due; an
// unnecessary one has no effect.
func (r *running) remind() {
	often := time.NewTicker(250 * time.Millisecond)
	defer often.Stop()
	for {
		select {
		case <-often.C:
			_ = r.cmd.Process.Signal(unix.SIGALRM)
		case <-r.dead:
			return
		}
	}
}

// watch copies what is written to the returned file to r.console, and kills a kernel that panics, which would
// otherwise hang.
func (r *running) watch() (*os.File, error) {
	to, err := os.Create(r.console)
	if err != nil {
		return nil, err
	}
	from, w, err := os.Pipe()
	if err != nil {
		to.Close()
		return nil, err
	}
	go func() {
		defer to.Close()
		defer from.Close()
		var panicked *time.Timer
		for in := bufio.NewReader(from); ; {
			l, err := in.ReadString('\n')
			_, _ = to.WriteString(l)
			if panicked == nil && strings.Contains(l, "Kernel panic - not syncing") {
				// the trace follows
				panicked = time.AfterFunc(200*time.Millisecond, func() { _ = r.cmd.Process.Kill() })
			}
			if err != nil {
				return
			}
		}
	}()
	return w, nil
}

func (r *running) deliver(f frame) {
	if f.kind == frameUp || f.kind == frameFailed {
		select {
		case r.up <- f:
		default: // the guest has rebooted itself, and lost the commands in progress
			_ = r.cmd.Process.Kill()
		}
		return
	}
	r.mu.Lock()
	c, ok := r.calls[f.id]
	r.mu.Unlock()
	if ok {
		select {
		case c.frames <- f:
		case <-c.over:
		}
	}
}

// log returns the end of the output of the kernel and our first process.
func (r *running) log() []byte {
	b, _ := os.ReadFile(r.console)
	return b[max(0, len(b)-8192):]
}

// Cut is a power failure: the kernel is killed and the disks are left as they are. It may be called when it is off
// already.
func (m *Machine) Cut() {
	m.mu.Lock()
	r := m.now
	m.now = nil
	m.mu.Unlock()
	if r != nil {
		_ = r.cmd.Process.Kill()
		<-r.dead
	}
}

// Halt writes everything to the disks and switches the guest off. After 20 s without success it is cut off and the
// test fails.
func (m *Machine) Halt() {
	m.t.Helper()
	if err := m.halt(); err != nil {
		m.t.Error(err)
	}
}

func (m *Machine) halt() error {
	m.mu.Lock()
	r := m.now
	m.mu.Unlock()
	if r == nil {
		return nil
	}
	defer m.Cut()
	if err := r.line.send(frameHalt, 0, nil); err != nil {
		return err
	}
	select {
	case <-r.dead:
		return nil
	case <-time.After(20 * time.Second):
		return fmt.Errorf("%s doesn't halt\n%s", m.g.Name, r.log())
	}
}

// Console returns the end of the output of the kernel and our first process in this run.
func (m *Machine) Console() string {
	b, _ := os.ReadFile(filepath.Join(m.dir, fmt.Sprintf("boot-%d", m.boots), "console"))
	return string(b)
}
