// Package engine holds what writers of databases have in common: it selects the instances of a backup, checks that the
// set has all volumes of each, runs PrepareSnapshot to Thaw for all instances in parallel with a guaranteed end,
// handles instances that fail, and restores by setting the replaced files aside. Each kind of database implements the
// interface Engine.
package engine

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/aside"
	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// Engine is one kind of database. Its methods may be called from multiple goroutines.
type Engine interface {
	// Find returns the instances on this host, sorted by name, and those that can't be backed up at all. It changes
	// nothing and returns quickly.
	Find(ctx context.Context) ([]Instance, []server.Left, error)
	// Freeze brings the files of all instances to the state that Thaw verifies, and returns the instances that failed.
	// It ends with ctx. Engines whose instances are independent call Each.
	Freeze(ctx context.Context, all []Taken) Failures
	// Recall reads an instance from backup metadata. The instance need not exist any more.
	Recall(metadata string) (Saved, error)
}

// Builder is an engine that supports backups that build on earlier ones.
type Builder interface {
	Engine
	// Schema returns the supported kinds of backups.
	Schema() vss.BackupSchema
	// Follow checks that a backup of the named instance can build on the one that left stamp. i is nil if the instance
	// doesn't exist now.
	Follow(ctx context.Context, name string, i Instance, stamp string) error
	// Complete releases what an instance kept for the backup, after all of its files are saved.
	Complete(ctx context.Context, t Taken) error
}

// Backup describes the backup that an instance is prepared for.
type Backup struct {
	Kind  vss.BackupType // full or copy; with a Builder also incremental or differential
	Named bool           // the requester chose components: a later backup may build on this one
	After string         // stamp of the backup that this one builds on; "" for none
}

// Instance is one database or server.
type Instance interface {
	// Name returns the component's name. It doesn't change, and has no backslash.
	Name() string
	// Describe returns the instance's files; nil if it stores nothing. With an error it returns what is known
	// nevertheless. It changes nothing.
	Describe(ctx context.Context) (*Description, error)
	// Prepare does the slow work before a copy. It cleans up after itself on failure, and ends with ctx.
	Prepare(ctx context.Context, b Backup) (Held, error)
}

// Description is an instance's part of the Writer Metadata Document.
type Description struct {
	Caption  string
	Files    []document.FileSet
	Excludes []document.FileSet
	// Needs lists paths whose volumes a copy must have, all or none, unless the backup builds on another. Paths of
	// files that such a backup reads from the copy are included implicitly.
	Needs []string
}

// Taken is an instance that is part of a set.
type Taken struct {
	Name string
	Held
}

// Held is an instance between Prepare and Release.
type Held interface {
	// Thaw undoes Freeze. It fails if the instance didn't remain frozen throughout.
	Thaw(ctx context.Context) error
	// Release undoes what remains to be undone, within seconds. It may be called at any time and repeatedly, also
	// during other calls; their contexts are cancelled before.
	Release()
	// Metadata returns what is recorded with the component. It is called after Thaw.
	Metadata() (Metadata, error)
}

// Metadata is what a backup records about an instance.
type Metadata struct {
	Text        string                      // what a restore requires
	Stamp       string                      // stamp for later backups to build on, "" for none
	Differenced []document.DifferencedFiles // of a backup that builds on another: since when changed files count
}

// Saved is an instance as recorded in a backup. It comes from a document, so nothing is executed, moved or stopped by
// it before Decide or Adopt has replaced what decides that.
type Saved interface {
	// Decisive returns, for encoding as JSON, what decides which programs are executed, as which account, and which
	// files are moved.
	Decisive() any
	// Decide replaces all of that by what Decisive returned for a record of this host.
	Decide(text []byte) error
	// Adopt replaces all of that by what the instance that now runs on this host has. It fails if there is none.
	Adopt(ctx context.Context) error
	// Files returns the files that a restore replaces, and the account that owns them.
	Files() ([]document.FileSet, aside.Owner)
	// Stop stops the process that uses the files, and reports whether it was running.
	Stop(ctx context.Context) (ran bool, err error)
	// Start starts the process that uses the files and returns when it has recovered.
	Start(ctx context.Context) error
}

// Layer is a Saved whose backups are restored one on top of another.
type Layer interface {
	Saved
	// Resume is called when nothing uses the files and before any is set aside. It returns what Next recorded in
	// earlier restores that this one continues or repeats: whether the instance ran before them, and what they set
	// aside.
	Resume(tag string) (ran bool, earlier []aside.Moved, err error)
	// CheckRestored checks that what was restored, all of the backup's files or a part, can be used for the next step.
	CheckRestored(all bool) error
	// Next prepares for further restores, or for the start. It records ran and all for Resume: whether the instance
	// ran before the restores, and what they set aside.
	Next(more, ran bool, all []aside.Moved) error
}

