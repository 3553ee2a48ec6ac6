// Package mariadb is the writer of MariaDB and MySQL. It covers every server on this host. It finds the servers by
// itself and connects to each over its own socket, as root by unix_socket authentication or with an option file like
// those of MariaDB's own programs.
//
// A copy of all volumes of a server at one instant corresponds to a power failure: InnoDB and Aria recover from their
// logs. A backup lock (BACKUP STAGE, or FLUSH TABLES WITH READ LOCK for servers without it) ensures the rest: tables
// without a log, such as MyISAM's, are complete on disk, no change of a table's definition is in progress, and no
// commit lies between the engines and the binary log, so that the recorded position matches the data.
//
// Transactions that wait for their commit are in the copy as prepared. A server that starts on the copy decides by the
// last file of its binary log which of them to roll back; so that file is part of the copy, and the server must be
// started with its setting log_bin.
//
// BACKUP STAGE START, which waits for long changes of tables, is executed in PrepareSnapshot, the other stages in
// Freeze: from FLUSH on, writes to MyISAM tables wait (tried with 10.11), from BLOCK_COMMIT on all commits do. One
// session holds the lock from beginning to end, and the server releases the lock when that session ends for any
// reason.
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
)

// ID is the class of this writer. It never changes.
var ID = vss.WriterID{GUID: vss.MustGUID("{7f0c9f2b-5f6e-4d0b-9d41-2f0a6b1f7c55}")}

// Name is the writer's name.
const Name = "MariaDB Writer"

// DefaultLockWait is the default of Config.LockWait.
const DefaultLockWait = 10 * time.Second

// Config holds the parameters of New.
type Config struct {
	// Servers are the data directories of the servers that the writer covers; nil: all running servers.
	Servers []string
	// Defaults are option files, by data directory, for servers that don't allow root to log in by unix_socket
	// authentication: user, password and socket in the section [client], as in files for --defaults-file of MariaDB's
	// programs. Only their owner may have access.
	Defaults map[string]string
	// how long Freeze waits for statements of clients; new writes wait meanwhile. 0: DefaultLockWait
	LockWait time.Duration
	Accounts []string     // ordinary accounts whose servers count; see server.Finder
	Records  string       // see engine.Writer
	Logger   *slog.Logger // nil: none
}

// New returns the writer. It connects to servers only when it handles an event. The writer is a back end, so that
// applications that use the databases are frozen before and thawed after them.
func New(c Config) *engine.Writer {
	if c.LockWait <= 0 {
		c.LockWait = DefaultLockWait
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	w := engine.New(engine.BackEnd(ID, Name, vss.SourceTransactedDB), &servers{Config: c}, c.Logger)
	w.Partial, w.Whole, w.Records = true, true, c.Records
	return w
}

// programs are the names of server programs.
var programs = []string{"mariadbd", "mysqld"}

// servers is the engine of all servers on this host.
type servers struct {
	Config
	readLock bool // use FLUSH TABLES WITH READ LOCK in any case, for tests
}

var _ engine.Engine = (*servers)(nil)

func (s *servers) finder() server.Finder { return server.Finder{Names: programs, Accounts: s.Accounts} }

// Find implements engine.Engine.
func (s *servers) Find(ctx context.Context) ([]engine.Instance, []server.Left, error) {
	all, left, err := s.finder().Find(ctx)
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(all, func(a, b *server.Process) int { return cmp.Compare(a.Dir, b.Dir) })
	var out []engine.Instance
	for _, p := range all {
		if s.Servers == nil || slices.Contains(s.Servers, p.Dir) {
			out = append(out, s.instance(p))
		}
	}
	return out, server.Covered(left, s.Servers), nil
}

// instance is one server. Its working directory is its data directory.
type instance struct {
	*server.Process
	Config
	readLock bool
}

func (s *servers) instance(p *server.Process) *instance { return &instance{p, s.Config, s.readLock} }

// Name implements engine.Instance. It is the data directory, which identifies a server permanently.
func (i *instance) Name() string { return i.Dir }

// Describe implements engine.Instance. For a server that refuses the connection it returns the data directory.
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
