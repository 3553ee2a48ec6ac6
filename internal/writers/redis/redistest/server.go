// Package redistest runs private Redis servers for tests and demonstrations, in directories that the caller chooses,
// independent of every other server on the machine. It requires root and Debian's package redis-server.
package redistest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
	"github.com/stillpoint-vss/stillpoint/internal/writers/server/spawn"
)

// Account is the user that the servers run as.
const Account = "redis"

var account = spawn.Account{Name: Account, Package: "redis-server"}

// startLimit is for a server to start and load its data.
const startLimit = time.Minute

// Server is one server and the directories of its files, which are created if they do not exist.
type Server struct {
	Dir      string            // for its data
	Run      string            // for socket, log and settings
	AOF      bool              // with append-only file; otherwise it makes dumps
	Port     int               // the port on which it listens; 0: a socket instead
	Settings map[string]string // settings that differ from the defaults
}

// Socket returns the path of the server's socket.
func (s *Server) Socket() string { return filepath.Join(s.Run, "socket") }

// settings returns the text of the configuration file.
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

// Start starts the server and waits until it has loaded its data. On a copy of its files, success shows that Redis can
// use the copy.
func (s *Server) Start(ctx context.Context) error {
	for _, dir := range []string{s.Dir, s.Run} {
		if err := account.Own(dir, 0o755); err != nil {
			return err
		}
	}
	config := filepath.Join(s.Run, "settings")
	if err := os.WriteFile(config, []byte(s.settings()), 0o644); err != nil {
		return err
	}
	up := func(ctx context.Context) error {
		answer, err := s.Do(ctx, "PING")
		if err == nil && answer != "PONG" {
			err = fmt.Errorf("PING returns %q", answer)
		}
		return err
	}
	return s.daemon().Start(ctx, up, config)
}

// daemon describes the server's program.
func (s *Server) daemon() spawn.Server {
	return spawn.Server{
		Account: account, Program: "redis-server", Log: filepath.Join(s.Run, "log"), Limit: startLimit,
	}
}

// Process returns the server's process, nil if it isn't running.
func (s *Server) Process(ctx context.Context) (*server.Process, error) {
	return s.daemon().Process(ctx, s.Dir)
}

// Stop shuts the server down. It returns nil if the server isn't running.
func (s *Server) Stop(ctx context.Context) error {
	return s.daemon().Signal(ctx, s.Dir, syscall.SIGTERM)
}

// Crash kills the server and returns when its process has ended.
func (s *Server) Crash(ctx context.Context) error {
	return s.daemon().Signal(ctx, s.Dir, syscall.SIGKILL)
}

// Do runs a command and returns the answer, as redis-cli prints it for programs.
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

// Setting returns the present value of a setting.
func (s *Server) Setting(ctx context.Context, name string) (string, error) {
	answer, err := s.Do(ctx, "CONFIG", "GET", name)
	_, value, _ := strings.Cut(answer, "\n")
	return value, err
}

// Check checks the files of a server that isn't running with Redis's own programs.
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
