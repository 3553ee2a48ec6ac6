package coordinator

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/background"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/hold"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/internal/writerset"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// creation is one shadow copy set from StartSnapshotSet until it exists or was aborted. Its participants are the
// members (providers), the writers and the guard.
type creation struct {
	*Config
	id      vss.SnapshotSetID
	context vss.Context
	writers *writerset.Set
	limit   time.Duration // of the hold

	// Of the goroutine that runs the steps.
	state    vss.SnapshotState
	began    time.Time
	timeline []catalog.Step
	progress func(percent float64) // of the step that is running

	mu       sync.Mutex // guards what a step and, where the step is left behind, its undo use, and the members
	members  []copies.Member
	copies   []*shadow
	record   catalog.Creation
	guard    Guard
	roots    []*os.File
	marked   bool     // flags may be set on the originals
	resume   []func() // end the pause of background work
	holding  bool     // from just before the first freeze until the last thaw
	deadline time.Time
	held     hold.Result
	here     []copies.Copy // the copies that are on this host
	recovery bool          // a writer recovers its data in the copies
	complete catalog.Set   // what collect and created record
}

// shadow is one copy of the set.
type shadow struct {
	id     vss.SnapshotID
	vol    *volume.Volume
	member copies.Member
	mode   provider.HoldMode
	record catalog.Snapshot
}

// newCreation opens a set.
func newCreation(cfg *Config, c vss.Context, writers *writerset.Set) *creation {
	id := vss.SnapshotSetID{GUID: vss.NewGUID()}
	return &creation{Config: cfg, id: id, context: c, writers: writers, limit: cfg.HoldLimit, state: vss.StatePreparing,
		progress: func(float64) {}, record: catalog.Creation{Set: id, Begun: time.Now()}}
}

// change locks what steps share with their undo.
func (c *creation) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *creation) isHolding() (yes bool) {
	c.change(func() { yes = c.holding })
	return yes
}

// theGuard returns the guard of the hold, one that does nothing while there is none.
func (c *creation) theGuard() (g Guard) {
	c.change(func() { g = c.guard })
	if g == nil {
		return noGuard{}
	}
	return g
}

func (c *creation) isMarked() (yes bool) {
	c.change(func() { yes = c.marked })
	return yes
}

// uses reports whether a provider makes copies of the set.
func (c *creation) uses(id vss.ProviderID) (yes bool) {
	c.change(func() {
		yes = slices.ContainsFunc(c.members, func(m copies.Member) bool { return m.Kind().Properties().ID == id })
	})
	return yes
}

// usesLUN reports whether the set copies a LUN.
func (c *creation) usesLUN(id vss.LUNID) (yes bool) {
	c.change(func() { yes = slices.ContainsFunc(c.members, func(m copies.Member) bool { return m.Uses(id) }) })
	return yes
}

// store makes the record of the creation durable.
func (c *creation) store() error {
	return c.Catalog.Update(func(tx *catalog.Tx) error { return tx.PutCreation(c.record) })
}

// target describes the set to its writers.
func (c *creation) target() writerset.Target {
	t := writerset.Target{Context: c.context, Set: c.id}
	for _, s := range c.copies {
		t.Volumes = append(t.Volumes, s.vol.Name)
	}
	return t
}

// volumes are the originals.
func (c *creation) volumes() []*volume.Volume {
	var out []*volume.Volume
	for _, s := range c.copies {
		out = append(out, s.vol)
	}
	return out
}

// each calls f for all members at once and returns the first error.
func (c *creation) each(step string, f func(copies.Member) error) error {
	errs := make([]error, len(c.members))
	var all sync.WaitGroup
	for i, m := range c.members {
		all.Go(func() {
			errs[i] = background.Recovered(c.Logger, func() string { return step }, func() error { return f(m) })
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// recordsOf are the records of a member's copies.
func (c *creation) recordsOf(m copies.Member) []*catalog.Snapshot {
	var out []*catalog.Snapshot
	for _, s := range c.copies {
		if s.member == m {
			out = append(out, &s.record)
		}
	}
	return out
}

// hereOf are a member's copies that are on this host.
func (c *creation) hereOf(m copies.Member) []copies.Copy {
	var out []copies.Copy
	for _, x := range c.here {
		if x.Kind() == m.Kind() {
			out = append(out, x)
		}
	}
	return out
}

func (c *creation) transportable() bool { return c.context.Has(vss.AttrTransportable) }

// putRecords stores the copies' records.
func (c *creation) putRecords(tx *catalog.Tx) error {
	for _, s := range c.copies {
		if err := tx.PutSnapshot(s.record); err != nil {
			return err
		}
	}
	return nil
}

// describe returns the general part of a copy's record.
func (c *creation) describe(order int, s *shadow) catalog.Snapshot {
	at := c.held.Frozen
	if at.IsZero() {
		at = time.Now()
	}
	return catalog.Snapshot{
		ID: s.id, SetID: c.id, Order: order, Count: len(c.copies), State: c.state, Created: at,
		OriginalVolume: s.vol.Name, FileSystem: s.vol.FileSystem, FileSystemUUID: s.vol.UUID,
		Subvolume: volume.Printable(s.vol.Subvolume), SubvolumeID: s.vol.SubvolumeID, NoExec: s.vol.NoExec,
		Extents: s.vol.Extents, Attributes: c.context | vss.AttrNotSurfaced,
		OriginatingMachine: c.Name, ServiceMachine: c.Name,
	}
}

// putSet stores the set, if it has copies, and what else is changed with it.
func (c *creation) putSet(also func(*catalog.Tx) error) error {
	set := c.complete
	set.Timeline = c.timeline
	return c.Catalog.Update(func(tx *catalog.Tx) error {
		if len(c.copies) > 0 {
			if err := tx.PutSet(set); err != nil {
				return err
			}
		}
		return also(tx)
	})
}

// notFound drops the error of a provider that doesn't know a set. Undoing and finishing tolerate it.
func notFound(err error) error {
	if errors.Is(err, vss.ErrObjectNotFound) {
		return nil
	}
	return err
}

// dropRemains removes what exists of an unfinished set: its copies, its records, and last the record that it was being
// created.
func dropRemains(ctx context.Context, store *catalog.Store, set vss.SnapshotSetID, kinds []copies.Kind) error {
	var records []*catalog.Snapshot
	err := store.View(func(tx *catalog.Tx) error {
		all, err := tx.SnapshotsOf(set)
		for i := range all {
			records = append(records, &all[i])
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, kind := range kinds {
		id := kind.Properties().ID
		own := slices.DeleteFunc(slices.Clone(records), func(r *catalog.Snapshot) bool { return r.ProviderID != id })
		if err := kind.DropRemains(ctx, set, own); err != nil {
			return err
		}
	}
	return store.Update(func(tx *catalog.Tx) error {
		if err := tx.RemoveSet(set); err != nil {
			return err
		}
		return tx.RemoveCreation(set)
	})
}
