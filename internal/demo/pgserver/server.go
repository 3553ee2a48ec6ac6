// Package pgserver runs private PostgreSQL servers for the demonstration and for tests, in directories that the caller
// chooses. A server listens on a unix socket of its own and on no port, so it is independent of every other server on
// the machine. The package requires root and Debian's package postgresql.
package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/writers/server/spawn"
)

// Account is the user that the servers run as.
const Account = "postgres"

var account = spawn.Account{Name: Account, Package: "postgresql"}

// Client is a role that any local account may log in as. Only Account may log in as the superuser.
const Client = "client"

// port is part of the socket's name; no server listens on the TCP port.
const port = "5432"

// Server is one server and the directories of its files. Data and Run (for the socket and the log) are required. WAL
// and Tablespaces may be on other volumes. Directories that do not exist are created.
type Server struct {
	Data        string
	WAL         string            // "": in Data
	Tablespaces map[string]string // name = folder
	Run         string
	Settings    map[string]string // postgresql.conf settings that differ from the defaults
	HBA         string            // content of pg_hba.conf; "": the package's default
	WALSegment  int               // size of a WAL file in MiB; 0: 16, PostgreSQL's default
}

// Make creates the database cluster and starts the server.
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

// Own creates the directories and makes Account their owner.
func (s *Server) Own() error {
	folders := []string{s.Data, s.Run}
	if s.WAL != "" {
		folders = append(folders, s.WAL)
	}
	for _, dir := range s.Tablespaces {
		folders = append(folders, dir)
	}
	for _, dir := range folders {
		if err := account.Own(dir, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// Start starts the server and waits until it has finished recovery and accepts connections. On a copy of a data
// directory, success shows that PostgreSQL can use the copy.
func (s *Server) Start(ctx context.Context) error {
	if err := account.Own(s.Run, 0o700); err != nil {
		return err
	}
	options := []string{"-c listen_addresses=''", "-c port=" + port, "-c unix_socket_directories='" + s.Run + "'"}
	for name, value := range s.Settings {
		options = append(options, fmt.Sprintf("-c %s='%s'", name, value))
	}
	slices.Sort(options)
	log := filepath.Join(s.Run, "log")
	_, err := s.program(ctx, "pg_ctl", "-D", s.Data, "-w", "-t", "120", "-l", log, "-s", "-o",
		strings.Join(options, " "), "start")
	if err != nil {
		text, _ := os.ReadFile(log)
		return fmt.Errorf("%w: %s", err, text)
	}
	return nil
}

// Stop shuts the server down. It returns nil if the server is not running.
func (s *Server) Stop(ctx context.Context) error {
	pid, running := s.postmaster()
	if !running {
		return nil
	}
	if _, err := s.program(ctx, "pg_ctl", "-D", s.Data, "-w", "-t", "60", "-s", "-m", "fast", "stop"); err != nil {
		return err
	}
	// pg_ctl only waits for the lock file to be removed; the volume is busy until the process exits.
	return s.waitExit(ctx, pid)
}

// Crash kills the postmaster and returns when all processes of the server have exited.
func (s *Server) Crash(ctx context.Context) error {
	pid, running := s.postmaster()
	if !running {
		return errors.New("the server isn't running")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	return s.waitExit(ctx, pid)
}

// waitExit waits until all processes of the server have exited.
func (s *Server) waitExit(ctx context.Context, pid int) error {
	// The lock file is valid until init has reaped the postmaster.
	for syscall.Kill(pid, 0) == nil || len(s.processes()) > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// processes returns the ids of the processes whose working directory is the data directory: those of the server.
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

// SQL runs statements as the superuser and returns the result, with fields separated by |.
func (s *Server) SQL(ctx context.Context, statements string) (string, error) {
	out, err := s.program(ctx, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", s.Run, "-p", port, "-d", "postgres",
		"-c", statements)
	return strings.TrimSpace(out), err
}

// Check verifies every table and index with pg_amcheck.
func (s *Server) Check(ctx context.Context) error {
	if _, err := s.SQL(ctx, "CREATE EXTENSION IF NOT EXISTS amcheck"); err != nil {
		return err
	}
	_, err := s.program(ctx, "pg_amcheck", "-h", s.Run, "-p", port, "--all", "--heapallindexed")
	return err
}

// postmaster returns the id of the server's main process and whether it is running.
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

// program runs one of PostgreSQL's programs as Account and returns its output.
func (s *Server) program(ctx context.Context, name string, args ...string) (string, error) {
	cmd, err := command(ctx, name, args...)
	if err != nil {
		return "", err
	}
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if name == "pg_ctl" { // the server inherits the pipes and would keep them open
		cmd.Stdout, cmd.Stderr = nil, nil
	}
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", name, err, errs.String())
	}
	return out.String(), nil
}

// command returns a command that runs one of PostgreSQL's programs as Account.
func command(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	uid, gid, err := account.IDs()
	if err != nil {
		return nil, err
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		return nil, fmt.Errorf("%s not found: install the package postgresql", name)
	}
	cmd := exec.CommandContext(ctx, found[len(found)-1], args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return cmd, nil
}
