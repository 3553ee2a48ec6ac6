package coordinator

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// ComponentName is how requesters name a component after it was included: its writer's class, in which logical path and name
// are unique, whichever instance it is of.
type ComponentName struct {
	Writer            vss.WriterID
	Type              vss.ComponentType
	LogicalPath, Name string
}

// find is the component in the Backup Components Document. The caller holds mu. Errors: VSS_E_OBJECT_NOT_FOUND.
func (s *Session) find(op string, n ComponentName) (*document.WriterComponents, *document.Component, error) {
	for _, w := range s.backup.Writers {
		if w.WriterID != n.Writer {
			continue
		}
		if c := w.Component(n.LogicalPath, n.Name); c != nil && c.Type == n.Type {
			return w, c, nil
		}
	}
	return nil, nil, vss.E(op, vss.ErrObjectNotFound, errors.New("the document doesn't have it")).On(strings.TrimPrefix(n.LogicalPath+`\`+n.Name, `\`)).
		Advise("GetWriterComponents tells which components it has, and of which type")
}

// SetBackupOptions notes the requester's wishes for one component, in the writer's own words; before PrepareForBackup.
// Errors: VSS_E_BAD_STATE, VSS_E_OBJECT_NOT_FOUND.
func (s *Session) SetBackupOptions(n ComponentName, options string) error {
	return s.beforePrepare("SetBackupOptions", n, func(c *document.Component) { c.BackupOptions = options })
}

// SetPreviousBackupStamp notes the stamp of the backup that this one builds on, as the writer left it there; before
// PrepareForBackup, or before PreRestore. Errors: VSS_E_BAD_STATE, VSS_E_OBJECT_NOT_FOUND.
func (s *Session) SetPreviousBackupStamp(n ComponentName, stamp string) error {
	const op = "SetPreviousBackupStamp"
	set := func(c *document.Component) { c.PreviousBackupStamp = stamp }
	if s.isRestore() {
		return s.choosing(op, n, func(_ *document.WriterComponents, c *document.Component) error { set(c); return nil })
	}
	return s.beforePrepare(op, n, set)
}

func (s *Session) beforePrepare(op string, n ComponentName, set func(*document.Component)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(op, true, beforeDo...); err != nil {
		return err
	}
	_, c, err := s.find(op, n)
	if err == nil {
		set(c)
	}
	return err
}

// WriterComponents are the writers with components in the document, with what they changed in them. Errors: VSS_E_BAD_STATE.
func (s *Session) WriterComponents() ([]*document.WriterComponents, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("GetWriterComponents", true, everything...); err != nil {
		return nil, err
	}
	var out []*document.WriterComponents
	for _, w := range s.backup.Writers {
		out = append(out, w.Clone())
	}
	return out, nil
}

// SessionID is what the session is called in events and by its writers. It may be asked while an operation runs. Errors:
// VSS_E_BAD_STATE before initialization.
func (s *Session) SessionID() (vss.SessionID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ID, s.begin("GetSessionId", false, everything...)
}

// RootAndLogicalPrefix says which volume a path lies on, by the name that AddToSnapshotSet gives it, and where in it. What a
// path names needn't be a file system's: a device, UUID= and the like are volumes themselves. Errors: VSS_E_BAD_STATE,
// VSS_E_OBJECT_NOT_FOUND, VSS_E_VOLUME_NOT_SUPPORTED. Source: GetRootAndLogicalPrefixPaths.
func (s *Session) RootAndLogicalPrefix(ctx context.Context, path string) (root, prefix string, err error) {
	s.mu.Lock()
	err = s.begin("GetRootAndLogicalPrefixPaths", false, everything...)
	s.mu.Unlock()
	if err != nil {
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
	if rel, err := filepath.Rel(v.Name, real); err == nil && rel != "." && rel != ".." && !strings.HasPrefix(rel, "../") {
		prefix = rel
	}
	return v.Name, prefix, nil
}
