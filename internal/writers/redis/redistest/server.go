// Package redistest starts Redis servers of its own, for tests and demonstrations: on folders that the caller gives, apart from every
// server of the machine. It needs root and Debian's package redis-server.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
)

// Account is whom the servers run as.
const Account = "redis"

const upLimit = time.Minute // for a server to start: it may have data to read

// Server is one server and where its files are. Both folders are made if they aren't there.
type Server struct {
	Dir      string            // of its data
	Run      string            // of socket, log and settings
	AOF      bool              // with append-only file; else it makes dumps
	Port     int               // where it listens; 0: at its socket alone, else at the port alone
	Settings map[string]string // beyond these
}

// Socket is where the server listens.
func (s *Server) Socket() string { return filepath.Join(s.Run, "socket") }

// settings are those of its file.
func (s *Server) settings() string {
	on := map[bool]string{true: "yes", false: "no"}
	b := &strings.Builder{}
	fmt.Fprintf(b, "dir %s\nappendonly %s\nport %d\nbind 127.0.0.1\n", s.Dir, on[s.AOF], s.Port)
	if s.Port == 0 {
		fmt.Fprintf(b, "unixsocket %s\nunixsocketperm 777\n", s.Socket())
	}
	for name, value := range s.Settings {
		fmt.Fprintf(b, "%s %s\n", name, value)
	}
	return b.String()
}

// Start starts the server and waits until it has read its data. On a copy of its files it is the proof that the copy is good.
func (s *Server) Start(ctx context.Context) error {
	uid, gid, err := ids()
	if err != nil {
		return err
	}
	for _, dir := range []string{s.Dir, s.Run} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.Chown(dir, uid, gid); err != nil {
			return err
		}
	}
	config := filepath.Join(s.Run, "settings")
	if err := os.WriteFile(config, []byte(s.settings()), 0o644); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(s.Run, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	if err := log.Chown(uid, gid); err != nil {
		return err
	}
	cmd := exec.Command("redis-server", config)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, upLimit)
	defer cancel()
	for {
		answer, err := s.Do(ctx, "PING")
		if err == nil && answer == "PONG" {
			return nil
		}
		select {
		case status := <-ended:
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("redis-server ended: %w: %s", errors.Join(status, err), text)
		case <-ctx.Done():
			return fmt.Errorf("redis-server doesn't come up: %s, %w", answer, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Process is the server's, nil when it doesn't run.
func (s *Server) Process(ctx context.Context) (*server.Process, error) {
	return server.In(ctx, s.Dir, "redis-server")
}

// Stop ends the server in order. One that isn't running is no error.
func (s *Server) Stop(ctx context.Context) error { return s.signal(ctx, syscall.SIGTERM) }

// Crash kills the server and returns when it is gone.
func (s *Server) Crash(ctx context.Context) error { return s.signal(ctx, syscall.SIGKILL) }

func (s *Server) signal(ctx context.Context, sig syscall.Signal) error {
	p, err := s.Process(ctx)
	if err != nil || p == nil {
		return err
	}
	return p.StopBy(ctx, func(context.Context) error { return syscall.Kill(p.PID, sig) })
}

// Do runs a command and gives the answer, as redis-cli prints it for programs.
func (s *Server) Do(ctx context.Context, command ...string) (string, error) {
	at := []string{"-s", s.Socket()}
	if s.Port != 0 {
		at = []string{"-p", strconv.Itoa(s.Port)}
	}
	cmd := exec.CommandContext(ctx, "redis-cli", append(at, command...)...)
	if password := s.Settings["requirepass"]; password != "" {
		cmd.Env = append(os.Environ(), "REDISCLI_AUTH="+password)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("redis-cli: %w: %s", err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// Setting is the value of a setting now.
func (s *Server) Setting(ctx context.Context, name string) (string, error) {
	answer, err := s.Do(ctx, "CONFIG", "GET", name)
	_, value, _ := strings.Cut(answer, "\n")
	return value, err
}

// Check has Redis's own programs look at the files of a server that doesn't run.
func (s *Server) Check(ctx context.Context) error {
	manifests, err := filepath.Glob(filepath.Join(s.Dir, "appendonlydir", "*.manifest"))
	if err != nil {
		return err
	}
	checks := [][]string{}
	for _, m := range manifests {
		checks = append(checks, []string{"redis-check-aof", m})
	}
	if _, err := os.Stat(filepath.Join(s.Dir, "dump.rdb")); err == nil {
		checks = append(checks, []string{"redis-check-rdb", filepath.Join(s.Dir, "dump.rdb")})
	}
	if len(checks) == 0 {
		return fmt.Errorf("%s holds neither an append-only file nor a dump", s.Dir)
	}
	for _, c := range checks {
		if out, err := exec.CommandContext(ctx, c[0], c[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", c[0], err, out)
		}
	}
	return nil
}

func ids() (uid, gid int, err error) {
	u, err := user.Lookup(Account)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: install the package redis-server", err)
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}
