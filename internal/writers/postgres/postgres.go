// Package postgres is the writer of PostgreSQL. It covers every cluster, that is a server with its data directory, on
// this host. It finds the clusters by itself, connects to each over its own socket as the account that owns it, and
// needs no configuration.
//
// A set with all volumes of a cluster is one instant of data, WAL and tablespaces. A server that starts on such a copy
// does what it does after a power failure: it replays its WAL. So no backup mode is entered (its label would require
// WAL written after the copy at restore) and Freeze stops nothing: it records the position up to which the copy is
// certain to recover. The checkpoint that shortens recovery is executed before, in PrepareSnapshot, where it may take
// minutes.
//
// An incremental backup is the WAL since the last full or incremental backup, a differential backup that since the
// last full one (wal.go describes how missing WAL is detected). If it is put into pg_wal over the files of the full
// backup, the server's own recovery at start continues to its end. Nothing like recovery.signal is needed: for a copy
// made of volumes PostgreSQL would replay what is in pg_wal first even then, and then request WAL beyond the backup
// with the cluster's restore_command. A restored cluster continues on the timeline of the original; WAL archives and
// standbys must be set up again, as after every restore of a copy.
//
// There is one writer for all clusters, with a component for each: clusters come and go while the writer stays, and
// administrators select them by name, such as 15/main, as listed by pg_lsclusters.
//
// Source: PostgreSQL manual, file system level backup; writer's reference.
package postgres

import (
	"context"
	"log/slog"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// ID is the class of this writer. It never changes.
var ID = vss.WriterID{GUID: vss.MustGUID("{1e231e21-0225-4c93-960f-e9d7c58f817e}")}

// Name is the writer's name.
const Name = "PostgreSQL Writer"

// Config holds the parameters of New.
type Config struct {
	// Only are the clusters that the writer covers, by component name or data directory; nil: all.
	Only []string
	// Connections are connection strings (URI or keywords), by component name or data directory, for clusters that
	// can't be reached by peer authentication as the account that owns them. Passwords belong in a passfile named
	// there.
	Connections map[string]string
	// HoldWAL keeps a replication slot in each cluster from its first backup on: the server then retains the WAL that
	// the next incremental backup needs for any time. Otherwise it retains what its wal_keep_size specifies.
	HoldWAL  bool
	Accounts []string     // ordinary accounts whose clusters count; see server.Finder
	Records  string       // see engine.Writer
	Logger   *slog.Logger // nil: none
}

// New returns the writer. It connects to servers only when it handles an event. The writer is a back end, so that
// applications that use the databases are frozen before and thawed after them. A cluster that fails is omitted from a
// backup, and the others continue.
func New(c Config) *engine.Writer {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	all := &clusters{only: c.Only, connections: c.Connections, holdWAL: c.HoldWAL, accounts: c.Accounts,
		records: c.Records, log: c.Logger.With("writer", Name)}
	w := engine.New(engine.BackEnd(ID, Name, vss.SourceTransactedDB), all, c.Logger)
	w.Partial, w.Records = true, c.Records
	return w
}

// clusters is the engine of all clusters on this host.
type clusters struct {
	only        []string
	connections map[string]string
	holdWAL     bool
	accounts    []string
	records     string
	log         *slog.Logger
}

var _ engine.Builder = (*clusters)(nil)

// Find implements engine.Engine. It returns the running clusters that the writer covers.
func (s *clusters) Find(ctx context.Context) ([]engine.Instance, []server.Left, error) {
	all, left, err := Find(ctx, s.accounts...)
	if err != nil {
		return nil, nil, err
	}
	var out []engine.Instance
	for _, c := range all {
		if s.only == nil || slices.Contains(s.only, c.Name) || slices.Contains(s.only, c.Data) {
			out = append(out, &instance{c, s})
		}
	}
	return out, server.Covered(left, s.only), nil
}

// Schema implements engine.Builder. If the writer retains WAL, differential and incremental backups can't be mixed: a
// differential one would need WAL that an incremental one releases.
func (s *clusters) Schema() vss.BackupSchema {
	out := vss.SchemaIncremental | vss.SchemaDifferential | vss.SchemaCopy | vss.SchemaTimestamped |
		vss.SchemaLastModify
	if s.holdWAL {
		out |= vss.SchemaExclusiveIncrementalDifferential
	}
	return out
}

// instance is a running cluster.
type instance struct {
	cluster *Cluster
	all     *clusters
}

// Name implements engine.Instance.
func (i *instance) Name() string { return i.cluster.Name }

// Describe implements engine.Instance. It reads the cluster's files only, so it succeeds without a connection. It
// fails while a cluster is being created or removed.
func (i *instance) Describe(context.Context) (*engine.Description, error) {
	unknown := &engine.Description{Needs: []string{i.cluster.Data}}
	l, err := i.cluster.layout()
	if err != nil {
		return unknown, err
	}
	files, err := l.fileSets()
	if err != nil {
		return unknown, err
	}
	return &engine.Description{
		Caption:  "PostgreSQL " + i.cluster.Name,
		Files:    append(files, i.cluster.configuration()...),
		Excludes: l.excludes(),
		Needs:    l.needed(),
	}, nil
}
