package coordinator

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

// remote is a requester object that reaches a coordinator through its socket.
func remote(t *testing.T, k *Coordinator) *requester.BackupComponents {
	t.Helper()
	socket := filepath.Join(k.RunDir, "vssd.sock")
	l, err := wire.Listen(socket, 0o600, "")
	must(t, err)
	s := wire.NewServer(slog.New(slog.DiscardHandler))
	vssv1.RegisterCoordinatorServer(s, k.Service())
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	conn, err := wire.Dial(t.Context(), socket)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	b, err := requester.NewClient(conn).Open(t.Context(), "test")
	must(t, err)
	t.Cleanup(b.Close)
	return b
}

func waited(ctx context.Context) func(*requester.Async, error) error {
	return func(a *requester.Async, err error) error {
		if err == nil {
			_, err = a.Wait(ctx, nil)
		}
		return err
	}
}

// TestRestoreOverTheWire: what a requester says of a component is what its writer sees, whole.
func TestRestoreOverTheWire(t *testing.T) {
	r, i := recorder("db")
	doc, meta := saved(t, i, r, "data", "other")
	b, ctx := remote(t, bare(t, i)), t.Context()
	c := requester.Component{Writer: i.Info.ID, Type: "database", Name: "data"}
	place := document.FileSet{Path: "/srv/data", FileSpec: "*.db", AlternatePath: "/srv/aside"}
	r.At(writer.OnPreRestore, writertest.Act(func(_ context.Context, e *writer.Event) error {
		e.Failure = &writer.Failure{Code: vss.ErrWriterErrorNonRetryable, Application: 0xfedcba98, Message: "in use"}
		return nil
	}))
	must(t, b.InitializeForRestore(ctx, doc, meta), b.SetRestoreState(ctx, vss.RestoreImport), waited(ctx)(b.GatherWriterMetadata(ctx)),
		b.SetSelectedForRestoreEx(ctx, c, true, i.ID), b.AddRestoreSubcomponent(ctx, c, "data", "part"), b.SetRestoreOptions(ctx, c, "fast"),
		b.SetAdditionalRestores(ctx, c, true), b.SetAuthoritativeRestore(ctx, c, true), b.SetRollForward(ctx, c, vss.RollForwardPartial, "lsn 7"),
		b.SetRestoreName(ctx, c, "data2"), b.SetPreviousBackupStamp(ctx, c, "stamp"), b.AddNewTarget(ctx, c, place), waited(ctx)(b.PreRestore(ctx)),
		b.AddAlternativeLocationMapping(ctx, c, place), b.SetRangesFilePath(ctx, c, 0, "/tmp/ranges"), b.SetFileRestoreStatus(ctx, c, vss.RestoredFailed),
		waited(ctx)(b.GatherWriterStatus(ctx)))
	status, err := b.GetWriterStatus(ctx)
	if err != nil || len(status) != 1 || status[0].Application != 0xfedcba98 || status[0].Message != "in use" || status[0].State != vss.WriterFailedAtPreRestore {
		t.Errorf("%+v, %v", status, err)
	}
	must(t, waited(ctx)(b.PostRestore(ctx)))
	id, err := b.GetSessionID(ctx)
	must(t, err)
	seen := r.Seen()
	last := seen[len(seen)-1]
	if len(seen) != 2 || last.Event.Session != id {
		t.Fatalf("%d events of session %v, not %v", len(seen), last.Event.Session, id)
	}
	k := last.Event.Components.Component("", "data")
	if k == nil || !k.SelectedForRestore || len(k.RestoreSubcomponents) != 1 || k.RestoreSubcomponents[0].Name != "part" || k.RestoreOptions != "fast" ||
		!k.AdditionalRestores || !k.AuthoritativeRestore || k.RollForward != vss.RollForwardPartial || k.RollForwardPoint != "lsn 7" || k.RestoreName != "data2" ||
		k.PreviousBackupStamp != "stamp" || len(k.NewTargets) != 1 || k.NewTargets[0].AlternatePath != "/srv/aside" || len(k.AlternateLocations) != 1 ||
		k.PartialFiles[0].Ranges != "File=/tmp/ranges" || k.FileRestoreStatus != vss.RestoredFailed {
		t.Errorf("the writer saw %+v", k)
	}
	all, err := b.GetWriterComponents(ctx)
	if err != nil || len(all) != 1 || len(all[0].Components) != 2 || all[0].Component("", "data").RestoreName != "data2" {
		t.Errorf("%+v, %v", all, err)
	}
	xml, err := b.SaveAsXML(ctx)
	must(t, err)
	if d, err := document.Parse(xml); err != nil || d.RestoreType != vss.RestoreImport {
		t.Errorf("the document: %+v, %v", d, err)
	}
	if err := b.SetFileRestoreStatus(ctx, c, vss.RestoredAll); !errors.Is(err, vss.ErrBadState) {
		t.Errorf("SetFileRestoreStatus after PostRestore: %v", err)
	}
}

// TestBackupOverTheWire: options and stamps reach the writer, and where a path lies is told.
func TestBackupOverTheWire(t *testing.T) {
	r, i := recorder("db")
	b, ctx := remote(t, bare(t, i)), t.Context()
	c := requester.Component{Writer: i.Info.ID, Instance: i.ID, Type: "database", Name: "data"}
	must(t, b.InitializeForBackup(ctx, nil), b.SetBackupState(ctx, true, false, vss.BackupIncremental, false), waited(ctx)(b.GatherWriterMetadata(ctx)),
		b.AddComponent(ctx, c), b.SetBackupOptions(ctx, c, "wish"), b.SetPreviousBackupStamp(ctx, c, "base"))
	_, err := b.StartSnapshotSet(ctx)
	must(t, err, waited(ctx)(b.PrepareForBackup(ctx)))
	if k := r.Seen()[0].Event.Components.Component("", "data"); k.BackupOptions != "wish" || k.PreviousBackupStamp != "base" {
		t.Errorf("the writer saw %+v", k)
	}
	if _, _, err := b.GetRootAndLogicalPrefixPaths(ctx, filepath.Join(t.TempDir(), "none")); !errors.Is(err, vss.ErrObjectNotFound) {
		t.Errorf("a path that isn't there: %v", err)
	}
}
