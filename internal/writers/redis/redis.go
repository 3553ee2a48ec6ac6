// Package redis is the writer of Redis and Valkey. It covers every server on this host that keeps data on disk. It
// finds the servers by itself, at their sockets or at the ports of this host, and logs in to those that require a
// password with one from a file.
//
// With an append-only file (AOF) the copy holds every write that was acknowledged before Freeze, and no client is
// stopped. A server that syncs once a second may have acknowledged writes that are only in memory while a sync is in
// progress, so appendfsync is "always" from Freeze to Thaw. Rewrites of the file are suspended from PrepareSnapshot
// on, so that recovery reads one consistent history.
//
// With a dump alone (RDB) the copy represents the time at which PrepareSnapshot made the dump, as such a server keeps
// nothing newer across a crash. A server that stores nothing has no component.
//
// Settings are changed in the running server only. Their former values are recorded in a file before. If this process
// is killed, the next one restores them at its start, provided that the server still runs and still has the changed
// values.
//
// Source: Redis documentation, persistence; writer's reference.
package redis

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	goredis "github.com/redis/go-redis/v9"

	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// ID is the class of this writer. It never changes.
var ID = vss.WriterID{GUID: vss.MustGUID("{3a6b0a0e-8f0b-4f9c-8e57-9d1c4b6e2a70}")}

// Name is the writer's name.
const Name = "Redis Writer"

// Config holds the parameters of New.
type Config struct {
	// Servers are the working directories of the servers that the writer covers; nil: all running servers.
	Servers []string
	// Credentials are TOML files with user and password, by working directory. Only their owner may have access.
	Credentials map[string]string
	// Marks is the folder for the former values of changed settings. It is created if necessary. It should not outlive
	// the servers, so a folder below /run is suitable.
	Marks    string
	Accounts []string     // ordinary accounts whose servers count; see server.Finder
	Records  string       // see engine.Writer
	Logger   *slog.Logger // nil: none
}

// New returns the writer. It first restores settings that a former process left changed, which is quick unless a
// server hangs. The writer is a back end, so that applications that use the servers are frozen before and thawed after
// them.
func New(c Config) *engine.Writer {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	goredis.SetLogger(silent{}) // errors are returned, too
	s := &servers{Config: c, tuned: map[key]*tuning{}}
	s.recover()
	w := engine.New(engine.BackEnd(ID, Name, vss.SourceNonTransactedDB), s, c.Logger)
	w.Partial, w.Whole, w.Records = true, true, c.Records
	return w
}

// silent is a logger that discards everything.
type silent struct{}

// Printf implements the driver's logging.
func (silent) Printf(context.Context, string, ...any) {}

// servers is the engine of all servers on this host.
type servers struct {
	Config
	mu    sync.Mutex // guards the field below, and each tuning while it is changed
	tuned map[key]*tuning
}

var _ engine.Engine = (*servers)(nil)

// programs are the names of server programs.
var programs = []string{"redis-server", "valkey-server"}

// Find implements engine.Engine.
func (s *servers) Find(ctx context.Context) ([]engine.Instance, []server.Left, error) {
	all, left, err := s.running(ctx)
	if err != nil {
		return nil, nil, err
	}
	var out []engine.Instance
	for _, i := range all {
		if s.Servers == nil || slices.Contains(s.Servers, i.Dir) {
			out = append(out, i)
		}
	}
	return out, server.Covered(left, s.Servers), nil
}

// running returns the servers that run now, and those that are left out.
func (s *servers) running(ctx context.Context) ([]*instance, []server.Left, error) {
	all, left, err := server.Finder{Names: programs, Accounts: s.Accounts}.Find(ctx)
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(all, func(a, b *server.Process) int { return cmp.Compare(a.Dir, b.Dir) })
	dirs := map[string]int{}
	for _, p := range all {
		dirs[p.Dir]++
	}
	var out []*instance
	for _, p := range all {
		i := &instance{Process: p, servers: s, name: p.Dir}
		if i.network, i.address, err = endpoint(p); err != nil {
			continue // the server is starting or ending
		}
		if dirs[p.Dir] > 1 {
			i.name = fmt.Sprintf("%s (%s)", p.Dir, i.address)
		}
		out = append(out, i)
	}
	return out, left, nil
}

// instance is one server. Its working directory is the folder of its files.
type instance struct {
	*server.Process
	*servers
	name             string
	network, address string // where the server listens
}

// Name implements engine.Instance. It is the working directory, with the port or socket if several servers share it.
func (i *instance) Name() string { return i.name }

// Describe implements engine.Instance. For a server that refuses the connection it returns the working directory with
// the default names of files.
func (i *instance) Describe(ctx context.Context) (*engine.Description, error) {
	outside := &layout{Dir: i.Dir, RDB: "dump.rdb", AOF: "appendonlydir"}
	c, err := i.connect(ctx)
	if err != nil {
		return outside.description(), err
	}
	defer c.close()
	l, err := c.layout(ctx)
	if err != nil {
		return outside.description(), i.failure("Identify", err)
	}
	if !l.persistent() {
		return nil, nil
	}
	return l.description(), nil
}
