// Package redis is the writer of Redis and Valkey. It vouches for every server that runs on this host and keeps its data on disk: it
// finds them by itself, at their sockets or at the ports of this host, and asks those that want a password with one from a file.
//
// With an append-only file (AOF) the copy holds every write that was acknowledged before Freeze, and no client is stopped. A server
// that syncs every second may have acknowledged what is in its memory alone, while a sync is under way; so appendfsync is "always"
// from Freeze to Thaw. Rewrites of the file are put off from PrepareSnapshot on, so that recovery reads one history.
//
// With a dump alone (RDB) the copy is of the moment at which PrepareSnapshot had the dump made: that is all that such a server keeps
// over a crash. A server that keeps nothing has no component.
//
// Settings are changed in the running server only. What they were is noted in a file before: should this process be killed, the next
// one puts them back when it starts, where the server still runs and still has what was set.
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
	"github.com/stillpoint-vss/stillpoint/writer"
)

// ID is the class of this writer, for ever.
var ID = vss.WriterID{GUID: vss.MustGUID("{3a6b0a0e-8f0b-4f9c-8e57-9d1c4b6e2a70}")}

// Name is the writer's name.
const Name = "Redis Writer"

// Config of the writer.
type Config struct {
	// Servers are the working directories of those that the writer vouches for; nil: all that run.
	Servers []string
	// Credentials are TOML files with user and password, by working directory. Nobody but their owner may read them.
	Credentials map[string]string
	// Marks is the folder in which it is noted what the settings of servers were, while they are changed. It is made if need be,
	// and should end with the servers: a folder of /run.
	Marks  string
	Logger *slog.Logger // nil: none
}

// New makes the writer, and puts settings back that a former process has left changed: that takes a moment, unless a server hangs. It
// is a back end, so that what uses the servers is frozen before and thawed after them.
func New(c Config) *engine.Writer {
	info := writer.Info{ID: ID, Name: Name, Usage: vss.UsageUserData, Source: vss.SourceNonTransactedDB, Level: vss.LevelBackEnd}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	goredis.SetLogger(silent{}) // what fails is returned, too
	s := &servers{Config: c, tuned: map[key]*tuning{}}
	s.recover()
	return engine.New(info, s, c.Logger)
}

// silent is a log that nobody reads.
type silent struct{}

// Printf implements the driver's logging.
func (silent) Printf(context.Context, string, ...any) {}

// servers are those of this host.
type servers struct {
	Config
	mu    sync.Mutex // of the field below, and each tuning while it is changed
	tuned map[key]*tuning
}

var _ engine.Engine = (*servers)(nil)

// programs are the names of servers.
var programs = []string{"redis-server", "valkey-server"}

// Find implements engine.Engine.
func (s *servers) Find(ctx context.Context) ([]engine.Instance, error) {
	all, err := s.running(ctx)
	if err != nil {
		return nil, err
	}
	var out []engine.Instance
	for _, i := range all {
		if s.Servers == nil || slices.Contains(s.Servers, i.Dir) {
			out = append(out, i)
		}
	}
	return out, nil
}

// running are the servers that run now.
func (s *servers) running(ctx context.Context) ([]*instance, error) {
	all, err := server.Find(ctx, programs...)
	if err != nil {
		return nil, err
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
			continue // it is starting or ending
		}
		if dirs[p.Dir] > 1 {
			i.name = fmt.Sprintf("%s (%s)", p.Dir, i.address)
		}
		out = append(out, i)
	}
	return out, nil
}

// instance is one server. A server's working directory is where its files are.
type instance struct {
	*server.Process
	*servers
	name             string
	network, address string // where it listens
}

// Name implements engine.Instance: the working directory; where several servers have the same, with the port or socket.
func (i *instance) Name() string { return i.name }

// Describe implements engine.Instance. Of a server that doesn't let the writer in the folder is known, and what files are called as
// long as nobody chooses other names.
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
	if !l.keeps() {
		return nil, nil
	}
	return l.description(), nil
}
