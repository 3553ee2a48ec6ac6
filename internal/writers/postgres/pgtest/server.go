// Package pgtest starts PostgreSQL servers of its own, for tests and the demonstration: on folders that the caller gives, with a
// socket of their own and no port, apart from every server of the machine. It needs root and Debian's package postgresql.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Account is whom the servers run as.
const Account = "postgres"

// Client is a role that every local account may log in as; the superuser is for its own account only.
const Client = "client"

// port names the socket; nothing listens on it.
const port = "5432"

// Server is one server and where its files are. Data is needed; Run (for socket and log) too. WAL and Tablespaces may be
// on other volumes. All are made if they aren't there.
type Server struct {
	Data        string
	WAL         string            // "": in Data
	Tablespaces map[string]string // name = folder
	Run         string
	Settings    map[string]string // of postgresql.conf, beyond the defaults
	HBA         string            // pg_hba.conf in place of ours
	WALSegment  int               // size of its WAL's files in MiB; 0: 16, PostgreSQL's default
}

// Make makes the cluster and starts the server on it.
func (s *Server) Make(ctx context.Context) error {
	if err := s.Own(); err != nil {
		return err
	}
	args := []string{"-D", s.Data, "--auth=peer", "--no-instructions", "--no-sync", "-E", "UTF8", "--locale=C"}
	if s.WAL != "" {
		args = append(args, "--waldir="+s.WAL)
	}
	if s.WALSegment > 0 {
		args = append(args, fmt.Sprintf("--wal-segsize=%d", s.WALSegment))
	}
	if _, err := s.program(ctx, "initdb", args...); err != nil {
		return err
	}
	hba := s.HBA
	if hba == "" {
		hba = "local all " + Account + " peer\nlocal all " + Client + " trust\n"
	}
	if err := os.WriteFile(filepath.Join(s.Data, "pg_hba.conf"), []byte(hba), 0o644); err != nil {
		return err
	}
	if err := s.Start(ctx); err != nil {
		return err
	}
	if s.HBA != "" {
		return nil
	}
	if _, err := s.SQL(ctx, "CREATE ROLE "+Client+" LOGIN; GRANT CREATE ON SCHEMA public TO "+Client); err != nil {
		return err
	}
	for name, dir := range s.Tablespaces {
		if _, err := s.SQL(ctx, fmt.Sprintf("CREATE TABLESPACE %s LOCATION '%s'", name, dir)); err != nil {
			return err
		}
		if _, err := s.SQL(ctx, fmt.Sprintf("GRANT CREATE ON TABLESPACE %s TO %s", name, Client)); err != nil {
			return err
		}
	}
	return nil
}

// Own makes the folders and gives them to the account.
func (s *Server) Own() error {
	folders := []string{s.Data, s.Run}
	if s.WAL != "" {
		folders = append(folders, s.WAL)
	}
	for _, dir := range s.Tablespaces {
		folders = append(folders, dir)
	}
	for _, dir := range folders {
		if err := own(dir); err != nil {
			return err
		}
	}
	return nil
}

// Start starts the server and waits until it has recovered and takes clients. On a copy of a data directory it is the proof
// that the copy is good.
func (s *Server) Start(ctx context.Context) error {
	if err := own(s.Run); err != nil {
		return err
	}
	options := []string{"-c listen_addresses=''", "-c port=" + port, "-c unix_socket_directories='" + s.Run + "'"}
	for name, value := range s.Settings {
		options = append(options, fmt.Sprintf("-c %s='%s'", name, value))
	}
	slices.Sort(options)
	log := filepath.Join(s.Run, "log")
	if _, err := s.program(ctx, "pg_ctl", "-D", s.Data, "-w", "-t", "120", "-l", log, "-s", "-o", strings.Join(options, " "), "start"); err != nil {
		text, _ := os.ReadFile(log)
		return fmt.Errorf("%w: %s", err, text)
	}
	return nil
}

// Stop ends the server in order. One that isn't running is no error.
func (s *Server) Stop(ctx context.Context) error {
	pid, running := s.postmaster()
	if !running {
		return nil
	}
	if _, err := s.program(ctx, "pg_ctl", "-D", s.Data, "-w", "-t", "60", "-s", "-m", "fast", "stop"); err != nil {
		return err
	}
	return s.gone(ctx, pid) // pg_ctl waits for the lock file to go; the volume is busy until the process has gone
}

// Reload has the server read its configuration again, which takes it a moment.
func (s *Server) Reload() error {
	pid, running := s.postmaster()
	if !running {
		return errors.New("the server isn't running")
	}
	return syscall.Kill(pid, syscall.SIGHUP)
}

// Crash kills the server's first process; the others follow it by themselves. It returns when they are gone.
func (s *Server) Crash(ctx context.Context) error {
	pid, running := s.postmaster()
	if !running {
		return errors.New("the server isn't running")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	return s.gone(ctx, pid)
}

// gone waits for the server's processes to end.
func (s *Server) gone(ctx context.Context, pid int) error {
	for syscall.Kill(pid, 0) == nil || len(s.processes()) > 0 { // the lock file counts as long as init hasn't reaped the first one
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// processes are those that work in the data directory, which are the server's.
func (s *Server) processes() []int {
	var out []int
	all, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range all {
		if cwd, err := os.Readlink(link); err == nil && cwd == s.Data {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(link)))
			out = append(out, pid)
		}
	}
	return out
}

// SQL runs statements as the superuser and gives the answer, fields separated by |.
func (s *Server) SQL(ctx context.Context, statements string) (string, error) {
	out, err := s.program(ctx, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", s.Run, "-p", port, "-d", "postgres", "-c", statements)
	return strings.TrimSpace(out), err
}

// Check has pg_amcheck look at every table and index.
func (s *Server) Check(ctx context.Context) error {
	if _, err := s.SQL(ctx, "CREATE EXTENSION IF NOT EXISTS amcheck"); err != nil {
		return err
	}
	_, err := s.program(ctx, "pg_amcheck", "-h", s.Run, "-p", port, "--all", "--heapallindexed")
	return err
}

// postmaster is the server's first process.
func (s *Server) postmaster() (pid int, running bool) {
	b, err := os.ReadFile(filepath.Join(s.Data, "postmaster.pid"))
	if err != nil {
		return 0, false
	}
	line, _, _ := strings.Cut(string(b), "\n")
	pid, err = strconv.Atoi(strings.TrimSpace(line))
	if err != nil || pid <= 0 {
		return 0, false
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	return pid, err == nil && cwd == s.Data
}

// program runs one of PostgreSQL's programs as the account.
func (s *Server) program(ctx context.Context, name string, args ...string) (string, error) {
	cmd, err := command(ctx, name, args...)
	if err != nil {
		return "", err
	}
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if name == "pg_ctl" { // the server inherits them, and would keep a pipe open
		cmd.Stdout, cmd.Stderr = nil, nil
	}
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", name, err, errs.String())
	}
	return out.String(), nil
}

// command prepares a program, to be run as the account.
func command(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	uid, gid, err := ids()
	if err != nil {
		return nil, err
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		return nil, fmt.Errorf("%s isn't there: install the package postgresql", name)
	}
	cmd := exec.CommandContext(ctx, found[len(found)-1], args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return cmd, nil
}

func ids() (uid, gid int, err error) {
	u, err := user.Lookup(Account)
	if err != nil {
		return 0, 0, fmt.Errorf("%w: install the package postgresql", err)
	}
	uid, err = strconv.Atoi(u.Uid)
	if err != nil {
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
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		return err
	}
	return os.Chmod(dir, 0o700)
}
