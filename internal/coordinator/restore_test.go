package coordinator

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

const allSchema = vss.SchemaNewTarget | vss.SchemaRestoreWithMove | vss.SchemaRollForwardRestore |
	vss.SchemaRestoreRename | vss.SchemaAuthoritativeRestore | vss.SchemaTimestamped |
	vss.SchemaIncremental | vss.SchemaDifferential

// recorder is a writer with a database that has a member, and a second database.
func recorder(name string) (*writertest.Recorder, *writer.Instance) {
	r := writertest.NewRecorder(name)
	r.Metadata.BackupSchema = allSchema
	called(r, "main")
	file := func(dir string) []document.FileSet { return []document.FileSet{{Path: dir, FileSpec: "*.db"}} }
	r.Metadata.Components = []document.WMComponent{
		{Type: vss.ComponentDatabase, Name: "data", Selectable: true, DatabaseFiles: file("/srv/data")},
		{
			Type:                 vss.ComponentDatabase,
			LogicalPath:          "data",
			Name:                 "part",
			SelectableForRestore: true,
			DatabaseFiles:        file("/srv/part"),
		},
		{Type: vss.ComponentDatabase, Name: "other", Selectable: true, DatabaseFiles: file("/srv/other")},
	}
	r.Metadata.RestoreMethod.AlternateLocations = []document.FileSet{
		{Path: "/srv/data", FileSpec: "*.db", AlternatePath: "/srv/aside"},
	}
	return r, instanceOf(r)
}

func called(r *writertest.Recorder, instance string) {
	r.Who.InstanceName, r.Metadata.InstanceName = instance, instance
}

func instanceOf(r *writertest.Recorder) *writer.Instance {
	return &writer.Instance{ID: vss.WriterInstanceID{GUID: vss.NewGUID()}, Info: r.Who, Writer: r}
}

// saved is what a backup of these components of a writer leaves.
func saved(t *testing.T, i *writer.Instance, r *writertest.Recorder, names ...string) (doc, meta []byte) {
	t.Helper()
	w := &document.WriterComponents{
		WriterID:     i.Info.ID,
		InstanceID:   i.ID,
		InstanceName: i.Info.InstanceName,
		BackupSchema: r.Metadata.BackupSchema,
	}
	for _, n := range names {
		w.Components = append(
			w.Components,
			&document.Component{
				Type:            vss.ComponentDatabase,
				Name:            n,
				BackupSucceeded: true,
				BackupMetadata:  "as of the backup",
				PartialFiles: []document.PartialFile{
					{Path: "/srv/data", FileName: "a.db", Ranges: "File=/srv/ranges"},
				},
			},
		)
	}
	m := r.Metadata
	m.WriterID, m.InstanceID, m.Name = i.Info.ID, i.ID, i.Info.Name
	var e1, e2 error
	doc, e1 = (&document.Components{
		SelectComponents: true, BackupType: vss.BackupFull, Writers: []*document.WriterComponents{w},
	}).XML()
	meta, e2 = m.XML()
	if err := errors.Join(e1, e2); err != nil {
		t.Fatal(err)
	}
	return doc, meta
}

