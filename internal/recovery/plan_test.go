package recovery

import (
	"slices"
	"strings"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestPlan: what recovery does, by what is recorded and seen.
func TestPlan(t *testing.T) {
	set, other := vss.SnapshotSetID{GUID: vss.NewGUID()}, vss.SnapshotSetID{GUID: vss.NewGUID()}
	here, away := vss.ProviderID{GUID: vss.NewGUID()}, vss.ProviderID{GUID: vss.NewGUID()}
	copyOf := func(s vss.SnapshotSetID, p vss.ProviderID, state vss.SnapshotState, attrs vss.Attributes,
		imported bool) catalog.Snapshot {
		return catalog.Snapshot{
			ID:         vss.SnapshotID{GUID: vss.NewGUID()},
			SetID:      s,
			ProviderID: p,
			State:      state,
			Attributes: attrs,
			Imported:   imported,
		}
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
		stage Stage
		r     Recorded
		busy  bool // an operation works on the set
		owned bool // its session is open
		want  string
	}{
		{"nothing", StageCreations, Recorded{}, false, false, ""},
		{"an open creation", StageCreations, Recorded{Creations: creating}, false, false, "drop"},
		{
			"a creation with copies", StageCreations,
			Recorded{Creations: creating, Sets: known, Copies: []catalog.Snapshot{committed(persistent)}}, false,
			false, "drop",
		},
		{
			"a complete creation", StageCreations,
			Recorded{Creations: creating, Sets: finishing, Copies: []catalog.Snapshot{committed(persistent)}}, false,
			false, "finish",
		},
		{
			"a complete creation whose provider isn't loaded", StageCreations,
			Recorded{Creations: []catalog.Creation{{
				Set: set, Providers: []vss.ProviderID{here, away},
			}}, Sets: finishing},
			false, false, "",
		},
		{
			"an open creation whose provider isn't loaded", StageCreations,
			Recorded{Creations: []catalog.Creation{{Set: set, Providers: []vss.ProviderID{away}}}}, false, false,
			"drop",
		},
		{"the creation of a live session", StageCreations, Recorded{Creations: creating}, true, false, ""},
		{
			"two creations", StageCreations,
			Recorded{Creations: append(slices.Clone(creating), catalog.Creation{Set: other})}, false, false,
			"drop drop",
		},
		{
			"a break", StageBreaks,
			Recorded{Breaks: []catalog.Break{{Set: set}}, Copies: []catalog.Snapshot{created(persistent)}}, false,
			false, "break",
		},
		{
			"a break without its provider", StageBreaks,
			Recorded{
				Breaks: []catalog.Break{{Set: set}},
				Copies: []catalog.Snapshot{copyOf(set, away, vss.StateCreated, persistent, true)},
			},
			false, false, "",
		},
		{"a break that goes on", StageBreaks, Recorded{Breaks: []catalog.Break{{Set: set}}}, true, false, ""},
		{
			"an import", StageCopies,
			Recorded{Sets: known, Copies: []catalog.Snapshot{committed(persistent), committed(persistent)}}, false,
			false, "import",
		},
		{
			"an import of an auto-release context", StageCopies,
			Recorded{Sets: known, Copies: []catalog.Snapshot{committed(0)}}, false, false, "delete",
		},
		{
			"committed copies of a creation that could not be dropped", StageCopies,
			Recorded{Creations: creating, Sets: known, Copies: []catalog.Snapshot{committed(persistent)}}, false,
			false, "",
		},
		{
			"a deletion", StageCopies,
			Recorded{Copies: []catalog.Snapshot{copyOf(set, here, vss.StateDeleted, persistent, true)}}, false, false,
			"delete",
		},
		{
			"a deletion without its provider", StageCopies,
			Recorded{Copies: []catalog.Snapshot{copyOf(set, away, vss.StateDeleted, persistent, true)}}, false, false,
			"",
		},
		{
			"auto-release copies", StageCopies, Recorded{Copies: []catalog.Snapshot{created(0), created(0)}}, false,
			false, "release",
		},
		{
			"auto-release copies of an open session", StageCopies, Recorded{Copies: []catalog.Snapshot{created(0)}},
			false, true, "restore",
		},
		{
			"a persistent copy", StageCopies, Recorded{Copies: []catalog.Snapshot{created(persistent)}}, false, false,
			"restore",
		},
		{
			"a persistent copy that is elsewhere", StageCopies,
			Recorded{Copies: []catalog.Snapshot{copyOf(set, here, vss.StateCreated, persistent, false)}}, false,
			false, "",
		},
		{
			"a persistent copy without its provider", StageCopies,
			Recorded{Copies: []catalog.Snapshot{copyOf(set, away, vss.StateCreated, persistent, true)}}, false, false,
			"",
		},
		{
			"a copy that is being changed", StageCopies, Recorded{Copies: []catalog.Snapshot{created(persistent)}},
			true, false, "",
		},
	} {
		now := &Seen{
			Providers: map[vss.ProviderID]bool{here: true},
			Busy:      map[vss.SnapshotSetID]bool{set: c.busy},
			Owned:     map[vss.SnapshotSetID]bool{set: c.owned},
		}
		names := map[Deed]string{
			DropCreation:   "drop",
			FinishCreation: "finish",
			EndBreak:       "break",
			ResumeImport:   "import",
			EndDeletion:    "delete",
			ReleaseSet:     "release",
			RestoreCopy:    "restore",
		}
		var got []string
		for _, a := range Plan(c.stage, &c.r, now) {
			got = append(got, names[a.Deed])
			if a.Set != set && a.Set != other {
				t.Errorf("%s: %s of set %v", c.name, names[a.Deed], a.Set)
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %q, want %q", c.name, s, c.want)
		}
	}
}
