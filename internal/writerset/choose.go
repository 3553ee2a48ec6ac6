package writerset

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

type (
	components = *document.WriterComponents
	changeFunc = func(components, *document.Component) error
)

// choose changes a component of a restore before PreRestore. Errors: VSS_E_OBJECT_NOT_FOUND if the backup does not
// have it or no writer of its class runs; those of change.
func (s *Set) choose(op string, n ComponentName, change changeFunc) error {
	if !slices.ContainsFunc(s.all, func(p *participant) bool { return p.Info.ID == n.Writer }) {
		return vss.E(op, vss.ErrObjectNotFound, errors.New("no writer of this class is known to run")).
			On(n.Writer.String()).
			Advise("call GatherWriterMetadata first; `vss list writers` shows the writers that run")
	}
	w, c, err := s.find(op, n)
	if err != nil {
		return err
	}
	return change(w, c)
}

// checkSchema returns E_INVALIDARG if a bit is not set in the writer's schema.
func checkSchema(op string, w components, c *document.Component, bit vss.BackupSchema, what string) error {
	if w.BackupSchema&bit != 0 {
		return nil
	}
	return vss.E(op, vss.ErrInvalidArg, errors.New("the component's writer does not support "+what)).On(c.FullName()).
		Advise("omit the call; the writer's backup schema defines what it supports")
}

// SetSelectedForRestore selects a component that was included explicitly, or cancels that. With an instance the
// component is restored by that instance of its writer's class. Errors: VSS_E_OBJECT_NOT_FOUND, E_INVALIDARG for an
// instance where the writer does not support that. Source: SetSelectedForRestore, SetSelectedForRestoreEx.
func (s *Set) SetSelectedForRestore(n ComponentName, selected bool, instance vss.WriterInstanceID) error {
	const op = "SetSelectedForRestore"
	return s.choose(op, n, func(w components, c *document.Component) error {
		var to *participant
		if !instance.IsZero() {
			if err := checkSchema(op, w, c, vss.SchemaRestoreWithMove, "restores to another instance"); err != nil {
				return err
			}
			if to = s.participant(n.Writer, instance); to == nil {
				return vss.E(op, vss.ErrObjectNotFound, errors.New("this instance of the writer does not run")).
					On(instance.String()).Advise("`vss list writers` shows the instances that run")
			}
		}
		if err := w.SelectForRestore(s.savedMetadata(w), n.Type, n.LogicalPath, n.Name, selected); err != nil {
			return err
		}
		if delete(s.moved, c); to != nil && selected {
			s.moved[c] = to
		}
		return nil
	})
}

// AddRestoreSubcomponent narrows the restore of a selected component to a member of its set. Errors: those of
// document.WriterComponents.AddRestoreSubcomponent.
func (s *Set) AddRestoreSubcomponent(n ComponentName, subPath, subName string) error {
	return s.choose("AddRestoreSubcomponent", n, func(w components, _ *document.Component) error {
		return w.AddRestoreSubcomponent(s.savedMetadata(w), n.Type, n.LogicalPath, n.Name, subPath, subName)
	})
}

// SetRestoreOptions records the requester's wishes, in a form that the writer defines. Errors: VSS_E_OBJECT_NOT_FOUND.
func (s *Set) SetRestoreOptions(n ComponentName, options string) error {
	return s.choose("SetRestoreOptions", n, func(_ components, c *document.Component) error {
		c.RestoreOptions = options
		return nil
	})
}

// SetAdditionalRestores records that more restores follow, so that the writer does not recover the data yet. Errors:
// VSS_E_OBJECT_NOT_FOUND.
func (s *Set) SetAdditionalRestores(n ComponentName, more bool) error {
	return s.choose("SetAdditionalRestores", n, func(_ components, c *document.Component) error {
		c.AdditionalRestores = more
		return nil
	})
}

// SetAuthoritativeRestore records that the restored data replace those of replicas. Errors: VSS_E_OBJECT_NOT_FOUND,
// E_INVALIDARG if the writer's schema does not have it.
func (s *Set) SetAuthoritativeRestore(n ComponentName, authoritative bool) error {
	const op = "SetAuthoritativeRestore"
	return s.choose(op, n, func(w components, c *document.Component) error {
		if err := checkSchema(op, w, c, vss.SchemaAuthoritativeRestore, "authoritative restores"); err != nil {
			return err
		}
		c.AuthoritativeRestore = authoritative
		return nil
	})
}

