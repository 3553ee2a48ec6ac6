package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/internal/recovery"
	"github.com/stillpoint-vss/stillpoint/internal/writerset"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Recover brings the host to a state in which every set either exists or does not. It is the first thing that the
// service does, and may itself be cut off and run again. What it can't do now it leaves recorded and reports by an
// event: the service starts all the same. Errors: those of reading the catalogue.
func (k *Coordinator) Recover(ctx context.Context) error {
	thawed, err := k.Holder.Thaw()
	if len(thawed) > 0 || err != nil {
		k.Events.Add(events.Thawed, events.Warning, catalog.Event{
			Code: vss.CodeOf(err), Message: "released at start: " + strings.Join(thawed, ", "),
			Hint: "the service had died while it held them; the set that it was creating was dropped",
		})
	}
	if damage := k.Catalog.Damage(); damage != "" {
		k.Events.Add(events.CatalogueDamaged, events.Warning, catalog.Event{Object: damage,
			Message: "one of the two heads of the catalogue is damaged: what was recorded last may be missing",
			Hint:    damageHint,
		})
	}
	if err := k.Host.Sweep(); err != nil {
		k.Logger.Warn("leftovers of a former service", "error", err)
	}
	k.rescan(ctx)
	last, err := k.recoverStages(ctx, func(*recovery.Recorded) {})
	if err != nil {
		return err
	}
	k.Host.SweepLinks(last.Copies)
	return nil
}

// damageHint is what to do about a catalogue that lost its last change.
const damageHint = "`vss doctor` lists copies that aren't recorded; check the disk of the state folder"

// recoverOf finishes what an earlier service, or one of its own connections, left of a provider's copies.
func (k *Coordinator) recoverOf(ctx context.Context, id vss.ProviderID) {
	if _, err := k.recoverStages(ctx, func(r *recovery.Recorded) { r.Only(id) }); err != nil {
		k.Logger.Warn("copies of a provider not recovered", "provider", id, "error", err)
	}
}

// recoverStages runs the stages on what narrow leaves of the catalogue, and returns what is recorded in the end.
func (k *Coordinator) recoverStages(ctx context.Context, narrow func(*recovery.Recorded)) (*recovery.Recorded, error) {
	for s := range recovery.Stages {
		r, err := recovery.Read(k.Catalog)
		if err != nil {
			return nil, err
		}
		narrow(r)
		actions := recovery.Plan(s, r, k.seen())
		for _, a := range actions {
			k.recoverOne(ctx, a)
		}
		if s == recovery.StageCreations && len(actions) > 0 {
			k.rescan(ctx) // of an original and its copy with one identity only one had partitions
		}
	}
	return recovery.Read(k.Catalog)
}

// recoverOne applies an action and reports its failure.
func (k *Coordinator) recoverOne(ctx context.Context, a recovery.Action) {
	if a.Deed == recovery.ReleaseSet {
		k.autoRelease(ctx, a.Set) // it reports for itself
		return
	}
	name := a.Deed.String()
	err := fault.Around("recover", name, func() error { return k.apply(ctx, a) })
	if err != nil {
		hint := cmp.Or(vss.Hint(err), "remove the cause and restart the service, or run `vss doctor`")
		k.report(events.Recovery(name), a.Set, err, hint)
	}
}

func (k *Coordinator) apply(ctx context.Context, a recovery.Action) error {
	unlock, err := k.lockSet("Recover", a.Set)
	if err != nil {
		return err
	}
	defer unlock()
	switch a.Deed {
	case recovery.DropCreation:
		return k.dropCreation(ctx, a.Creation)
	case recovery.FinishCreation:
		return k.finishCreation(ctx, a)
	case recovery.EndBreak:
		return k.recoverBreak(ctx, *a.Break)
	case recovery.ResumeImport:
		return k.resumeImport(ctx, catalog.Set{ID: a.Set}, a.Copies)
	case recovery.EndDeletion:
		for _, r := range a.Copies {
			if err := k.deleteCopy(ctx, r, true); err != nil {
				return err
			}
		}
	case recovery.RestoreCopy:
		c, err := k.open(a.Copies[0])
		if err != nil {
			return err
		}
		return k.Host.Restore(ctx, c)
	}
	return nil
}

