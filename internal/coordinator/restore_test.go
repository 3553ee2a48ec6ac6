package coordinator

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

const allSchema = vss.SchemaNewTarget | vss.SchemaRestoreWithMove | vss.SchemaRollForwardRestore | vss.SchemaRestoreRename | vss.SchemaAuthoritativeRestore |
	vss.SchemaTimestamped | vss.SchemaIncremental | vss.SchemaDifferential

// recorder is a writer with a database that has a member, and a second database.
func recorder(name string) (*writertest.Recorder, *writer.Instance) {
	r := writertest.NewRecorder(name)
	r.Metadata.BackupSchema = allSchema
	called(r, "main")
	file := func(dir string) []document.FileSet { return []document.FileSet{{Path: dir, FileSpec: "*.db"}} }
	r.Metadata.Components = []document.WMComponent{
		{Type: vss.ComponentDatabase, Name: "data", Selectable: true, DatabaseFiles: file("/srv/data")},
		{Type: vss.ComponentDatabase, LogicalPath: "data", Name: "part", SelectableForRestore: true, DatabaseFiles: file("/srv/part")},
		{Type: vss.ComponentDatabase, Name: "other", Selectable: true, DatabaseFiles: file("/srv/other")},
	}
	r.Metadata.RestoreMethod.AlternateLocations = []document.FileSet{{Path: "/srv/data", FileSpec: "*.db", AlternatePath: "/srv/aside"}}
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
	w := &document.WriterComponents{WriterID: i.Info.ID, InstanceID: i.ID, InstanceName: i.Info.InstanceName, BackupSchema: r.Metadata.BackupSchema}
	for _, n := range names {
		w.Components = append(w.Components, &document.Component{Type: vss.ComponentDatabase, Name: n, BackupSucceeded: true, BackupMetadata: "as of the backup",
			PartialFiles: []document.PartialFile{{Path: "/srv/data", FileName: "a.db", Ranges: "File=/srv/ranges"}}})
	}
	m := r.Metadata
	m.WriterID, m.InstanceID, m.Name = i.Info.ID, i.ID, i.Info.Name
	var e1, e2 error
	doc, e1 = (&document.Components{SelectComponents: true, BackupType: vss.BackupFull, Writers: []*document.WriterComponents{w}}).XML()
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
		{"InitializeForRestore", func(s *Session) error { return s.InitializeForRestore(doc, nil) }, never, true}, // legal in a new session
		{"GatherWriterMetadata", func(s *Session) error { return now(s.GatherWriterMetadata()) }, [4]vss.Code{0, bad, bad, bad}, true},
		{"SetRestoreState", func(s *Session) error { return s.SetRestoreState(vss.RestoreByCopy) }, [4]vss.Code{0, 0, bad, bad}, false},
		{"SetSelectedForRestore", func(s *Session) error { return s.SetSelectedForRestore(n, true, vss.WriterInstanceID{}) }, choose, false},
		{"SetSelectedForRestoreEx", func(s *Session) error { return s.SetSelectedForRestore(n, true, i.ID) }, choose, false},
		{"AddRestoreSubcomponent", func(s *Session) error { return s.AddRestoreSubcomponent(n, "data", "part") }, choose, false},
		{"SetRestoreOptions", func(s *Session) error { return s.SetRestoreOptions(n, `"Authoritative"="All"`) }, choose, false},
		{"SetAdditionalRestores", func(s *Session) error { return s.SetAdditionalRestores(n, true) }, choose, false},
		{"AddNewTarget", func(s *Session) error { return s.AddNewTarget(n, f) }, choose, false},
		{"SetAuthoritativeRestore", func(s *Session) error { return s.SetAuthoritativeRestore(n, true) }, choose, false},
		{"SetRollForward", func(s *Session) error { return s.SetRollForward(n, vss.RollForwardPartial, "lsn 7") }, choose, false},
		{"SetRestoreName", func(s *Session) error { return s.SetRestoreName(n, "data2") }, choose, false},
		{"SetPreviousBackupStamp", func(s *Session) error { return s.SetPreviousBackupStamp(n, "stamp") }, choose, true},
		{"PreRestore", func(s *Session) error { return now(s.PreRestore()) }, [4]vss.Code{bad, 0, bad, bad}, false},
		{"AddAlternativeLocationMapping", func(s *Session) error { return s.AddAlternativeLocationMapping(n, f) }, [4]vss.Code{bad, 0, 0, bad}, false},
		{"SetRangesFilePath", func(s *Session) error { return s.SetRangesFilePath(n, 0, "/tmp/ranges") }, [4]vss.Code{bad, 0, 0, bad}, false},
		{"SetFileRestoreStatus", func(s *Session) error { return s.SetFileRestoreStatus(n, vss.RestoredAll) }, [4]vss.Code{bad, bad, 0, bad}, false},
		{"PostRestore", func(s *Session) error { return now(s.PostRestore()) }, [4]vss.Code{bad, bad, 0, bad}, false},
		{"GetWriterComponents", func(s *Session) error { _, err := s.WriterComponents(); return err }, always, true},
		{"GetSessionId", func(s *Session) error { _, err := s.SessionID(); return err }, always, true},
		{"AbortBackup", func(s *Session) error { return s.AbortBackup(context.Background()) }, always, true},
		{"GatherWriterStatus", func(s *Session) error { return now(s.GatherWriterStatus()) }, always, true},
		{"GetWriterStatus", func(s *Session) error { _, err := s.WriterStatus(); return err }, always, true},
		{"SaveAsXML", func(s *Session) error { _, err := s.SaveAsXML(); return err }, always, true},
		{"SetContext", func(s *Session) error { return s.SetContext(vss.ContextBackup) }, never, true},
		{"SetBackupState", func(s *Session) error { return s.SetBackupState(true, false, vss.BackupFull, false) }, never, true},
		{"SetBackupOptions", func(s *Session) error { return s.SetBackupOptions(n, "x") }, never, true},
		{"AddComponent", func(s *Session) error { return s.AddComponent(i.ID, i.Info.ID, n.Type, "", "other") }, never, true},
		{"SetBackupSucceeded", func(s *Session) error { return s.SetBackupSucceeded(i.ID, i.Info.ID, "", "data", true) }, never, true},
		{"StartSnapshotSet", func(s *Session) error { _, err := s.StartSnapshotSet(); return err }, never, true},
		{"AddToSnapshotSet", func(s *Session) error { _, err := s.AddToSnapshotSet(context.Background(), "/", ""); return err }, never, true},
		{"IsVolumeSupported", func(s *Session) error { _, err := s.IsVolumeSupported(context.Background(), "/", ""); return err }, never, true},
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
				must(t, s.InitializeForBackup(nil), s.SetBackupState(true, false, vss.BackupFull, false), ended(s.GatherWriterMetadata()),
					s.AddComponent(i.ID, i.Info.ID, vss.ComponentDatabase, "", "data"))
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

// TestRestoreEvents: who is told what, what they may change, and what the requester learns of it.
func TestRestoreEvents(t *testing.T) {
	r, i := recorder("db")
	silent, j := recorder("silent") // has nothing selected
	doc, meta := saved(t, i, r, "data", "other")
	k := bare(t, i, j)
	s := k.OpenSession(0)
	n := ComponentName{Writer: i.Info.ID, Type: vss.ComponentDatabase, LogicalPath: "", Name: "data"}
	must(t, s.InitializeForRestore(doc, [][]byte{meta}), ended(s.GatherWriterMetadata()), s.SetSelectedForRestore(n, true, vss.WriterInstanceID{}),
		s.AddRestoreSubcomponent(n, "data", "part"), s.SetRestoreOptions(n, "fast"), s.SetAdditionalRestores(n, true), s.SetAuthoritativeRestore(n, true),
		s.SetRollForward(n, vss.RollForwardPartial, "lsn 7"), s.SetRestoreName(n, "data2"), s.SetPreviousBackupStamp(n, "stamp"),
		s.AddNewTarget(n, document.FileSet{Path: "/srv/part/", FileSpec: "*.db", AlternatePath: "/srv/new"}))
	r.At(writer.OnPreRestore, func(_ context.Context, e *writer.Event) error {
		c := e.Components.Component("", "data")
		c.RestoreTarget, c.PreRestoreFailure, c.RestoreOptions, c.BackupStamp = vss.TargetOriginalLocation, "slow", "mine", "mine"
		e.Components.Components = append(e.Components.Components, &document.Component{Type: vss.ComponentDatabase, Name: "new"})
		e.Failure = &writer.Failure{Code: vss.ErrWriterErrorRetryable, Application: 77, Message: "in use"}
		return c.SetRestoreMetadata("note")
	})
	must(t, ended(s.PreRestore()))
	status, err := s.WriterStatus()
	must(t, err)
	at := slices.IndexFunc(status, func(w catalog.Writer) bool { return w.InstanceID == i.ID })
	if w := status[at]; w.State != vss.WriterFailedAtPreRestore || w.Failure != vss.ErrWriterErrorRetryable || w.Application != 77 || w.Message != "in use" {
		t.Errorf("%+v", w)
	}
	all, err := s.WriterComponents()
	must(t, err)
	c := all[0].Component("", "data")
	if c.RestoreTarget != vss.TargetOriginalLocation || c.PreRestoreFailure != "slow" || c.RestoreMetadata != "note" {
		t.Errorf("the writer's changes: %+v", c)
	}
	if c.RestoreOptions != "fast" || c.BackupStamp != "" || len(all[0].Components) != 2 {
		t.Errorf("the writer changed what isn't its own: %+v", c)
	}
	must(t, s.SetFileRestoreStatus(n, vss.RestoredFailed))
	r.At(writer.OnPostRestore, func(_ context.Context, e *writer.Event) error {
		c := e.Components.Component("", "data")
		c.PostRestoreFailure, c.RestoreMetadata, c.RestoreTarget = "broken", "mine", vss.TargetAlternate
		return nil
	})
	must(t, ended(s.PostRestore()))
	if all, err = s.WriterComponents(); err != nil || all[0].Components[0].PostRestoreFailure != "broken" || all[0].Components[0].RestoreMetadata != "note" || all[0].Components[0].RestoreTarget != vss.TargetOriginalLocation {
		t.Errorf("after PostRestore: %+v, %v", all[0].Components[0], err)
	}
	s.Close()
	if got := r.Names(s.ID); !slices.Equal(got, []string{"PreRestore", "PostRestore"}) {
		t.Errorf("the writer was told %v", got)
	}
	if got := silent.Names(s.ID); len(got) > 0 {
		t.Errorf("the writer without a selected component was told %v", got)
	}
	for _, e := range r.Seen() {
		c := e.Event.Components.Component("", "data")
		if c == nil || !c.SelectedForRestore || len(c.RestoreSubcomponents) != 1 || c.RestoreOptions != "fast" || !c.AdditionalRestores || !c.AuthoritativeRestore ||
			c.RollForward != vss.RollForwardPartial || c.RollForwardPoint != "lsn 7" || c.RestoreName != "data2" || c.PreviousBackupStamp != "stamp" ||
			len(c.NewTargets) != 1 || c.BackupMetadata != "as of the backup" {
			t.Errorf("%s saw %+v", e.Handler, c)
		}
		if o := e.Event.Components.Component("", "other"); o == nil || o.SelectedForRestore {
			t.Errorf("%s saw the other component as %+v", e.Handler, o)
		}
	}
	if last := r.Seen()[1].Event.Components.Component("", "data"); last.FileRestoreStatus != vss.RestoredFailed {
		t.Errorf("PostRestore saw %v", last.FileRestoreStatus)
	}
}

// TestRestoreStates: every cell of the writer's state table for restores.
func TestRestoreStates(t *testing.T) {
	boom := writertest.Fail(vss.ErrWriterErrorNonRetryable, errors.New("boom"))
	veto := writertest.Veto(vss.ErrWriterErrorRetryable, "later")
	for _, c := range []struct {
		name        string
		pre, post   writertest.Act
		then, after vss.WriterState
		failure     vss.Code
	}{
		{"fine", nil, nil, vss.WriterStable, vss.WriterStable, vss.OK},
		{"PreRestore fails", boom, nil, vss.WriterFailedAtPreRestore, vss.WriterFailedAtPreRestore, vss.ErrWriterErrorNonRetryable},
		{"PreRestore vetoes", veto, nil, vss.WriterFailedAtPreRestore, vss.WriterFailedAtPreRestore, vss.ErrWriterErrorRetryable},
		{"PostRestore fails", nil, boom, vss.WriterStable, vss.WriterFailedAtPostRestore, vss.ErrWriterErrorNonRetryable},
		{"PostRestore vetoes", nil, veto, vss.WriterStable, vss.WriterFailedAtPostRestore, vss.ErrWriterErrorRetryable},
		{"both fail", veto, boom, vss.WriterFailedAtPreRestore, vss.WriterFailedAtPreRestore, vss.ErrWriterErrorRetryable},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, i := recorder("db")
			doc, _ := saved(t, i, r, "data")
			s := bare(t, i).OpenSession(0)
			defer s.Close()
			n := ComponentName{Writer: i.Info.ID, Type: vss.ComponentDatabase, LogicalPath: "", Name: "data"}
			must(t, s.InitializeForRestore(doc, nil), ended(s.GatherWriterMetadata()), s.SetSelectedForRestore(n, true, vss.WriterInstanceID{}))
			if c.pre != nil {
				r.At(writer.OnPreRestore, c.pre)
			}
			if c.post != nil {
				r.At(writer.OnPostRestore, c.post)
			}
			for _, step := range []struct {
				do   func() (*Async, error)
				want vss.WriterState
			}{{s.PreRestore, c.then}, {s.PostRestore, c.after}} {
				must(t, ended(step.do()))
				w, err := s.WriterStatus()
				if err != nil || w[0].State != step.want {
					t.Errorf("%+v, %v, want %v", w, err, step.want)
				}
			}
			if w, _ := s.WriterStatus(); w[0].Failure != c.failure {
				t.Errorf("failure %v, want %v", w[0].Failure, c.failure)
			}
			if got := r.Names(s.ID); len(got) != 2 {
				t.Errorf("the writer was told %v", got)
			}
		})
	}
}

