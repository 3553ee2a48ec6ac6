package writer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// errWindow cancels a handler when the freeze window has expired.
var errWindow = errors.New("the writer was frozen for longer than its limit")

// session is the state of a writer in one session.
type session struct {
	w     *Watched
	id    vss.SessionID
	turn  chan struct{} // full while an event is being handled
	owner any           // the connection that the session came by
	used  uint64        // when it was last used; guarded by Watched.mu

	mu         sync.Mutex // the fields below
	state      vss.WriterState
	failure    *Failure    // the failure, in a failed state
	last       Event       // the last event, for those that end a session by themselves
	window     *time.Timer // runs from Freeze to Thaw; else nil
	opened     int         // the number of windows so far
	expired    bool        // the window has ended, and Abort was called for it
	freezeSent bool        // Freeze was called, and neither Thaw nor Abort has succeeded since
	froze      bool        // Freeze returned without an error, and no Thaw has succeeded since
	thawed     bool        // Thaw succeeded, and PostSnapshot hasn't come
	finished   bool        // the session may be forgotten
	ended      bool        // BackupShutdown came
	running    *run        // the handler that is running
	aborts     int         // the number of calls of Abort
}

// run is one call of a handler.
type run struct {
	h         Handler
	stop      context.CancelCauseFunc
	aborts    int
	abandoned bool // the caller has stopped waiting
}

func (s *session) now() vss.WriterState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// idle reports whether the session may be forgotten.
func (s *session) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finished && s.running == nil && !s.freezeSent
}

// event returns the event for a call that the coordinator did not send.
func (s *session) event() Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.last
	e.Session = s.id
	return e
}

// handle handles an event as the table defines for the present state.
func (s *session) handle(ctx context.Context, h Handler, e *Event) error {
	ours, err := s.take(ctx, h, context.Canceled)
	if err != nil {
		return err
	}
	release := func() {
		if ours {
			<-s.turn
		}
	}
	s.mu.Lock()
	what, state := s.action(h), s.state
	s.last = Event{
		Session: e.Session, SetID: e.SetID, Volumes: e.Volumes, Context: e.Context, BackupType: e.BackupType,
		Partial: e.Partial, Bootable: e.Bootable,
	}
	failure, ended := s.failure, s.ended
	s.mu.Unlock()
	if ended { // while this event waited for its turn
		release()
		if h == OnBackupShutdown || h == OnAbort {
			return nil
		}
		return vss.E(h.String(), vss.ErrWriterErrorNonRetryable, errors.New("the session has ended")).
			Advise("open a new session")
	}
	switch what {
	case deny:
		release()
		cause := fmt.Errorf("the event is out of order: the writer is %s in this session", state)
		return vss.E(h.String(), vss.ErrWriterErrorNonRetryable, cause).
			Advise("open a new session; the service's log shows the order of the events")
	case skip:
		release()
		e.Failure = failure
		return nil
	case late:
		s.fail(h, &Failure{Code: vss.ErrWriterErrorTimeout, Message: errWindow.Error()})
		release()
		return vss.E(h.String(), vss.ErrWriterErrorTimeout, errWindow).
			Advise("the writer has thawed itself; try again when the machine is less busy")
	case undo:
		// BackupShutdown with something to undo. Failures are only logged: the session ends anyway.
		own := *e
		if err := s.call(ctx, OnAbort, &own, false, nil); err != nil {
			s.w.log.Error("Abort before BackupShutdown failed", "session", s.id, "error", err)
		}
	}
	return s.call(ctx, h, e, ours, release)
}

// action returns the action of an event, with the conditions of the table resolved.
func (s *session) action(h Handler) action {
	a := table[s.state][h]
	if s.expired && s.state == vss.WriterWaitingForThaw {
		a = timedOut[h]
	}
	switch {
	case a == ifFroze && (!s.froze || s.expired), a == ifThawed && !s.thawed:
		return skip
	case a == ifFroze, a == ifThawed:
		return call
	case h == OnBackupShutdown && s.freezeSent:
		return undo
	}
	return a
}