// SetRollForward records how far the data are rolled forward; the point, for RollForwardPartial, has a form that the
// writer defines. Errors: those of SetAuthoritativeRestore.
func (s *Set) SetRollForward(n ComponentName, t vss.RollForwardType, point string) error {
	const op = "SetRollForward"
	return s.choose(op, n, func(w components, c *document.Component) error {
		if t < vss.RollForwardUndefined || t > vss.RollForwardPartial {
			return vss.E(op, vss.ErrInvalidArg, fmt.Errorf("invalid roll forward type %d", t)).On(c.FullName())
		}
		if err := checkSchema(op, w, c, vss.SchemaRollForwardRestore, "rolling forward"); err != nil {
			return err
		}
		c.RollForward, c.RollForwardPoint = t, point
		return nil
	})
}

// SetRestoreName gives the component another logical name. Errors: those of SetAuthoritativeRestore.
func (s *Set) SetRestoreName(n ComponentName, name string) error {
	const op = "SetRestoreName"
	return s.choose(op, n, func(w components, c *document.Component) error {
		if err := checkSchema(op, w, c, vss.SchemaRestoreRename, "other names"); err != nil {
			return err
		}
		c.RestoreName = name
		return nil
	})
}

// AddNewTarget records that the files of a set are restored to another place. Errors: VSS_E_OBJECT_NOT_FOUND, also
// for a file set that the component does not have; VSS_E_OBJECT_ALREADY_EXISTS; E_INVALIDARG if the writer's schema
// does not have it. Source: AddNewTarget.
func (s *Set) AddNewTarget(n ComponentName, f document.FileSet) error {
	const op = "AddNewTarget"
	return s.choose(op, n, func(w components, c *document.Component) error {
		if err := checkSchema(op, w, c, vss.SchemaNewTarget, "new targets"); err != nil {
			return err
		}
		if err := s.checkFiles(op, w, c, f); err != nil {
			return err
		}
		return addFiles(op, &c.NewTargets, f)
	})
}

// checkFiles returns an error if a file set is not one of the component's, or has no destination. Without the
// metadata of the backup only its form is checked.
func (s *Set) checkFiles(op string, w components, c *document.Component, f document.FileSet) error {
	switch {
	case f.Path == "" || f.FileSpec == "" || f.AlternatePath == "":
		cause := errors.New("a path, a filespec and a destination are required")
		return vss.E(op, vss.ErrInvalidArg, cause).On(c.FullName())
	case strings.ContainsAny(f.Path+f.AlternatePath, "*?"):
		return vss.E(op, vss.ErrInvalidArg, errors.New("a path must not contain wildcards")).On(f.Path)
	case strings.ContainsAny(f.FileSpec, `/\`):
		return vss.E(op, vss.ErrInvalidArg, errors.New("a filespec must not contain directories")).On(f.FileSpec)
	}
	m := s.savedMetadata(w)
	if m == nil {
		return nil
	}
	if k := m.Component(c.LogicalPath, c.Name); k != nil {
		for _, member := range m.Set(k) {
			if hasFiles(member.FileSets(), f) {
				return nil
			}
		}
	}
	return vss.E(op, vss.ErrObjectNotFound, errors.New("the component does not have this file set")).
		On(f.String()).Advise("pass path, filespec and recursion as in the writer's metadata")
}

func sameFiles(a, b document.FileSet) bool {
	return path.Clean(a.Path) == path.Clean(b.Path) && a.FileSpec == b.FileSpec && a.Recursive == b.Recursive
}

// hasFiles reports whether a list has a file set, wherever it goes.
func hasFiles(list []document.FileSet, f document.FileSet) bool {
	return slices.ContainsFunc(list, func(o document.FileSet) bool { return sameFiles(f, o) })
}

func addFiles(op string, to *[]document.FileSet, f document.FileSet) error {
	if hasFiles(*to, f) {
		return vss.E(op, vss.ErrObjectAlreadyExists, errors.New("the file set already has a destination")).
			On(f.String()).Advise("give each file set one destination")
	}
	*to = append(*to, f)
	return nil
}
