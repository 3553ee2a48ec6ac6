package coordinator

import (
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// recorded is what the catalogue says of sets, as of one moment.
type recorded struct {
	creations []catalog.Creation
	breaks    []catalog.Break
	sets      map[vss.SnapshotSetID]catalog.Set
	copies    []catalog.Snapshot
}

// seen is what the process says of them.
type seen struct {
	providers map[vss.ProviderID]bool    // that are loaded
	busy      map[vss.SnapshotSetID]bool // sets that an operation works on: they are left alone
	owned     map[vss.SnapshotSetID]bool // sets of open sessions: their copies aren't released
}

// stage is a part of recovery. Each begins with what the one before has left recorded.
type stage int

const (
	stageCreations stage = iota // of an original and its unfinished copy maybe only one can be seen until these are undone
	stageBreaks
	stageCopies
	stages
)

// deed is what recovery does.
type deed int

const (
	dropCreation   deed = iota // undo a creation that was cut off
	finishCreation             // finish one that was complete
	endBreak                   // finish or undo a break
	resumeImport               // go on with an import
	endDeletion                // go on with a deletion
	releaseSet                 // delete the copies of an auto-release context, whose session is gone
	restoreCopy                // bring a copy back to what its record says
)

// deedNames name the fault points and events of recovery.
var deedNames = map[deed]string{dropCreation: "creation", finishCreation: "creation", endBreak: "break", resumeImport: "import",
	endDeletion: "deletion", releaseSet: "release", restoreCopy: "copy"}

// action is one thing that recovery does.
type action struct {
	deed     deed
	set      vss.SnapshotSetID
	creation *catalog.Creation
	record   *catalog.Break
	copies   []*catalog.Snapshot
}

// plan returns what recovery does in a stage, in order. It only looks at its arguments. What belongs to a provider that isn't
// loaded waits until it is; a creation is undone all the same, as far as that is possible.
func plan(s stage, r *recorded, now *seen) []action {
	switch s {
	case stageCreations:
		return planCreations(r, now)
	case stageBreaks:
		return planBreaks(r, now)
	}
	return append(planImports(r, now), planCopies(r, now)...)
}

func planCreations(r *recorded, now *seen) []action {
	var out []action
	for i := range r.creations {
		c := &r.creations[i]
		if now.busy[c.Set] {
			continue
		}
		d := dropCreation
		if r.sets[c.Set].Finishing {
			if !now.loaded(c.Providers) {
				continue
			}
			d = finishCreation
		}
		out = append(out, action{deed: d, set: c.Set, creation: c, copies: r.of(c.Set)})
	}
	return out
}

func planBreaks(r *recorded, now *seen) []action {
	var out []action
	for i := range r.breaks {
		b := &r.breaks[i]
		own := r.of(b.Set)
		if !now.busy[b.Set] && now.loaded(providersOf(own)) {
			out = append(out, action{deed: endBreak, set: b.Set, record: b, copies: own})
		}
	}
	return out
}

// planImports: a copy that is committed and not created, in a set that isn't being created, is being imported. The import of
// an auto-release context has no session any more: its copies are deleted.
func planImports(r *recorded, now *seen) []action {
	var out []action
	done := map[vss.SnapshotSetID]bool{}
	for i := range r.copies {
		set := r.copies[i].SetID
		if r.copies[i].State != vss.StatePostCommitted || done[set] || now.busy[set] || r.creating(set) {
			continue
		}
		done[set] = true
		own := slices.DeleteFunc(r.of(set), func(c *catalog.Snapshot) bool { return c.State != vss.StatePostCommitted })
		if _, ok := r.sets[set]; !ok || !now.loaded(providersOf(own)) {
			continue
		}
		d := resumeImport
		if !own[0].Attributes.Has(vss.AttrNoAutoRelease) {
			d = endDeletion
		}
		out = append(out, action{deed: d, set: set, copies: own})
	}
	return out
}

func planCopies(r *recorded, now *seen) []action {
	var out []action
	released := map[vss.SnapshotSetID]bool{}
	for i := range r.copies {
		c := &r.copies[i]
		a := action{set: c.SetID, copies: []*catalog.Snapshot{c}}
		release := c.State == vss.StateCreated && !c.Attributes.Has(vss.AttrNoAutoRelease)
		switch {
		case now.busy[c.SetID] || !now.providers[c.ProviderID]:
			continue
		case c.State == vss.StateDeleted:
			a.deed = endDeletion
		case release && !now.owned[c.SetID]:
			if released[c.SetID] || !now.loaded(providersOf(r.of(c.SetID))) {
				continue
			}
			released[c.SetID] = true
			a.deed, a.copies = releaseSet, nil
		case c.State == vss.StateCreated && c.Imported:
			a.deed = restoreCopy
		default:
			continue
		}
		out = append(out, a)
	}
	return out
}

func (s *seen) loaded(ids []vss.ProviderID) bool {
	return !slices.ContainsFunc(ids, func(id vss.ProviderID) bool { return !s.providers[id] })
}

func providersOf(records []*catalog.Snapshot) []vss.ProviderID {
	var out []vss.ProviderID
	for _, r := range records {
		if !slices.Contains(out, r.ProviderID) {
			out = append(out, r.ProviderID)
		}
	}
	return out
}

// of returns the copies of a set.
func (r *recorded) of(set vss.SnapshotSetID) []*catalog.Snapshot {
	var out []*catalog.Snapshot
	for i := range r.copies {
		if r.copies[i].SetID == set {
			out = append(out, &r.copies[i])
		}
	}
	return out
}

func (r *recorded) creating(set vss.SnapshotSetID) bool {
	return slices.ContainsFunc(r.creations, func(c catalog.Creation) bool { return c.Set == set })
}

// only keeps what a provider takes part in.
func (r *recorded) only(id vss.ProviderID) {
	sets := map[vss.SnapshotSetID]bool{}
	for i := range r.copies {
		if r.copies[i].ProviderID == id {
			sets[r.copies[i].SetID] = true
		}
	}
	r.creations = slices.DeleteFunc(r.creations, func(c catalog.Creation) bool { return !slices.Contains(c.Providers, id) })
	r.breaks = slices.DeleteFunc(r.breaks, func(b catalog.Break) bool { return !sets[b.Set] })
	r.copies = slices.DeleteFunc(r.copies, func(c catalog.Snapshot) bool { return !sets[c.SetID] })
}
