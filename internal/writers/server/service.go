package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Limits of a restore.
const (
	StopLimit  = 5 * time.Minute  // for a server to stop
	StartLimit = 10 * time.Minute // for a server to recover and accept connections

	pollInterval = 250 * time.Millisecond // interval of checks whether a server is up or down
)

// Stop stops the server and returns when it has ended. A service of systemd is stopped by systemd, so that it isn't
// restarted.
func (p *Process) Stop(ctx context.Context) error { return p.StopBy(ctx, p.end) }

// StopBy is Stop for servers with a stop command of their own. Order requests the stop and need not wait for it.
func (p *Process) StopBy(ctx context.Context, order func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, StopLimit)
	defer cancel()
	if err := order(ctx); err != nil {
		return err
	}
	for p.Runs() {
		if err := Pause(ctx, pollInterval); err != nil {
			return fmt.Errorf("the server (process %d) doesn't stop: %w", p.PID, err)
		}
	}
	return nil
}

func (p *Process) end(ctx context.Context) error {
	if p.Unit != "" {
		return systemctl(ctx, "stop", p.Unit)
	}
	if err := syscall.Kill(p.PID, syscall.SIGTERM); !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// Start starts the server with its former arguments and returns when up returns nil. It calls up repeatedly.
func (p *Process) Start(ctx context.Context, up func(context.Context) error) error {
	return StartBy(ctx, p.begin, up)
}

// StartBy is Start for servers with a start command of their own. The channel that start returns receives the server's
// exit; it may be nil.
func StartBy(
	ctx context.Context,
	start func(context.Context) (ended <-chan error, err error),
	up func(context.Context) error,
) error {
	ctx, cancel := context.WithTimeout(ctx, StartLimit)
	defer cancel()
	ended, err := start(ctx)
	if err != nil {
		return err
	}
	for {
		err := up(ctx)
		if err == nil {
			return nil
		}
		select {
		case status := <-ended:
			return fmt.Errorf("the server ended after its start: %w", errors.Join(status, err))
		default:
		}
		if e := Pause(ctx, pollInterval); e != nil {
			return fmt.Errorf("the server doesn't accept connections: %w: %w", err, e)
		}
	}
}

func (p *Process) begin(ctx context.Context) (<-chan error, error) {
	if p.Unit != "" {
		return nil, systemctl(ctx, "start", p.Unit)
	}
	return p.run()
}

// run runs the program as its former account, in a session of its own, so that it outlives this process.
func (p *Process) run() (<-chan error, error) {
	if err := p.checkProgram(); err != nil {
		return nil, fmt.Errorf("the program isn't started: %w", err)
	}
	log, err := p.openLog()
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(p.Program, p.Args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = p.Dir, log, log, Environ()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if os.Geteuid() != p.UID {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(p.UID), Gid: uint32(p.GID)}
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() {
		if err := cmd.Wait(); err != nil { // otherwise it may have daemonized
			ended <- err
		}
	}()
	return ended, nil
}

// openLog opens the server's log as its account, or /dev/null if the account can't write to it.
func (p *Process) openLog() (f *os.File, err error) {
	if p.Log != "" && p.mayLog(p.Log) == nil {
		err = As(p.UID, p.GID, func() (err error) {
			const flags = os.O_WRONLY | os.O_APPEND | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
			f, err = os.OpenFile(p.Log, flags, 0)
			return err
		})
		if err == nil {
			return f, nil
		}
	}
	return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
}

// mayLog checks that a path names a regular file of the server's account.
func (p *Process) mayLog(path string) error {
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() || int(st.Sys().(*syscall.Stat_t).Uid) != p.UID {
		return fmt.Errorf("%s isn't a regular file of uid %d", path, p.UID)
	}
	return nil
}

func systemctl(ctx context.Context, verb, unit string) error {
	program, err := Tool("systemctl")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, verb, unit)
	cmd.Env = Environ()
	said, err := cmd.CombinedOutput()
	if err != nil {
		text := strings.TrimSpace(string(bytes.ToValidUTF8(said, []byte("?"))))
		return fmt.Errorf("systemctl %s %s: %w: %s", verb, unit, err, text)
	}
	return nil
}

// Pause waits for d or the end of ctx, whose error it returns then.
func Pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// Up returns an up function for Start and StartBy: it finds the running server, which is nil if there is none, and
// calls ready with it.
func Up[S any](
	find func(context.Context) (*S, error),
	ready func(context.Context, *S) error,
) func(context.Context) error {
	return func(ctx context.Context) error {
		s, err := find(ctx)
		if err != nil {
			return err
		}
		if s == nil {
			return errors.New("the server isn't running")
		}
		return ready(ctx, s)
	}
}