// TestRestoreTable: each call in each phase of a restore, and the calls of a restore in each phase of a backup. Source:
// requester's reference, session state machine.
func TestRestoreTable(t *testing.T) {
	r, i := recorder("db")
	doc, meta := saved(t, i, r, "data")
	n := ComponentName{Writer: i.Info.ID, Type: vss.ComponentDatabase, LogicalPath: "", Name: "data"}
	f := document.FileSet{Path: "/srv/data", FileSpec: "*.db", AlternatePath: "/srv/aside"}
	now := func(_ *Async, err error) error { return err }
	_, notFound, bad := vss.OK, vss.ErrObjectNotFound, vss.ErrBadState
	choose := [4]vss.Code{notFound, 0, bad, bad}
	never := [4]vss.Code{bad, bad, bad, bad}
	always := [4]vss.Code{}
	for _, c := range []struct {
		name string
		call func(*Session) error
		want [4]vss.Code // in phases R, RM, RP, RX
		both bool        // it is a call of backups, too
	}{
		{"InitializeForBackup", func(s *Session) error { return s.InitializeForBackup(nil) }, never, true},
		{ // legal in a new session
			"InitializeForRestore", func(s *Session) error { return s.InitializeForRestore(doc, nil) }, never, true,
		},
		{
			"GatherWriterMetadata", func(s *Session) error { return now(s.GatherWriterMetadata()) },
			[4]vss.Code{0, bad, bad, bad}, true,
		},
		{
			"SetRestoreState", func(s *Session) error { return s.SetRestoreState(vss.RestoreByCopy) },
			[4]vss.Code{0, 0, bad, bad}, false,
		},
		{
			"SetSelectedForRestore",
			func(s *Session) error { return s.SetSelectedForRestore(n, true, vss.WriterInstanceID{}) }, choose, false,
		},
		{
			"SetSelectedForRestoreEx", func(s *Session) error { return s.SetSelectedForRestore(n, true, i.ID) },
			choose, false,
		},
		{
			"AddRestoreSubcomponent", func(s *Session) error { return s.AddRestoreSubcomponent(n, "data", "part") },
			choose, false,
		},
		{
			"SetRestoreOptions", func(s *Session) error { return s.SetRestoreOptions(n, `"Authoritative"="All"`) },
			choose, false,
		},
		{"SetAdditionalRestores", func(s *Session) error { return s.SetAdditionalRestores(n, true) }, choose, false},
		{"AddNewTarget", func(s *Session) error { return s.AddNewTarget(n, f) }, choose, false},
		{"SetAuthoritativeRestore", func(s *Session) error {
			return s.SetAuthoritativeRestore(n, true)
		}, choose, false},
		{
			"SetRollForward", func(s *Session) error { return s.SetRollForward(n, vss.RollForwardPartial, "lsn 7") },
			choose, false,
		},
		{"SetRestoreName", func(s *Session) error { return s.SetRestoreName(n, "data2") }, choose, false},
		{"SetPreviousBackupStamp", func(s *Session) error {
			return s.SetPreviousBackupStamp(n, "stamp")
		}, choose, true},
		{"PreRestore", func(s *Session) error { return now(s.PreRestore()) }, [4]vss.Code{bad, 0, bad, bad}, false},
		{
			"AddAlternativeLocationMapping", func(s *Session) error { return s.AddAlternativeLocationMapping(n, f) },
			[4]vss.Code{bad, 0, 0, bad}, false,
		},
		{
			"SetRangesFilePath", func(s *Session) error { return s.SetRangesFilePath(n, 0, "/tmp/ranges") },
			[4]vss.Code{bad, 0, 0, bad}, false,
		},
		{
			"SetFileRestoreStatus", func(s *Session) error { return s.SetFileRestoreStatus(n, vss.RestoredAll) },
			[4]vss.Code{bad, bad, 0, bad}, false,
		},
		{"PostRestore", func(s *Session) error { return now(s.PostRestore()) }, [4]vss.Code{bad, bad, 0, bad}, false},
		{"GetWriterComponents", func(s *Session) error { _, err := s.WriterComponents(); return err }, always, true},
		{"GetSessionId", func(s *Session) error { _, err := s.SessionID(); return err }, always, true},
		{"AbortBackup", func(s *Session) error { return s.AbortBackup(context.Background()) }, always, true},
		{"GatherWriterStatus", func(s *Session) error { return now(s.GatherWriterStatus()) }, always, true},
		{"GetWriterStatus", func(s *Session) error { _, err := s.WriterStatus(); return err }, never, true},
		{"GetWriterStatus, gathered", func(s *Session) error {
			must(t, ended(s.GatherWriterStatus()))
			_, err := s.WriterStatus()
			return err
		}, always, true},
		{"SaveAsXML", func(s *Session) error { _, err := s.SaveAsXML(); return err }, always, true},
		{"SetContext", func(s *Session) error { return s.SetContext(vss.ContextBackup) }, never, true},
		{
			"SetBackupState", func(s *Session) error { return s.SetBackupState(true, false, vss.BackupFull, false) },
			never, true,
		},
		{"SetBackupOptions", func(s *Session) error { return s.SetBackupOptions(n, "x") }, never, true},
		{
			"AddComponent", func(s *Session) error { return s.AddComponent(i.ID, i.Info.ID, n.Type, "", "other") },
			never, true,
		},
		{
			"SetBackupSucceeded",
			func(s *Session) error { return s.SetBackupSucceeded(n, true) }, never, true,
		},
		{"StartSnapshotSet", func(s *Session) error { _, err := s.StartSnapshotSet(); return err }, never, true},
		{
			"AddToSnapshotSet",
			func(s *Session) error { _, err := s.AddToSnapshotSet(context.Background(), "/", ""); return err }, never,
			true,
		},
		{
			"IsVolumeSupported",
			func(s *Session) error { _, err := s.IsVolumeSupported(context.Background(), "/", ""); return err },
			never, true,
		},
		{"PrepareForBackup", func(s *Session) error { return now(s.PrepareForBackup()) }, never, true},
		{"DoSnapshotSet", func(s *Session) error { return now(s.DoSnapshotSet(0)) }, never, true},
		{"BackupComplete", func(s *Session) error { return now(s.BackupComplete()) }, never, true},
		{"Query", func(s *Session) error { _, err := s.Query(); return err }, never, true},
		{"ImportSnapshots", func(s *Session) error { return now(s.ImportSnapshots()) }, never, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for at, want := range c.want {
				s := bare(t, i).OpenSession(0)
				must(t, s.InitializeForRestore(doc, [][]byte{meta}))
				if at > 0 {
					must(t, ended(s.GatherWriterMetadata()))
					if c.name != "SetSelectedForRestore" {
						must(t, s.SetSelectedForRestore(n, true, vss.WriterInstanceID{}))
					}
				}
				if at > 1 {
					must(t, ended(s.PreRestore()))
				}
				if at > 2 {
					must(t, s.SetFileRestoreStatus(n, vss.RestoredAll), ended(s.PostRestore()))
				}
				if got := c.call(s); vss.CodeOf(got) != want {
					t.Errorf("in phase %s: %v, want %v", []string{"R", "RM", "RP", "RX"}[at], got, want)
				}
				s.Close()
			}
			if c.both {
				return
			}
			k := bare(t, i)
			for at, s := range backups(t, k, i) {
				if err := c.call(s); !errors.Is(err, bad) {
					t.Errorf("in backup phase %s: %v", phaseNames[at], err)
				}
				s.Close()
			}
		})
	}
}

