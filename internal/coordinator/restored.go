package coordinator

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// whileRestoring changes a component once it is being restored. Errors: VSS_E_BAD_STATE, VSS_E_OBJECT_NOT_FOUND, those of
// change.
func (s *Session) whileRestoring(op string, n ComponentName, change func(*document.WriterComponents, *document.Component) error, legal ...phase) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(op, true, legal...); err != nil {
		return err
	}
	if !s.writers.gathered {
		return vss.E(op, vss.ErrBadState, errors.New("GatherWriterMetadata comes first"))
	}
	w, c, err := s.find(op, n)
	if err != nil {
		return err
	}
	return change(w, c)
}

// AddAlternativeLocationMapping tells the writer that a mapping of its metadata was used for all files of a set; before
// PostRestore. Errors: VSS_E_BAD_STATE, E_INVALIDARG, VSS_E_OBJECT_ALREADY_EXISTS; VSS_E_OBJECT_NOT_FOUND, also for a file
// set that the component doesn't have or that has no mapping. Source: AddAlternativeLocationMapping.
func (s *Session) AddAlternativeLocationMapping(n ComponentName, f document.FileSet) error {
	const op = "AddAlternativeLocationMapping"
	return s.whileRestoring(op, n, func(w *document.WriterComponents, c *document.Component) error {
		if err := s.checkFiles(op, w, c, f); err != nil {
			return err
		}
		if m := s.restore.savedMetadata(w); m != nil && (m.RestoreMethod == nil ||
			!slices.ContainsFunc(m.RestoreMethod.AlternateLocations, func(o document.FileSet) bool { return sameFiles(f, o) })) {
			return vss.E(op, vss.ErrObjectNotFound, errors.New("the writer has no mapping for this file set")).On(f.String()).Advise("restore it to where it belongs, or use AddNewTarget before PreRestore")
		}
		return addFiles(op, &c.AlternateLocations, f)
	}, phaseRestore, phasePreRestored)
}

// SetRangesFilePath says where the ranges file of a partial file was restored to, when that isn't its place; before
// PostRestore. Errors: VSS_E_BAD_STATE; VSS_E_OBJECT_NOT_FOUND, also for an index out of range; E_INVALIDARG for a partial
// file without a ranges file. Source: SetRangesFilePath.
func (s *Session) SetRangesFilePath(n ComponentName, partial int, file string) error {
	const op = "SetRangesFilePath"
	return s.whileRestoring(op, n, func(_ *document.WriterComponents, c *document.Component) error {
		if partial < 0 || partial >= len(c.PartialFiles) {
			return vss.E(op, vss.ErrObjectNotFound, fmt.Errorf("partial file %d of %d", partial, len(c.PartialFiles))).On(c.FullName()).Advise("count them from 0")
		}
		f := &c.PartialFiles[partial]
		if _, ok := f.RangesFile(); !ok || !strings.HasPrefix(file, "/") {
			return vss.E(op, vss.ErrInvalidArg, errors.New("a ranges file and its full path are needed")).On(f.FileName).Advise("ranges that stand in the document need no file")
		}
		f.Ranges = "File=" + file
		return nil
	}, phaseRestore, phasePreRestored)
}

// SetFileRestoreStatus tells what became of a component's files, between PreRestore and PostRestore. Errors: VSS_E_BAD_STATE,
// VSS_E_OBJECT_NOT_FOUND, E_INVALIDARG.
func (s *Session) SetFileRestoreStatus(n ComponentName, status vss.FileRestoreStatus) error {
	const op = "SetFileRestoreStatus"
	return s.whileRestoring(op, n, func(_ *document.WriterComponents, c *document.Component) error {
		if status < vss.RestoredUndefined || status > vss.RestoredFailed {
			return vss.E(op, vss.ErrInvalidArg, fmt.Errorf("status %d", status)).On(c.FullName())
		}
		c.FileRestoreStatus = status
		return nil
	}, phasePreRestored)
}
