package coordinator

import (
	"context"
	"fmt"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writerset"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// The calls of a restore. As in requester.go the rules are writerset's.

// InitializeForRestore is the first call of a restore: the document is what the backup saved. The metadata that were saved
// with it may be given, too; later calls are then checked against them. Errors: VSS_E_BAD_STATE, VSS_E_INVALID_XML_DOCUMENT.
func (s *Session) InitializeForRestore(doc []byte, metadata [][]byte) error {
	return s.act("InitializeForRestore", []phase{phaseNew}, func() error {
		err := s.writers.LoadRestore(doc, metadata)
		if err == nil {
			s.phase = phaseRestore
		}
		return err
	})
}

// SetRestoreState sets the kind of the restore; the default is by copy. Errors: VSS_E_BAD_STATE, E_INVALIDARG.
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

// SetSelectedForRestore selects a component that was included explicitly, or takes that back. With an instance it is moved to
// that instance of its writer's class. Errors: VSS_E_BAD_STATE, VSS_E_OBJECT_NOT_FOUND, E_INVALIDARG for an instance where
// the writer doesn't support that. Source: SetSelectedForRestore, SetSelectedForRestoreEx.
func (s *Session) SetSelectedForRestore(n ComponentName, selected bool, instance vss.WriterInstanceID) error {
	return s.choosing("SetSelectedForRestore", func(w *writerset.Set) error { return w.SetSelectedForRestore(n, selected, instance) })
}

// AddRestoreSubcomponent narrows the restore of a selected component to a member of its set. Errors: VSS_E_BAD_STATE, those of
// document.WriterComponents.AddRestoreSubcomponent.
func (s *Session) AddRestoreSubcomponent(n ComponentName, subPath, subName string) error {
	return s.choosing("AddRestoreSubcomponent", func(w *writerset.Set) error { return w.AddRestoreSubcomponent(n, subPath, subName) })
}

// SetRestoreOptions sets a private string for the component's writer. Errors: VSS_E_BAD_STATE, VSS_E_OBJECT_NOT_FOUND.
func (s *Session) SetRestoreOptions(n ComponentName, options string) error {
	return s.choosing("SetRestoreOptions", func(w *writerset.Set) error { return w.SetRestoreOptions(n, options) })
}

// SetAdditionalRestores announces more restores: the writer doesn't recover the data yet. Errors as SetRestoreOptions.
func (s *Session) SetAdditionalRestores(n ComponentName, more bool) error {
	return s.choosing("SetAdditionalRestores", func(w *writerset.Set) error { return w.SetAdditionalRestores(n, more) })
}

// SetAuthoritativeRestore marks the restored data as newer than those of replicas. Errors: VSS_E_BAD_STATE,
// VSS_E_OBJECT_NOT_FOUND, E_INVALIDARG where the writer's schema doesn't support it.
func (s *Session) SetAuthoritativeRestore(n ComponentName, authoritative bool) error {
	return s.choosing("SetAuthoritativeRestore", func(w *writerset.Set) error { return w.SetAuthoritativeRestore(n, authoritative) })
}

// SetRollForward sets how far the data are to be rolled forward; the point is a string of the writer's, with
// RollForwardPartial. Errors as SetAuthoritativeRestore.
func (s *Session) SetRollForward(n ComponentName, t vss.RollForwardType, point string) error {
	return s.choosing("SetRollForward", func(w *writerset.Set) error { return w.SetRollForward(n, t, point) })
}

// SetRestoreName gives the component another logical name. Errors as SetAuthoritativeRestore.
func (s *Session) SetRestoreName(n ComponentName, name string) error {
	return s.choosing("SetRestoreName", func(w *writerset.Set) error { return w.SetRestoreName(n, name) })
}

// AddNewTarget has the files of a file set restored elsewhere. Errors: VSS_E_BAD_STATE, VSS_E_OBJECT_NOT_FOUND, also for a file
// set that the component doesn't have; VSS_E_OBJECT_ALREADY_EXISTS; E_INVALIDARG where the writer's schema doesn't support it.
// Source: AddNewTarget.
func (s *Session) AddNewTarget(n ComponentName, f document.FileSet) error {
	return s.choosing("AddNewTarget", func(w *writerset.Set) error { return w.AddNewTarget(n, f) })
}

// PreRestore has the writers of the selected components prepare for it; a failure of one is in its status. Errors:
// VSS_E_BAD_STATE.
func (s *Session) PreRestore() (a *Async, err error) {
	err = s.whileRestoring("PreRestore", func(w *writerset.Set) error {
		a = s.restoreEvent("pre-restore", w.PreRestore, phasePreRestored)
		return nil
	}, phaseRestore)
	return a, err
}

// AddAlternativeLocationMapping records that a mapping of the writer's metadata was used for all files of a file set; before
// PostRestore. Errors: VSS_E_BAD_STATE, E_INVALIDARG, VSS_E_OBJECT_ALREADY_EXISTS; VSS_E_OBJECT_NOT_FOUND, also for a file
// set that the component doesn't have or that has no mapping. Source: AddAlternativeLocationMapping.
func (s *Session) AddAlternativeLocationMapping(n ComponentName, f document.FileSet) error {
	return s.whileRestoring("AddAlternativeLocationMapping", func(w *writerset.Set) error { return w.AddAlternativeLocationMapping(n, f) },
		phaseRestore, phasePreRestored)
}

// SetRangesFilePath sets where the ranges file of a partial file was restored to, when that isn't its original path; before
// PostRestore. Errors: VSS_E_BAD_STATE; VSS_E_OBJECT_NOT_FOUND, also for an index out of range; E_INVALIDARG for a partial
// file without a ranges file. Source: SetRangesFilePath.
func (s *Session) SetRangesFilePath(n ComponentName, partial int, file string) error {
	return s.whileRestoring("SetRangesFilePath", func(w *writerset.Set) error { return w.SetRangesFilePath(n, partial, file) },
		phaseRestore, phasePreRestored)
}

// SetFileRestoreStatus records whether a component's files were restored, between PreRestore and PostRestore. Errors:
// VSS_E_BAD_STATE, VSS_E_OBJECT_NOT_FOUND, E_INVALIDARG.
func (s *Session) SetFileRestoreStatus(n ComponentName, status vss.FileRestoreStatus) error {
	return s.whileRestoring("SetFileRestoreStatus", func(w *writerset.Set) error { return w.SetFileRestoreStatus(n, status) }, phasePreRestored)
}

// PostRestore has the same writers take up their restored files. It goes on when its client is gone: a database must not be
// left half started. Errors: VSS_E_BAD_STATE.
func (s *Session) PostRestore() (a *Async, err error) {
	err = s.whileRestoring("PostRestore", func(w *writerset.Set) error {
		a = s.restoreEvent("post-restore", w.PostRestore, phasePostRestored)
		return nil
	}, phasePreRestored)
	return a, err
}

// restoreEvent sends an event of a restore. Once begun it isn't cancelled: there is no event that would undo half of it.
func (s *Session) restoreEvent(step string, send func(context.Context, writerset.Target), to phase) *Async {
	t := s.target()
	return s.async(func(ctx context.Context, a *Async) (vss.Code, error) {
		a.Progress(step, 0)
		ctx = context.WithoutCancel(ctx)
		send(ctx, t)
		return vss.OK, s.reach(ctx, to)
	})
}
