// Package postgres is the writer of PostgreSQL. It vouches for every cluster (one server with its data directory) that runs on
// this host: it finds them by itself, asks each over its own socket, as the account that owns it, and needs no set-up.
//
// A set that has all volumes of a cluster is one instant over data, WAL and tablespaces, and a server that starts on such a
// copy does what it does after a power cut: it replays its WAL. So no backup mode is entered (its label would ask at restore
// for WAL that is written after the copy) and Freeze stops nothing: it notes the position up to which the copy is sure to
// recover. The checkpoint that makes recovery short comes before, in PrepareSnapshot, where it may take minutes.
//
// An incremental backup is the WAL since the last full or incremental one, a differential backup that since the last full one
// (wal.go tells how it is made sure that nothing is missing). Put into pg_wal over the files of the full backup it makes
// the server's own recovery at start go on to the end of it. So nothing like recovery.signal is needed: for a copy that was
// made of volumes, PostgreSQL would replay what is in pg_wal first even then, and then ask the cluster's restore_command for
// WAL beyond the backup. What is restored goes on on the timeline of the original: WAL archives and standbys are to be made
// anew, as after every restore of a copy.
//
// There is one writer for all clusters, with a component for each: clusters come and go while the writer stays, and an
// administrator picks them by name, 15/main, as pg_lsclusters lists them.
//
// Source: PostgreSQL manual, file system level backup; writer's reference.
package postgres

import (
	"context"
	"log/slog"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// ID is the class of this writer, for ever.
var ID = vss.WriterID{GUID: vss.MustGUID("{1e231e21-0225-4c93-960f-e9d7c58f817e}")}

// Name is the writer's name.
const Name = "PostgreSQL Writer"

// Config of the writer.
type Config struct {
	// Only are the clusters, by component name or data directory, that the writer vouches for; nil: all.
	Only []string
	// Connections are connection strings (URI or keywords) for clusters, by component name or data directory, that the
	// account which owns the cluster can't reach by peer authentication. Passwords belong into a passfile that it names.
	Connections map[string]string
	// HoldWAL keeps a replication slot in each cluster from its first backup on: the server keeps the WAL that the next
	// incremental backup needs, however long that takes. Without, it keeps what its own wal_keep_size says.
	HoldWAL bool
	Logger  *slog.Logger // nil: none
}

// New makes the writer. It connects to nothing before it is asked to. It is a back end, so that what uses the databases is frozen
// before and thawed after them. A cluster that fails is left out of a backup: the others go on.
func New(c Config) *engine.Writer {
	info := writer.Info{ID: ID, Name: Name, Usage: vss.UsageUserData, Source: vss.SourceTransactedDB, Level: vss.LevelBackEnd}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	all := &clusters{only: c.Only, connections: c.Connections, holdWAL: c.HoldWAL, log: c.Logger.With("writer", Name)}
	w := engine.New(info, all, c.Logger)
	w.Partial = true
	return w
}

// clusters are those of this host.
type clusters struct {
	only        []string
	connections map[string]string
	holdWAL     bool
	log         *slog.Logger
}

var _ engine.Builder = (*clusters)(nil)

// Find implements engine.Engine: those that run now and are this writer's.
func (s *clusters) Find(ctx context.Context) ([]engine.Instance, error) {
	all, err := Find(ctx)
	if err != nil {
		return nil, err
	}
	var out []engine.Instance
	for _, c := range all {
		if s.only == nil || slices.Contains(s.only, c.Name) || slices.Contains(s.only, c.Data) {
			out = append(out, &instance{c, s})
		}
	}
	return out, nil
}

// Schema implements engine.Builder. Mixed with incremental ones, a differential backup would need WAL that an incremental one lets
// go, where it is the writer who holds it.
func (s *clusters) Schema() vss.BackupSchema {
	out := vss.SchemaIncremental | vss.SchemaDifferential | vss.SchemaCopy | vss.SchemaTimestamped | vss.SchemaLastModify
	if s.holdWAL {
		out |= vss.SchemaExclusiveIncrementalDifferential
	}
	return out
}

// instance is a cluster that runs now.
type instance struct {
	cluster *Cluster
	all     *clusters
}

// Name implements engine.Instance.
func (i *instance) Name() string { return i.cluster.Name }

// Describe implements engine.Instance, from the cluster's files alone: one that lets nobody in is described as well. One that is
// being made or removed isn't.
func (i *instance) Describe(context.Context) (*engine.Description, error) {
	l, err := i.cluster.layout()
	if err != nil {
		return nil, err
	}
	files, err := l.fileSets()
	if err != nil {
		return nil, err
	}
	return &engine.Description{Caption: "PostgreSQL " + i.cluster.Name, Files: append(files, i.cluster.configuration()...),
		Excludes: l.excludes(), Needs: l.needed()}, nil
}
