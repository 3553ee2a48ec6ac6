// Package sqlite is the writer of SQLite databases. There is no server that could be found: the configuration names files.
//
// A copy of a database with its log or journal at one instant is what a power cut leaves, and SQLite recovers from it, whatever its
// setting synchronous is, since what was written is in the copy. So a database in WAL mode needs no stop at all. One with a rollback
// journal does: whether the journal is on disk is a setting of each connection (journal_mode MEMORY and OFF keep none), and a
// transaction over several databases is undone by journals that refer to each other. No transaction may be under way there.
//
// Freeze therefore takes what a connection takes that reads: the SHARED lock, so that the mode can't change, which no reader and no
// writer in WAL mode notices. Where the mode isn't WAL it takes the RESERVED lock, too, as BEGIN IMMEDIATE does: writers wait, readers
// don't. All databases are locked before any is copied, and the kernel takes the locks off with their process.
//
// The locks are taken by fcntl on the bytes that SQLite's file format has for them: that is documented and doesn't change, while a
// driver would be 10 MB in the program, and sqlite3 is not on every host. They are of open file descriptions, which exclude and are
// excluded by the process locks that SQLite uses, and which another descriptor of this process can't drop.
//
// Source: SQLite, file locking and concurrency in version 3; write-ahead logging; os.h.
package sqlite

import (
	"context"
	"log/slog"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// ID is the class of this writer, for ever.
var ID = vss.WriterID{GUID: vss.MustGUID("{c2b4b7a3-0c8d-4f58-8f1e-6a3f0d2e9b14}")}

// Name is the writer's name.
const Name = "SQLite Writer"

// DefaultLockWait is the longest that a transaction may keep the lock waiting in Freeze.
const DefaultLockWait = 10 * time.Second

// Config of the writer.
type Config struct {
	Databases []string      // patterns of paths from the root; files that are no databases are left out
	LockWait  time.Duration // 0: DefaultLockWait
	Logger    *slog.Logger  // nil: none
}

// New makes the writer. It opens nothing before it is asked to. It is a back end: applications that use the databases freeze first.
func New(c Config) *engine.Writer {
	info := writer.Info{ID: ID, Name: Name, Usage: vss.UsageUserData, Source: vss.SourceTransactedDB, Level: vss.LevelBackEnd}
	if c.LockWait <= 0 {
		c.LockWait = DefaultLockWait
	}
	return engine.New(info, &files{c}, c.Logger)
}

// files are the databases of the configuration.
type files struct{ Config }

var _ engine.Engine = (*files)(nil)

// Find implements engine.Engine.
func (f *files) Find(ctx context.Context) ([]engine.Instance, error) {
	paths, err := f.paths(ctx)
	if err != nil {
		return nil, err
	}
	var out []engine.Instance
	for _, p := range paths {
		out = append(out, &database{p})
	}
	return out, nil
}
