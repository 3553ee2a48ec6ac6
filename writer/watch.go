package writer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// MaxSessions is how many sessions one writer takes part in at once. Source: writer's reference, state table.
const MaxSessions = 64

const (
	undoLimit = time.Minute            // for an Abort or a BackupShutdown that nobody waits for
	grace     = 500 * time.Millisecond // for a handler to return once it is told to stop
)

// Watched is a Writer that keeps another one to the rules, whatever that one does: events come in their order, a window that
// lasts too long ends in an Abort, panics and foreign errors become results that a writer may give, and who doesn't answer
// keeps nobody waiting longer than the context of the call: VSS_E_WRITER_NOT_RESPONDING. All writers run under it, in the
// service as well as behind Serve. Its methods may be called from many goroutines.
//
// A handler that is called by it may still run when an Abort comes: its context ends first, and if it doesn't return within
// half a second Abort is called beside it, and once more when it has returned. Abort must bear that.
type Watched struct {
	w   Writer
	log *slog.Logger

	mu       sync.Mutex // the fields below
	sessions map[vss.SessionID]*session
	uses     uint64
	closed   bool
}

var _ Writer = (*Watched)(nil)

// Watch watches over a writer.
func Watch(w Writer, logger *slog.Logger) *Watched {
	return &Watched{w: w, log: logger, sessions: map[vss.SessionID]*session{}}
}

// Info implements Writer, with defaults filled in. Errors: also E_INVALIDARG, VSS_E_WRITER_NOT_RESPONDING.
func (w *Watched) Info(ctx context.Context) (Info, error) {
	i, err := ask(ctx, w, "GetInfo", w.w.Info)
	if err != nil {
		return Info{}, err
	}
	return i.normal()
}

// Identify implements Writer: the metadata are checked, and carry the writer's identity. Errors: VSS_E_WRITERERROR_*,
// VSS_E_WRITER_NOT_RESPONDING.
func (w *Watched) Identify(ctx context.Context) (*document.WriterMetadata, error) {
	i, err := w.Info(ctx)
	if err != nil {
		return nil, legal("Identify", err, nil, vss.ErrWriterNotResponding)
	}
	m, err := ask(ctx, w, "Identify", w.w.Identify)
	if err == nil {
		m, err = i.sign(m)
	}
	return m, legal("Identify", err, nil, vss.ErrWriterNotResponding)
}

// sign gives metadata the identity of their writer. Errors: E_INVALIDARG, those of Validate.
func (i Info) sign(m *document.WriterMetadata) (*document.WriterMetadata, error) {
	if m == nil {
		return nil, vss.E("Identify", vss.ErrInvalidArg, errors.New("it gave no metadata")).On(i.Name)
	}
	if !m.WriterID.IsZero() && m.WriterID != i.ID {
		return nil, vss.E("Identify", vss.ErrInvalidArg, fmt.Errorf("its metadata are those of class %s, it is of %s", m.WriterID, i.ID)).On(i.Name)
	}
	own := *m
	own.WriterID, own.Name, own.InstanceName, own.Usage, own.Source = i.ID, i.Name, i.InstanceName, i.Usage, i.Source
	return &own, own.Validate()
}

// ask asks what isn't an event of a session, and waits no longer than ctx.
func ask[T any](ctx context.Context, w *Watched, op string, f func(context.Context) (T, error)) (T, error) {
	type answer struct {
		v   T
		err error
	}
	done := make(chan answer, 1)
	go func() {
		var a answer
		a.err = w.protect(op, func() (err error) { a.v, err = f(ctx); return err })
		done <- a
	}()
	select {
	case a := <-done:
		if ctx.Err() != nil && errors.Is(a.err, ctx.Err()) {
			a.err = silent(op, ctx.Err())
		}
		return a.v, a.err
	case <-ctx.Done():
		var none T
		return none, silent(op, ctx.Err())
	}
}

// protect runs a piece of a writer and makes its panic an error: VSS_E_WRITERERROR_NONRETRYABLE.
func (w *Watched) protect(op string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("panic in a writer", "handler", op, "panic", p, "stack", string(debug.Stack()))
			err = vss.E(op, vss.ErrWriterErrorNonRetryable, fmt.Errorf("panic: %v", p)).Advise("a fault in the writer; its log has the details; please report them")
		}
	}()
	return f()
}

// silent is the error of a writer that doesn't answer.
func silent(op string, cause error) error {
	return vss.E(op, vss.ErrWriterNotResponding, cause).Advise("see whether the writer's process runs, and what its log says")
}

