package writerset

import (
	"errors"
	"fmt"
	"strings"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// change changes a component of a restore. Errors: VSS_E_BAD_STATE before Gather, VSS_E_OBJECT_NOT_FOUND, those of f.
func (s *Set) change(op string, n ComponentName, f changeFunc) error {
	if err := s.needGathered(op); err != nil {
		return err
	}
	w, c, err := s.find(op, n)
	if err != nil {
		return err
	}
	return f(w, c)
}

// AddAlternativeLocationMapping records that a mapping of the writer's metadata was used for all files of a set.
// Errors: VSS_E_BAD_STATE, E_INVALIDARG, VSS_E_OBJECT_ALREADY_EXISTS; VSS_E_OBJECT_NOT_FOUND, also for a file set
// that the component does not have or that has no mapping. Source: AddAlternativeLocationMapping.
func (s *Set) AddAlternativeLocationMapping(n ComponentName, f document.FileSet) error {
	const op = "AddAlternativeLocationMapping"
	return s.change(op, n, func(w components, c *document.Component) error {
		if err := s.checkFiles(op, w, c, f); err != nil {
			return err
		}
		m := s.savedMetadata(w)
		if m != nil && (m.RestoreMethod == nil || !hasFiles(m.RestoreMethod.AlternateLocations, f)) {
			cause := errors.New("the writer has no mapping for this file set")
			return vss.E(op, vss.ErrObjectNotFound, cause).On(f.String()).
				Advise("restore it to its original location, or call AddNewTarget before PreRestore")
		}
		return addFiles(op, &c.AlternateLocations, f)
	})
}

// SetRangesFilePath records where the ranges file of a partial file was restored to. Errors: VSS_E_BAD_STATE;
// VSS_E_OBJECT_NOT_FOUND, also for an index out of range; E_INVALIDARG for a partial file without a ranges file.
// Source: SetRangesFilePath.
func (s *Set) SetRangesFilePath(n ComponentName, partial int, file string) error {
	const op = "SetRangesFilePath"
	return s.change(op, n, func(_ components, c *document.Component) error {
		if partial < 0 || partial >= len(c.PartialFiles) {
			cause := fmt.Errorf("no partial file %d: the component has %d", partial, len(c.PartialFiles))
			return vss.E(op, vss.ErrObjectNotFound, cause).On(c.FullName()).Advise("partial files are numbered from 0")
		}
		f := &c.PartialFiles[partial]
		if _, ok := f.RangesFile(); !ok || !strings.HasPrefix(file, "/") {
			cause := errors.New("the partial file must have a ranges file, and its path must be absolute")
			return vss.E(op, vss.ErrInvalidArg, cause).On(f.FileName).
				Advise("do not call it for ranges that are in the document itself")
		}
		f.Ranges = "File=" + file
		return nil
	})
}

// SetFileRestoreStatus records which of a component's files were restored. Errors: VSS_E_BAD_STATE,
// VSS_E_OBJECT_NOT_FOUND, E_INVALIDARG.
func (s *Set) SetFileRestoreStatus(n ComponentName, status vss.FileRestoreStatus) error {
	const op = "SetFileRestoreStatus"
	return s.change(op, n, func(_ components, c *document.Component) error {
		if status < vss.RestoredUndefined || status > vss.RestoredFailed {
			return vss.E(op, vss.ErrInvalidArg, fmt.Errorf("invalid status %d", status)).On(c.FullName())
		}
		c.FileRestoreStatus = status
		return nil
	})
}
