package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
)

// debianConfig is the folder in which Debian keeps the configuration of clusters, as VERSION/NAME.
const debianConfig = "/etc/postgresql"

// Cluster is one running server with its data directory. It has what a restore needs to start the server again, and is
// stored in the backup metadata.
type Cluster struct {
	Name    string `json:"name"`    // VERSION/NAME of a cluster of Debian, otherwise the data directory
	Data    string `json:"data"`    // with links resolved: the server's working directory
	Major   string `json:"major"`   // major version, such as "15"
	Sockets string `json:"sockets"` // folder of its socket; "" without socket
	Port    string `json:"port"`    //
	// folder with the configuration of a cluster of Debian, which pg_ctlcluster starts and stops
	Config         string `json:"config,omitempty"`
	server.Process        // the postmaster
}

// Find returns the clusters that run on this host, sorted by name. Servers in containers, whose paths differ from
// ours, and those of ordinary accounts that aren't given are omitted. The second result has those that can't be
// trusted. Errors: those of the context, VSS_E_UNEXPECTED without /proc.
func Find(ctx context.Context, accounts ...string) ([]*Cluster, []server.Left, error) {
	all, left, err := server.Finder{Names: []string{"postgres", "postmaster"}, Accounts: accounts}.Find(ctx)
	if err != nil {
		return nil, nil, err
	}
	var out []*Cluster
	for _, p := range all {
		if c, err := cluster(*p); err == nil {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *Cluster) int { return cmp.Compare(a.Name, b.Name) })
	return out, left, nil
}

// versionNumber matches major versions, which become parts of paths.
var versionNumber = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)

var errNotServer = errors.New("not a PostgreSQL server of this host")

// cluster returns the cluster of a process that is the main process of a server: its working directory is the data
// directory, and the lock file there names the process. A process that ends meanwhile is an error as well.
func cluster(p server.Process) (*Cluster, error) {
	if filepath.Base(p.Program) != "postgres" {
		return nil, errNotServer
	}
	lock, err := readLock(&p)
	if err != nil || lock.pid != p.PID {
		return nil, errNotServer
	}
	text, err := server.ReadAs(p.UID, p.GID, filepath.Join(p.Dir, "PG_VERSION"))
	if err != nil {
		return nil, err
	}
	version := strings.TrimSpace(string(text))
	if !versionNumber.MatchString(version) {
		return nil, fmt.Errorf("%s/PG_VERSION has no version", p.Dir)
	}
	var st unix.Stat_t
	if err := unix.Stat(p.Dir, &st); err != nil {
		return nil, err
	}
	if int(st.Uid) != p.UID {
		return nil, errNotServer // a server refuses to run in another account's folder
	}
	c := &Cluster{
		Data:    p.Dir,
		Major:   version,
		Sockets: lock.sockets,
		Port:    lock.port,
		Process: p,
	}
	c.GID = int(st.Gid)
	c.Dir, c.Unit = "", "" // Data has the directory, and pg_ctlcluster handles the unit
	c.Name, c.Config = nameOf(c)
	return c, nil
}

// lockFile is the content of postmaster.pid. Source: PostgreSQL, miscadmin.h.
type lockFile struct {
	pid           int
	port, sockets string
}

func readLock(p *server.Process) (lockFile, error) {
	data := p.Dir
	b, err := server.ReadAs(p.UID, p.GID, filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return lockFile{}, err
	}
	lines := strings.Split(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || len(lines) < 5 {
		return lockFile{}, fmt.Errorf(
			"%s/postmaster.pid is malformed: the server is starting, or another program wrote it",
			data,
		)
	}
	l := lockFile{pid: pid, port: strings.TrimSpace(lines[3]), sockets: strings.TrimSpace(lines[4])}
	if l.sockets != "" && l.sockets[0] != '/' && l.sockets[0] != '@' {
		l.sockets = filepath.Join(data, l.sockets)
	}
	return l, nil
}

// nameOf returns the cluster's component name, and the folder of its configuration if Debian's tools manage it. A
// server on a copy may run with the configuration of the original, so the name applies only to the data directory that
// the configuration names.
func nameOf(c *Cluster) (name, config string) {
	configs, _ := filepath.Glob(filepath.Join(debianConfig, c.Major, "*", "postgresql.conf"))
	for _, path := range configs {
		data, err := filepath.EvalSymlinks(configuredData(path))
		if err == nil && data == c.Data && server.Owned(filepath.Dir(path), c.UID, c.GID) == nil {
			return c.Major + "/" + filepath.Base(filepath.Dir(path)), filepath.Dir(path)
		}
	}
	return c.Data, ""
}

// configuredData returns the data_directory in a configuration file, "" if there is none.
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