// take waits until no other event of the session is being handled. Abort and BackupShutdown cancel the handler that is
// running, with the cause why, and wait for it for a limited time only: if it has not returned by then, ours is false.
func (s *session) take(ctx context.Context, h Handler, why error) (ours bool, err error) {
	var patience <-chan time.Time
	if h == OnAbort || h == OnBackupShutdown {
		if s.interrupt(why) {
			t := time.NewTimer(grace)
			defer t.Stop()
			patience = t.C
		}
	}
	select {
	case s.turn <- struct{}{}:
		return true, nil
	default:
	}
	select {
	case s.turn <- struct{}{}:
		return true, nil
	case <-patience:
		return false, nil
	case <-ctx.Done():
		cause := fmt.Errorf("another event of the session is still being handled: %w", ctx.Err())
		return false, silent(h.String(), cause)
	}
}

// interrupt cancels the handler that is running. It returns false if there is none, or it is Abort or BackupShutdown.
func (s *session) interrupt(why error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil || s.running.h == OnAbort || s.running.h == OnBackupShutdown {
		return false
	}
	s.running.stop(why)
	return true
}

// call calls a handler and sets the session's next state. If the caller cannot wait until the handler returns,
// release is called when it does.
func (s *session) call(ctx context.Context, h Handler, e *Event, ours bool, release func()) error {
	if h == OnFreeze {
		info, err := s.w.Info(ctx)
		if err != nil {
			err = legal(h.String(), err, nil, vss.ErrWriterNotResponding)
			s.fail(h, &Failure{Code: vss.CodeOf(err), Message: err.Error()})
			release()
			return err
		}
		s.open(info.FreezeTimeout)
	}
	mine := e.begin()
	hctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r := s.begin(h, stop, ours)
	answer := make(chan error, 1)
	go func() {
		err := s.w.protect(h.String(), func() error { return h.Call(hctx, s.w.w, mine) })
		if s.returned(r, err, answer) && release != nil {
			release()
		}
	}()
	err, answered := s.wait(ctx, hctx, h, r, answer)
	if answered {
		err = e.end(h, mine, err)
	}
	err = s.result(ctx, h, e, err, answered)
	s.advance(h, e, err)
	if h == OnBackupShutdown {
		s.w.forget(s)
	}
	if answered && release != nil {
		release()
	}
	return err
}

// begin notes that a handler is called. Stop cancels it.
func (s *session) begin(h Handler, stop context.CancelCauseFunc, ours bool) *run {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h == OnThaw && s.window != nil {
		s.window.Stop() // the window ends when Thaw is received
		s.window = nil
	}
	if h == OnAbort {
		s.aborts++
	}
	r := &run{h: h, stop: stop, aborts: s.aborts}
	if ours {
		s.running = r
	}
	return r
}

// returned notes that a handler has returned, and sends its error to answer. It returns true if the caller had stopped
// waiting.
func (s *session) returned(r *run, err error, answer chan<- error) (abandoned bool) {
	s.mu.Lock()
	if s.running == r {
		s.running = nil
	}
	abandoned, again := r.abandoned, s.aborts > r.aborts && r.h != OnAbort && r.h != OnBackupShutdown
	answer <- err
	s.mu.Unlock()
	if !abandoned {
		return false
	}
	s.w.log.Warn("a handler returned after its caller had stopped waiting", "handler", r.h, "session", s.id,
		"error", err)
	if again { // it may have frozen after Abort was called
		s.abort("after a late answer")
	}
	return true
}

// result converts the error of a handler if the window has expired, or if the handler stopped because its caller did.
func (s *session) result(ctx context.Context, h Handler, e *Event, err error, answered bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.expired && h == OnFreeze:
		return vss.E(h.String(), vss.ErrWriterErrorTimeout, errors.Join(errWindow, err)).
			Advise("the writer has thawed itself; see its log for the cause of the delay")
	case answered && ctx.Err() != nil && (err != nil || vetoed(e.Failure)):
		if err == nil {
			err = errors.New(e.Failure.Message)
		}
		e.Failure = nil
		return silent(h.String(), fmt.Errorf("%w: %w", ctx.Err(), err))
	}
	return err
}

