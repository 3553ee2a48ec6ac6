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
	StopLimit  = 5 * time.Minute  // for a server to end in order
	StartLimit = 10 * time.Minute // for a server to recover and take clients

	lookAgain = 250 * time.Millisecond // how often one is asked whether it is up or down
)

// Stop ends the server in order and returns when it is gone. systemd is asked to do it where it runs the service, so that it
// isn't started again behind our back.
func (p *Process) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, StopLimit)
	defer cancel()
	if p.Unit != "" {
		if err := systemctl(ctx, "stop", p.Unit); err != nil {
			return err
		}
	} else if err := syscall.Kill(p.PID, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	for p.Runs() {
		if err := pause(ctx); err != nil {
			return fmt.Errorf("the server (process %d) doesn't end: %w", p.PID, err)
		}
	}
	return nil
}

// Start starts the server as it ran before and returns when up says that it takes clients. Up is asked again and again.
func (p *Process) Start(ctx context.Context, up func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, StartLimit)
	defer cancel()
	ended := make(chan error, 1)
	if p.Unit != "" {
		if err := systemctl(ctx, "start", p.Unit); err != nil {
			return err
		}
	} else if err := p.run(ended); err != nil {
		return err
	}
	for {
		err := up(ctx)
		if err == nil {
			return nil
		}
		select {
		case status := <-ended:
			return fmt.Errorf("the server ended at once: %w", errors.Join(status, err))
		default:
		}
		if e := pause(ctx); e != nil {
			return fmt.Errorf("the server doesn't come up: %w: %w", err, e)
		}
	}
}

// run runs the program as the account that it ran as, in a session of its own, so that it outlives us.
func (p *Process) run(ended chan<- error) error {
	name := p.Log
	if name == "" {
		name = os.DevNull
	}
	log, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.Program, p.Args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.Dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if os.Geteuid() != p.UID {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(p.UID), Gid: uint32(p.GID)}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		if err := cmd.Wait(); err != nil { // else it may have put itself into the background
			ended <- err
		}
	}()
	return nil
}

func systemctl(ctx context.Context, verb, unit string) error {
	said, err := exec.CommandContext(ctx, "systemctl", verb, unit).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl %s %s: %w: %s", verb, unit, err, strings.TrimSpace(string(bytes.ToValidUTF8(said, []byte("?")))))
	}
	return nil
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(lookAgain):
		return nil
	}
}
