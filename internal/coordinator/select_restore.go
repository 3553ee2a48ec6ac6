package coordinator

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// choosing changes a component before PreRestore. Errors: VSS_E_BAD_STATE; VSS_E_OBJECT_NOT_FOUND for one that the backup
// doesn't have or whose writer doesn't run; those of change.
func (s *Session) choosing(op string, n ComponentName, change func(*document.WriterComponents, *document.Component) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(op, true, phaseRestore); err != nil {
		return err
	}
	if !slices.ContainsFunc(s.writers.all, func(p *participant) bool { return p.Info.ID == n.Writer }) {
		return vss.E(op, vss.ErrObjectNotFound, errors.New("no writer of its class is known to run")).On(n.Writer.String()).
			Advise("call GatherWriterMetadata first; `vss list writers` shows who runs")
	}
	w, c, err := s.find(op, n)
	if err != nil {
		return err
	}
	return change(w, c)
}

// needs says whether the writer's schema has a bit. Errors: E_INVALIDARG.
func needs(op string, w *document.WriterComponents, c *document.Component, bit vss.BackupSchema, what string) error {
	if w.BackupSchema&bit != 0 {
		return nil
	}
	return vss.E(op, vss.ErrInvalidArg, errors.New("its writer doesn't support "+what)).On(c.FullName()).Advise("leave it out; the writer's backup schema says what it supports")
}

// SetSelectedForRestore selects a component that was included explicitly, or takes that back. With an instance it is moved to
// that instance of its writer's class. Errors: VSS_E_BAD_STATE, VSS_E_OBJECT_NOT_FOUND, E_INVALIDARG for an instance where
// the writer doesn't support that. Source: SetSelectedForRestore, SetSelectedForRestoreEx.
func (s *Session) SetSelectedForRestore(n ComponentName, selected bool, instance vss.WriterInstanceID) error {
	const op = "SetSelectedForRestore"
	return s.choosing(op, n, func(w *document.WriterComponents, c *document.Component) error {
		var to *participant
		if !instance.IsZero() {
			if err := needs(op, w, c, vss.SchemaRestoreWithMove, "restores to another instance"); err != nil {
				return err
			}
			i := slices.IndexFunc(s.writers.all, func(p *participant) bool { return p.ID == instance && p.Info.ID == n.Writer })
			if i < 0 {
				return vss.E(op, vss.ErrObjectNotFound, errors.New("no such instance of the writer runs")).On(instance.String()).Advise("`vss list writers` shows who runs")
			}
			to = s.writers.all[i]
		}
		if err := w.SelectForRestore(s.restore.savedMetadata(w), n.Type, n.LogicalPath, n.Name, selected); err != nil {
			return err
		}
		if delete(s.restore.moved, c); to != nil && selected {
			s.restore.moved[c] = to
		}
		return nil
	})
}

// AddRestoreSubcomponent narrows the restore of a selected component to a member of its set. Errors: those of
// document.WriterComponents.AddRestoreSubcomponent.
func (s *Session) AddRestoreSubcomponent(n ComponentName, subPath, subName string) error {
	return s.choosing("AddRestoreSubcomponent", n, func(w *document.WriterComponents, _ *document.Component) error {
		return w.AddRestoreSubcomponent(s.restore.savedMetadata(w), n.Type, n.LogicalPath, n.Name, subPath, subName)
	})
}

// SetRestoreOptions notes the requester's wishes, in the writer's own words. Errors: VSS_E_BAD_STATE, VSS_E_OBJECT_NOT_FOUND.
func (s *Session) SetRestoreOptions(n ComponentName, options string) error {
	return s.choosing("SetRestoreOptions", n, func(_ *document.WriterComponents, c *document.Component) error {
		c.RestoreOptions = options
		return nil
	})
}

// SetAdditionalRestores says that more restores follow: the writer doesn't recover the data yet. Errors as SetRestoreOptions.
func (s *Session) SetAdditionalRestores(n ComponentName, more bool) error {
	return s.choosing("SetAdditionalRestores", n, func(_ *document.WriterComponents, c *document.Component) error {
		c.AdditionalRestores = more
		return nil
	})
}

