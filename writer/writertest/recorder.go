package writertest

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// Act replaces the work of a Recorder in a handler. In Identify the event is nil.
type Act func(ctx context.Context, e *writer.Event) error

// Fail returns an error of a code from the handler.
func Fail(code vss.Code, why error) Act {
	return func(context.Context, *writer.Event) error { return vss.E("Recorder", code, why) }
}

// Veto sets a failure and returns no error (SetWriterFailure).
func Veto(code vss.Code, message string) Act {
	return func(_ context.Context, e *writer.Event) error { e.SetFailure(code, message); return nil }
}

// Stall returns when its context ends.
func Stall(ctx context.Context, _ *writer.Event) error { <-ctx.Done(); return ctx.Err() }

// Hang ignores its context, and succeeds when release is closed.
func Hang(release <-chan struct{}) Act {
	return func(context.Context, *writer.Event) error { <-release; return nil }
}

// Panic panics.
func Panic(context.Context, *writer.Event) error { panic("the test wants it") }

// Die ends the writer's process by calling die (os.Exit, or Stop of a Socket), and does not return before its context
// ends.
func Die(die func()) Act {
	return func(ctx context.Context, e *writer.Event) error { die(); return Stall(ctx, e) }
}

// Seen is one event that a Recorder received.
type Seen struct {
	Handler writer.Handler
	Event   writer.Event
}

// Recorder is a writer in memory. Its fields must be set before it is used; methods may be called from many goroutines.
type Recorder struct {
	Who      writer.Info
	Metadata document.WriterMetadata // its components; the identity is in the other field

	mu       sync.Mutex // the fields below
	acts     map[writer.Handler]Act
	identify Act
	seen     []Seen
	frozen   map[vss.SessionID]bool
}

var _ writer.Writer = (*Recorder)(nil)

// NewRecorder returns a recorder of a new class with one component, a database of one file.
func NewRecorder(name string) *Recorder {
	return &Recorder{
		Who: writer.Info{ID: vss.WriterID{GUID: vss.NewGUID()}, Name: name, Usage: vss.UsageUserData,
			Source: vss.SourceTransactedDB, Level: vss.LevelFrontEnd},
		Metadata: document.WriterMetadata{
			BackupSchema: vss.SchemaTimestamped | vss.SchemaIncremental,
			RestoreMethod: &document.RestoreMethod{Method: vss.RestoreIfCanReplace,
				WriterRestore: vss.WriterRestoreAlways},
			Components: []document.WMComponent{{
				Type: vss.ComponentDatabase, LogicalPath: "memory", Name: "data", Selectable: true,
				DatabaseFiles: []document.FileSet{{Path: "/srv/data", FileSpec: "*.db",
					Mask: vss.DefaultFileSpecBackupType}},
			}},
		},
	}
}

// At sets what it does in a handler from now on; nil makes it succeed.
func (r *Recorder) At(h writer.Handler, act Act) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.acts == nil {
		r.acts = map[writer.Handler]Act{}
	}
	r.acts[h] = act
}

// AtIdentify is At for Identify.
func (r *Recorder) AtIdentify(act Act) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.identify = act
}

// Seen returns the events that it received, in order. An event is recorded when its handler is called.
func (r *Recorder) Seen() []Seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

// Names returns the names of the handlers that were called for a session, in order.
func (r *Recorder) Names(session vss.SessionID) []string {
	var names []string
	for _, s := range r.Seen() {
		if s.Event.Session == session {
			names = append(names, s.Handler.String())
		}
	}
	return names
}

// Frozen reports whether a session received Freeze, and neither Thaw nor Abort since. Acts do not change that, except
// that a Freeze that hangs freezes again when it returns.
func (r *Recorder) Frozen() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.frozen) > 0
}

// Info implements writer.Writer.
func (r *Recorder) Info(context.Context) (writer.Info, error) { return r.Who, nil }

