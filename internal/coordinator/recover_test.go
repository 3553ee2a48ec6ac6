package coordinator

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestPlan: what recovery does, by what is recorded and seen.
func TestPlan(t *testing.T) {
	set, other := vss.SnapshotSetID{GUID: vss.NewGUID()}, vss.SnapshotSetID{GUID: vss.NewGUID()}
	here, away := vss.ProviderID{GUID: vss.NewGUID()}, vss.ProviderID{GUID: vss.NewGUID()}
	copyOf := func(s vss.SnapshotSetID, p vss.ProviderID, state vss.SnapshotState, attrs vss.Attributes, imported bool) catalog.Snapshot {
		return catalog.Snapshot{ID: vss.SnapshotID{GUID: vss.NewGUID()}, SetID: s, ProviderID: p, State: state, Attributes: attrs, Imported: imported}
	}
	const persistent = vss.AttrPersistent | vss.AttrNoAutoRelease
	creating := []catalog.Creation{{Set: set, Providers: []vss.ProviderID{here}}}
	finishing := map[vss.SnapshotSetID]catalog.Set{set: {ID: set, Finishing: true}}
	known := map[vss.SnapshotSetID]catalog.Set{set: {ID: set}}
	committed := func(attrs vss.Attributes) catalog.Snapshot {
		return copyOf(set, here, vss.StatePostCommitted, attrs, false)
	}
	created := func(attrs vss.Attributes) catalog.Snapshot { return copyOf(set, here, vss.StateCreated, attrs, true) }
	for _, c := range []struct {
		name  string
		stage stage
		r     recorded
		busy  bool // an operation works on the set
		owned bool // its session is open
		want  string
	}{
		{"nothing", stageCreations, recorded{}, false, false, ""},
		{"an open creation", stageCreations, recorded{creations: creating}, false, false, "drop"},
		{"a creation with copies", stageCreations, recorded{creations: creating, sets: known, copies: []catalog.Snapshot{committed(persistent)}}, false, false, "drop"},
		{"a complete creation", stageCreations, recorded{creations: creating, sets: finishing, copies: []catalog.Snapshot{committed(persistent)}}, false, false, "finish"},
		{"a complete creation whose provider isn't loaded", stageCreations, recorded{creations: []catalog.Creation{{Set: set, Providers: []vss.ProviderID{here, away}}}, sets: finishing}, false, false, ""},
		{"an open creation whose provider isn't loaded", stageCreations, recorded{creations: []catalog.Creation{{Set: set, Providers: []vss.ProviderID{away}}}}, false, false, "drop"},
		{"the creation of a live session", stageCreations, recorded{creations: creating}, true, false, ""},
		{"two creations", stageCreations, recorded{creations: append(slices.Clone(creating), catalog.Creation{Set: other})}, false, false, "drop drop"},
		{"a break", stageBreaks, recorded{breaks: []catalog.Break{{Set: set}}, copies: []catalog.Snapshot{created(persistent)}}, false, false, "break"},
		{"a break without its provider", stageBreaks, recorded{breaks: []catalog.Break{{Set: set}}, copies: []catalog.Snapshot{copyOf(set, away, vss.StateCreated, persistent, true)}}, false, false, ""},
		{"a break that goes on", stageBreaks, recorded{breaks: []catalog.Break{{Set: set}}}, true, false, ""},
		{"an import", stageCopies, recorded{sets: known, copies: []catalog.Snapshot{committed(persistent), committed(persistent)}}, false, false, "import"},
		{"an import of an auto-release context", stageCopies, recorded{sets: known, copies: []catalog.Snapshot{committed(0)}}, false, false, "delete"},
		{"committed copies of a creation that could not be dropped", stageCopies, recorded{creations: creating, sets: known, copies: []catalog.Snapshot{committed(persistent)}}, false, false, ""},
		{"a deletion", stageCopies, recorded{copies: []catalog.Snapshot{copyOf(set, here, vss.StateDeleted, persistent, true)}}, false, false, "delete"},
		{"a deletion without its provider", stageCopies, recorded{copies: []catalog.Snapshot{copyOf(set, away, vss.StateDeleted, persistent, true)}}, false, false, ""},
		{"auto-release copies", stageCopies, recorded{copies: []catalog.Snapshot{created(0), created(0)}}, false, false, "release"},
		{"auto-release copies of an open session", stageCopies, recorded{copies: []catalog.Snapshot{created(0)}}, false, true, "restore"},
		{"a persistent copy", stageCopies, recorded{copies: []catalog.Snapshot{created(persistent)}}, false, false, "restore"},
		{"a persistent copy that is elsewhere", stageCopies, recorded{copies: []catalog.Snapshot{copyOf(set, here, vss.StateCreated, persistent, false)}}, false, false, ""},
		{"a persistent copy without its provider", stageCopies, recorded{copies: []catalog.Snapshot{copyOf(set, away, vss.StateCreated, persistent, true)}}, false, false, ""},
		{"a copy that is being changed", stageCopies, recorded{copies: []catalog.Snapshot{created(persistent)}}, true, false, ""},
	} {
		now := &seen{providers: map[vss.ProviderID]bool{here: true}, busy: map[vss.SnapshotSetID]bool{set: c.busy}, owned: map[vss.SnapshotSetID]bool{set: c.owned}}
		names := map[deed]string{dropCreation: "drop", finishCreation: "finish", endBreak: "break", resumeImport: "import", endDeletion: "delete", releaseSet: "release", restoreCopy: "restore"}
		var got []string
		for _, a := range plan(c.stage, &c.r, now) {
			got = append(got, names[a.deed])
			if a.set != set && a.set != other {
				t.Errorf("%s: %s of set %v", c.name, names[a.deed], a.set)
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %q, want %q", c.name, s, c.want)
		}
	}
}

// TestKilled has the service die at every step, before and after its work. The next start drops the set, unless it was
// complete: that one it finishes.
func TestKilled(t *testing.T) {
	complete := slices.IndexFunc(steps, func(s step) bool { return s.name == "post-final-commit" })
	for i, s := range steps {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s after %v", s.name, after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					m := &mishap{release: make(chan struct{})}
					w.table = m.table(i, &harms[1], after)
					old := w.session(vss.ContextAppRollback, fourVolumes...)
					_, err := old.DoSnapshotSet(0)
					must(t, err)
					synctest.Wait() // it hangs at the step: this process does nothing more
					w.host.Die()
					w.holder = &fakeHolder{left: []string{"/a"}}
					w.quiet = &fakeQuiet{}
					w.restart()
					w.wantEvent(events.Thawed)
					finished := i > complete || i == complete && after
					if !finished {
						w.clean("dropped")
						if i > 0 || after {
							w.wantEvent(events.CreationDropped)
						}
					} else {
						w.atRest("finished")
						set, all, err := w.SnapshotSet(old.set.id)
						if err != nil || len(all) != 4 || set.Finishing || set.Consistency == 0 || w.copiesMade() != 4 {
							t.Errorf("%+v, %d copies, %v", set, len(all), err)
						}
						w.sound()
					}
					w.Shutdown()
					close(m.release)
					synctest.Wait()
					time.Sleep(time.Hour) // what the dead process still does
				})
			})
		}
	}
}

