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

// watched is what the writer saw of one session.
type watched struct {
	seen   map[writer.Handler]bool
	failed bool // by itself: what comes after that is not told to it
}

// needs are the events that must have come before.
var needs = map[writer.Handler]writer.Handler{
	writer.OnPrepareSnapshot: writer.OnPrepareBackup, writer.OnFreeze: writer.OnPrepareSnapshot, writer.OnThaw: writer.OnFreeze,
	writer.OnPostSnapshot: writer.OnThaw, writer.OnBackupComplete: writer.OnPrepareBackup, writer.OnPostRestore: writer.OnPreRestore,
}

// once are the events that come once in a session.
var once = []writer.Handler{
	writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnPostSnapshot, writer.OnBackupComplete, writer.OnPreRestore, writer.OnPostRestore,
}

// watch tells what is wrong with an event, as the requester called for it.
func (w *Writer) watch(h writer.Handler, e *writer.Event) (wrong []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sessions[e.Session]
	if s == nil {
		s = &watched{seen: map[writer.Handler]bool{}}
		w.sessions[e.Session] = s
	}
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if before, ok := needs[h]; ok && !s.seen[before] {
		say("%s came without %s", h, before)
	}
	if s.seen[h] && slices.Contains(once, h) {
		say("%s came twice", h)
	}
	if s.seen[writer.OnAbort] && h != writer.OnAbort && h != writer.OnBackupShutdown {
		say("%s came after Abort", h)
	}
	switch h {
	case writer.OnPrepareBackup:
		wrong = append(wrong, w.backupState(e)...)
		wrong = append(wrong, w.selection(e)...)
	case writer.OnPrepareSnapshot:
		wrong = append(wrong, w.volumes(e)...)
	case writer.OnBackupComplete:
		if s.seen[writer.OnPrepareSnapshot] && !s.seen[writer.OnPostSnapshot] {
			say("BackupComplete came although the set was not made")
		}
		wrong = append(wrong, unsaved(e)...)
	case writer.OnBackupShutdown:
		if s.seen[writer.OnPrepareBackup] && !s.seen[writer.OnBackupComplete] && !s.seen[writer.OnAbort] && !s.failed {
			say("the requester ended without BackupComplete or AbortBackup")
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

// failed notes that the writer failed in a session.
func (w *Writer) failed(id vss.SessionID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s := w.sessions[id]; s != nil {
		s.failed = true
	}
}

// backupState checks the kind of the backup against the writer's schema. Source: backup types, stamps.
func (w *Writer) backupState(e *writer.Event) (wrong []string) {
	schema := w.metadata.BackupSchema
	needed := map[vss.BackupType]vss.BackupSchema{
		vss.BackupIncremental: vss.SchemaIncremental, vss.BackupDifferential: vss.SchemaDifferential, vss.BackupLog: vss.SchemaLog, vss.BackupCopy: vss.SchemaCopy,
	}[e.BackupType]
	if e.BackupType == vss.BackupUndefined {
		wrong = append(wrong, "SetBackupState was not called: the backup type is undefined")
	}
	if schema&needed != needed {
		wrong = append(wrong, fmt.Sprintf("backup type %s isn't in the writer's schema: it makes a full one", e.BackupType))
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

// selection checks that components were added by the rules. Source: working with selectability for backup.
func (w *Writer) selection(e *writer.Event) (wrong []string) {
	if e.Components == nil {
		return nil
	}
	added := &document.WriterComponents{}
	for _, c := range e.Components.Components {
		m := w.metadata.Component(c.LogicalPath, c.Name)
		switch {
		case m == nil:
			wrong = append(wrong, fmt.Sprintf("component %s was added, and there is none", c.FullName()))
			continue
		case m.Type != c.Type:
			wrong = append(wrong, fmt.Sprintf("component %s was added as %s, it is %s", c.FullName(), c.Type, m.Type))
		}
		if err := w.metadata.CheckAdd(added, m); err != nil {
			wrong = append(wrong, fmt.Sprintf("component %s must not be added: %v", c.FullName(), err))
		}
		added.Components = append(added.Components, c)
	}
	for _, m := range w.metadata.Missing(e.Components) {
		wrong = append(wrong, fmt.Sprintf("component %s is required when anything of the writer is backed up, and was not added", m.FullName()))
	}
	return wrong
}

// volumes checks that the set has the volumes of all files that are to be copied.
func (w *Writer) volumes(e *writer.Event) (wrong []string) {
	if e.Components == nil {
		return nil // outside of component mode the requester's volumes are what it wants
	}
	said := map[string]bool{}
	for _, m := range w.metadata.Included(e.Components) {
		for _, f := range m.FileSets() {
			path := os.ExpandEnv(f.Path)
			if f.AlternatePath != "" {
				path = os.ExpandEnv(f.AlternatePath)
			}
			if !said[path] && !within(path, e.Volumes) {
				said[path] = true
				wrong = append(wrong, fmt.Sprintf("%s of component %s is on no volume of the set", path, m.FullName()))
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

// unsaved are the components for which SetBackupSucceeded was not called with true.
func unsaved(e *writer.Event) (wrong []string) {
	if e.Components == nil {
		return nil
	}
	for _, c := range e.Components.Components {
		if !c.BackupSucceeded {
			wrong = append(wrong, fmt.Sprintf("SetBackupSucceeded didn't say that %s was saved", c.FullName()))
		}
	}
	return wrong
}

func (w *Writer) restoring(e *writer.Event) (wrong []string) {
	if r := w.metadata.RestoreMethod; r != nil && r.WriterRestore == vss.WriterRestoreNever {
		wrong = append(wrong, "the writer wants no restore events: its components must not be selected")
	}
	if e.Components == nil || !slices.ContainsFunc(e.Components.Components, func(c *document.Component) bool { return c.SelectedForRestore }) {
		wrong = append(wrong, "PreRestore came although no component is selected for restore")
	}
	return wrong
}

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
