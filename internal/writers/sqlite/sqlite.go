// Package sqlite is the writer of SQLite databases. As there is no server to find, the configuration names the files.
//
// A copy of a database with its log or journal at one instant corresponds to a power failure, and SQLite recovers from
// it with any setting of synchronous, since what was written is in the copy. A database in WAL mode needs no freeze.
// One with a rollback journal does: whether the journal is on disk is a setting of each connection (with journal_mode
// MEMORY and OFF it isn't), and a transaction over several databases is rolled back by journals that refer to each
// other. No transaction may be in progress there.
//
// Freeze takes the lock that a reading connection takes: the SHARED lock, so that the mode can't change. Readers and
// writers in WAL mode aren't affected. In other modes it also takes the RESERVED lock, as BEGIN IMMEDIATE does:
// writers wait, readers don't. All databases are locked before any is copied, and the kernel releases the locks if the
// process ends.
//
// The locks are taken by fcntl on the bytes that SQLite's file format defines for them. These are documented and don't
// change, while a driver would add 10 MB to the program and sqlite3 isn't on every host. The locks belong to open file
// descriptions: they conflict with the process locks that SQLite uses, and other descriptors of this process can't
// release them.
//
// Source: SQLite, file locking and concurrency in version 3; write-ahead logging; os.h.
package sqlite

import (
	"context"
	"log/slog"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// ID is the class of this writer. It never changes.
var ID = vss.WriterID{GUID: vss.MustGUID("{c2b4b7a3-0c8d-4f58-8f1e-6a3f0d2e9b14}")}

// Name is the writer's name.
const Name = "SQLite Writer"

// DefaultLockWait is the default of Config.LockWait.
const DefaultLockWait = 10 * time.Second

// Config holds the parameters of New.
type Config struct {
	Databases []string      // absolute patterns; files that aren't databases are omitted
	LockWait  time.Duration // longest wait for transactions in Freeze; 0: DefaultLockWait
	Records   string        // see engine.Writer
	Logger    *slog.Logger  // nil: none
}

// New returns the writer. It opens files only when it handles an event. The writer is a back end, so that applications
// that use the databases freeze first.
func New(c Config) *engine.Writer {
	if c.LockWait <= 0 {
		c.LockWait = DefaultLockWait
	}
	w := engine.New(engine.BackEnd(ID, Name, vss.SourceTransactedDB), &files{c}, c.Logger)
	w.Records = c.Records
	return w
}

// files is the engine of the configured databases.
type files struct{ Config }

var _ engine.Engine = (*files)(nil)

// Find implements engine.Engine.
func (f *files) Find(ctx context.Context) ([]engine.Instance, []server.Left, error) {
	paths, left, err := f.paths(ctx)
	if err != nil {
		return nil, nil, err
	}
	var out []engine.Instance
	for _, p := range paths {
		out = append(out, &database{p})
	}
	return out, left, nil
}
