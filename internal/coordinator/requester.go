package coordinator

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/writerset"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// What a requester says of writers and their components. The errors of each call are VSS_E_BAD_STATE in a phase in
// which it isn't legal, and those of the method of writerset.Set that has its name.

// ComponentName names a component that was included.
type ComponentName = writerset.ComponentName

var selecting = append([]phase{phaseInit, phaseOpen, phasePrepared, phaseCreated, phaseComplete}, restoring...)

// EnableWriterClasses lets only classes named here take part, by id or name. Its first call cancels earlier
// DisableWriterClasses. It has no effect after GatherWriterMetadata.
func (s *Session) EnableWriterClasses(classes []string) error {
	return s.act("EnableWriterClasses", selecting, func() error { s.writers.Enable(classes); return nil })
}

// DisableWriterClasses excludes classes, also those that EnableWriterClasses let in.
func (s *Session) DisableWriterClasses(classes []string) error {
	return s.act("DisableWriterClasses", selecting, func() error { s.writers.Disable(classes); return nil })
}

// DisableWriterInstances excludes single instances.
func (s *Session) DisableWriterInstances(ids []vss.WriterInstanceID) error {
	return s.act("DisableWriterInstances", selecting, func() error { s.writers.DisableInstances(ids); return nil })
}

// GatherWriterMetadata has every writer that takes part identify itself, once in a session. A writer that fails or
// doesn't answer is not in the session.
func (s *Session) GatherWriterMetadata() (a *Async, err error) {
	const op = "GatherWriterMetadata"
	err = s.act(op, []phase{phaseInit, phaseOpen, phaseRestore}, func() error {
		if s.writers.Gathered() {
			return vss.E(op, vss.ErrBadState, errors.New("the metadata were gathered before"))
		}
		a = s.async(func(ctx context.Context, a *Async) (vss.Code, error) {
			a.Progress("identify", 0)
			return vss.OK, s.writers.Gather(ctx)
		})
		return nil
	})
	return a, err
}

// WriterMetadata returns the metadata of the session's writers, once they were gathered.
func (s *Session) WriterMetadata() (all []*document.WriterMetadata, err error) {
	err = s.act("GetWriterMetadata", everything, func() error {
		all, err = s.writers.Metadata()
		return err
	})
	return all, err
}

// GatherWriterStatus finds out which writers are still there; their states are known.
func (s *Session) GatherWriterStatus() (a *Async, err error) {
	err = s.act("GatherWriterStatus", everything, func() error {
		a = s.async(func(ctx context.Context, _ *Async) (vss.Code, error) {
			return vss.OK, s.writers.GatherStatus(ctx)
		})
		return nil
	})
	return a, err
}

// WriterStatus returns the state of each writer of the session. Errors: VSS_E_BAD_STATE, also before
// GatherWriterStatus.
func (s *Session) WriterStatus() (all []catalog.Writer, err error) {
	err = s.act("GetWriterStatus", everything, func() error {
		all, err = s.writers.GatheredStatus()
		return err
	})
	return all, err
}

// AddComponent includes a component.
func (s *Session) AddComponent(
	instance vss.WriterInstanceID, class vss.WriterID, t vss.ComponentType, path, name string,
) error {
	const op = "AddComponent"
	return s.act(op, beforeDo, func() error {
		switch {
		case !s.withWriters():
			return noWriters(op)
		case !s.writers.Gathered():
			return notGathered(op)
		case s.stateSet && !s.document().SelectComponents:
			return vss.E(op, vss.ErrBadState, errors.New("the requester isn't in component mode")).
				Advise("call SetBackupState with selectComponents")
		}
		return s.writers.AddComponent(instance, class, t, path, name)
	})
}

func noWriters(op string) error {
	return vss.E(op, vss.ErrBadState, errors.New("the context involves no writers"))
}

func notGathered(op string) error {
	return vss.E(op, vss.ErrBadState, errors.New("GatherWriterMetadata comes first"))
}

// SetBackupSucceeded records whether the backup of a component succeeded, between DoSnapshotSet and BackupComplete.
func (s *Session) SetBackupSucceeded(n ComponentName, succeeded bool) error {
	return s.act("SetBackupSucceeded", []phase{phaseCreated}, func() error {
		return s.writers.SetBackupSucceeded(n, succeeded)
	})
}

