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
	"sync"

	"github.com/stillpoint-vss/stillpoint/document"
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

// Writer is the writer of all clusters of this host.
type Writer struct {
	only        []string
	connections map[string]string
	holdWAL     bool
	log         *slog.Logger

	mu       sync.Mutex
	sessions map[vss.SessionID]*session
}

var _ writer.Writer = (*Writer)(nil)

// New makes the writer. It connects to nothing before it is asked to.
func New(c Config) *Writer {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Writer{only: c.Only, connections: c.Connections, holdWAL: c.HoldWAL, log: c.Logger.With("writer", Name), sessions: map[vss.SessionID]*session{}}
}

// Info tells who the writer is: a back end, so that what uses the databases is frozen before and thawed after them.
func (w *Writer) Info(context.Context) (writer.Info, error) {
	return writer.Info{ID: ID, Name: Name, Usage: vss.UsageUserData, Source: vss.SourceTransactedDB, Level: vss.LevelBackEnd}, nil
}

// Identify describes the clusters that run now, from their files alone: a cluster that lets nobody in is named as well.
func (w *Writer) Identify(ctx context.Context) (*document.WriterMetadata, error) {
	m := &document.WriterMetadata{
		WriterID: ID, Name: Name, Usage: vss.UsageUserData, Source: vss.SourceTransactedDB,
		Version:       document.Version{Major: 1},
		BackupSchema:  w.schema(),
		RestoreMethod: &document.RestoreMethod{Method: vss.RestoreIfCanReplace, WriterRestore: vss.WriterRestoreAlways},
	}
	all, err := w.clusters(ctx)
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		l, err := c.layout()
		var files []document.FileSet
		if err == nil {
			files, err = l.fileSets()
		}
		if err != nil { // it is being removed or made
			w.log.Warn("a cluster can't be described", "cluster", c.Name, "error", err)
			continue
		}
		m.Components = append(m.Components, document.WMComponent{
			Type: vss.ComponentFileGroup, Name: c.Name, Caption: "PostgreSQL " + c.Name, Selectable: true, SelectableForRestore: true,
			Files: append(files, c.configuration()...),
		})
		m.ExcludeFiles = append(m.ExcludeFiles, l.excludes()...)
	}
	return m, nil
}

// clusters are those that run now and are this writer's.
func (w *Writer) clusters(ctx context.Context) ([]*Cluster, error) {
	all, err := Find(ctx)
	if err != nil || w.only == nil {
		return all, err
	}
	return slices.DeleteFunc(all, func(c *Cluster) bool { return !slices.Contains(w.only, c.Name) && !slices.Contains(w.only, c.Data) }), nil
}
