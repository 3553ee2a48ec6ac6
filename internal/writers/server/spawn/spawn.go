// Package spawn runs database servers under the accounts of their packages, for tests and for the demonstration.
package spawn

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
)

// Account is the account that servers of one kind run as.
type Account struct {
	Name    string
	Package string // the Debian package that creates the account
}

// IDs returns the user and group ID of the account.
func (a Account) IDs() (uid, gid int, err error) {
	u, err := user.Lookup(a.Name)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: install the package %s", err, a.Package)
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}

// Own creates a folder if necessary, and gives it to the account with mode.
func (a Account) Own(dir string, mode os.FileMode) error {
	uid, gid, err := a.IDs()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return err
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		return err
	}
	return os.Chmod(dir, mode)
}

// Server is a server program that runs in the foreground.
type Server struct {
	Account
	Program string
	Log     string        // file for its output
	Limit   time.Duration // for its start, recovery included
}

// Start starts the program and returns when up returns nil. It fails if the program ends or the limit passes before.
func (s Server) Start(ctx context.Context, up func(context.Context) error, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	start := func(context.Context) (<-chan error, error) { return s.run(args) }
	if err := server.StartBy(ctx, start, up); err != nil {
		text, _ := os.ReadFile(s.Log)
		return fmt.Errorf("%s: %w: %s", s.Program, err, text)
	}
	return nil
}

// run starts the program. The channel receives its exit.
func (s Server) run(args []string) (<-chan error, error) {
	uid, gid, err := s.IDs()
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if err := log.Chown(uid, gid); err != nil {
		return nil, err
	}
	cmd := exec.Command(s.Program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)},
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return ended, nil
}

// Process returns the server that runs in a working directory, nil if there is none.
func (s Server) Process(ctx context.Context, dir string) (*server.Process, error) {
	return server.Finder{Names: []string{filepath.Base(s.Program)}}.In(ctx, dir)
}

// Signal sends a signal to the server that runs in a working directory and returns when it has ended. It does nothing
// if there is none.
func (s Server) Signal(ctx context.Context, dir string, sig syscall.Signal) error {
	p, err := s.Process(ctx, dir)
	if err != nil || p == nil {
		return err
	}
	return p.StopBy(ctx, func(context.Context) error { return syscall.Kill(p.PID, sig) })
}
