package engine

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// Failures are those of instances, by name; empty where all is well.
type Failures map[string]error

// Err is all of them, by name; nil where all is well.
func (f Failures) Err() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(f)) {
		errs = append(errs, f[name])
	}
	return errors.Join(errs...)
}

// Each does something with all instances at once. Errors become those of a writer, each about its instance.
func Each(op string, all []Taken, f func(Held) error) Failures {
	return of(op, all, func(t Taken) string { return t.Name }, func(t Taken) error { return f(t.Held) })
}

// of does something with all at once and gives the failures of a writer, by their names.
func of[T any](op string, all []T, name func(T) string, f func(T) error) Failures {
	out := Failures{}
	for i, err := range parallel(all, f) {
		if err != nil {
			n := name(all[i])
			out[n] = errors.Join(out[n], failure(op, n, err))
		}
	}
	return out
}

// parallel does something with all at once and gives the errors, in their order.
func parallel[T any](all []T, f func(T) error) []error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, one := range all {
		wg.Go(func() { errs[i] = f(one) })
	}
	wg.Wait()
	return errs
}

// failure makes an error one of a writer, about an instance.
func failure(op, name string, err error) error {
	if err == nil {
		return nil
	}
	var known *vss.Error
	if errors.As(err, &known) && vss.IsWriterError(known.Code) {
		if known.Object == "" {
			known.Object = name
		}
		return err
	}
	code, advice := vss.ErrWriterErrorRetryable, "see the server's log; wait ten minutes and try again, at most three times"
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		code, advice = vss.ErrWriterErrorTimeout, "the server doesn't answer in time: look at its load and its log, then try again"
	}
	return vss.E(op, code, err).On(name).Advise(advice)
}

// goOn says whether the copy can be good for somebody. Where a failure is nobody's own, since the writer isn't Partial or the
// requester isn't in component mode, and where nobody is left, it is the writer's status from now on. Otherwise PostSnapshot tells:
// until then a failed status would keep the writer from the others' events.
func (w *Writer) goOn(e *writer.Event, op string, s *session, failed Failures, left int) bool {
	if len(failed) == 0 {
		return true
	}
	if w.spares(s, left) {
		w.log.Warn(op+" failed for some instances", "session", e.Session, "error", failed.Err())
		return true
	}
	s.now().release()
	w.veto(e, op, failed.Err())
	return false
}

// spares says whether those that are left go on without those that failed.
func (w *Writer) spares(s *session, left int) bool { return w.Partial && s.byName() && left > 0 }

// blame notes with each component that failed why, and says whether there are such. Source: IVssComponentEx2::SetFailure.
func blame(e *writer.Event, failed Failures, text func(*document.Component) *string) bool {
	found := false
	for _, c := range e.Components.Components {
		err := failed[c.Name]
		if err == nil {
			continue
		}
		code, message := told(err)
		c.Failure = &document.ComponentFailure{Code: code, Message: message}
		*text(c) = message
		found = true
	}
	return found
}

// told is a failure as a requester gets it.
func told(err error) (code vss.Code, message string) {
	code, message = vss.CodeOf(err), err.Error()
	if !vss.IsWriterError(code) {
		code = vss.ErrWriterErrorNonRetryable
	}
	if hint := vss.Hint(err); hint != "" {
		message += " (" + hint + ")"
	}
	return code, message
}

// veto makes a failure the writer's status: the requester decides whether the copy is worth having without this writer.
func (w *Writer) veto(e *writer.Event, op string, err error) {
	code, message := told(err)
	w.log.Error(op+" failed", "session", e.Session, "error", err)
	e.SetFailure(code, message)
}
