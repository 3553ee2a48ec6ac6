// Package engine is what the writers of databases have in common: which instances are in a backup, whether the set has all
// volumes of each, one thread from PrepareSnapshot to Thaw with each instance, all at once, which always ends, what becomes of the
// others when one fails, and a restore that sets aside what it replaces. What is particular to a kind of database is behind the
// interface Engine.
package engine

import (
	"context"
	"log/slog"
	"sync"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/aside"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// Engine is one kind of database. Its methods may be called from many goroutines.
type Engine interface {
	// Find lists the instances that are here now, by name. It changes nothing and is quick.
	Find(ctx context.Context) ([]Instance, error)
	// Freeze brings what is on the volumes to what Thaw will vouch for, of all instances that a set has together, and tells which
	// failed. It ends with ctx. Where each can be frozen for itself, Each does it.
	Freeze(ctx context.Context, all []Taken) Failures
	// Recall reads an instance from backup metadata: it needn't be here any more.
	Recall(metadata string) (Saved, error)
}

// Builder is an engine whose backups may go on from earlier ones. Of others each backup stands for itself.
type Builder interface {
	Engine
	// Schema is what kinds of backups there are.
	Schema() vss.BackupSchema
	// Follow makes sure that a backup of the instance with a name can go on from the one that left a stamp. One that isn't here now
	// is nil.
	Follow(ctx context.Context, name string, i Instance, stamp string) error
	// Complete lets go what an instance kept for the backup, once all of its files are saved.
	Complete(ctx context.Context, t Taken) error
}

// Backup is what an instance is prepared for.
type Backup struct {
	Kind  vss.BackupType // as the writer makes it: full or copy; a Builder's incremental or differential, too
	After string         // the stamp of the backup that it goes on from; "" for one that stands for itself
}

// Instance is one database or server, as it is now.
type Instance interface {
	// Name is the component's, lasting and without backslash.
	Name() string
	// Describe tells what files it has, as far as is known also with an error; nil where it keeps nothing. It changes nothing.
	Describe(ctx context.Context) (*Description, error)
	// Prepare does what takes long before a copy. It cleans up after itself where it fails, and ends with ctx.
	Prepare(ctx context.Context, b Backup) (Held, error)
}

// Description is an instance's part of the Writer Metadata Document.
type Description struct {
	Caption  string
	Files    []document.FileSet
	Excludes []document.FileSet
	// Needs are the paths whose volumes a copy must have, all or none, where the backup isn't one that goes on from another. Those
	// of files that such a backup reads from the copy are among them without being named.
	Needs []string
}

// Taken is an instance that a set has.
type Taken struct {
	Name string
	Held
}

// Held is an instance from Prepare to Release.
type Held interface {
	// Thaw undoes Freeze, and fails if the instance hasn't been as Freeze left it all the time.
	Thaw(ctx context.Context) error
	// Release undoes whatever is to be undone, within seconds. It may come at any time, beside other calls, whose contexts have
	// ended then, and repeatedly.
	Release()
	// Metadata are what is noted of it with its component. After Thaw.
	Metadata() (Metadata, error)
}

// Metadata are what a backup notes of an instance.
type Metadata struct {
	Text        string                      // what a restore needs to know
	Stamp       string                      // on which later backups build, "" for none
	Differenced []document.DifferencedFiles // of a backup that goes on from another: since when files count
}

// Saved is an instance as a backup has it.
type Saved interface {
	// Files are what a restore replaces, and the account whose they are.
	Files() ([]document.FileSet, aside.Owner)
	// Stop ends what uses the files, and tells whether that ran.
	Stop(ctx context.Context) (ran bool, err error)
	// Start starts what uses the files and returns when it has recovered.
	Start(ctx context.Context) error
}

// Layer is a Saved whose backups are restored one on top of another.
type Layer interface {
	Saved
	// Resume comes when nothing uses the files, before any is set aside. It tells of the restores that this one goes on from, or takes
	// the place of, whether the instance ran before them and what they have set aside.
	Resume(tag string) (ran bool, earlier []aside.Moved, err error)
	// Whole makes sure that what was restored, all of the backup's files or not, is good for what comes next.
	Whole(all bool) error
	// Next prepares for more restores, or for the start. Whether the instance ran before them all, and what they have set aside, is
	// for Resume.
	Next(more, ran bool, all []aside.Moved) error
}

// Writer is the writer of all instances of one engine on this host.
type Writer struct {
	// Partial has an instance that fails left out: its component has the failure, and the others go on. Else it is a veto.
	Partial bool

	info    writer.Info
	engine  Engine
	builder Builder // nil: it is none
	log     *slog.Logger

	mu       sync.Mutex
	sessions map[vss.SessionID]*session
}

var _ writer.Writer = (*Writer)(nil)

// New makes the writer of an engine. A nil logger stands for none.
func New(info writer.Info, e Engine, logger *slog.Logger) *Writer {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	w := &Writer{info: info, engine: e, log: logger.With("writer", info.Name), sessions: map[vss.SessionID]*session{}}
	w.builder, _ = e.(Builder)
	return w
}

// schema is what kinds of backups the writer knows.
func (w *Writer) schema() vss.BackupSchema {
	if w.builder == nil {
		return vss.SchemaCopy
	}
	return w.builder.Schema()
}

// Info tells who the writer is.
func (w *Writer) Info(context.Context) (writer.Info, error) { return w.info, nil }

// Identify describes the instances that are here now, each a file group: those may have folders with all below them, so that a
// database that is made after Identify is still in the copy; a database component names its folders one by one.
func (w *Writer) Identify(ctx context.Context) (*document.WriterMetadata, error) {
	m := &document.WriterMetadata{
		WriterID: w.info.ID, Name: w.info.Name, Usage: w.info.Usage, Source: w.info.Source,
		Version:       document.Version{Major: 1},
		BackupSchema:  w.schema(),
		RestoreMethod: &document.RestoreMethod{Method: vss.RestoreIfCanReplace, WriterRestore: vss.WriterRestoreAlways},
	}
	all, err := w.engine.Find(ctx)
	if err != nil {
		return nil, err
	}
	described := make([]*Description, len(all))
	var wg sync.WaitGroup
	for i, one := range all {
		wg.Go(func() {
			d, err := one.Describe(ctx)
			described[i] = d
			if err != nil {
				w.log.Warn("an instance can't be asked", "instance", one.Name(), "error", err)
			}
		})
	}
	wg.Wait()
	for i, d := range described {
		if d == nil {
			continue
		}
		m.Components = append(m.Components, document.WMComponent{
			Type: vss.ComponentFileGroup, Name: all[i].Name(), Caption: d.Caption, Selectable: true, SelectableForRestore: true, Files: d.Files,
		})
		m.ExcludeFiles = append(m.ExcludeFiles, d.Excludes...)
	}
	return m, nil
}