// TestRestoreReceiver: a component goes to the instance it came from, to the one of its name, to another of the class, or to
// the one that the requester chose.
func TestRestoreReceiver(t *testing.T) {
	old, _ := recorder("db")
	called(old, "two")
	was := instanceOf(old)
	doc, meta := saved(t, was, old, "data")
	n := ComponentName{Writer: was.Info.ID, Type: vss.ComponentDatabase, LogicalPath: "", Name: "data"}
	make := func(name string) (*writertest.Recorder, *writer.Instance) {
		r, _ := recorder("db")
		r.Who.ID = old.Who.ID
		called(r, name)
		return r, instanceOf(r)
	}
	one, i1 := make("one")
	two, i2 := make("two")
	for _, c := range []struct {
		name    string
		running []*writer.Instance
		to      vss.WriterInstanceID
		want    *writertest.Recorder
		code    vss.Code
	}{
		{"itself", []*writer.Instance{i1, i2, was}, vss.WriterInstanceID{}, old, 0},
		{"its name", []*writer.Instance{i1, i2}, vss.WriterInstanceID{}, two, 0},
		{"its class", []*writer.Instance{i1}, vss.WriterInstanceID{}, one, 0},
		{"chosen", []*writer.Instance{i1, i2, was}, i1.ID, one, 0},
		{"not running", []*writer.Instance{i2}, i1.ID, nil, vss.ErrObjectNotFound},
		{"none", nil, vss.WriterInstanceID{}, nil, vss.ErrObjectNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := bare(t, c.running...).OpenSession(0)
			defer s.Close()
			must(t, s.InitializeForRestore(doc, [][]byte{meta}), ended(s.GatherWriterMetadata()))
			if err := s.SetSelectedForRestore(n, true, c.to); vss.CodeOf(err) != c.code {
				t.Fatalf("%v, want %v", err, c.code)
			}
			must(t, ended(s.PreRestore()))
			for _, r := range []*writertest.Recorder{old, one, two} {
				if told := len(r.Names(s.ID)) > 0; told != (r == c.want) {
					t.Errorf("instance %q was told: %v", r.Who.InstanceName, told)
				}
			}
		})
	}
}

