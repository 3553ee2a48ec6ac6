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

// MaxSessions is the number of sessions that a writer can take part in at the same time. Source: writer's reference,
// state table.
const MaxSessions = 64

const (
	undoLimit = time.Minute            // for an Abort or a BackupShutdown that has no caller
	grace     = 500 * time.Millisecond // for a handler to return after it was canceled
)

// Watched is a Writer that enforces the rules of the state table on another one: events out of order are refused, a
// freeze window that expires ends with Abort, and panics and illegal errors are converted to legal ones. A call
// returns when its context ends, with VSS_E_WRITER_NOT_RESPONDING, even if the handler does not return. All writers
// run under Watched, in the service as well as behind Serve. Its methods may be called from many goroutines.
//
// A handler may still be running when Abort is due. Its context is canceled first; if it does not return within half a
// second, Abort is called while it runs, and again after it has returned. A writer's Abort must allow for that.
type Watched struct {
	w   Writer
	log *slog.Logger

	mu       sync.Mutex // the fields below
	sessions map[vss.SessionID]*session
	uses     uint64
	closed   bool
}

var _ Writer = (*Watched)(nil)

// Watch returns a Watched for a writer.
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

// Identify implements Writer. It checks the metadata and fills in the writer's identity. Errors: VSS_E_WRITERERROR_*,
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

// sign returns metadata with the identity of the writer. Errors: E_INVALIDARG, those of Validate.
func (i Info) sign(m *document.WriterMetadata) (*document.WriterMetadata, error) {
	if m == nil {
		return nil, vss.E("Identify", vss.ErrInvalidArg, errors.New("the writer returned no metadata")).On(i.Name)
	}
	if !m.WriterID.IsZero() && m.WriterID != i.ID {
		cause := fmt.Errorf("the metadata are of class %s, the writer is of class %s", m.WriterID, i.ID)
		return nil, vss.E("Identify", vss.ErrInvalidArg, cause).On(i.Name)
	}
	own := *m
	own.WriterID, own.Name, own.InstanceName, own.Usage, own.Source = i.ID, i.Name, i.InstanceName, i.Usage, i.Source
	return &own, own.Validate()
}

// ask calls a method that is not part of a session, and waits for it until ctx ends.
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

// protect calls f, which runs code of the writer, and converts a panic to VSS_E_WRITERERROR_NONRETRYABLE.
func (w *Watched) protect(op string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			w.log.Error("panic in a writer", "handler", op, "panic", p, "stack", string(debug.Stack()))
			err = vss.E(op, vss.ErrWriterErrorNonRetryable, fmt.Errorf("panic: %v", p)).
				Advise("the writer has a defect: report it with what the writer's log has of it")
		}
	}()
	return f()
}

// silent returns the error of a writer that does not answer.
func silent(op string, cause error) error {
	return vss.E(op, vss.ErrWriterNotResponding, cause).Advise("check that the writer's process runs, and see its log")
}

// session returns the session of an event, and creates it if the event begins one. For another event an unknown
// session is one in the state stable, which is not kept. Errors: VSS_E_WRITER_STATUS_NOT_AVAILABLE if there are too
// many sessions, VSS_E_WRITER_NOT_RESPONDING after Close.
func (w *Watched) session(ctx context.Context, h Handler, e *Event) (*session, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.uses++
	s := w.sessions[e.Session]
	if s == nil {
		s = &session{w: w, id: e.Session, state: vss.WriterStable, turn: make(chan struct{}, 1), owner: ownerOf(ctx)}
		begins := table[vss.WriterStable][h] == call && h != OnAbort && h != OnBackupShutdown
		switch {
		case !begins:
			return s, nil
		case w.closed:
			return nil, silent(h.String(), errors.New("the writer is shutting down"))
		case len(w.sessions) >= MaxSessions && !w.recycle():
			cause := fmt.Errorf("the writer takes part in %d sessions already", MaxSessions)
			return nil, vss.E(h.String(), vss.ErrWriterStatusNotAvailable, cause).
				Advise("wait until other backups have ended, or end their sessions")
		}
		w.sessions[e.Session] = s
	}
	s.used = w.uses
	return s, nil
}

// recycle forgets the finished session that was used least recently. It returns false if none is finished.
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

// Close ends all sessions as BackupShutdown does: a frozen writer receives Abort. No session can begin afterwards. It
// returns when that is done, or after a minute.
func (w *Watched) Close() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.end(func(*session) bool { return true })
	return nil
}

// end ends sessions as BackupShutdown does, for a coordinator that can no longer send it.
func (w *Watched) end(which func(*session) bool) {
	w.mu.Lock()
	var ending []*session
	for _, s := range w.sessions {
		if which(s) {
			ending = append(ending, s)
		}
	}
	w.mu.Unlock()
	var all sync.WaitGroup
	for _, s := range ending {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), undoLimit)
			defer cancel()
			e := s.event()
			w.log.Warn("a session is ended for its coordinator", "session", s.id, "state", s.now())
			if err := s.handle(ctx, OnBackupShutdown, &e); err != nil {
				w.log.Error("the session was not ended cleanly", "session", s.id, "error", err)
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

// Freeze implements Writer. It begins the freeze window.
func (w *Watched) Freeze(ctx context.Context, e *Event) error { return w.handle(ctx, OnFreeze, e) }

// Thaw implements Writer. Errors: also VSS_E_WRITERERROR_TIMEOUT if the window has expired.
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
