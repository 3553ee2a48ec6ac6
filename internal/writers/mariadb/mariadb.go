// Package mariadb is the writer of MariaDB and MySQL. It vouches for every server that runs on this host: it finds them by itself
// and asks each over its own socket, as root by unix_socket authentication or by a file of options as those of mariadb's own
// programs.
//
// A copy of all volumes of a server at one instant is what a power cut leaves: InnoDB and Aria recover from their logs. What that
// alone can't give, a backup lock does (BACKUP STAGE, or FLUSH TABLES WITH READ LOCK where a server doesn't know it): tables without
// a log, as MyISAM's, are whole on disk, no change of a table's definition is half done, and no commit lies between the engines
// and the binary log, so that the position noted is just that of the data.
//
// Transactions that wait for their commit are in the copy, prepared: a server that starts on it takes from the last file of its
// binary log which of them to roll back, so that file is part of the copy, and the server is to be started with its setting log_bin.
//
// START, which waits for long changes of tables, is in PrepareSnapshot; all that follow are in Freeze: from FLUSH on writes to
// MyISAM tables wait (tried with 10.11), from BLOCK_COMMIT on all commits. One session holds the lock from begin to end, and a
// server takes the lock off by itself when that session ends, whatever it ends by.
//
// Source: MariaDB's reference of BACKUP STAGE; writer's reference.
package mariadb

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// ID is the class of this writer, for ever.
var ID = vss.WriterID{GUID: vss.MustGUID("{7f0c9f2b-5f6e-4d0b-9d41-2f0a6b1f7c55}")}

// Name is the writer's name.
const Name = "MariaDB Writer"

// DefaultLockWait is the longest that a statement of a client may keep the lock waiting in Freeze. New writes wait meanwhile.
const DefaultLockWait = 10 * time.Second

// Config of the writer.
type Config struct {
	// Servers are the data directories of those that the writer vouches for; nil: all that run.
	Servers []string
	// Defaults are files of options, by data directory, for servers that don't let root in by unix_socket authentication: user,
	// password and socket in the section [client], as programs of MariaDB take them by --defaults-file. Nobody but their owner
	// may read them.
	Defaults map[string]string
	LockWait time.Duration // 0: DefaultLockWait
	Logger   *slog.Logger  // nil: none
}

// New makes the writer. It connects to nothing before it is asked to. It is a back end, so that what uses the databases is frozen
// before and thawed after them.
func New(c Config) *engine.Writer {
	info := writer.Info{ID: ID, Name: Name, Usage: vss.UsageUserData, Source: vss.SourceTransactedDB, Level: vss.LevelBackEnd}
	if c.LockWait <= 0 {
		c.LockWait = DefaultLockWait
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return engine.New(info, &servers{Config: c}, c.Logger)
}

// programs are the names of servers.
var programs = []string{"mariadbd", "mysqld"}

// servers are those of this host.
type servers struct {
	Config
	readLock bool // FLUSH TABLES WITH READ LOCK even where the server knows better, for tests
}

var _ engine.Engine = (*servers)(nil)

// Find implements engine.Engine.
func (s *servers) Find(ctx context.Context) ([]engine.Instance, error) {
	all, err := server.Find(ctx, programs...)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b *server.Process) int { return cmp.Compare(a.Dir, b.Dir) })
	var out []engine.Instance
	for _, p := range all {
		if s.Servers == nil || slices.Contains(s.Servers, p.Dir) {
			out = append(out, s.instance(p))
		}
	}
	return out, nil
}

// instance is one server. A server's working directory is its data directory.
type instance struct {
	*server.Process
	Config
	readLock bool
}

func (s *servers) instance(p *server.Process) *instance { return &instance{p, s.Config, s.readLock} }

// Name implements engine.Instance: the data directory, all that lasts of a server and tells it from others.
func (i *instance) Name() string { return i.Dir }

// Describe implements engine.Instance. Of a server that doesn't let the writer in the data directory is known.
func (i *instance) Describe(ctx context.Context) (*engine.Description, error) {
	c, err := i.connect(ctx)
	if err != nil {
		return (&layout{Data: i.Dir}).description(), err
	}
	defer c.close()
	l, err := c.layout(ctx, i.Dir)
	if err != nil {
		return (&layout{Data: i.Dir}).description(), i.failure("Identify", err)
	}
	return l.description(), nil
}