// TestRestoreRefused: what a restore doesn't take, with its code.
func TestRestoreRefused(t *testing.T) {
	r, i := recorder("db")
	doc, meta := saved(t, i, r, "data")
	r.Metadata.BackupSchema = 0
	poor, pm := saved(t, i, r, "data")
	open := func(doc, meta []byte) *Session {
		s := bare(t, i).OpenSession(0)
		t.Cleanup(s.Close)
		must(t, s.InitializeForRestore(doc, [][]byte{meta}), ended(s.GatherWriterMetadata()))
		return s
	}
	rich, bare := open(doc, meta), open(poor, pm)
	n := ComponentName{Writer: i.Info.ID, Type: vss.ComponentDatabase, LogicalPath: "", Name: "data"}
	part := ComponentName{Writer: i.Info.ID, Type: vss.ComponentDatabase, LogicalPath: "data", Name: "part"}
	none := ComponentName{Writer: i.Info.ID, Type: vss.ComponentDatabase, LogicalPath: "", Name: "none"}
	group := ComponentName{Writer: i.Info.ID, Type: vss.ComponentFileGroup, LogicalPath: "", Name: "data"}
	here := document.FileSet{Path: "/srv/data", FileSpec: "*.db", AlternatePath: "/srv/new"}
	other := here
	other.Path = "/srv/nowhere"
	wild, nowhere, unmapped := here, here, here
	wild.Path, nowhere.AlternatePath, unmapped.Path = "/srv/*", "", "/srv/part"
	must(t, rich.AddNewTarget(n, here))
	for _, c := range []struct {
		name string
		got  error
		want vss.Code
	}{
		{"an implicit component", rich.SetSelectedForRestore(part, true, vss.WriterInstanceID{}), vss.ErrObjectNotFound},
		{"a component of another type", rich.SetSelectedForRestore(group, true, vss.WriterInstanceID{}), vss.ErrObjectNotFound},
		{"a component that isn't there", rich.SetRestoreOptions(none, "x"), vss.ErrObjectNotFound},
		{"a subcomponent before its root", rich.AddRestoreSubcomponent(n, "data", "part"), vss.ErrBadState},
		{"a new target twice", rich.AddNewTarget(n, here), vss.ErrObjectAlreadyExists},
		{"a new target of no file set", rich.AddNewTarget(n, other), vss.ErrObjectNotFound},
		{"a new target with a wildcard", rich.AddNewTarget(n, wild), vss.ErrInvalidArg},
		{"a new target without a place", rich.AddNewTarget(n, nowhere), vss.ErrInvalidArg},
		{"a mapping that the writer doesn't have", rich.AddAlternativeLocationMapping(n, unmapped), vss.ErrObjectNotFound},
		{"a partial file that isn't there", rich.SetRangesFilePath(n, 1, "/tmp/r"), vss.ErrObjectNotFound},
		{"a ranges file without a full path", rich.SetRangesFilePath(n, 0, "r"), vss.ErrInvalidArg},
		{"a restore type", rich.SetRestoreState(9), vss.ErrInvalidArg},
		{"a roll forward type", rich.SetRollForward(n, 9, ""), vss.ErrInvalidArg},
		{"the schema, new targets", bare.AddNewTarget(n, here), vss.ErrInvalidArg},
		{"the schema, instances", bare.SetSelectedForRestore(n, true, i.ID), vss.ErrInvalidArg},
		{"the schema, authoritative", bare.SetAuthoritativeRestore(n, true), vss.ErrInvalidArg},
		{"the schema, roll forward", bare.SetRollForward(n, vss.RollForwardAll, ""), vss.ErrInvalidArg},
		{"the schema, names", bare.SetRestoreName(n, "x"), vss.ErrInvalidArg},
	} {
		if vss.CodeOf(c.got) != c.want {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
	s := open(doc, meta)
	must(t, s.SetSelectedForRestore(n, true, vss.WriterInstanceID{}), ended(s.PreRestore()))
	if err := s.SetFileRestoreStatus(n, 9); !errors.Is(err, vss.ErrInvalidArg) {
		t.Errorf("a restore status: %v", err)
	}
	for _, text := range []string{"", "<", "<WRITER_METADATA/>"} {
		if err := openOnly(t, i).InitializeForRestore([]byte(text), nil); !errors.Is(err, vss.ErrInvalidXMLDocument) {
			t.Errorf("document %q: %v", text, err)
		}
	}
	if err := openOnly(t, i).InitializeForRestore(doc, [][]byte{doc}); !errors.Is(err, vss.ErrInvalidXMLDocument) {
		t.Errorf("metadata that are none: %v", err)
	}
}

func openOnly(t *testing.T, i *writer.Instance) *Session {
	s := bare(t, i).OpenSession(0)
	t.Cleanup(s.Close)
	return s
}

// TestRestoreIfReplaceFails: such a writer hears PostRestore only of files that could not be replaced.
func TestRestoreIfReplaceFails(t *testing.T) {
	for status, want := range map[vss.FileRestoreStatus]int{vss.RestoredAll: 1, vss.RestoredFailed: 2, vss.RestoredNone: 2} {
		r, i := recorder("db")
		r.Metadata.RestoreMethod.WriterRestore = vss.WriterRestoreIfReplaceFails
		doc, _ := saved(t, i, r, "data")
		s := openOnly(t, i)
		n := ComponentName{Writer: i.Info.ID, Type: vss.ComponentDatabase, LogicalPath: "", Name: "data"}
		must(t, s.InitializeForRestore(doc, nil), ended(s.GatherWriterMetadata()), s.SetSelectedForRestore(n, true, vss.WriterInstanceID{}),
			ended(s.PreRestore()), s.SetFileRestoreStatus(n, status), ended(s.PostRestore()))
		if got := r.Names(s.ID); len(got) != want {
			t.Errorf("%v: the writer was told %v", status, got)
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
	must(t, s.InitializeForRestore(doc, nil), ended(s.GatherWriterMetadata()), s.SetSelectedForRestore(n, true, vss.WriterInstanceID{}), ended(s.PreRestore()))
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