// wait waits for a handler until ctx ends, or for a short time after the handler was canceled.
func (s *session) wait(ctx, hctx context.Context, h Handler, r *run, answer <-chan error) (err error, answered bool) {
	select {
	case err := <-answer:
		return err, true
	case <-ctx.Done():
	case <-hctx.Done():
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case err := <-answer:
			return err, true
		case <-ctx.Done():
		case <-t.C:
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case err := <-answer:
		return err, true
	default:
	}
	r.abandoned = true
	return silent(h.String(), context.Cause(hctx)), false
}

// advance sets the state of the session after a handler.
func (s *session) advance(h Handler, e *Event, err error) {
	if err != nil {
		s.fail(h, &Failure{Code: vss.CodeOf(err), Message: err.Error()})
	} else if vetoed(e.Failure) {
		s.fail(h, e.Failure)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ok := err == nil && !vetoed(e.Failure)
	switch h {
	case OnFreeze:
		s.froze = err == nil
	case OnThaw:
		if ok {
			s.freezeSent, s.froze, s.thawed = false, false, true
		}
	case OnPostSnapshot:
		s.thawed = false
	case OnAbort:
		if err == nil {
			s.freezeSent = false
		}
		if s.window != nil {
			s.window.Stop()
			s.window = nil
		}
		if s.expired && s.state == vss.WriterWaitingForThaw {
			s.state = vss.WriterFailedAtThaw
			s.failure = &Failure{Code: vss.ErrWriterErrorTimeout, Message: errWindow.Error()}
		}
		s.froze = false
		if !s.state.Failed() {
			s.state = vss.WriterStable
		}
	case OnBackupShutdown:
		s.ended = true
		if s.window != nil {
			s.window.Stop()
			s.window = nil
		}
		if ok && !s.state.Failed() {
			s.state = vss.WriterStable
		}
	}
	if ok && h != OnAbort && h != OnBackupShutdown && !s.state.Failed() {
		s.state = next[h]
	}
	switch h {
	case OnBackupComplete, OnAbort, OnPreRestore, OnPostRestore:
		s.finished = true
	default:
		s.finished = false
	}
}

// fail sets a failed state, unless the session has one.
func (s *session) fail(h Handler, f *Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state := h.Failed(); state != vss.WriterUnknown && !s.state.Failed() {
		s.state, s.failure = state, f
	}
}

// open begins the freeze window.
func (s *session) open(limit time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.freezeSent, s.expired = true, false
	s.opened++
	n := s.opened
	s.window = time.AfterFunc(limit, func() { s.expire(n, limit) })
}

// expire ends the nth window, if Thaw has not come: it calls Abort.
func (s *session) expire(n int, limit time.Duration) {
	s.mu.Lock()
	mine := s.window != nil && s.opened == n
	if mine {
		s.window, s.expired = nil, true
	}
	s.mu.Unlock()
	if !mine {
		return
	}
	s.w.log.Warn("the writer was frozen for longer than its limit", "session", s.id, "limit", limit)
	ctx, cancel := context.WithTimeout(context.Background(), undoLimit)
	defer cancel()
	ours, err := s.take(ctx, OnAbort, errWindow)
	s.abort("at the end of the window")
	if ours && err == nil {
		<-s.turn
	}
}

// abort calls Abort without an event of the coordinator, even while a handler is running.
func (s *session) abort(when string) {
	ctx, cancel := context.WithTimeout(context.Background(), undoLimit)
	defer cancel()
	e := s.event()
	s.mu.Lock()
	s.aborts++
	s.mu.Unlock()
	err := s.w.protect(OnAbort.String(), func() error { return OnAbort.Call(ctx, s.w.w, &e) })
	s.mu.Lock()
	if err == nil {
		s.freezeSent = false
	}
	s.mu.Unlock()
	if err != nil {
		s.w.log.Error("Abort failed", "when", when, "session", s.id, "error", err)
	}
}