// Identify implements writer.Writer.
func (r *Recorder) Identify(ctx context.Context) (*document.WriterMetadata, error) {
	r.mu.Lock()
	act := r.identify
	r.mu.Unlock()
	if act != nil {
		if err := act(ctx, nil); err != nil {
			return nil, err
		}
	}
	m := r.Metadata
	m.Components = slices.Clone(m.Components)
	return &m, nil
}

func (r *Recorder) handle(ctx context.Context, h writer.Handler, e *writer.Event) error {
	r.mu.Lock()
	copied := *e
	copied.Components, copied.Devices = e.Components.Clone(), maps.Clone(e.Devices)
	r.seen = append(r.seen, Seen{h, copied})
	act := r.acts[h]
	r.note(h, e.Session)
	r.mu.Unlock()
	if act == nil {
		return Work(h, e)
	}
	err := act(ctx, e)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil && h == writer.OnFreeze {
		r.note(h, e.Session)
	}
	return err
}

func (r *Recorder) note(h writer.Handler, s vss.SessionID) {
	switch h {
	case writer.OnFreeze:
		if r.frozen == nil {
			r.frozen = map[vss.SessionID]bool{}
		}
		r.frozen[s] = true
	case writer.OnThaw, writer.OnAbort:
		delete(r.frozen, s)
	}
}

// Work changes the components of an event as a writer would.
func Work(h writer.Handler, e *writer.Event) error {
	if e.Components == nil {
		return nil
	}
	for _, c := range e.Components.Components {
		switch h {
		case writer.OnPrepareBackup:
			if err := c.SetBackupMetadata("prepared for " + e.BackupType.String()); err != nil {
				return err
			}
		case writer.OnPostSnapshot:
			c.BackupStamp = e.SetID.String()
		case writer.OnPreRestore:
			c.RestoreTarget = vss.TargetOriginal
		}
	}
	return nil
}

// PrepareBackup implements writer.Writer.
func (r *Recorder) PrepareBackup(ctx context.Context, e *writer.Event) error {
	return r.handle(ctx, writer.OnPrepareBackup, e)
}

// PrepareSnapshot implements writer.Writer.
func (r *Recorder) PrepareSnapshot(ctx context.Context, e *writer.Event) error {
	return r.handle(ctx, writer.OnPrepareSnapshot, e)
}

// Freeze implements writer.Writer.
func (r *Recorder) Freeze(ctx context.Context, e *writer.Event) error {
	return r.handle(ctx, writer.OnFreeze, e)
}

// Thaw implements writer.Writer.
func (r *Recorder) Thaw(ctx context.Context, e *writer.Event) error {
	return r.handle(ctx, writer.OnThaw, e)
}

// PostSnapshot implements writer.Writer.
func (r *Recorder) PostSnapshot(ctx context.Context, e *writer.Event) error {
	return r.handle(ctx, writer.OnPostSnapshot, e)
}

// BackupComplete implements writer.Writer.
func (r *Recorder) BackupComplete(ctx context.Context, e *writer.Event) error {
	return r.handle(ctx, writer.OnBackupComplete, e)
}

// BackupShutdown implements writer.Writer.
func (r *Recorder) BackupShutdown(ctx context.Context, e *writer.Event) error {
	return r.handle(ctx, writer.OnBackupShutdown, e)
}

// Abort implements writer.Writer.
func (r *Recorder) Abort(ctx context.Context, e *writer.Event) error {
	return r.handle(ctx, writer.OnAbort, e)
}

// PreRestore implements writer.Writer.
func (r *Recorder) PreRestore(ctx context.Context, e *writer.Event) error {
	return r.handle(ctx, writer.OnPreRestore, e)
}

// PostRestore implements writer.Writer.
func (r *Recorder) PostRestore(ctx context.Context, e *writer.Event) error {
	return r.handle(ctx, writer.OnPostRestore, e)
}
