package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestWriterRestoreFaults: a writer that goes wrong in PreRestore or PostRestore is in the documented state with its
// code, the restore goes on with the others, and writers that failed in PreRestore still receive PostRestore.
func TestWriterRestoreFaults(t *testing.T) {
	s := newStage(t, "")
	for _, e := range []struct{ event, failed string }{{"pre-restore", "failed-at-pre-restore"},
		{"post-restore", "failed-at-post-restore"}} {
		t.Run(e.event, func(t *testing.T) {
			s := s.in(t)
			good := s.play(part{name: "Good"})
			players := []*player{good}
			for _, m := range modes {
				players = append(players, s.play(part{name: m.name, faults: m.fault(e.event)}))
			}
			saved := filepath.Join(s.dir, "saved-"+e.event)
			if err := os.Mkdir(saved, 0o700); err != nil {
				t.Fatal(err)
			}
			lines := append(s.backupOf(players...), "SaveWriterMetadata "+saved+" => S_OK",
				"DoSnapshotSet => VSS_S_ASYNC_FINISHED")
			s.script(append(append(lines, completed(players...)...), "SaveAsXML "+saved+"/bc.xml => S_OK")...)
			documents, err := filepath.Glob(filepath.Join(saved, "*-*.xml"))
			if err != nil || len(documents) != len(players) {
				t.Fatalf("%v, %v", documents, err)
			}
			lines = []string{fmt.Sprintf("InitializeForRestore %s/bc.xml %s => S_OK", saved,
				strings.Join(documents, " ")),
				"EnableWriterClasses " + strings.Join(classes(players), " ") + " => S_OK",
				"GatherWriterMetadata => VSS_S_ASYNC_FINISHED"}
			for _, p := range players {
				lines = append(lines, fmt.Sprintf("SetSelectedForRestore %s filegroup '' data true => S_OK", p.name))
			}
			lines = append(append(lines, "PreRestore => VSS_S_ASYNC_FINISHED"), askStatus...)
			for _, p := range players {
				lines = append(lines, fmt.Sprintf("SetFileRestoreStatus %s filegroup '' data all => S_OK", p.name))
			}
			all := s.script(append(append(lines, "PostRestore => VSS_S_ASYNC_FINISHED"), askStatus...)...)
			s.flowing(e.event, players...)
			n := 0
			if e.event == "post-restore" {
				n = 1
			}
			got := standings(t, all, n)
			for _, m := range modes {
				state, code := e.failed, m.code
				if code == "" {
					state, code = "stable", "S_OK"
				}
				if w := got[m.name]; w.State != state || w.Failure != code {
					t.Errorf("%s: %s, %s (%s), want %s, %s", m.name, w.State, w.Failure, w.Message, state, code)
				}
			}
			if w := standings(t, all, 1)["Good"]; w.State != "stable" || w.Failure != "S_OK" {
				t.Errorf("the good one: %s, %s", w.State, w.Failure)
			}
			for _, p := range players {
				silent := slices.Contains([]string{"Stall", "Hang", "Die"}, p.name)
				if e := p.events(); !silent && (!slices.Contains(e, "pre-restore") ||
					!slices.Contains(e, "post-restore")) {
					t.Errorf("%s was told %v", p.name, e)
				}
			}
			if c := good.complaints(); len(c) > 0 {
				t.Errorf("the good one complains: %q", c)
			}
		})
	}
}
