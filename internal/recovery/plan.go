// Package recovery decides what a service does at its start, and when a provider appears, with what an earlier one
// has left recorded. It only decides: what is recorded and seen goes in, actions come out.
package recovery

import (
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Recorded is what the catalogue says of sets, as of one moment.
type Recorded struct {
	Creations []catalog.Creation
	Breaks    []catalog.Break
	Sets      map[vss.SnapshotSetID]catalog.Set
	Copies    []catalog.Snapshot
}

// Seen is what is loaded and in use in this process.
type Seen struct {
	Providers map[vss.ProviderID]bool    // that are loaded
	Busy      map[vss.SnapshotSetID]bool // sets that an operation works on: they are left alone
	Owned     map[vss.SnapshotSetID]bool // sets of open sessions: their copies aren't released
}

// Stage is a part of recovery. Each begins with what the one before has left recorded.
type Stage int

// The stages, in order. Creations go first: until one is undone, maybe only one of an original and its copy can be
// seen.
const (
	StageCreations Stage = iota
	StageBreaks
	StageCopies
	Stages // how many there are
)

// Deed is what an action does.
type Deed int

// The deeds.
const (
	DropCreation   Deed = iota // undo a creation that was cut off
	FinishCreation             // finish one that was complete
	EndBreak                   // finish or undo a break
	ResumeImport               // go on with an import
	EndDeletion                // go on with a deletion
	ReleaseSet                 // delete the copies of an auto-release context, whose session has ended
	RestoreCopy                // bring a copy back to what its record says
)

// names are those of the fault points and events of recovery.
var names = map[Deed]string{
	DropCreation: "creation", FinishCreation: "creation", EndBreak: "break", ResumeImport: "import",
	EndDeletion: "deletion", ReleaseSet: "release", RestoreCopy: "copy",
}

func (d Deed) String() string { return names[d] }

// Action is one thing that recovery does.
type Action struct {
	Deed     Deed
	Set      vss.SnapshotSetID
	Creation *catalog.Creation
	Break    *catalog.Break
	Copies   []*catalog.Snapshot // that it works on
}

// Plan returns what recovery does in a stage, in order. What belongs to a provider that isn't loaded waits until it
// is; a creation is undone all the same, as far as that is possible.
func Plan(s Stage, r *Recorded, now *Seen) []Action {
	switch s {
	case StageCreations:
		return planCreations(r, now)
	case StageBreaks:
		return planBreaks(r, now)
	}
	return append(planImports(r, now), planCopies(r, now)...)
}

func planCreations(r *Recorded, now *Seen) []Action {
	var out []Action
	for i := range r.Creations {
		c := &r.Creations[i]
		if now.Busy[c.Set] {
			continue
		}
		d := DropCreation
		if r.Sets[c.Set].Finishing {
			if !now.loaded(c.Providers) {
				continue
			}
			d = FinishCreation
		}
		out = append(out, Action{Deed: d, Set: c.Set, Creation: c, Copies: r.of(c.Set)})
	}
	return out
}

func planBreaks(r *Recorded, now *Seen) []Action {
	var out []Action
	for i := range r.Breaks {
		b := &r.Breaks[i]
		own := r.of(b.Set)
		if !now.Busy[b.Set] && now.loaded(providersOf(own)) {
			out = append(out, Action{Deed: EndBreak, Set: b.Set, Break: b, Copies: own})
		}
	}
	return out
}

// planImports: a copy that is committed and not created, in a set that isn't being created, is being imported. The
// import of an auto-release context has no session any more: its copies are deleted.
func planImports(r *Recorded, now *Seen) []Action {
	var out []Action
	done := map[vss.SnapshotSetID]bool{}
	for i := range r.Copies {
		set := r.Copies[i].SetID
		if r.Copies[i].State != vss.StatePostCommitted || done[set] || now.Busy[set] || r.creating(set) {
			continue
		}
		done[set] = true
		own := slices.DeleteFunc(r.of(set), func(c *catalog.Snapshot) bool { return c.State != vss.StatePostCommitted })
		if _, ok := r.Sets[set]; !ok || !now.loaded(providersOf(own)) {
			continue
		}
		d := ResumeImport
		if !own[0].Attributes.Has(vss.AttrNoAutoRelease) {
			d = EndDeletion
		}
		out = append(out, Action{Deed: d, Set: set, Copies: own})
	}
	return out
}

func planCopies(r *Recorded, now *Seen) []Action {
	var out []Action
	released := map[vss.SnapshotSetID]bool{}
	for i := range r.Copies {
		c := &r.Copies[i]
		a := Action{Set: c.SetID, Copies: []*catalog.Snapshot{c}}
		release := c.State == vss.StateCreated && !c.Attributes.Has(vss.AttrNoAutoRelease)
		switch {
		case now.Busy[c.SetID] || !now.Providers[c.ProviderID]:
			continue
		case c.State == vss.StateDeleted:
			a.Deed = EndDeletion
		case release && !now.Owned[c.SetID]:
			if released[c.SetID] || !now.loaded(providersOf(r.of(c.SetID))) {
				continue
			}
			released[c.SetID] = true
			a.Deed, a.Copies = ReleaseSet, nil
		case c.State == vss.StateCreated && c.Imported:
			a.Deed = RestoreCopy
		default:
			continue
		}
		out = append(out, a)
	}
	return out
}

func (s *Seen) loaded(ids []vss.ProviderID) bool {
	return !slices.ContainsFunc(ids, func(id vss.ProviderID) bool { return !s.Providers[id] })
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
func (r *Recorded) of(set vss.SnapshotSetID) []*catalog.Snapshot {
	var out []*catalog.Snapshot
	for i := range r.Copies {
		if r.Copies[i].SetID == set {
			out = append(out, &r.Copies[i])
		}
	}
	return out
}

func (r *Recorded) creating(set vss.SnapshotSetID) bool {
	return slices.ContainsFunc(r.Creations, func(c catalog.Creation) bool { return c.Set == set })
}

// Only keeps what a provider takes part in.
func (r *Recorded) Only(id vss.ProviderID) {
	Sets := map[vss.SnapshotSetID]bool{}
	for i := range r.Copies {
		if r.Copies[i].ProviderID == id {
			Sets[r.Copies[i].SetID] = true
		}
	}
	r.Creations = slices.DeleteFunc(r.Creations, func(c catalog.Creation) bool {
		return !slices.Contains(c.Providers, id)
	})
	r.Breaks = slices.DeleteFunc(r.Breaks, func(b catalog.Break) bool { return !Sets[b.Set] })
	r.Copies = slices.DeleteFunc(r.Copies, func(c catalog.Snapshot) bool { return !Sets[c.SetID] })
}

// Read reads the catalogue. Of the sets it reads those that have an unfinished copy.
func Read(store *catalog.Store) (*Recorded, error) {
	r := &Recorded{Sets: map[vss.SnapshotSetID]catalog.Set{}}
	err := store.View(func(tx *catalog.Tx) (err error) {
		if r.Creations, err = tx.Creations(); err != nil {
			return err
		}
		if r.Breaks, err = tx.Breaks(); err != nil {
			return err
		}
		if r.Copies, err = tx.Snapshots(); err != nil {
			return err
		}
		for _, c := range r.Copies {
			if _, ok := r.Sets[c.SetID]; ok || c.State == vss.StateCreated {
				continue
			}
			set, ok, err := tx.Set(c.SetID)
			if err != nil {
				return err
			}
			if ok {
				r.Sets[c.SetID] = set
			}
		}
		return nil
	})
	return r, err
}
