package coordinator

import (
	"errors"
	"slices"
	"testing"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// TestComponentCalls: what a requester tells of its components, in each phase of a backup.
func TestComponentCalls(t *testing.T) {
	_, i := recorder("db")
	n := ComponentName{Writer: i.Info.ID, Type: vss.ComponentDatabase, LogicalPath: "", Name: "data"}
	none := n
	none.Name = "other" // not added
	early := []phase{phaseInit, phaseOpen}
	initialized := []phase{phaseInit, phaseOpen, phasePrepared, phaseCreated, phaseComplete, phaseAborted}
	for _, c := range []struct {
		name  string
		call  func(*Session) error
		legal []phase
	}{
		{"SetBackupOptions", func(s *Session) error { return s.SetBackupOptions(n, "x") }, early},
		{"SetPreviousBackupStamp", func(s *Session) error { return s.SetPreviousBackupStamp(n, "x") }, early},
		{"AddComponent", func(s *Session) error { return s.AddComponent(i.ID, i.Info.ID, n.Type, "", "other") }, early},
		{"SetBackupSucceeded", func(s *Session) error { return s.SetBackupSucceeded(i.ID, i.Info.ID, "", "data", true) }, []phase{phaseCreated}},
		{"GetWriterComponents", func(s *Session) error { _, err := s.WriterComponents(); return err }, initialized},
		{"GetSessionId", func(s *Session) error { _, err := s.SessionID(); return err }, initialized},
		{"InitializeForRestore", func(s *Session) error {
			if err := s.InitializeForRestore(nil, nil); !errors.Is(err, vss.ErrInvalidXMLDocument) {
				return err
			}
			return nil
		}, []phase{phaseNew}},
	} {
		for at, s := range backups(t, bare(t, i), i) {
			err := c.call(s)
			if legal := slices.Contains(c.legal, at); legal != (err == nil) || !legal && !errors.Is(err, vss.ErrBadState) {
				t.Errorf("%s in phase %s: %v", c.name, phaseNames[at], err)
			}
			if at == phaseInit {
				if err := s.SetBackupOptions(none, "x"); c.name != "AddComponent" && !errors.Is(err, vss.ErrObjectNotFound) {
					t.Errorf("SetBackupOptions of a component that isn't added: %v", err)
				}
			}
			s.Close()
		}
	}
}

// TestComponentsReachWriters: options and stamps are what the writer sees in PrepareForBackup, and its own stamp comes back.
func TestComponentsReachWriters(t *testing.T) {
	r, i := recorder("db")
	s := openOnly(t, i)
	n := ComponentName{Writer: i.Info.ID, Type: vss.ComponentDatabase, LogicalPath: "", Name: "data"}
	must(t, s.InitializeForBackup(nil), s.SetBackupState(true, false, vss.BackupIncremental, false), ended(s.GatherWriterMetadata()),
		s.AddComponent(i.ID, i.Info.ID, n.Type, "", "data"), s.SetBackupOptions(n, "wish"), s.SetPreviousBackupStamp(n, "base"))
	set, err := s.StartSnapshotSet()
	must(t, err, ended(s.PrepareForBackup()), ended(s.DoSnapshotSet(0)))
	seen := r.Seen()[0]
	if c := seen.Event.Components.Component("", "data"); seen.Handler != writer.OnPrepareBackup || c.BackupOptions != "wish" || c.PreviousBackupStamp != "base" {
		t.Errorf("%v saw %+v", seen.Handler, c)
	}
	all, err := s.WriterComponents()
	must(t, err)
	if c := all[0].Component("", "data"); c.BackupStamp != set.String() {
		t.Errorf("the writer's stamp: %+v", c)
	}
	all[0].Components[0].BackupStamp = "mine"
	if again, _ := s.WriterComponents(); again[0].Components[0].BackupStamp == "mine" {
		t.Error("a requester's change of what it was given reached the document")
	}
}

// TestSelectability: each row of the rules of selectability, through the session.
func TestSelectability(t *testing.T) {
	r, i := recorder("db")
	r.Metadata.RestoreMethod.AlternateLocations = nil
	file := func(name string) []document.FileSet { return []document.FileSet{{Path: "/srv/" + name, FileSpec: "*"}} }
	c := func(path, name string, selectable bool) document.WMComponent {
		return document.WMComponent{Type: vss.ComponentFileGroup, LogicalPath: path, Name: name, Selectable: selectable, Files: file(name)}
	}
	r.Metadata.Components = []document.WMComponent{c("", "must", false), c("must", "too", false), c("", "may", true), c("may", "part", false), c("may", "nested", true), c(`may\nested`, "deep", false)}
	for _, k := range []struct {
		name    string
		add     [][2]string
		last    vss.Code // of the last AddComponent
		prepare vss.Code
	}{
		{"nothing", nil, 0, 0},
		{"required ones only", [][2]string{{"", "must"}, {"must", "too"}}, 0, 0},
		{"one required is missing", [][2]string{{"", "must"}}, 0, vss.ErrBadState},
		{"required ones are missing", [][2]string{{"", "may"}}, 0, vss.ErrBadState},
		{"an optional one", [][2]string{{"", "must"}, {"must", "too"}, {"", "may"}}, 0, 0},
		{"a nested one", [][2]string{{"", "must"}, {"must", "too"}, {"may", "nested"}}, 0, 0},
		{"an implicit one", [][2]string{{"may", "part"}}, vss.ErrInvalidArg, 0},
		{"a deep implicit one", [][2]string{{`may\nested`, "deep"}}, vss.ErrInvalidArg, 0},
		{"a nested one that comes anyway", [][2]string{{"", "may"}, {"may", "nested"}}, vss.ErrInvalidArg, vss.ErrBadState},
		{"one that would bring another", [][2]string{{"may", "nested"}, {"", "may"}}, vss.ErrInvalidArg, vss.ErrBadState},
		{"one twice", [][2]string{{"", "must"}, {"", "must"}}, vss.ErrObjectAlreadyExists, vss.ErrBadState},
		{"none of the writer's", [][2]string{{"", "none"}}, vss.ErrObjectNotFound, 0},
	} {
		t.Run(k.name, func(t *testing.T) {
			s := openOnly(t, i)
			must(t, s.InitializeForBackup(nil), s.SetBackupState(true, false, vss.BackupFull, false), ended(s.GatherWriterMetadata()))
			var err error
			for n, a := range k.add {
				if err = s.AddComponent(i.ID, i.Info.ID, vss.ComponentFileGroup, a[0], a[1]); err != nil && n < len(k.add)-1 {
					t.Fatal(err)
				}
			}
			if vss.CodeOf(err) != k.last {
				t.Errorf("AddComponent: %v, want %v", err, k.last)
			}
			_, serr := s.StartSnapshotSet()
			must(t, serr)
			if err := ended(s.PrepareForBackup()); vss.CodeOf(err) != k.prepare || err != nil && vss.Hint(err) == "" {
				t.Errorf("PrepareForBackup: %v, want %v", err, k.prepare)
			}
		})
	}
}
