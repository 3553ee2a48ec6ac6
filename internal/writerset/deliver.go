package writerset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// eventSpec describes how an event is delivered and what it changes beyond the state, which is in package writer's
// table.
type eventSpec struct {
	limit func(*Limits, *participant) time.Duration
	due   func(p *participant) bool     // a condition beyond that of the table
	done  func(p *participant, ok bool) // notes the result; nil: nothing to note
}

func responds(p *participant) bool { return p.failure.Code != vss.ErrWriterNotResponding }

func always(*participant) bool { return true }

var eventSpecs = map[writer.Handler]eventSpec{
	writer.OnPrepareBackup:   {limit: (*Limits).work, due: responds},
	writer.OnPrepareSnapshot: {limit: (*Limits).prepareSnapshot, due: responds},
	writer.OnFreeze: {(*Limits).window, responds,
		func(p *participant, ok bool) { p.froze = ok }},
	writer.OnThaw: {(*Limits).window,
		func(p *participant) bool { return p.freezeSent },
		func(p *participant, ok bool) { p.freezeSent, p.thawed = !ok, ok }},
	writer.OnPostSnapshot: {(*Limits).work, always,
		func(p *participant, _ bool) { p.postSnapshotSent = true }},
	writer.OnBackupComplete: {limit: (*Limits).work, due: responds},
	writer.OnBackupShutdown: {limit: (*Limits).cleanUp,
		due: func(p *participant) bool { return p.involved }},
	writer.OnAbort: {(*Limits).cleanUp,
		func(p *participant) bool { return p.involved && !p.postSnapshotSent },
		func(p *participant, _ bool) { p.freezeSent = false }},
	writer.OnPreRestore: {(*Limits).work, responds,
		func(p *participant, _ bool) { p.preRestoreSent = true }},
	// PostRestore follows a failed PreRestore, too, which may have stopped something.
	writer.OnPostRestore: {limit: (*Limits).work,
		due: func(p *participant) bool { return p.preRestoreSent }},
}

// takesPart reports whether a writer receives events of the session at all.
func (s *Set) takesPart(p *participant) bool {
	if s.restoring {
		return s.restores(p)
	}
	return !s.doc.SelectComponents || s.doc.Writer(p.Info.ID, p.ID) != nil
}

// deliverAll is deliver to all writers.
func (s *Set) deliverAll(ctx context.Context, h writer.Handler, t Target) error {
	return s.deliver(ctx, h, t, always)
}

// deliver sends an event to the chosen writers that it is due to, all at once, and waits for their answers. It
// returns the first error that a writer returned from its handler; a veto and a writer that does not respond are in
// the status only.
func (s *Set) deliver(ctx context.Context, h writer.Handler, t Target, chosen func(*participant) bool) error {
	spec := eventSpecs[h]
	var due []*participant
	s.mu.Lock()
	for _, p := range s.all {
		if chosen(p) && s.takesPart(p) && h.Due(p.state, p.froze, p.thawed) && spec.due(p) {
			due = append(due, p)
			p.involved = true
			if h == writer.OnFreeze {
				p.freezeSent, p.freezeAt = true, time.Now()
			}
		}
	}
	s.mu.Unlock()
	errs := make([]error, len(due))
	var wg sync.WaitGroup
	for i, p := range due {
		wg.Go(func() {
			own := s.componentsOf(p)
			a := s.send(ctx, spec, h, p, s.event(t, own))
			o := s.classify(h, p, a)
			s.record(spec, h, p, own, a, o)
			if !o.ok {
				s.cfg.Events.Add(events.WriterFailed, events.Warning, catalog.Event{
					SetID: t.Set, Object: p.Info.Name, Code: o.failure.Code,
					Message: h.String() + ": " + o.failure.Message,
					Hint:    "see the writer's log; `vss list writers` shows the writers that run",
				})
			}
			errs[i] = o.fatal
		})
	}
	wg.Wait()
	return first(errs)
}

