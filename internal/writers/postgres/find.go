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

	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
)

// debianConfig is where Debian keeps clusters' configuration, as VERSION/NAME.
const debianConfig = "/etc/postgresql"

// Cluster is one running server and its data directory. What is found of it is what a restore needs to start it again, and
// goes into the backup's metadata as it is.
type Cluster struct {
	Name           string `json:"name"`             // Debian's VERSION/NAME, else the data directory
	Data           string `json:"data"`             // the data directory, links resolved: the server's working directory
	Major          string `json:"major"`            // of the version: "15"
	Sockets        string `json:"sockets"`          // folder of its socket; "" where it has none
	Port           string `json:"port"`             //
	Config         string `json:"config,omitempty"` // Debian's folder with its configuration: pg_ctlcluster starts and stops it
	server.Process        // the postmaster, with the account that owns the cluster
}

// Find lists the clusters that run on this host, by name. Servers in containers, whose files have other names there, are
// left out. Errors: those of the context, and VSS_E_UNEXPECTED without /proc.
func Find(ctx context.Context) ([]*Cluster, error) {
	all, err := server.Find(ctx, "postgres", "postmaster")
	if err != nil {
		return nil, err
	}
	var out []*Cluster
	for _, p := range all {
		if c, err := cluster(*p); err == nil {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *Cluster) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

var errNotServer = errors.New("not a PostgreSQL server of this host")

// cluster finds the cluster of a process that is a server's first: its working directory is the data directory, and the
// lock file there names it. Processes that end meanwhile are errors like all others.
func cluster(p server.Process) (*Cluster, error) {
	if filepath.Base(p.Program) != "postgres" {
		return nil, errNotServer
	}
	lock, err := readLock(p.Dir)
	if err != nil || lock.pid != p.PID {
		return nil, errNotServer
	}
	version, err := os.ReadFile(filepath.Join(p.Dir, "PG_VERSION"))
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Stat(p.Dir, &st); err != nil {
		return nil, err
	}
	c := &Cluster{Data: p.Dir, Major: strings.TrimSpace(string(version)), Sockets: lock.sockets, Port: lock.port, Process: p}
	c.UID, c.GID = int(st.Uid), int(st.Gid)
	c.Dir, c.Unit = "", "" // Data says it, and pg_ctlcluster sees to the unit
	c.Name, c.Config = nameOf(c)
	return c, nil
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

// nameOf is the cluster's component name, and where its configuration is if Debian's tools know it. A server that runs on a copy
// may have been started with the configuration of the original: Debian's name belongs to the one data directory that the
// configuration names.
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
