package testwriter

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// watched is the state of one session.
type watched struct {
	seen   map[writer.Handler]bool
	failed bool // the writer failed; it does not receive later events
}

// needs maps an event to one that must precede it.
var needs = map[writer.Handler]writer.Handler{
	writer.OnPrepareSnapshot: writer.OnPrepareBackup, writer.OnFreeze: writer.OnPrepareSnapshot,
	writer.OnThaw:         writer.OnFreeze,
	writer.OnPostSnapshot: writer.OnThaw, writer.OnBackupComplete: writer.OnPrepareBackup,
	writer.OnPostRestore: writer.OnPreRestore,
}

// once are the events that may occur only once in a session.
var once = []writer.Handler{
	writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnPostSnapshot, writer.OnBackupComplete,
	writer.OnPreRestore, writer.OnPostRestore,
}

// watch returns the violations of VSS's rules in an event.
func (w *Writer) watch(h writer.Handler, e *writer.Event) (wrong []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sessions[e.Session]
	if s == nil {
		s = &watched{seen: map[writer.Handler]bool{}}
		w.sessions[e.Session] = s
	}
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if before, ok := needs[h]; ok && !s.seen[before] {
		add("%s without a preceding %s", h, before)
	}
	if s.seen[h] && slices.Contains(once, h) {
		add("%s a second time", h)
	}
	if s.seen[writer.OnAbort] && h != writer.OnAbort && h != writer.OnBackupShutdown {
		add("%s after Abort", h)
	}
	switch h {
	case writer.OnPrepareBackup:
		wrong = append(wrong, w.backupState(e)...)
		wrong = append(wrong, w.selection(e)...)
	case writer.OnPrepareSnapshot:
		wrong = append(wrong, w.volumes(e)...)
	case writer.OnBackupComplete:
		if s.seen[writer.OnPrepareSnapshot] && !s.seen[writer.OnPostSnapshot] {
			add("BackupComplete although the set was not created")
		}
		wrong = append(wrong, unsaved(e)...)
	case writer.OnBackupShutdown:
		if s.seen[writer.OnPrepareBackup] && !s.seen[writer.OnBackupComplete] && !s.seen[writer.OnAbort] && !s.failed {
			add("the requester ended without BackupComplete or AbortBackup")
		}
		delete(w.sessions, e.Session)
	case writer.OnPreRestore:
		wrong = append(wrong, w.restoring(e)...)
	case writer.OnPostRestore:
		wrong = append(wrong, restored(e)...)
	}
	s.seen[h] = true
	return wrong
}

// failed records that the writer failed in a session.
func (w *Writer) failed(id vss.SessionID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.sessions[id]; s != nil {
		s.failed = true
	}
}

// backupState checks the type of the backup against the writer's schema, and the stamps.
func (w *Writer) backupState(e *writer.Event) (wrong []string) {
	schema := w.metadata.BackupSchema
	needed := map[vss.BackupType]vss.BackupSchema{
		vss.BackupIncremental: vss.SchemaIncremental, vss.BackupDifferential: vss.SchemaDifferential,
		vss.BackupLog: vss.SchemaLog, vss.BackupCopy: vss.SchemaCopy,
	}[e.BackupType]
	if e.BackupType == vss.BackupUndefined {
		wrong = append(wrong, "SetBackupState was not called: the backup type is undefined")
	}
	if schema&needed != needed {
		wrong = append(wrong, fmt.Sprintf("backup type %s is not in the writer's schema: it makes a full backup",
			e.BackupType))
	}
	later := e.BackupType == vss.BackupIncremental || e.BackupType == vss.BackupDifferential
	if later && e.Components != nil && schema&needed == needed && schema&vss.SchemaTimestamped != 0 {
		for _, c := range e.Components.Components {
			if c.PreviousBackupStamp == "" {
				wrong = append(wrong, fmt.Sprintf("SetPreviousBackupStamp was not called for %s", c.FullName()))
			}
		}
	}
	return wrong
}

// selection checks the components that were added. Source: working with selectability for backup.
func (w *Writer) selection(e *writer.Event) (wrong []string) {
	if e.Components == nil {
		return nil
	}
	added := &document.WriterComponents{}
	for _, c := range e.Components.Components {
		m := w.metadata.Component(c.LogicalPath, c.Name)
		switch {
		case m == nil:
			wrong = append(wrong, fmt.Sprintf("component %s was added, but does not exist", c.FullName()))
			continue
		case m.Type != c.Type:
			wrong = append(wrong, fmt.Sprintf("component %s was added as %s, but is a %s", c.FullName(), c.Type,
				m.Type))
		}
		if err := w.metadata.CheckAdd(added, m); err != nil {
			wrong = append(wrong, fmt.Sprintf("component %s must not be added: %v", c.FullName(), err))
		}
		added.Components = append(added.Components, c)
	}
	for _, m := range w.metadata.Missing(e.Components) {
		wrong = append(wrong, fmt.Sprintf("component %s was not added; any backup of the writer requires it",
			m.FullName()))
	}
	return wrong
}

// volumes checks that the set contains the volumes of all files that belong to the backup.
func (w *Writer) volumes(e *writer.Event) (wrong []string) {
	if e.Components == nil {
		return nil // without component mode the requester may choose any volumes
	}
	reported := map[string]bool{}
	for _, m := range w.metadata.Included(e.Components) {
		for _, f := range m.FileSets() {
			path := os.ExpandEnv(f.Path)
			if f.AlternatePath != "" {
				path = os.ExpandEnv(f.AlternatePath)
			}
			if !reported[path] && !within(path, e.Volumes) {
				reported[path] = true
				wrong = append(wrong, fmt.Sprintf("%s of component %s is not on a volume of the set", path,
					m.FullName()))
			}
		}
	}
	return wrong
}

func within(path string, volumes []string) bool {
	return slices.ContainsFunc(volumes, func(v string) bool {
		v = strings.TrimSuffix(v, "/")
		return path == v || strings.HasPrefix(path, v+"/")
	})
}

// unsaved returns a complaint for each component for which SetBackupSucceeded was not called with true.
func unsaved(e *writer.Event) (wrong []string) {
	if e.Components == nil {
		return nil
	}
	for _, c := range e.Components.Components {
		if !c.BackupSucceeded {
			wrong = append(wrong, fmt.Sprintf("SetBackupSucceeded was not called with true for %s", c.FullName()))
		}
	}
	return wrong
}

// restoring checks the selection of components for a restore.
func (w *Writer) restoring(e *writer.Event) (wrong []string) {
	if r := w.metadata.RestoreMethod; r != nil && r.WriterRestore == vss.WriterRestoreNever {
		wrong = append(wrong, "the writer does not take part in restores: its components must not be selected")
	}
	selected := func(c *document.Component) bool { return c.SelectedForRestore }
	if e.Components == nil || !slices.ContainsFunc(e.Components.Components, selected) {
		wrong = append(wrong, "PreRestore although no component is selected for restore")
	}
	return wrong
}

// restored checks that the status of each restored component was set.
func restored(e *writer.Event) (wrong []string) {
	if e.Components == nil {
		return nil
	}
	for _, c := range e.Components.Components {
		if c.SelectedForRestore && c.FileRestoreStatus == vss.RestoredUndefined {
			wrong = append(wrong, fmt.Sprintf("SetFileRestoreStatus was not called for %s", c.FullName()))
		}
	}
	return wrong
}