// SetBackupOptions sets a private string for the component's writer, before PrepareForBackup.
func (s *Session) SetBackupOptions(n ComponentName, options string) error {
	return s.act("SetBackupOptions", beforeDo, func() error { return s.writers.SetBackupOptions(n, options) })
}

// SetPreviousBackupStamp sets the stamp of the backup that this one is based on, as the writer left it there; before
// PrepareForBackup, or before PreRestore.
func (s *Session) SetPreviousBackupStamp(n ComponentName, stamp string) error {
	legal := append([]phase{phaseRestore}, beforeDo...)
	return s.act("SetPreviousBackupStamp", legal, func() error { return s.writers.SetPreviousBackupStamp(n, stamp) })
}

// WriterComponents returns the writers with components in the document, with what they changed in them.
func (s *Session) WriterComponents() (all []*document.WriterComponents, err error) {
	err = s.act("GetWriterComponents", everything, func() error {
		all = s.writers.Components()
		return nil
	})
	return all, err
}

// PrepareForBackup sends the writers PrepareForBackup. Errors: VSS_E_BAD_STATE also while a component is missing that
// its writer requires.
func (s *Session) PrepareForBackup() (a *Async, err error) {
	const op = "PrepareForBackup"
	err = s.act(op, []phase{phaseOpen}, func() error {
		switch {
		case !s.withWriters():
			return noWriters(op)
		case !s.stateSet:
			return vss.E(op, vss.ErrBadState, errors.New("SetBackupState comes first"))
		case !s.writers.Gathered():
			return notGathered(op)
		}
		if err := s.writers.CheckComponents(); err != nil {
			return err
		}
		t := s.target()
		a = s.async(func(ctx context.Context, a *Async) (vss.Code, error) {
			a.Progress("prepare-backup", 0)
			s.writers.PrepareBackup(ctx, t)
			return vss.OK, s.reach(ctx, phasePrepared)
		})
		return nil
	})
	return a, err
}

// reach ends an operation in a phase, unless it was cancelled. A backup that is complete without copies gives up its
// open set.
func (s *Session) reach(ctx context.Context, p phase) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if p == phaseComplete && s.phase == phasePrepared {
		s.dropOpenSet()
	}
	s.phase = p
	return nil
}

// BackupComplete sends the writers BackupComplete. From here on the document is read-only.
func (s *Session) BackupComplete() (a *Async, err error) {
	const op = "BackupComplete"
	err = s.act(op, completeable, func() error {
		if !s.withWriters() {
			return noWriters(op)
		}
		t := s.target()
		a = s.async(func(ctx context.Context, a *Async) (vss.Code, error) {
			a.Progress("backup-complete", 0)
			s.writers.BackupComplete(ctx, t)
			return vss.OK, s.reach(ctx, phaseComplete)
		})
		return nil
	})
	return a, err
}

// SessionID returns the id of the session in events and for its writers. It may be asked while an operation runs.
func (s *Session) SessionID() (vss.SessionID, error) {
	_, err := s.look("GetSessionId", everything)
	return s.ID, err
}

// RootAndLogicalPrefix returns the volume that a path lies on, by the name that AddToSnapshotSet gives it, and the
// path in it. A path may also name a volume itself: a device, UUID= and the like. Errors: VSS_E_BAD_STATE,
// VSS_E_OBJECT_NOT_FOUND, VSS_E_VOLUME_NOT_SUPPORTED. Source: GetRootAndLogicalPrefixPaths.
func (s *Session) RootAndLogicalPrefix(ctx context.Context, path string) (root, prefix string, err error) {
	if _, err := s.look("GetRootAndLogicalPrefixPaths", everything); err != nil {
		return "", "", err
	}
	v, err := s.k.Volumes.Find(ctx, path)
	if err != nil {
		return "", "", err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return v.Name, "", nil // a tag or a configured name
	}
	if info, err := os.Stat(real); err != nil || info.Mode()&os.ModeDevice != 0 {
		return v.Name, "", nil
	}
	rel, err := filepath.Rel(v.Name, real)
	if err == nil && rel != "." && rel != ".." && !strings.HasPrefix(rel, "../") {
		prefix = rel
	}
	return v.Name, prefix, nil
}
