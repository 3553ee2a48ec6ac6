package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
)

// Result is the result of a command.
type Result struct {
	Exit           int // status; 128+N if signal N ended it, 127 if it couldn't be started
	Stdout, Stderr string
}

// Run runs a command in the guest, with this process's environment and directory, and waits for it. Several may run at
// once. Any exit status is a result. An error is ErrDied, or that of ctx, whose end kills the command with its
// children: first by SIGQUIT, which makes a Go program print its goroutines.
func (m *Machine) Run(ctx context.Context, args ...string) (Result, error) {
	m.mu.Lock()
	r := m.now
	m.mu.Unlock()
	if r == nil {
		return Result{}, fmt.Errorf("%s is off: %w", m.g.Name, ErrDied)
	}
	dir, err := os.Getwd()
	if err != nil {
		return Result{}, err
	}
	what, err := json.Marshal(command{Args: args, Env: os.Environ(), Dir: dir})
	if err != nil {
		return Result{}, err
	}
	id, c := r.call()
	defer r.forget(id)
	if err := r.line.send(frameRun, id, what); err != nil {
		return Result{}, fmt.Errorf("%s: %w (%v)", m.g.Name, ErrDied, err)
	}
	var out, errs bytes.Buffer
	stop := ctx.Done()
	var quit, late <-chan time.Time
	for {
		select {
		case f := <-c.frames:
			switch f.kind {
			case frameOut:
				out.Write(f.data)
			case frameErr:
				errs.Write(f.data)
			case frameExit:
				status, err := strconv.Atoi(string(f.data))
				if err == nil && stop == nil {
					err = ctx.Err()
				}
				return Result{Exit: status, Stdout: out.String(), Stderr: errs.String()}, err
			}
		case <-r.dead:
			return Result{Stdout: out.String(), Stderr: errs.String()},
				fmt.Errorf("%s: %w\n%s", m.g.Name, ErrDied, r.log())
		case <-stop:
			stop, quit = nil, time.After(2*time.Second)
			_ = r.line.send(frameKill, id, []byte{byte(unix.SIGQUIT)}) // a Go program prints its goroutines
		case <-quit:
			quit, late = nil, time.After(5*time.Second)
			_ = r.line.send(frameKill, id, []byte{byte(unix.SIGKILL)})
		case <-late:
			return Result{Stdout: out.String(), Stderr: errs.String()},
				fmt.Errorf("%s doesn't answer any more: %w\n%s", m.g.Name, ctx.Err(), r.log())
		}
	}
}

// call is a command in progress, for the reader of the line.
type call struct {
	frames chan frame
	over   chan struct{} // closed when its frames are no longer read
}

func (r *running) call() (uint32, call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	c := call{frames: make(chan frame, 16), over: make(chan struct{})}
	r.calls[r.last] = c
	return r.last, c
}

func (r *running) forget(id uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.calls[id].over)
	delete(r.calls, id)
}

// Sh runs a shell script (set -e) in the guest within 1 minute and returns its output. A failure ends the test.
func (m *Machine) Sh(script string) string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := m.Run(ctx, "sh", "-ec", script)
	if err != nil || r.Exit != 0 {
		m.t.Fatalf("%s: exit %d, %v\n%s\n%s%s", m.g.Name, r.Exit, err, script, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// Run boots a guest, runs one command in it and halts it, all within g.Timeout. Errors are ErrDied and, past the
// limit, context.DeadlineExceeded; the guest is removed in any case.
func Run(t testing.TB, g Guest, args ...string) (Result, error) {
	t.Helper()
	lane.Lab(t)
	th, err := newThread(true)
	if err != nil {
		t.Fatal(err)
	}
	defer th.end()
	m := newMachine(t, g, th)
	defer m.Cut()
	ctx, cancel := context.WithTimeout(context.Background(), m.g.Timeout)
	defer cancel()
	if err := m.boot(ctx); err != nil {
		return Result{}, err
	}
	r, err := m.Run(ctx, args...)
	if err == nil {
		err = m.halt()
	}
	return r, err
}

// Inside reports whether this process runs in a guest.
func Inside() bool { return os.Getenv(guestEnv) != "" }

// Enter makes a test run in a guest. Outside it boots one, runs the same test there, reports its result and returns
// false; the caller then returns. Inside it returns true.
func Enter(t *testing.T, g Guest) bool {
	t.Helper()
	if Inside() {
		return true
	}
	m := Boot(t, g)
	ctx, cancel := context.WithTimeout(context.Background(), m.g.Timeout)
	defer cancel()
	m.test(ctx, t)
	return false
}

// Test runs the inner part of the calling test, where Inside is true, in a running guest.
func (m *Machine) Test(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), m.g.Timeout)
	defer cancel()
	m.test(ctx, t)
}

func (m *Machine) test(ctx context.Context, t *testing.T) {
	t.Helper()
	exe := m.exe
	if m.g.Root != "" {
		exe = rootExe
	}
	limit, _ := ctx.Deadline()
	args := []string{exe, "-test.v", "-test.count=1", "-test.run=" + pattern(t.Name()), "-test.timeout=" +
		time.Until(limit).String()}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	r, err := m.Run(ctx, args...)
	t.Logf("in %s:\n%s%s", m.g.Name, r.Stdout, r.Stderr)
	// a test that was skipped or not found doesn't count
	passed := strings.Contains(r.Stdout, "--- PASS: "+t.Name()+" ")
	if err != nil || r.Exit != 0 || !passed {
		t.Errorf("%s: exit %d, error %v, passed: %v\n%s", m.g.Name, r.Exit, err, passed, m.Console())
	}
}

// pattern returns the -test.run for exactly one test or subtest.
func pattern(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}
