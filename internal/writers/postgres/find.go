package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// debianConfig is where Debian keeps clusters' configuration, as VERSION/NAME.
const debianConfig = "/etc/postgresql"

// Cluster is one running server and its data directory. What is found of it is what a restore needs to start it again, and
// goes into the backup's metadata as it is.
type Cluster struct {
	Name    string   `json:"name"`             // Debian's VERSION/NAME, else the data directory
	Data    string   `json:"data"`             // the data directory, links resolved
	Major   string   `json:"major"`            // of the version: "15"
	UID     int      `json:"uid"`              // of the account that owns it
	GID     int      `json:"gid"`              //
	Sockets string   `json:"sockets"`          // folder of its socket; "" where it has none
	Port    string   `json:"port"`             //
	Program string   `json:"program"`          // the server's program
	Args    []string `json:"args"`             // what it was started with, without the program's name
	Log     string   `json:"log,omitempty"`    // the file that it writes what goes wrong to, if that is one
	Config  string   `json:"config,omitempty"` // Debian's folder with its configuration: pg_ctlcluster starts and stops it
	PID     int      `json:"-"`                // of the postmaster
}

// Find lists the clusters that run on this host, by name. Servers in containers, whose files have other names there, are
// left out. Errors: those of the context, and VSS_E_UNEXPECTED without /proc.
func Find(ctx context.Context) ([]*Cluster, error) {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, vss.E("FindClusters", vss.ErrUnexpected, err).Advise("mount /proc")
	}
	var out []*Cluster
	for _, p := range procs {
		if err := ctx.Err(); err != nil {
			return nil, vss.E("FindClusters", vss.ErrUnexpected, err)
		}
		if pid, err := strconv.Atoi(p.Name()); err == nil {
			if c, err := postmaster(pid); err == nil {
				out = append(out, c)
			}
		}
	}
	slices.SortFunc(out, func(a, b *Cluster) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

var errNotServer = errors.New("not a PostgreSQL server of this host")

// postmaster finds the cluster of a process that is a server's first: its working directory is the data directory, and the
// lock file there names it. Processes that end meanwhile are errors like all others.
func postmaster(pid int) (*Cluster, error) {
	proc := fmt.Sprintf("/proc/%d/", pid)
	program, err := os.Readlink(proc + "exe")
	if err != nil {
		return nil, err
	}
	program = strings.TrimSuffix(program, " (deleted)") // it was upgraded under the running server
	if filepath.Base(program) != "postgres" {
		return nil, errNotServer
	}
	data, err := os.Readlink(proc + "cwd")
	if err != nil {
		return nil, err
	}
	if theirs, err := os.Readlink(proc + "ns/mnt"); err != nil || theirs != mountNamespace() {
		return nil, errNotServer
	}
	lock, err := readLock(data)
	if err != nil || lock.pid != pid {
		return nil, errNotServer
	}
	version, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Stat(data, &st); err != nil {
		return nil, err
	}
	c := &Cluster{Data: data, Major: strings.TrimSpace(string(version)), UID: int(st.Uid), GID: int(st.Gid),
		Sockets: lock.sockets, Port: lock.port, Program: program, PID: pid}
	if line, err := os.ReadFile(proc + "cmdline"); err == nil {
		if args := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00"); len(args) > 1 {
			c.Args = args[1:]
		}
	}
	if log, err := os.Readlink(proc + "fd/2"); err == nil && regular(log) {
		c.Log = log
	}
	c.Name, c.Config = nameOf(c)
	return c, nil
}

func regular(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular()
}

func mountNamespace() string {
	ns, _ := os.Readlink("/proc/self/ns/mnt")
	return ns
}

// lockFile is what postmaster.pid tells. Source: PostgreSQL, miscadmin.h.
type lockFile struct {
	pid           int
	port, sockets string
}

func readLock(data string) (lockFile, error) {
	b, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return lockFile{}, err
	}
	lines := strings.Split(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || len(lines) < 5 {
		return lockFile{}, fmt.Errorf("%s/postmaster.pid makes no sense: the server is starting, or another program wrote it", data)
	}
	l := lockFile{pid: pid, port: strings.TrimSpace(lines[3]), sockets: strings.TrimSpace(lines[4])}
	if l.sockets != "" && l.sockets[0] != '/' && l.sockets[0] != '@' {
		l.sockets = filepath.Join(data, l.sockets)
	}
	return l, nil
}

// nameOf is the cluster's component name, and where its configuration is if Debian's tools know it. A server that runs on a copy may have been started with the configuration of the
// original: Debian's name belongs to the one data directory that the configuration names.
func nameOf(c *Cluster) (name, config string) {
	configs, _ := filepath.Glob(filepath.Join(debianConfig, c.Major, "*", "postgresql.conf"))
	for _, path := range configs {
		if data, err := filepath.EvalSymlinks(configuredData(path)); err == nil && data == c.Data {
			return c.Major + "/" + filepath.Base(filepath.Dir(path)), filepath.Dir(path)
		}
	}
	return c.Data, ""
}

// configuredData is the data_directory of a configuration file, "" without one.
func configuredData(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	data := ""
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if strings.TrimSpace(key) != "data_directory" {
			continue
		}
		if value, ok := strings.CutPrefix(strings.TrimSpace(value), "'"); ok {
			data, _, _ = strings.Cut(value, "'")
		}
	}
	return data
}
