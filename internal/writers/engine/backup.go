package engine

import (
	"context"
	"errors"
	"slices"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// PrepareBackup records the instances of the backup and checks that each whose backup builds on an earlier one can do
// so. An instance that can't is a veto.
func (w *Writer) PrepareBackup(ctx context.Context, e *writer.Event) error {
	const op = "PrepareBackup"
	s := w.begin(e.Session)
	s.choose(e, w.schema())
	if !s.incremental() {
		return nil
	}
	all, _, err := w.engine.Find(ctx)
	if err != nil {
		return err
	}
	name := func(c *document.Component) string { return c.Name }
	refused := of(op, e.Components.Components, name, func(c *document.Component) error {
		var one Instance
		if i := slices.IndexFunc(all, func(i Instance) bool { return i.Name() == c.Name }); i >= 0 {
			one = all[i]
		}
		return w.builder.Follow(ctx, c.Name, one, c.PreviousBackupStamp)
	})
	s.refuse(refused)
	recordFailures(e, refused, func(c *document.Component) *string { return &c.PrepareForBackupFailure })
	w.canContinue(e, op, s, refused, len(s.names()))
	return nil
}

// PrepareSnapshot checks that the set has all volumes of each instance that it has any volume of, and prepares these
// instances. It vetoes with VSS_E_WRITERERROR_INCONSISTENTSNAPSHOT for a missing volume, and with the engine's error
// for an instance that fails.
func (w *Writer) PrepareSnapshot(ctx context.Context, e *writer.Event) error {
	const op = "PrepareSnapshot"
	s := w.begin(e.Session)
	r := s.next()
	r.leave(w.leftOn(e.Volumes))
	ctx, cancel := r.within(ctx)
	defer cancel()
	touched, err := w.touched(ctx, s, r, e.Volumes)
	if err != nil {
		r.release()
		w.veto(e, op, failure(op, w.info.Name, err))
		return nil
	}
	if len(r.failures()) == 0 || w.canOmit(s, r.failures(), len(touched)) {
		r.fail(of(op, touched, Instance.Name, func(i Instance) error {
			h, err := i.Prepare(ctx, s.backup(i.Name()))
			if err != nil {
				return err
			}
			return r.add(i.Name(), h)
		}))
	}
	all, _, _ := r.at()
	w.canContinue(e, op, s, r.failures(), len(all))
	return nil
}

// touched returns the instances of the backup that lie on the set's volumes, without those that fail.
func (w *Writer) touched(ctx context.Context, s *session, r *round, volumes []string) ([]Instance, error) {
	const op = "PrepareSnapshot"
	all, _, err := w.engine.Find(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(i Instance) bool { return !s.takes(i.Name()) || w.isLeft(i) })
	on := make([]bool, len(all))
	numbers := make([]int, len(all))
	for i := range numbers {
		numbers[i] = i
	}
	failed := of(op, numbers, func(i int) string { return all[i].Name() }, func(i int) error {
		d, err := all[i].Describe(ctx)
		if d == nil {
			return err
		}
		// Describe may return an error and still what is known without the instance's help.
		touched, incomplete := complete(ctx, d, s.backup(all[i].Name()).Kind, volumes)
		if !touched {
			return nil
		}
		on[i] = true
		return errors.Join(err, incomplete)
	})
	for _, name := range s.names() {
		if !slices.ContainsFunc(all, func(i Instance) bool { return i.Name() == name }) {
			failed[name] = vss.E(op, vss.ErrWriterErrorRetryable,
				errors.New("the instance has ended since the backup began")).
				On(name).
				Advise("start it, or leave its component out of the backup")
		}
	}
	r.fail(failed)
	var out []Instance
	for i, one := range all {
		if on[i] && failed[one.Name()] == nil {
			out = append(out, one)
		}
	}
	return out, nil
}

// Freeze freezes the instances in parallel. One that can't be frozen is a veto.
func (w *Writer) Freeze(ctx context.Context, e *writer.Event) error {
	const op = "Freeze"
	s := w.begin(e.Session)
	r := s.now()
	ctx, cancel := r.within(ctx)
	defer cancel()
	all, _, _ := r.at()
	r.fail(w.engine.Freeze(ctx, all))
	all, _, _ = r.at()
	if w.canContinue(e, op, s, r.failures(), len(all)) {
		r.step(true, false)
	}
	return nil
}

// Thaw thaws the instances and releases them. One that wasn't frozen throughout is a veto.
func (w *Writer) Thaw(ctx context.Context, e *writer.Event) error {
	const op = "Thaw"
	s := w.begin(e.Session)
	r := s.now()
	all, frozen, _ := r.at()
	if !frozen {
		return nil
	}
	defer r.release()
	ctx, cancel := r.within(ctx)
	defer cancel()
	r.fail(Each(op, all, func(h Held) error { return h.Thaw(ctx) }))
	all, _, _ = r.at()
	r.step(false, w.canContinue(e, op, s, r.failures(), len(all)))
	return nil
}

// PostSnapshot records with each component what the copy holds. Copy and differential backups leave no stamp, since no
// other backup builds on them. Components that failed have their failure, and the writer's status is then
// VSS_E_WRITERERROR_PARTIAL_FAILURE.
func (w *Writer) PostSnapshot(_ context.Context, e *writer.Event) error {
	r := w.begin(e.Session).now()
	all, _, done := r.at()
	if left := r.leftOut(); len(left) > 0 {
		_, message := failureText(left.Err())
		e.SetFailure(vss.ErrWriterErrorPartialFailure, message)
	}
	if !done || e.Components == nil {
		return nil
	}
	for _, t := range all {
		c := e.Components.Component("", t.Name)
		if c == nil || c.BackupMetadata != "" {
			continue
		}
		m, err := t.Metadata()
		if err == nil {
			err = c.SetBackupMetadata(m.Text)
			if e := w.keep(m.Text); e != nil {
				w.log.Warn("can't record the backup; a restore will need the running server", "instance", t.Name,
					"error", e)
			}
		}
		if err != nil {
			return vss.E("PostSnapshot", vss.ErrWriterErrorNonRetryable, err).
				On(t.Name).
				Advise("the session is out of sequence; begin a new one")
		}
		if e.BackupType != vss.BackupCopy && e.BackupType != vss.BackupDifferential {
			c.BackupStamp = m.Stamp
		}
		if len(m.Differenced) > 0 {
			c.DifferencedFiles = m.Differenced
		}
	}
	failed := r.failures()
	if recordFailures(e, failed, func(c *document.Component) *string { return &c.PostSnapshotFailure }) {
		_, message := failureText(errors.Join(failed.Err(), r.leftOut().Err()))
		e.SetFailure(vss.ErrWriterErrorPartialFailure, message)
	}
	return nil
}

// BackupComplete releases what was kept for the backup, instance by instance, after all of its files are saved. A
// failure is logged only: what is kept for longer doesn't harm the backup.
func (w *Writer) BackupComplete(ctx context.Context, e *writer.Event) error {
	all, _, done := w.begin(e.Session).now().at()
	if !done || w.builder == nil || e.Components == nil {
		return nil
	}
	_ = parallel(all, func(t Taken) error {
		c := e.Components.Component("", t.Name)
		if c == nil || !c.BackupSucceeded || c.Failure != nil {
			return nil
		}
		if err := w.builder.Complete(ctx, t); err != nil {
			w.log.Warn(
				"can't release what was kept for the backup",
				"instance",
				t.Name,
				"session",
				e.Session,
				"error",
				err,
			)
		}
		return nil
	})
	return nil
}

// BackupShutdown ends the session.
func (w *Writer) BackupShutdown(_ context.Context, e *writer.Event) error {
	w.forget(e.Session)
	return nil
}

// Abort ends the session in any state.
func (w *Writer) Abort(_ context.Context, e *writer.Event) error {
	w.forget(e.Session)
	return nil
}
