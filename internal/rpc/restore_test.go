package rpc

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

// saved returns what a backup of the writer's database saves.
func saved(t *testing.T, i *writer.Instance, r *writertest.Recorder) (doc, meta []byte) {
	t.Helper()
	c := &document.Component{
		Type: vss.ComponentDatabase, Name: "data", BackupSucceeded: true,
		PartialFiles: []document.PartialFile{{Path: "/srv/data", FileName: "a.db", Ranges: "File=/srv/ranges"}},
	}
	w := &document.WriterComponents{
		WriterID: i.Info.ID, InstanceID: i.ID, BackupSchema: r.Metadata.BackupSchema,
		Components: []*document.Component{c},
	}
	d := document.Components{SelectComponents: true, BackupType: vss.BackupFull,
		Writers: []*document.WriterComponents{w}}
	m := r.Metadata
	m.WriterID, m.InstanceID, m.Name = i.Info.ID, i.ID, i.Info.Name
	doc, err := d.XML()
	must(t, err)
	meta, err = m.XML()
	must(t, err)
	return doc, meta
}

// TestRestore runs a restore through the socket and checks that what each call carries is what the writer receives.
func TestRestore(t *testing.T) {
	r, i := recorder()
	doc, meta := saved(t, i, r)
	w := newWorld(t, i)
	b, ctx := w.open(), t.Context()
	c := requester.Component{Writer: i.Info.ID, Type: "database", Name: "data"}
	place := document.FileSet{Path: "/srv/data", FileSpec: "*.db", AlternatePath: "/srv/aside"}
	r.At(writer.OnPreRestore, func(_ context.Context, e *writer.Event) error {
		e.Failure = &writer.Failure{Code: vss.ErrWriterErrorNonRetryable, Application: 0xfedcba98, Message: "in use"}
		return nil
	})
	must(t, b.InitializeForRestore(ctx, doc, meta), b.SetRestoreState(ctx, vss.RestoreImport),
		ended(ctx)(b.GatherWriterMetadata(ctx)), b.SetSelectedForRestore(ctx, c, false),
		b.SetSelectedForRestoreEx(ctx, c, true, i.ID), b.AddRestoreSubcomponent(ctx, c, "data", "part"),
		b.SetRestoreOptions(ctx, c, "fast"), b.SetAdditionalRestores(ctx, c, true),
		b.SetAuthoritativeRestore(ctx, c, true),
		b.SetRollForward(ctx, c, vss.RollForwardPartial, "lsn 7"), b.SetRestoreName(ctx, c, "data2"),
		b.SetPreviousBackupStamp(ctx, c, "stamp"), b.AddNewTarget(ctx, c, place), ended(ctx)(b.PreRestore(ctx)),
		b.AddAlternativeLocationMapping(ctx, c, place), b.SetRangesFilePath(ctx, c, 0, "/tmp/ranges"),
		b.SetFileRestoreStatus(ctx, c, vss.RestoredFailed), ended(ctx)(b.GatherWriterStatus(ctx)))
	status, err := b.GetWriterStatus(ctx)
	must(t, err)
	differ(t, "status", map[string][2]any{
		"Application": {status[0].Application, uint32(0xfedcba98)}, "Message": {status[0].Message, "in use"},
		"State":   {status[0].State, vss.WriterFailedAtPreRestore},
		"Failure": {status[0].Failure, vss.ErrWriterErrorNonRetryable},
	})
	must(t, ended(ctx)(b.PostRestore(ctx)))
	id, err := b.GetSessionID(ctx)
	must(t, err)
	seen := r.Seen()
	last := seen[len(seen)-1].Event
	k := last.Components.Component("", "data")
	if len(seen) != 2 || k == nil {
		t.Fatalf("the writer received %+v", seen)
	}
	differ(t, "PostRestore", map[string][2]any{
		"Session": {last.Session, id}, "SelectedForRestore": {k.SelectedForRestore, true},
		"RestoreSubcomponents": {len(k.RestoreSubcomponents), 1},
		"subcomponent's name":  {k.RestoreSubcomponents[0].Name, "part"},
		"RestoreOptions":       {k.RestoreOptions, "fast"}, "AdditionalRestores": {k.AdditionalRestores, true},
		"AuthoritativeRestore": {k.AuthoritativeRestore, true}, "RollForward": {k.RollForward, vss.RollForwardPartial},
		"RollForwardPoint": {k.RollForwardPoint, "lsn 7"}, "RestoreName": {k.RestoreName, "data2"},
		"PreviousBackupStamp": {k.PreviousBackupStamp, "stamp"}, "NewTargets": {len(k.NewTargets), 1},
		"new target":         {k.NewTargets[0].AlternatePath, "/srv/aside"},
		"AlternateLocations": {len(k.AlternateLocations), 1},
		"Ranges":             {k.PartialFiles[0].Ranges, "File=/tmp/ranges"},
		"FileRestoreStatus":  {k.FileRestoreStatus, vss.RestoredFailed},
	})
	all, err := b.GetWriterComponents(ctx)
	must(t, err)
	differ(t, "components", map[string][2]any{
		"writers": {len(all), 1}, "RestoreName": {all[0].Component("", "data").RestoreName, "data2"},
	})
	xml, err := b.SaveAsXML(ctx)
	must(t, err)
	if d, err := document.Parse(xml); err != nil || d.RestoreType != vss.RestoreImport {
		t.Errorf("the document: %+v, %v", d, err)
	}
	if err := b.SetFileRestoreStatus(ctx, c, vss.RestoredAll); !errors.Is(err, vss.ErrBadState) {
		t.Errorf("SetFileRestoreStatus after PostRestore: %v", err)
	}
}

