package engine

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// PrepareBackup notes which instances the backup has.
func (w *Writer) PrepareBackup(_ context.Context, e *writer.Event) error {
	w.begin(e.Session).choose(e)
	return nil
}

// PrepareSnapshot makes sure that the set has all volumes of each instance that it touches, and prepares them. It vetoes with
// VSS_E_WRITERERROR_INCONSISTENTSNAPSHOT for a missing volume, and with what the engine says of an instance that fails.
func (w *Writer) PrepareSnapshot(ctx context.Context, e *writer.Event) error {
	const op = "PrepareSnapshot"
	s := w.begin(e.Session)
	r := s.next()
	ctx, cancel := r.within(ctx)
	defer cancel()
	touched, err := w.touched(ctx, s, e.Volumes)
	if err == nil {
		err = each(touched, func(i Instance) error {
			h, err := i.Prepare(ctx)
			if err != nil {
				return failure(op, i.Name(), err)
			}
			return r.add(i.Name(), h)
		})
	}
	if err != nil {
		r.release()
		w.veto(e, op, err)
	}
	return nil
}

// touched are the instances of the backup that the set has.
func (w *Writer) touched(ctx context.Context, s *session, volumes []string) ([]Instance, error) {
	const op = "PrepareSnapshot"
	all, err := w.engine.Find(ctx)
	if err != nil {
		return nil, failure(op, w.info.Name, err)
	}
	all = slices.DeleteFunc(all, func(i Instance) bool { return !s.takes(i.Name()) })
	on := make([]bool, len(all))
	numbers := make([]int, len(all))
	for i := range numbers {
		numbers[i] = i
	}
	failures := []error{each(numbers, func(i int) error {
		d, err := all[i].Describe(ctx)
		if d != nil { // also with an error: what is known without the instance's help
			touched, incomplete := complete(ctx, d, volumes)
			if !touched {
				return nil
			}
			on[i], err = true, errors.Join(err, incomplete)
		}
		return failure(op, all[i].Name(), err)
	})}
	for _, name := range s.names() {
		if !slices.ContainsFunc(all, func(i Instance) bool { return i.Name() == name }) {
			failures = append(failures, vss.E(op, vss.ErrWriterErrorRetryable, errors.New("it has ended since the backup began")).
				On(name).Advise("start it, or leave its component out of the backup"))
		}
	}
	var out []Instance
	for i, one := range all {
		if on[i] {
			out = append(out, one)
		}
	}
	return out, errors.Join(failures...)
}

// Freeze freezes the instances, all at once. One that can't be frozen is a veto.
func (w *Writer) Freeze(ctx context.Context, e *writer.Event) error {
	const op = "Freeze"
	r := w.begin(e.Session).now()
	ctx, cancel := r.within(ctx)
	defer cancel()
	all, _, _ := r.at()
	if err := w.engine.Freeze(ctx, all); err != nil {
		r.release()
		w.veto(e, op, err)
		return nil
	}
	r.step(true, false)
	return nil
}

// Thaw thaws the instances and lets them go. One that wasn't frozen all the time is a veto.
func (w *Writer) Thaw(ctx context.Context, e *writer.Event) error {
	const op = "Thaw"
	r := w.begin(e.Session).now()
	all, frozen, _ := r.at()
	if !frozen {
		return nil
	}
	defer r.release()
	ctx, cancel := r.within(ctx)
	defer cancel()
	if err := Each(op, all, func(h Held) error { return h.Thaw(ctx) }); err != nil {
		r.step(false, false)
		w.veto(e, op, err)
		return nil
	}
	r.step(false, true)
	return nil
}

// PostSnapshot notes with each component what the copy holds. Kinds of backups on which no other builds leave no stamp.
func (w *Writer) PostSnapshot(_ context.Context, e *writer.Event) error {
	all, _, done := w.begin(e.Session).now().at()
	if !done || e.Components == nil {
		return nil
	}
	for _, t := range all {
		c := e.Components.Component("", t.Name)
		if c == nil || c.BackupMetadata != "" {
			continue
		}
		text, stamp, err := t.Metadata()
		if err == nil {
			err = c.SetBackupMetadata(text)
		}
		if err != nil {
			return vss.E("PostSnapshot", vss.ErrWriterErrorNonRetryable, err).On(t.Name).Advise("the session is out of order; begin a new one")
		}
		if e.BackupType != vss.BackupCopy && e.BackupType != vss.BackupDifferential {
			c.BackupStamp = stamp
		}
	}
	return nil
}

// BackupComplete has nothing to do: these servers see to their logs themselves.
func (w *Writer) BackupComplete(context.Context, *writer.Event) error { return nil }

// BackupShutdown ends the session.
func (w *Writer) BackupShutdown(_ context.Context, e *writer.Event) error {
	w.forget(e.Session)
	return nil
}

// Abort ends the session, whatever it is at.
func (w *Writer) Abort(_ context.Context, e *writer.Event) error {
	w.forget(e.Session)
	return nil
}

// Each does something with all instances at once. Errors become those of a writer, each about its instance.
func Each(op string, all []Taken, f func(Held) error) error {
	return each(all, func(t Taken) error { return failure(op, t.Name, f(t.Held)) })
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

// veto makes a failure the writer's status: the requester decides whether the copy is worth having without this writer.
func (w *Writer) veto(e *writer.Event, op string, err error) {
	code := vss.CodeOf(err)
	if !vss.IsWriterError(code) {
		code = vss.ErrWriterErrorNonRetryable
	}
	message := err.Error()
	if hint := vss.Hint(err); hint != "" {
		message += " (" + hint + ")"
	}
	w.log.Error(op+" failed", "session", e.Session, "error", err)
	e.SetFailure(code, message)
}