// dropCreation undoes a creation during which the service died. If one of its providers isn't loaded, its part waits.
func (k *Coordinator) dropCreation(ctx context.Context, c *catalog.Creation) error {
	err := fault.Around("recover", "clear-flags", func() error { return k.Host.RestoreOriginals(ctx, *c) })
	if err != nil {
		return err
	}
	if c.Writers {
		writerset.AbortDropped(ctx, k.Config.writers(), c.Set)
	}
	var kinds []copies.Kind
	for _, id := range c.Providers {
		kind, err := k.kind(id)
		if err != nil {
			return err
		}
		kinds = append(kinds, kind)
	}
	if err := notKept(ctx, c.Set, kinds); err != nil {
		return err
	}
	err = fault.Around("recover", "drop-remains", func() error { return dropRemains(ctx, k.Catalog, c.Set, kinds) })
	if err != nil {
		return err
	}
	k.Events.Add(events.CreationDropped, events.Warning, catalog.Event{SetID: c.Set, Code: vss.OK,
		Message: "a creation during which the service died was undone", Hint: "start the backup again"})
	return nil
}

// notKept returns an error if a provider calls a copy of the set final. Then the set was created, and the record that
// says otherwise is of an older catalogue: nothing of it is deleted. Errors: VSS_E_BAD_STATE, those of looking.
func notKept(ctx context.Context, set vss.SnapshotSetID, kinds []copies.Kind) error {
	var kept []string
	for _, kind := range kinds {
		keeper, ok := kind.(copies.Keeper)
		if !ok {
			continue
		}
		names, err := keeper.Kept(ctx, set)
		if err != nil {
			return err
		}
		kept = append(kept, names...)
	}
	if len(kept) == 0 {
		return nil
	}
	slices.Sort(kept)
	return vss.E("DropCreation", vss.ErrBadState, fmt.Errorf(
		"the catalogue is older than the set: it has the set as unfinished, but its copies are complete: %s",
		strings.Join(kept, ", "))).On(set.String()).
		Advise("nothing was deleted; put the newer catalog.db back, or delete the LUNs " +
			"(`vss lun delete ID --force`) and run `vss doctor --repair`")
}

// finishCreation ends the creation of a set that was complete: its copies are as good as if the service had not died.
func (k *Coordinator) finishCreation(ctx context.Context, a recovery.Action) error {
	parts, err := k.parts(a.Copies)
	if err != nil {
		return err
	}
	var set catalog.Set
	err = k.Catalog.View(func(tx *catalog.Tx) (err error) {
		set, _, err = tx.Set(a.Set)
		return err
	})
	if err != nil {
		return err
	}
	for _, p := range parts {
		if err := notFound(p.kind.Join(a.Set, set.Context).PostFinalCommit(ctx)); err != nil {
			return err
		}
	}
	if err := k.Host.Keep(ctx, a.Set); err != nil {
		return err
	}
	set.Finishing = false
	err = k.Catalog.Update(func(tx *catalog.Tx) error {
		for _, r := range a.Copies {
			r.State = vss.StateCreated
			if err := tx.PutSnapshot(*r); err != nil {
				return err
			}
		}
		return errors.Join(tx.PutSet(set), tx.RemoveCreation(a.Set))
	})
	if err != nil {
		return err
	}
	k.Events.Add(events.CreationFinished, events.Info, catalog.Event{SetID: a.Set, Code: vss.OK,
		Message: "a set that was complete when the service died was finished"})
	return nil
}

func (k *Coordinator) rescan(ctx context.Context) {
	if err := k.Host.Rescan(ctx); err != nil {
		k.Logger.Warn("rescan in recovery", "error", err)
	}
}

// seen returns what is loaded and in use now.
func (k *Coordinator) seen() *recovery.Seen {
	s := &recovery.Seen{Providers: map[vss.ProviderID]bool{}, Busy: k.busy()}
	for _, kind := range k.loaded() {
		s.Providers[kind.Properties().ID] = true
	}
	k.mu.Lock()
	s.Owned = maps.Clone(k.owned)
	k.mu.Unlock()
	return s
}

// busy returns the sets that operations work on.
func (k *Coordinator) busy() map[vss.SnapshotSetID]bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := maps.Clone(k.busySets)
	if k.creating != nil {
		out[k.creating.id] = true
	}
	return out
}