func first(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// event returns what a writer is sent. It shares nothing with the set or with other writers: a handler that is late may
// still change it.
func (s *Set) event(t Target, own *document.WriterComponents) *writer.Event {
	return &writer.Event{
		Session: s.session, SetID: t.Set, Context: t.Context,
		Volumes: slices.Clone(t.Volumes), Devices: maps.Clone(t.Devices), Writable: t.Writable,
		RestoreType: s.doc.RestoreType,
		BackupType:  s.doc.BackupType, Partial: s.doc.PartialFileSupport, Bootable: s.doc.BootableSystemState,
		Components: own.Clone(),
	}
}

// answer is what came back from a handler. The event is nil if the handler did not return in time: it may still be
// writing to it.
type answer struct {
	event *writer.Event
	err   error
}

// send calls a writer's handler and waits for it no longer than its limit.
func (s *Set) send(ctx context.Context, spec eventSpec, h writer.Handler, p *participant, e *writer.Event) answer {
	event, err := within(ctx, spec.limit(&s.cfg.Limits, p), func(ctx context.Context) (*writer.Event, error) {
		return e, h.Call(ctx, p.Writer, e)
	})
	return answer{event, err}
}

// outcome is the meaning of an answer.
type outcome struct {
	ok      bool
	absent  bool           // the writer does not respond
	failure writer.Failure // where ok is false
	fatal   error          // what fails the set: an error that the handler returned
}

// classify returns the meaning of an answer. A writer whose freeze window expired has thawed itself: in Freeze that
// came too early, in Thaw the copies exist already.
func (s *Set) classify(h writer.Handler, p *participant, a answer) outcome {
	veto := a.event != nil && a.event.Failure != nil && a.event.Failure.Code.Failed()
	if a.err == nil && !veto {
		return outcome{ok: true}
	}
	s.mu.Lock()
	expired := !p.freezeAt.IsZero() && time.Since(p.freezeAt) >= p.window()
	s.mu.Unlock()
	expired = expired && (h == writer.OnFreeze || h == writer.OnThaw) && vss.CodeOf(a.err) == vss.ErrWriterErrorTimeout
	if errors.Is(a.err, vss.ErrWriterNotResponding) || expired && h == writer.OnFreeze {
		return outcome{absent: true, failure: notResponding(a.err)}
	}
	var o outcome
	if veto {
		o.failure = *a.event.Failure
	} else {
		o.failure = failureOf(a.err)
	}
	if a.err != nil && !expired {
		o.fatal = vss.E(h.String(), vss.ErrUnexpectedWriterError, a.err).On(p.Info.Name).
			Advise("see the writer's log; correct the cause, or exclude the writer with --writer-exclude")
	}
	return o
}

// failureOf returns the failure of a writer that returned an error. A writer may use VSS_E_WRITERERROR codes only.
func failureOf(err error) writer.Failure {
	f := writer.Failure{Code: vss.ErrWriterErrorNonRetryable, Message: err.Error()}
	if c := vss.CodeOf(err); vss.IsWriterError(c) {
		f.Code = c
	}
	return f
}

func notResponding(err error) writer.Failure {
	return writer.Failure{Code: vss.ErrWriterNotResponding, Message: err.Error()}
}

// record notes an outcome: the writer's state, the changes of its components, the end of its freeze. The first
// failure of a writer stays.
func (s *Set) record(spec eventSpec, h writer.Handler, p *participant, own components, a answer, o outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if spec.done != nil {
		spec.done(p, o.ok)
	}
	if (h == writer.OnThaw || h == writer.OnAbort) && !p.freezeAt.IsZero() {
		p.frozenFor, p.freezeAt = time.Since(p.freezeAt), time.Time{}
	}
	if a.event != nil {
		h.KeepChanges(own, a.event.Components)
	}
	failed := h.Failed()
	switch {
	case p.state.Failed():
	case o.ok:
		p.state = h.Next()
	case failed != vss.WriterUnknown:
		p.state, p.failure = failed, o.failure
	case o.absent:
		p.failure = o.failure
	}
}

// within calls f and waits for it no longer than limit, whether or not f obeys its context. A call that is late, or
// whose process has died, is VSS_E_WRITER_NOT_RESPONDING; a panic of f is VSS_E_WRITERERROR_NONRETRYABLE. The value
// is f's only if f returned in time.
func within[T any](ctx context.Context, limit time.Duration, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	type result struct {
		value T
		err   error
	}
	returned := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if cause := recover(); cause != nil {
				r.err = vss.E("WriterEvent", vss.ErrWriterErrorNonRetryable, fmt.Errorf("panic: %v", cause)).
					Advise("the writer has a defect; report it with this message")
			}
			returned <- r
		}()
		r.value, r.err = f(ctx)
	}()
	var r result
	select {
	case r = <-returned:
	case <-ctx.Done():
		select {
		case r = <-returned:
		case <-time.After(lateLimit): // one that obeys its context may still report why it failed
			r.err = fmt.Errorf("no answer in %v: %w", limit, ctx.Err())
		}
	}
	silent := errors.Is(r.err, context.DeadlineExceeded) || errors.Is(r.err, context.Canceled) ||
		errors.Is(r.err, wire.ErrServiceGone)
	if silent && vss.CodeOf(r.err) != vss.ErrWriterNotResponding {
		r.err = vss.E("WriterEvent", vss.ErrWriterNotResponding, r.err)
	}
	return r.value, r.err
}