// TestRefused checks that what cannot be converted is refused with a code, and that errors of the coordinator come
// back.
func TestRefused(t *testing.T) {
	r, i := recorder()
	w := newWorld(t, i)
	doc, _ := saved(t, i, r)
	ctx, none := t.Context(), vss.NewGUID().String()
	token := func(initialize func(token string) error) string {
		s := w.k.OpenSession(uint32(os.Geteuid()))
		t.Cleanup(s.Close)
		must(t, initialize(s.Token))
		return s.Token
	}
	backup := token(func(s string) error {
		_, err := w.rpc.InitializeForBackup(ctx, &vssv1.InitializeForBackupRequest{Session: s})
		return err
	})
	restore := token(func(s string) error {
		_, err := w.rpc.InitializeForRestore(ctx, &vssv1.InitializeForRestoreRequest{Session: s, Document: doc})
		return err
	})
	_, err := w.rpc.SetContext(ctx, &vssv1.SetContextRequest{Session: backup, Context: uint32(vss.ContextAll)})
	must(t, err)
	component := func(writer, kind string) *vssv1.ComponentRequest {
		return &vssv1.ComponentRequest{Session: backup, WriterId: writer, InstanceId: none, Type: kind, Name: "data"}
	}
	name := &vssv1.ComponentName{WriterId: none, Type: "database", Name: "data"}
	for what, c := range map[string]struct {
		call func() (any, error)
		want vss.Code
	}{
		"AddComponent, writer": {func() (any, error) { return w.rpc.AddComponent(ctx, component("x", "database")) },
			vss.ErrInvalidArg},
		"AddComponent, type": {func() (any, error) { return w.rpc.AddComponent(ctx, component(none, "x")) },
			vss.ErrInvalidArg},
		"AddComponent, early": {func() (any, error) { return w.rpc.AddComponent(ctx, component(none, "database")) },
			vss.ErrBadState},
		"SetBackupSucceeded": {func() (any, error) { return w.rpc.SetBackupSucceeded(ctx, component("x", "database")) },
			vss.ErrInvalidArg},
		"DisableWriterInstances": {func() (any, error) {
			return w.rpc.DisableWriterInstances(ctx, &vssv1.WriterSelection{Session: backup, Ids: []string{"x"}})
		}, vss.ErrInvalidArg},
		"SetBackupOptions": {func() (any, error) {
			return w.rpc.SetBackupOptions(ctx, &vssv1.ComponentTextRequest{Session: backup,
				Component: &vssv1.ComponentName{WriterId: "x"}})
		}, vss.ErrInvalidArg},
		"SetSelectedForRestoreEx": {func() (any, error) {
			return w.rpc.SetSelectedForRestoreEx(ctx,
				&vssv1.SelectRequest{Session: restore, Component: name, InstanceId: "x"})
		}, vss.ErrInvalidArg},
		"GetWriterMetadata": {func() (any, error) {
			return w.rpc.GetWriterMetadata(ctx, &vssv1.SessionRequest{Session: backup})
		},
			vss.ErrBadState},
		"PreRestore": {func() (any, error) { return w.rpc.PreRestore(ctx, &vssv1.SessionRequest{Session: restore}) },
			vss.ErrBadState},
		"GetSnapshotProperties, id": {func() (any, error) {
			return w.rpc.GetSnapshotProperties(ctx, &vssv1.SnapshotRequest{Session: backup, SnapshotId: "x"})
		}, vss.ErrInvalidArg},
		"GetSnapshotProperties": {func() (any, error) {
			return w.rpc.GetSnapshotProperties(ctx, &vssv1.SnapshotRequest{Session: backup, SnapshotId: none})
		}, vss.ErrObjectNotFound},
		"Query": {func() (any, error) {
			return w.rpc.Query(ctx,
				&vssv1.QueryRequest{Session: backup, ReturnedType: 9})
		}, vss.ErrInvalidArg},
		"Query, copies in a restore": {func() (any, error) {
			return w.rpc.Query(ctx, &vssv1.QueryRequest{Session: restore, ReturnedType: 3})
		},
			vss.ErrBadState},
		"Query, providers in a restore": {func() (any, error) {
			return w.rpc.Query(ctx, &vssv1.QueryRequest{Session: restore, ReturnedType: 4})
		},
			vss.ErrBadState},
		"DeleteSnapshots, id": {func() (any, error) {
			return w.rpc.DeleteSnapshots(ctx, &vssv1.DeleteSnapshotsRequest{Session: backup, Id: "x"})
		}, vss.ErrInvalidArg},
		"DeleteSnapshots": {func() (any, error) {
			return w.rpc.DeleteSnapshots(ctx, &vssv1.DeleteSnapshotsRequest{Session: backup, Id: none,
				Type: int32(vss.ObjectSnapshot)})
		}, vss.ErrObjectNotFound},
		"BreakSnapshotSet, id": {func() (any, error) {
			return w.rpc.BreakSnapshotSet(ctx, &vssv1.SetRequest{Session: backup, SetId: "x"})
		},
			vss.ErrInvalidArg},
		"BreakSnapshotSet": {func() (any, error) {
			return w.rpc.BreakSnapshotSet(ctx, &vssv1.SetRequest{Session: backup, SetId: none})
		},
			vss.ErrObjectNotFound},
		"BreakSnapshotSetEx": {func() (any, error) {
			return w.rpc.BreakSnapshotSetEx(ctx, &vssv1.BreakRequest{Session: backup, SetId: "x"})
		},
			vss.ErrInvalidArg},
		"GetSnapshotSet, id": {func() (any, error) {
			return w.rpc.GetSnapshotSet(ctx,
				&vssv1.SetRequest{SetId: "x"})
		}, vss.ErrInvalidArg},
		"GetSnapshotSet": {func() (any, error) {
			return w.rpc.GetSnapshotSet(ctx,
				&vssv1.SetRequest{SetId: none})
		}, vss.ErrObjectNotFound},
		"AsyncQueryStatus": {func() (any, error) {
			return w.rpc.AsyncQueryStatus(ctx, &vssv1.AsyncRequest{Session: backup, Async: "x"})
		},
			vss.ErrObjectNotFound},
		"DoSnapshotSet": {func() (any, error) {
			return w.rpc.DoSnapshotSet(ctx, &vssv1.DoSnapshotSetRequest{Session: backup, HoldLimitMs: -1})
		}, vss.ErrBadState},
		"GetRootAndLogicalPrefixPaths": {func() (any, error) {
			return w.rpc.GetRootAndLogicalPrefixPaths(ctx,
				&vssv1.PathRequest{Session: backup, Path: filepath.Join(t.TempDir(), "none")})
		}, vss.ErrObjectNotFound},
	} {
		if _, err := c.call(); vss.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %s", what, err, c.want.Name())
		}
	}
	reply, err := w.rpc.GetRootAndLogicalPrefixPaths(ctx, &vssv1.PathRequest{Session: backup, Path: "/srv"})
	if err != nil || reply.GetRoot() != "/srv" || reply.GetLogicalPrefix() != "" {
		t.Errorf("the root of a volume: %v, %v", reply, err)
	}
}

// TestLimit checks that no number of milliseconds becomes a valid limit by overflow.
func TestLimit(t *testing.T) {
	for ms, want := range map[int64]time.Duration{0: 0, 1500: 1500 * time.Millisecond, -1: time.Hour,
		1 << 62: time.Hour} {
		if got := limitOf(ms); got != want {
			t.Errorf("%d ms: %v, want %v", ms, got, want)
		}
	}
}
