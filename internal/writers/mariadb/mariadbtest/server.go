// Package mariadbtest runs private MariaDB servers for tests and demonstrations, in directories that the caller
// chooses. A server listens on a unix socket of its own and on no port, so it is independent of every other server on
// the machine. The package requires root and Debian's package mariadb-server.
package mariadbtest

import (
	"context"
	"errors"
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

// account is the user that the servers run as.
var account = spawn.Account{Name: "mysql", Package: "mariadb-server"}

// Client is an account of the database test that any local account may log in as.
const Client = "client"

// startLimit is for a server to start, recovery included.
const startLimit = 2 * time.Minute

// Server is one server and the directories of its files. Data and Run (for the socket and the log) are required. Redo
// and Binlog may be on other volumes. Directories that do not exist are created.
type Server struct {
	Data, Run string
	Redo      string            // "": in Data
	Binlog    string            // "": no binary log
	Settings  map[string]string // beyond the defaults
}

// Socket returns the path of the server's socket.
func (s *Server) Socket() string { return filepath.Join(s.Run, "socket") }

// Log returns the path of the error log.
func (s *Server) Log() string { return filepath.Join(s.Run, "log") }

// Make creates the data directory, starts the server, and creates the database test and the account Client.
func (s *Server) Make(ctx context.Context) error {
	if err := s.Own(); err != nil {
		return err
	}
	// Durability doesn't matter yet, so that this is fast.
	args := append(s.places(), "--user="+account.Name, "--skip-test-db", "--auth-root-authentication-method=socket",
		"--innodb-flush-method=nosync", "--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=8M")
	if out, err := exec.CommandContext(ctx, "mariadb-install-db",
		append([]string{"--no-defaults"}, args...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("mariadb-install-db: %w: %s", err, out)
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	_, err := s.SQL(
		ctx,
		"CREATE DATABASE test; CREATE USER "+Client+"@localhost IDENTIFIED BY '';"+
			" GRANT ALL ON test.* TO "+Client+"@localhost",
	)
	return err
}

// Own creates the directories and makes the servers' account their owner.
func (s *Server) Own() error {
	for _, dir := range []string{s.Data, s.Run, s.Redo, s.Binlog} {
		if dir == "" {
			continue
		}
		if err := account.Own(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// places returns the options for the locations of files.
func (s *Server) places() []string {
	args := []string{"--datadir=" + s.Data}
	if s.Redo != "" {
		args = append(args, "--innodb-log-group-home-dir="+s.Redo)
	}
	return args
}

// Start starts the server and waits until it has finished recovery and accepts connections. On a copy of its files,
// success shows that MariaDB can use the copy.
func (s *Server) Start(ctx context.Context) error {
	if err := account.Own(s.Run, 0o755); err != nil {
		return err
	}
	args := append([]string{"--no-defaults"}, s.places()...)
	args = append(args, "--socket="+s.Socket(), "--skip-networking", "--pid-file="+filepath.Join(s.Run, "pid"),
		"--innodb-log-file-size=8M", "--innodb-buffer-pool-size=32M", "--server-id=1", "--skip-name-resolve")
	if s.Binlog != "" {
		if err := s.index(); err != nil {
			return err
		}
		args = append(args, "--log-bin="+filepath.Join(s.Binlog, "binlog"), "--binlog-format=ROW")
	}
	for name, value := range s.Settings {
		args = append(args, "--"+name+"="+value)
	}
	up := func(ctx context.Context) error {
		_, err := s.SQL(ctx, "SELECT 1")
		return err
	}
	return s.daemon().Start(ctx, up, args...)
}

// daemon describes the server's program.
func (s *Server) daemon() spawn.Server {
	return spawn.Server{Account: account, Program: "mariadbd", Log: s.Log(), Limit: startLimit}
}

// Moved replaces the path from in the list of binary log files by the present one. A starting server decides by its
// last binary log which prepared transactions to commit, so on a copy it must not read that of the original.
func (s *Server) Moved(from string) error {
	if s.Binlog == "" {
		return nil
	}
	index := filepath.Join(s.Binlog, "binlog.index")
	text, err := os.ReadFile(index)
	if err != nil {
		return err
	}
	return os.WriteFile(index, []byte(strings.ReplaceAll(string(text), from+"/", s.Binlog+"/")), 0o660)
}

// index makes the list of binary log files name the files in the same folder: in a copy it names those of the
// original. A prepared transaction is committed if the server's binary log has it, and rolled back otherwise.
func (s *Server) index() error {
	path := filepath.Join(s.Binlog, "binlog.index")
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		fmt.Fprintln(&b, filepath.Join(s.Binlog, filepath.Base(strings.TrimSpace(line))))
	}
	return os.WriteFile(path, []byte(b.String()), 0o660)
}

// Process returns the server's process, nil if it isn't running.
func (s *Server) Process(ctx context.Context) (*server.Process, error) {
	return s.daemon().Process(ctx, s.Data)
}

// Stop shuts the server down. It returns nil if the server isn't running.
func (s *Server) Stop(ctx context.Context) error {
	return s.daemon().Signal(ctx, s.Data, syscall.SIGTERM)
}

// Crash kills the server and returns when its process has ended.
func (s *Server) Crash(ctx context.Context) error {
	return s.daemon().Signal(ctx, s.Data, syscall.SIGKILL)
}

// SQL runs statements as root and returns the result, with fields separated by tabs.
func (s *Server) SQL(ctx context.Context, statements string) (string, error) {
	out, err := s.client(ctx, "mariadb", "-N", "-B", "-e", statements)
	return strings.TrimSpace(out), err
}

// Check makes the server check every table, and returns what it finds as an error.
func (s *Server) Check(ctx context.Context) error {
	out, err := s.client(ctx, "mariadb-check", "--all-databases", "--extended")
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		// MyISAM and Aria report tables that were open when the server was killed; CHECK clears that.
		if line != "" && !strings.HasSuffix(line, "OK") && !strings.HasPrefix(line, "warning") &&
			!strings.HasPrefix(line, "note") &&
			strings.ContainsAny(line, ":") {
			return fmt.Errorf("CHECK TABLE: %s", out)
		}
	}
	return nil
}

// Replay applies binary log files to this server from a position on.
func (s *Server) Replay(ctx context.Context, position uint64, files ...string) error {
	dump := exec.CommandContext(
		ctx,
		"mariadb-binlog",
		append([]string{"--no-defaults", "--start-position=" + strconv.FormatUint(position, 10)}, files...)...)
	events, err := dump.StdoutPipe()
	if err != nil {
		return err
	}
	var said, refused strings.Builder
	dump.Stderr = &said
	into := exec.CommandContext(ctx, "mariadb", "--no-defaults", "-u", "root", "-S", s.Socket())
	into.Stdin, into.Stderr = events, &refused
	if err := dump.Start(); err != nil {
		return err
	}
	err = into.Run()
	if err = errors.Join(err, dump.Wait()); err != nil {
		return fmt.Errorf("%w: %s %s", err, said.String(), refused.String())
	}
	return nil
}

// client runs one of MariaDB's programs as root and returns its output.
func (s *Server) client(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, append([]string{"--no-defaults", "-u", "root", "-S", s.Socket()}, args...)...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", name, err, errs.String())
	}
	return out.String(), nil
}