// backups are sessions in each phase of a backup, one after the other.
func backups(t *testing.T, k *Coordinator, i *writer.Instance) func(func(phase, *Session) bool) {
	return func(yield func(phase, *Session) bool) {
		for at := phaseNew; at <= phaseAborted; at++ {
			s := k.OpenSession(0)
			if at > phaseNew {
				must(
					t,
					s.InitializeForBackup(nil),
					s.SetBackupState(true, false, vss.BackupFull, false),
					ended(s.GatherWriterMetadata()),
					s.AddComponent(i.ID, i.Info.ID, vss.ComponentDatabase, "", "data"),
				)
			}
			if at > phaseInit {
				_, err := s.StartSnapshotSet()
				must(t, err)
			}
			if at > phaseOpen {
				must(t, ended(s.PrepareForBackup()))
			}
			switch {
			case at == phaseAborted:
				must(t, s.AbortBackup(context.Background()))
			case at > phasePrepared:
				must(t, ended(s.DoSnapshotSet(0)))
			}
			if at == phaseComplete {
				must(t, ended(s.BackupComplete()))
			}
			if s.phase != at {
				t.Fatalf("the session is at: %s, not %s", phaseNames[s.phase], phaseNames[at])
			}
			if !yield(at, s) {
				return
			}
		}
	}
}

// TestPostRestoreIsWhole: a client that goes in the middle doesn't cut PostRestore short.
func TestPostRestoreIsWhole(t *testing.T) {
	r, i := recorder("db")
	doc, _ := saved(t, i, r, "data")
	s := bare(t, i).OpenSession(0)
	n := ComponentName{Writer: i.Info.ID, Type: vss.ComponentDatabase, LogicalPath: "", Name: "data"}
	began := make(chan struct{})
	var cut error
	r.At(writer.OnPostRestore, func(ctx context.Context, _ *writer.Event) error {
		close(began)
		select {
		case <-ctx.Done():
			cut = ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
		return nil
	})
	must(
		t,
		s.InitializeForRestore(doc, nil),
		ended(s.GatherWriterMetadata()),
		s.SetSelectedForRestore(n, true, vss.WriterInstanceID{}),
		ended(s.PreRestore()),
	)
	_, err := s.PostRestore()
	must(t, err)
	<-began
	if err := s.SetFileRestoreStatus(n, vss.RestoredAll); !errors.Is(err, vss.ErrBadState) {
		t.Errorf("a change while PostRestore runs: %v", err)
	}
	if _, err := s.SessionID(); err != nil {
		t.Errorf("GetSessionId while PostRestore runs: %v", err)
	}
	s.Close()
	if cut != nil {
		t.Errorf("the writer's PostRestore was cut short: %v", cut)
	}
}