// Writer is the writer of all instances of one engine on this host.
type Writer struct {
	// Partial omits an instance that fails: its component records the failure, and the others continue. Without
	// Partial the failure is a veto.
	Partial bool
	// Whole makes a veto of an instance of which the set lacks a volume, even if Partial: the requester chose badly.
	Whole bool
	// Records is the folder for records of backups, by which instances are restored; see record.go. Only this process
	// may write there. It is created if necessary. Without it, only instances that run are restored.
	Records string

	info    writer.Info
	engine  Engine
	builder Builder // nil if engine isn't a Builder
	log     *slog.Logger

	mu       sync.Mutex // the fields below
	sessions map[vss.SessionID]*session
	restores []*restoring  // in the order of PreRestore
	left     []server.Left // since the last Identify
}

var _ writer.Writer = (*Writer)(nil)

// BackEnd returns the identity of a writer of user data that is a back end.
func BackEnd(id vss.WriterID, name string, source vss.SourceType) writer.Info {
	return writer.Info{ID: id, Name: name, Usage: vss.UsageUserData, Source: source, Level: vss.LevelBackEnd}
}

// New returns the writer of an engine. With a nil logger it doesn't log.
func New(info writer.Info, e Engine, logger *slog.Logger) *Writer {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	w := &Writer{info: info, engine: e, log: logger.With("writer", info.Name), sessions: map[vss.SessionID]*session{}}
	w.builder, _ = e.(Builder)
	return w
}

// schema returns the kinds of backups that the writer supports.
func (w *Writer) schema() vss.BackupSchema {
	if w.builder == nil {
		return vss.SchemaCopy
	}
	return w.builder.Schema()
}

// Info implements writer.Writer.
func (w *Writer) Info(context.Context) (writer.Info, error) { return w.info, nil }

// Identify describes the instances on this host, each as a file group. File groups may name folders with everything
// below them, so that a database created after Identify is still in the copy; a database component would name its
// folders one by one.
func (w *Writer) Identify(ctx context.Context) (*document.WriterMetadata, error) {
	m := &document.WriterMetadata{
		WriterID: w.info.ID, Name: w.info.Name, Usage: w.info.Usage, Source: w.info.Source,
		Version:       document.Version{Major: 1},
		BackupSchema:  w.schema(),
		RestoreMethod: &document.RestoreMethod{Method: vss.RestoreIfCanReplace, WriterRestore: vss.WriterRestoreAlways},
	}
	all, left, err := w.engine.Find(ctx)
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
				w.log.Warn("an instance can't be queried", "instance", one.Name(), "error", err)
			}
		})
	}
	wg.Wait()
	for i, d := range described {
		if d != nil && len(d.Files) > 0 {
			m.Components = append(m.Components, document.WMComponent{
				Type: vss.ComponentFileGroup, Name: all[i].Name(), Caption: d.Caption, Selectable: true,
				SelectableForRestore: true, Files: d.Files,
			})
			m.ExcludeFiles = append(m.ExcludeFiles, d.Excludes...)
		}
	}
	if m.Validate() != nil {
		left = append(left, lawful(m)...)
	}
	w.leave(left)
	return m, nil
}

// lawful removes the components that metadata can't have, such as those with a \ in their name, and returns them. One
// invalid component costs only itself.
func lawful(m *document.WriterMetadata) (left []server.Left) {
	all := m.Components
	m.Components = nil
	for _, c := range all {
		with := document.WriterMetadata{WriterID: m.WriterID, Name: m.Name, BackupSchema: m.BackupSchema,
			RestoreMethod: m.RestoreMethod, Components: append(slices.Clip(m.Components), c)}
		if err := with.Validate(); err != nil {
			left = append(left, server.Left{Name: c.Name, Dir: c.Files[0].Path, Err: err})
			continue
		}
		m.Components = with.Components
	}
	if m.Validate() != nil { // an exclusion is invalid; without it more is saved
		m.ExcludeFiles = slices.DeleteFunc(m.ExcludeFiles, func(f document.FileSet) bool {
			with := document.WriterMetadata{WriterID: m.WriterID, Name: m.Name, BackupSchema: m.BackupSchema,
				RestoreMethod: m.RestoreMethod, ExcludeFiles: []document.FileSet{f}}
			return with.Validate() != nil
		})
	}
	return left
}

// leave records the instances that are left out.
func (w *Writer) leave(left []server.Left) {
	for _, l := range left {
		w.log.Warn("an instance is left out: its data aren't prepared for copies", "instance", l.Name, "error", l.Err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left = slices.DeleteFunc(left, func(l server.Left) bool { return l.Ignored })
}

// isLeft reports whether Identify left an instance out.
func (w *Writer) isLeft(i Instance) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.left, func(l server.Left) bool { return l.Name == i.Name() })
}

// leftOn returns the failures of the instances that are left out and have their files on the volumes.
func (w *Writer) leftOn(volumes []string) Failures {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := Failures{}
	for _, l := range w.left {
		if in, _ := affected(volumes, []string{l.Dir}); len(in) > 0 {
			out[l.Name] = vss.E("Identify", vss.ErrWriterErrorNonRetryable, l.Err).On(l.Name).
				Advise("it is left out; correct its name, its owner or its folder, or stop it")
		}
	}
	return out
}