// SetAuthoritativeRestore says that the restored data win over those of replicas. Errors: VSS_E_BAD_STATE,
// VSS_E_OBJECT_NOT_FOUND, E_INVALIDARG where the writer's schema doesn't have it.
func (s *Session) SetAuthoritativeRestore(n ComponentName, authoritative bool) error {
	const op = "SetAuthoritativeRestore"
	return s.choosing(op, n, func(w *document.WriterComponents, c *document.Component) error {
		if err := needs(op, w, c, vss.SchemaAuthoritativeRestore, "authoritative restores"); err != nil {
			return err
		}
		c.AuthoritativeRestore = authoritative
		return nil
	})
}

// SetRollForward says how far the data are to be rolled forward; the point is the writer's text, with RollForwardPartial.
// Errors as SetAuthoritativeRestore.
func (s *Session) SetRollForward(n ComponentName, t vss.RollForwardType, point string) error {
	const op = "SetRollForward"
	return s.choosing(op, n, func(w *document.WriterComponents, c *document.Component) error {
		if t < vss.RollForwardUndefined || t > vss.RollForwardPartial {
			return vss.E(op, vss.ErrInvalidArg, fmt.Errorf("roll forward type %d", t)).On(c.FullName())
		}
		if err := needs(op, w, c, vss.SchemaRollForwardRestore, "rolling forward"); err != nil {
			return err
		}
		c.RollForward, c.RollForwardPoint = t, point
		return nil
	})
}

// SetRestoreName gives the component another logical name. Errors as SetAuthoritativeRestore.
func (s *Session) SetRestoreName(n ComponentName, name string) error {
	const op = "SetRestoreName"
	return s.choosing(op, n, func(w *document.WriterComponents, c *document.Component) error {
		if err := needs(op, w, c, vss.SchemaRestoreRename, "other names"); err != nil {
			return err
		}
		c.RestoreName = name
		return nil
	})
}

// AddNewTarget says that the files of a set are restored elsewhere. Errors: VSS_E_BAD_STATE, VSS_E_OBJECT_NOT_FOUND, also for
// a file set that the component doesn't have; VSS_E_OBJECT_ALREADY_EXISTS; E_INVALIDARG where the writer's schema doesn't
// have it. Source: AddNewTarget.
func (s *Session) AddNewTarget(n ComponentName, f document.FileSet) error {
	const op = "AddNewTarget"
	return s.choosing(op, n, func(w *document.WriterComponents, c *document.Component) error {
		if err := needs(op, w, c, vss.SchemaNewTarget, "new targets"); err != nil {
			return err
		}
		if err := s.checkFiles(op, w, c, f); err != nil {
			return err
		}
		return addFiles(op, &c.NewTargets, f)
	})
}

// checkFiles: a file set is one of the component's, with a place to go. Where the requester gave no metadata only its form
// is looked at.
func (s *Session) checkFiles(op string, w *document.WriterComponents, c *document.Component, f document.FileSet) error {
	switch {
	case f.Path == "" || f.FileSpec == "" || f.AlternatePath == "":
		return vss.E(op, vss.ErrInvalidArg, errors.New("a path, a filespec and a destination are needed")).On(c.FullName())
	case strings.ContainsAny(f.Path+f.AlternatePath, "*?"):
		return vss.E(op, vss.ErrInvalidArg, errors.New("a path has no wildcards")).On(f.Path)
	case strings.ContainsAny(f.FileSpec, `/\`):
		return vss.E(op, vss.ErrInvalidArg, errors.New("a filespec has no directories")).On(f.FileSpec)
	}
	m := s.restore.savedMetadata(w)
	if m == nil {
		return nil
	}
	if k := m.Component(c.LogicalPath, c.Name); k != nil {
		for _, member := range m.Set(k) {
			if slices.ContainsFunc(member.FileSets(), func(o document.FileSet) bool { return sameFiles(f, o) }) {
				return nil
			}
		}
	}
	return vss.E(op, vss.ErrObjectNotFound, errors.New("the component has no such file set")).On(f.String()).Advise("give path, filespec and recursion as they stand in the writer's metadata")
}

func sameFiles(a, b document.FileSet) bool {
	return path.Clean(a.Path) == path.Clean(b.Path) && a.FileSpec == b.FileSpec && a.Recursive == b.Recursive
}

func addFiles(op string, to *[]document.FileSet, f document.FileSet) error {
	if slices.ContainsFunc(*to, func(o document.FileSet) bool { return sameFiles(f, o) }) {
		return vss.E(op, vss.ErrObjectAlreadyExists, errors.New("the file set has a place already")).On(f.String()).Advise("say once where a file set goes")
	}
	*to = append(*to, f)
	return nil
}
