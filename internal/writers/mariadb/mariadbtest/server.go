// Package mariadbtest starts MariaDB servers of its own, for tests and demonstrations: on folders that the caller gives, with a
// socket and no port, apart from every server of the machine. It needs root and Debian's package mariadb-server.
package mariadbtest

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
const Account = "mysql"

// Client is an account that every local account may log in as, on the database test.
const Client = "client"

// upLimit is for a server to start: it may have to recover.
const upLimit = 2 * time.Minute

// Server is one server and where its files are. Data and Run (for the socket and the log) are needed. Redo and Binlog may be on
// other volumes. All are made if they aren't there.
type Server struct {
	Data, Run string
	Redo      string            // "": in Data
	Binlog    string            // "": no binary log
	Settings  map[string]string // beyond the defaults
}

// Socket is where the server listens.
func (s *Server) Socket() string { return filepath.Join(s.Run, "socket") }

// Log is its error log.
func (s *Server) Log() string { return filepath.Join(s.Run, "log") }

// Make makes the data directory, starts the server on it, and makes the database test and the account Client.
func (s *Server) Make(ctx context.Context) error {
	if err := s.Own(); err != nil {
		return err
	}
	// Fast, since nobody minds a power cut meanwhile.
	args := append(s.places(), "--user="+Account, "--skip-test-db", "--auth-root-authentication-method=socket",
		"--innodb-flush-method=nosync", "--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=8M")
	if out, err := exec.CommandContext(ctx, "mariadb-install-db", append([]string{"--no-defaults"}, args...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("mariadb-install-db: %w: %s", err, out)
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	_, err := s.SQL(ctx, "CREATE DATABASE test; CREATE USER "+Client+"@localhost IDENTIFIED BY ''; GRANT ALL ON test.* TO "+Client+"@localhost")
	return err
}

// Own makes the folders and gives them to the account.
func (s *Server) Own() error {
	for _, dir := range []string{s.Data, s.Run, s.Redo, s.Binlog} {
		if dir == "" {
			continue
		}
		if err := own(dir); err != nil {
			return err
		}
	}
	return nil
}

// places are the options that say where files are.
func (s *Server) places() []string {
	args := []string{"--datadir=" + s.Data}
	if s.Redo != "" {
		args = append(args, "--innodb-log-group-home-dir="+s.Redo)
	}
	return args
}

// Start starts the server and waits until it has recovered and takes clients. On a copy of its files it is the proof that the copy
// is good.
func (s *Server) Start(ctx context.Context) error {
	uid, gid, err := ids()
	if err != nil {
		return err
	}
	if err := own(s.Run); err != nil {
		return err
	}
	args := append([]string{"--no-defaults"}, s.places()...)
	args = append(args, "--socket="+s.Socket(), "--skip-networking", "--pid-file="+filepath.Join(s.Run, "pid"), "--innodb-log-file-size=8M",
		"--innodb-buffer-pool-size=32M", "--server-id=1", "--skip-name-resolve")
	if s.Binlog != "" {
		if err := s.index(); err != nil {
			return err
		}
		args = append(args, "--log-bin="+filepath.Join(s.Binlog, "binlog"), "--binlog-format=ROW")
	}
	for name, value := range s.Settings {
		args = append(args, "--"+name+"="+value)
	}
	log, err := os.OpenFile(s.Log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("mariadbd", args...)
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
		_, err := s.SQL(ctx, "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case status := <-ended:
			text, _ := os.ReadFile(s.Log())
			return fmt.Errorf("mariadbd ended: %w: %s", errors.Join(status, err), text)
		case <-ctx.Done():
			return fmt.Errorf("mariadbd doesn't come up: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Moved tells the files of a copy that they aren't where they were: the list of binary log files has paths. A server that starts
// decides by its last binary log over transactions that were about to commit: it must not read the original's.
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

// index has the index of the binary log name the files beside it: that of a copy names those of the original. A server needs its own:
// what it finds prepared is committed if the binary log has it, and else rolled back.
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

// Process is the server's, nil when it doesn't run.
func (s *Server) Process(ctx context.Context) (*server.Process, error) {
	return server.In(ctx, s.Data, "mariadbd")
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

// SQL runs statements as root and gives the answer, fields separated by tabs.
func (s *Server) SQL(ctx context.Context, statements string) (string, error) {
	out, err := s.client(ctx, "mariadb", "-N", "-B", "-e", statements)
	return strings.TrimSpace(out), err
}

// Check has the server look at every table. Errors: what it finds.
func (s *Server) Check(ctx context.Context) error {
	out, err := s.client(ctx, "mariadb-check", "--all-databases", "--extended")
	if err != nil {
		return err
	}
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		// MyISAM and Aria tell that a table was open when the server died; CHECK clears that.
		if line != "" && !strings.HasSuffix(line, "OK") && !strings.HasPrefix(line, "warning") && !strings.HasPrefix(line, "note") && strings.ContainsAny(line, ":") {
			return fmt.Errorf("CHECK TABLE: %s", out)
		}
	}
	return nil
}

// Replay has this server do what the binary log files tell from a position on.
func (s *Server) Replay(ctx context.Context, position uint64, files ...string) error {
	dump := exec.CommandContext(ctx, "mariadb-binlog", append([]string{"--no-defaults", "--start-position=" + strconv.FormatUint(position, 10)}, files...)...)
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

// client runs one of MariaDB's programs as root.
func (s *Server) client(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, append([]string{"--no-defaults", "-u", "root", "-S", s.Socket()}, args...)...)
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", name, err, errs.String())
	}
	return out.String(), nil
}

func ids() (uid, gid int, err error) {
	u, err := user.Lookup(Account)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: install the package mariadb-server", err)
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}

// own makes a folder and gives it to the account.
func own(dir string) error {
	uid, gid, err := ids()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.Chown(dir, uid, gid)
}
