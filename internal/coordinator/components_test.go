package coordinator

import (
	"errors"
	"slices"
	"testing"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestComponentCalls: the calls about components, in each phase of a backup.
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
		{
			"SetBackupSucceeded",
			func(s *Session) error { return s.SetBackupSucceeded(n, true) },
			[]phase{phaseCreated},
		},
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
			if legal := slices.Contains(c.legal, at); legal != (err == nil) ||
				!legal && !errors.Is(err, vss.ErrBadState) {
				t.Errorf("%s in phase %s: %v", c.name, phaseNames[at], err)
			}
			if at == phaseInit {
				if err := s.SetBackupOptions(none, "x"); c.name != "AddComponent" &&
					!errors.Is(err, vss.ErrObjectNotFound) {
					t.Errorf("SetBackupOptions of a component that isn't added: %v", err)
				}
			}
			s.Close()
		}
	}
}
