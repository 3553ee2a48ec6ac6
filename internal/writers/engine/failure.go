package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// Failures holds the errors of instances by name; it is empty on success.
type Failures map[string]error

// Err joins all errors, sorted by name; nil on success.
func (f Failures) Err() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(f)) {
		errs = append(errs, f[name])
	}
	return errors.Join(errs...)
}

// Each calls f for all instances in parallel. Errors are converted to writer errors about their instances.
func Each(op string, all []Taken, f func(Held) error) Failures {
	return of(op, all, func(t Taken) string { return t.Name }, func(t Taken) error { return f(t.Held) })
}

// of calls f for all in parallel and returns the failures by name, as writer errors.
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

// parallel calls f for all in parallel and returns the errors in the order of all.
func parallel[T any](all []T, f func(T) error) []error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, one := range all {
		wg.Go(func() { errs[i] = f(one) })
	}
	wg.Wait()
	return errs
}

// failure converts an error to a writer error about an instance. It doesn't change err.
func failure(op, name string, err error) error {
	if err == nil {
		return nil
	}
	var known *vss.Error
	if errors.As(err, &known) && vss.IsWriterError(known.Code) {
		if known.Object == "" {
			return about(err, known, name)
		}
		return err
	}
	code, advice := vss.ErrWriterErrorRetryable,
		"see the server's log; wait ten minutes and try again, at most three times"
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		code, advice = vss.ErrWriterErrorTimeout,
			"the server doesn't answer in time: check its load and its log, then try again"
	}
	return vss.E(op, code, err).On(name).Advise(advice)
}

// canContinue reports whether any instance is still usable. If not, and also if failures can't be attributed to
// components (the writer isn't Partial, or the requester isn't in component mode), the failure becomes the writer's
// status. Otherwise PostSnapshot reports it, since a failed status would stop the writer's events.
func (w *Writer) canContinue(e *writer.Event, op string, s *session, failed Failures, left int) bool {
	if len(failed) == 0 {
		return true
	}
	if w.canOmit(s, failed, left) {
		w.log.Warn(op+" failed for some instances", "session", e.Session, "error", failed.Err())
		return true
	}
	s.now().release()
	w.veto(e, op, failed.Err())
	return false
}

// canOmit reports whether the remaining instances continue without those that failed.
func (w *Writer) canOmit(s *session, failed Failures, left int) bool {
	if w.Whole {
		for _, err := range failed {
			if errors.Is(err, vss.ErrWriterErrorInconsistentSnapshot) {
				return false
			}
		}
	}
	return w.Partial && s.byName() && left > 0
}

// recordFailures records the failure with each component that failed, and reports whether there are any. Source:
// IVssComponentEx2::SetFailure.
func recordFailures(e *writer.Event, failed Failures, text func(*document.Component) *string) bool {
	found := false
	for _, c := range e.Components.Components {
		err := failed[c.Name]
		if err == nil {
			continue
		}
		code, message := failureText(err)
		c.Failure = &document.ComponentFailure{Code: code, Message: message}
		*text(c) = message
		found = true
	}
	return found
}

// failureText returns a failure as requesters receive it.
func failureText(err error) (code vss.Code, message string) {
	code, message = vss.CodeOf(err), err.Error()
	if !vss.IsWriterError(code) {
		code = vss.ErrWriterErrorNonRetryable
	}
	if hint := vss.Hint(err); hint != "" {
		message += " (" + hint + ")"
	}
	return code, message
}

// veto makes a failure the writer's status: the requester decides whether to keep the copy without this writer.
func (w *Writer) veto(e *writer.Event, op string, err error) {
	code, message := failureText(err)
	w.log.Error(op+" failed", "session", e.Session, "error", err)
	e.SetFailure(code, message)
}

// about names the object of known, which err is or wraps.
func about(err error, known *vss.Error, object string) error {
	if err != error(known) {
		return fmt.Errorf("%s: %w", object, err)
	}
	named := *known
	named.Object = object
	return &named
}
