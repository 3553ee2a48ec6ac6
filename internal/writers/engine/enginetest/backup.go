package enginetest

import (
	"context"
	"testing"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

var ctx = context.Background()

// Backup is a session with one writer, in component mode.
type Backup struct {
	writer.Event
	t testing.TB
	w writer.Writer
}

// New begins a backup of components.
func New(t testing.TB, w writer.Writer, volumes []string, components ...string) *Backup {
	t.Helper()
	info, err := w.Info(ctx)
	Must(t, err)
	b := &Backup{
		t: t,
		w: w,
		Event: writer.Event{Session: vss.SessionID{GUID: vss.NewGUID()}, SetID: vss.SnapshotSetID{GUID: vss.NewGUID()},
			Volumes: volumes, BackupType: vss.BackupFull, Components: &document.WriterComponents{WriterID: info.ID}},
	}
	for _, name := range components {
		b.Components.Components = append(
			b.Components.Components,
			&document.Component{Type: vss.ComponentFileGroup, Name: name},
		)
	}
	t.Cleanup(func() { Must(t, b.Do(writer.OnBackupShutdown)) })
	return b
}

// Do delivers an event as the service does; only some events have components.
func (b *Backup) Do(h writer.Handler) error {
	b.t.Helper()
	e := b.Event
	e.Failure = nil
	switch h {
	case writer.OnPrepareBackup,
		writer.OnPostSnapshot,
		writer.OnBackupComplete,
		writer.OnPreRestore,
		writer.OnPostRestore:
	default:
		e.Components = nil
	}
	err := h.Call(ctx, b.w, &e)
	b.Failure = e.Failure
	return err
}

// Succeed delivers events that must succeed.
func (b *Backup) Succeed(all ...writer.Handler) {
	b.t.Helper()
	for _, h := range all {
		Must(b.t, b.Do(h))
		if b.Failure != nil {
			b.t.Fatalf("%s: %s: %s", h, b.Failure.Code.Name(), b.Failure.Message)
		}
	}
}

// Vetoed delivers an event that the writer must veto with a code, and returns its message.
func (b *Backup) Vetoed(h writer.Handler, code vss.Code) string {
	b.t.Helper()
	Must(b.t, b.Do(h))
	if b.Failure == nil || b.Failure.Code != code {
		b.t.Fatalf("%s: got %+v, want %s", h, b.Failure, code.Name())
	}
	return b.Failure.Message
}

// Component returns the first component of the backup.
func (b *Backup) Component() *document.Component { return b.Components.Components[0] }

// Again begins a restore of the backup: all files of the component were saved, and it is selected.
func (b *Backup) Again() {
	c := b.Component()
	b.Session = vss.SessionID{GUID: vss.NewGUID()}
	c.BackupSucceeded, c.SelectedForRestore, c.AdditionalRestores = true, true, false
	c.RestoreMetadata, c.FileRestoreStatus, c.PreRestoreFailure, c.PostRestoreFailure = "", vss.RestoredUndefined, "",
		""
}

// Identify returns the metadata and the named component; nil if there is none.
func Identify(t testing.TB, w writer.Writer, name string) (*document.WriterMetadata, *document.WMComponent) {
	t.Helper()
	m, err := w.Identify(ctx)
	Must(t, err)
	Must(t, m.Validate())
	return m, m.Component("", name)
}