// TestRecoveryWaitsForProvider: what belongs to a provider that isn't loaded is done when it is added.
func TestRecoveryWaitsForProvider(t *testing.T) {
	w, _, set := setOfThree(t, vss.ContextAppRollback)
	all := w.providers()
	for _, id := range allIDs {
		must(t, w.RemoveProvider(t.Context(), id, true))
	}
	must(t, w.Recover(t.Context()))
	found, err := w.Check(t.Context(), false)
	if err != nil || !slices.ContainsFunc(found, func(f copies.Finding) bool { return strings.Contains(f.What, "is not registered") }) {
		t.Errorf("%+v, %v", found, err)
	}
	s := w.OpenSession(0)
	must(t, s.InitializeForBackup(nil))
	if _, _, err := s.Delete(t.Context(), set.GUID, vss.ObjectSnapshotSet, true); !errors.Is(err, vss.ErrProviderNotRegistered) {
		t.Errorf("deletion without a provider: %v", err)
	}
	w.calls.Reset()
	for _, p := range all {
		must(t, w.AddProvider(t.Context(), p))
	}
	if got := w.ordered(localID); !slices.Contains(got, "Surface") {
		t.Errorf("the copy was not brought back: %v", got)
	}
	if err := w.AddProvider(t.Context(), all[0]); !errors.Is(err, vss.ErrProviderAlreadyRegistered) {
		t.Errorf("a provider twice: %v", err)
	}
	must(t, func() error { _, _, err := s.Delete(t.Context(), set.GUID, vss.ObjectSnapshotSet, true); return err }())
	w.clean("deleted")
}
