package coordinator

import (
	"context"
	"fmt"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writerset"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// The calls of a restore. The errors of each are VSS_E_BAD_STATE in a phase in which it isn't legal, and those of the
// method of writerset.Set that has its name.

// InitializeForRestore is the first call of a restore: the document is what the backup saved. The metadata that were
// saved with it may be given, too; later calls are then checked against them.
func (s *Session) InitializeForRestore(doc []byte, metadata [][]byte) error {
	return s.act("InitializeForRestore", []phase{phaseNew}, func() error {
		err := s.writers.LoadRestore(doc, metadata)
		if err == nil {
			s.phase = phaseRestore
		}
		return err
	})
}

// SetRestoreState sets the kind of the restore; the default is by copy. Errors: also E_INVALIDARG.
func (s *Session) SetRestoreState(t vss.RestoreType) error {
	const op = "SetRestoreState"
	return s.choosing(op, func(*writerset.Set) error {
		if t < vss.RestoreTypeUndefined || t > vss.RestoreOther {
			return vss.E(op, vss.ErrInvalidArg, fmt.Errorf("restore type %d", t))
		}
		s.document().RestoreType = t
		return nil
	})
}

// choosing makes a call that is legal before PreRestore.
func (s *Session) choosing(op string, f func(*writerset.Set) error) error {
	return s.act(op, []phase{phaseRestore}, func() error { return f(s.writers) })
}

// whileRestoring makes a call that is legal in these phases of a restore, once the writers are known.
func (s *Session) whileRestoring(op string, f func(*writerset.Set) error, legal ...phase) error {
	return s.act(op, legal, func() error {
		if !s.writers.Gathered() {
			return notGathered(op)
		}
		return f(s.writers)
	})
}

// SetSelectedForRestore selects a component that was included explicitly, or takes that back. With an instance it is
// moved to that instance of its writer's class. Source: SetSelectedForRestore, SetSelectedForRestoreEx.
func (s *Session) SetSelectedForRestore(n ComponentName, selected bool, instance vss.WriterInstanceID) error {
	const op = "SetSelectedForRestore"
	return s.choosing(op, func(w *writerset.Set) error { return w.SetSelectedForRestore(n, selected, instance) })
}

// AddRestoreSubcomponent narrows the restore of a selected component to a member of its set.
func (s *Session) AddRestoreSubcomponent(n ComponentName, path, name string) error {
	const op = "AddRestoreSubcomponent"
	return s.choosing(op, func(w *writerset.Set) error { return w.AddRestoreSubcomponent(n, path, name) })
}

// SetRestoreOptions sets a private string for the component's writer.
func (s *Session) SetRestoreOptions(n ComponentName, options string) error {
	return s.choosing("SetRestoreOptions", func(w *writerset.Set) error { return w.SetRestoreOptions(n, options) })
}

// SetAdditionalRestores announces more restores: the writer doesn't recover the data yet.
func (s *Session) SetAdditionalRestores(n ComponentName, more bool) error {
	return s.choosing("SetAdditionalRestores", func(w *writerset.Set) error { return w.SetAdditionalRestores(n, more) })
}

// SetAuthoritativeRestore marks the restored data as newer than those of replicas.
func (s *Session) SetAuthoritativeRestore(n ComponentName, on bool) error {
	const op = "SetAuthoritativeRestore"
	return s.choosing(op, func(w *writerset.Set) error { return w.SetAuthoritativeRestore(n, on) })
}

// SetRollForward sets how far the data are to be rolled forward; the point is a string of the writer's.
func (s *Session) SetRollForward(n ComponentName, t vss.RollForwardType, point string) error {
	return s.choosing("SetRollForward", func(w *writerset.Set) error { return w.SetRollForward(n, t, point) })
}

// SetRestoreName gives the component another logical name.
func (s *Session) SetRestoreName(n ComponentName, name string) error {
	return s.choosing("SetRestoreName", func(w *writerset.Set) error { return w.SetRestoreName(n, name) })
}

// AddNewTarget has the files of a file set restored elsewhere. Source: AddNewTarget.
func (s *Session) AddNewTarget(n ComponentName, f document.FileSet) error {
	return s.choosing("AddNewTarget", func(w *writerset.Set) error { return w.AddNewTarget(n, f) })
}

// PreRestore has the writers of the selected components prepare for it; a failure of one is in its status.
func (s *Session) PreRestore() (a *Async, err error) {
	err = s.whileRestoring("PreRestore", func(w *writerset.Set) error {
		a = s.restoreEvent("pre-restore", w.PreRestore, phasePreRestored)
		return nil
	}, phaseRestore)
	return a, err
}

// AddAlternativeLocationMapping records that a mapping of the writer's metadata was used for all files of a file set;
// before PostRestore. Source: AddAlternativeLocationMapping.
func (s *Session) AddAlternativeLocationMapping(n ComponentName, f document.FileSet) error {
	const op = "AddAlternativeLocationMapping"
	add := func(w *writerset.Set) error { return w.AddAlternativeLocationMapping(n, f) }
	return s.whileRestoring(op, add, phaseRestore, phasePreRestored)
}

// SetRangesFilePath sets where the ranges file of a partial file was restored to, when that isn't its original path;
// before PostRestore. Source: SetRangesFilePath.
func (s *Session) SetRangesFilePath(n ComponentName, partial int, file string) error {
	set := func(w *writerset.Set) error { return w.SetRangesFilePath(n, partial, file) }
	return s.whileRestoring("SetRangesFilePath", set, phaseRestore, phasePreRestored)
}

// SetFileRestoreStatus records whether a component's files were restored, between PreRestore and PostRestore.
func (s *Session) SetFileRestoreStatus(n ComponentName, status vss.FileRestoreStatus) error {
	set := func(w *writerset.Set) error { return w.SetFileRestoreStatus(n, status) }
	return s.whileRestoring("SetFileRestoreStatus", set, phasePreRestored)
}

// PostRestore has the same writers take up their restored files. It continues if its client disconnects: a database
// must not be left half started.
func (s *Session) PostRestore() (a *Async, err error) {
	err = s.whileRestoring("PostRestore", func(w *writerset.Set) error {
		a = s.restoreEvent("post-restore", w.PostRestore, phasePostRestored)
		return nil
	}, phasePreRestored)
	return a, err
}

// restoreEvent sends an event of a restore. Once begun it isn't cancelled: no event would undo half of it.
func (s *Session) restoreEvent(step string, send func(context.Context, writerset.Target), to phase) *Async {
	t := s.target()
	return s.async(func(ctx context.Context, a *Async) (vss.Code, error) {
		a.Progress(step, 0)
		ctx = context.WithoutCancel(ctx)
		send(ctx, t)
		return vss.OK, s.reach(ctx, to)
	})
}