// session is the state of a session, made at an event that begins one. Errors: VSS_E_WRITER_STATUS_NOT_AVAILABLE, when there
// is no room. Other events never need room: for them a session that isn't known, or not any more, is stable.
func (w *Watched) session(ctx context.Context, h Handler, e *Event) (*session, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.uses++
	s := w.sessions[e.Session]
	if s == nil {
		s = &session{w: w, id: e.Session, state: vss.WriterStable, turn: make(chan struct{}, 1), owner: ownerOf(ctx)}
		begins := table[vss.WriterStable][h] == deliver && h != OnAbort && h != OnBackupShutdown
		switch {
		case !begins:
			return s, nil
		case w.closed:
			return nil, silent(h.String(), errors.New("the writer is shutting down"))
		case len(w.sessions) >= MaxSessions && !w.recycle():
			return nil, vss.E(h.String(), vss.ErrWriterStatusNotAvailable, fmt.Errorf("it is in %d sessions already", MaxSessions)).
				Advise("wait until other backups have ended, or end their sessions")
		}
		w.sessions[e.Session] = s
	}
	s.used = w.uses
	return s, nil
}

// recycle forgets the session that was over for the longest time; false when none is.
func (w *Watched) recycle() bool {
	var oldest *session
	for _, s := range w.sessions {
		if s.idle() && (oldest == nil || s.used < oldest.used) {
			oldest = s
		}
	}
	if oldest != nil {
		delete(w.sessions, oldest.id)
	}
	return oldest != nil
}

func (w *Watched) forget(s *session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sessions[s.id] == s {
		delete(w.sessions, s.id)
	}
}

// Close ends all sessions, as if their requesters had gone: whoever is frozen is told Abort. No session begins afterwards.
// It returns when that is done or a minute has passed.
func (w *Watched) Close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.end(func(*session) bool { return true })
	return nil
}

// end ends sessions as BackupShutdown does, which nobody else will send any more.
func (w *Watched) end(which func(*session) bool) {
	w.mu.Lock()
	var gone []*session
	for _, s := range w.sessions {
		if which(s) {
			gone = append(gone, s)
		}
	}
	w.mu.Unlock()
	var all sync.WaitGroup
	for _, s := range gone {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), undoLimit)
			defer cancel()
			e := s.event()
			w.log.Warn("a session ends without its requester", "session", s.id, "state", s.now())
			if err := s.handle(ctx, OnBackupShutdown, &e); err != nil {
				w.log.Error("the end of a session failed", "session", s.id, "error", err)
			}
		})
	}
	all.Wait()
}

func (w *Watched) handle(ctx context.Context, h Handler, e *Event) error {
	s, err := w.session(ctx, h, e)
	if err != nil {
		return err
	}
	return s.handle(ctx, h, e)
}

// PrepareBackup implements Writer.
func (w *Watched) PrepareBackup(ctx context.Context, e *Event) error {
	return w.handle(ctx, OnPrepareBackup, e)
}

// PrepareSnapshot implements Writer.
func (w *Watched) PrepareSnapshot(ctx context.Context, e *Event) error {
	return w.handle(ctx, OnPrepareSnapshot, e)
}

// Freeze implements Writer. The writer's window begins.
func (w *Watched) Freeze(ctx context.Context, e *Event) error { return w.handle(ctx, OnFreeze, e) }

// Thaw implements Writer. Errors: also VSS_E_WRITERERROR_TIMEOUT, when the window has ended before.
func (w *Watched) Thaw(ctx context.Context, e *Event) error { return w.handle(ctx, OnThaw, e) }

// PostSnapshot implements Writer.
func (w *Watched) PostSnapshot(ctx context.Context, e *Event) error {
	return w.handle(ctx, OnPostSnapshot, e)
}

// BackupComplete implements Writer.
func (w *Watched) BackupComplete(ctx context.Context, e *Event) error {
	return w.handle(ctx, OnBackupComplete, e)
}

// BackupShutdown implements Writer. The session is forgotten.
func (w *Watched) BackupShutdown(ctx context.Context, e *Event) error {
	return w.handle(ctx, OnBackupShutdown, e)
}

// Abort implements Writer.
func (w *Watched) Abort(ctx context.Context, e *Event) error { return w.handle(ctx, OnAbort, e) }

// PreRestore implements Writer.
func (w *Watched) PreRestore(ctx context.Context, e *Event) error {
	return w.handle(ctx, OnPreRestore, e)
}

// PostRestore implements Writer.
func (w *Watched) PostRestore(ctx context.Context, e *Event) error {
	return w.handle(ctx, OnPostRestore, e)
}
