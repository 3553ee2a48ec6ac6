package array

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Intervals at which free space is checked while copies exist: normally, and when it may run out.
const (
	watchEvery   = 250 * time.Millisecond
	watchClosely = 10 * time.Millisecond
)

// lowWater is the free space below which copies go, so that their originals never fail.
func (c *Controller) lowWater(size int64) int64 {
	if c.cfg.LowWater > 0 {
		return c.cfg.LowWater
	}
	return min(max(256<<20, size/20), size/4)
}

// promise ensures that a pool can hold all of its plain LUNs when they are full, and so many bytes more. With
// Config.Reserve it counts what LUNs with copies may overwrite, too. Errors: VDS_E_NOT_ENOUGH_SPACE.
func (c *Controller) promise(p NamedPool, more int64) error {
	o, err := c.owed(p, nil)
	if err != nil {
		return err
	}
	need := o.holes + more + (o.plain+more)/50
	if c.cfg.Reserve {
		need = withOverhead(p, o.holes+o.shared+more)
	}
	if err := p.Room(need); err != nil {
		return vss.E("CreateLun", vss.VDSErrNotEnoughSpace, err).
			On(p.Name).
			Advise("delete LUNs or copies, or add a pool; `vss array list` shows the space")
	}
	return nil
}

// owed is the space that the plain LUNs of a pool may still take, in bytes.
type owed struct {
	plain  int64 // the sizes of all plain LUNs
	holes  int64 // what was never written
	shared int64 // what is written and may have to be written to another place, because a copy has it, too
}

// owed adds up what the plain LUNs of a pool may still take. Those in cut are counted as if they had a copy already.
// A LUN that ever had a copy counts in full, however many copies it has: btrfs writes extents that are older than the
// last copy to a new place even when that copy is deleted.
func (c *Controller) owed(p NamedPool, cut []*entry) (o owed, err error) {
	c.mu.Lock()
	var plain []*entry
	copied := map[vss.LUNID]bool{}
	for _, e := range c.luns {
		if e.Kind != KindPlain {
			copied[e.Origin] = true
		} else if e.pool.Name == p.Name && e.State != StateDeleting {
			plain = append(plain, e)
		}
	}
	for _, e := range plain {
		copied[e.ID] = copied[e.ID] || e.Copied || slices.Contains(cut, e)
	}
	c.mu.Unlock()
	for _, e := range plain {
		n, err := p.Allocated(e.ID)
		if err != nil {
			return o, err
		}
		n = min(n, e.Size)
		o.plain += e.Size
		o.holes += e.Size - n
		if copied[e.ID] {
			o.shared += n
		}
	}
	return o, nil
}

// withOverhead adds to an amount of data what its pool needs beside it at worst.
func withOverhead(p NamedPool, data int64) int64 { return data + p.Overhead(data) }

// Unreserved returns by how many bytes each pool falls short of what its LUNs may still write. Nothing is missing
// from pools that it leaves out.
func (c *Controller) Unreserved() (map[string]int64, error) {
	out := map[string]int64{}
	for _, p := range c.cfg.Pools {
		o, err := c.owed(p, nil)
		if err != nil {
			return nil, err
		}
		s, err := p.Space()
		if err != nil {
			return nil, err
		}
		need := o.holes + o.shared
		if short := need - s.Free; short > need/20 { // metadata takes a little of what was reserved
			out[p.Name] = short
		}
	}
	return out, nil
}

// Needed reports whether a LUN is mapped to a host or is being hydrated: then its pool must be watched.
func (c *Controller) Needed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.luns {
		if len(e.MappedTo) > 0 || e.Method == MethodPlex && e.Percent < 100 {
			return true
		}
	}
	return false
}

// reserve makes room for all that the plain LUNs of a pool may still write once those in cut have a copy, and so many
// bytes more. Then no process is needed for their writes to succeed. Unless Config.Reserve demands the room, it is
// reserved if the pool has it. Errors: VSS_E_INSUFFICIENT_STORAGE.
func (c *Controller) reserve(p NamedPool, cut []*entry, more int64) error {
	o, err := c.owed(p, cut)
	if err != nil {
		return err
	}
	need := withOverhead(p, o.holes+o.shared+more)
	err = p.Room(need)
	if err == nil || !c.cfg.Reserve {
		return nil
	}
	return vss.E("PrepareCopies", vss.ErrInsufficientStorage, fmt.Errorf(
		"%d MiB must be reserved for what the LUNs may still write: %w", need>>20, err,
	)).
		On(p.Name).
		Advise("free space on the disk below or delete old copies: vss delete --oldest VOLUME; or run vssd as a " +
			"service (systemctl enable --now vssd.service), which drops copies before originals fail")
}

// checkRoom returns an error unless a pool has room for copies above the low-water mark, or could grow to have it.
// Errors: VSS_E_INSUFFICIENT_STORAGE.
func (c *Controller) checkRoom(p NamedPool, need int64) error {
	s, err := p.Space()
	if err != nil {
		return err
	}
	if low := c.lowWater(s.Size); s.Free+s.Growth-low < need {
		return vss.E(
			"PrepareCopies", vss.ErrInsufficientStorage,
			fmt.Errorf(
				"%d MiB are free, the copies need %d MiB above a reserve of %d MiB", (s.Free+s.Growth)>>20, need>>20,
				low>>20,
			),
		).
			On(p.Name).
			Advise("delete old shadow copies: vss delete --oldest VOLUME; or give the pool more space")
	}
	return nil
}

// roomForCopies is checkRoom that grows the pool.
func (c *Controller) roomForCopies(p NamedPool, need int64) error {
	if err := c.checkRoom(p, need); err != nil {
		return err
	}
	s, err := p.Space()
	if err == nil {
		err = p.Room(need + c.lowWater(s.Size))
	}
	if err != nil {
		return vss.E("PrepareCopies", vss.ErrInsufficientStorage, err).
			On(p.Name).
			Advise("delete old shadow copies: vss delete --oldest VOLUME; or give the pool more space")
	}
	return nil
}

// watch protects the originals of every pool: when it runs low it grows the pool if it can, else the oldest copies go.
func (c *Controller) watch() {
	last, told := map[string]int64{}, map[string]bool{}
	wait := watchEvery
	for _, p := range c.cfg.Pools {
		if c.hasLUNs(p.Name) { // an older version may not have reserved it; what isn't there doctor shows
			_ = c.reserve(p, nil, 0)
		}
	}
	for {
		select {
		case <-c.life.Done():
			return
		case <-time.After(wait):
		}
		wait = watchEvery
		for _, p := range c.cfg.Pools {
			if !c.hasLUNs(p.Name) || !c.pause.enter() {
				delete(last, p.Name)
				continue
			}
			if s, err := p.Space(); err == nil {
				// What was written since the last look may well be written again before the next one has had its
				// effect.
				fell := max(last[p.Name]-s.Free, 0)
				last[p.Name] = s.Free
				low := c.lowWater(s.Size)
				if len(c.droppable(p.Name)) == 0 {
					low /= 4 // plain LUNs have their room by promise
				}
				if fell > 0 && s.Free < 2*low+4*fell {
					wait = watchClosely
				}
				if s.Free >= low+2*fell {
					told[p.Name] = false
				} else if err := c.relieve(p, low, min(low+2*fell, s.Size/2)); err != nil && !told[p.Name] {
					told[p.Name] = true // reported once, until there is room again
					c.cfg.Logger.Error("a pool is low on space", "pool", p.Name, "error", err)
					c.events.send(Event{
						Time: time.Now(), LUN: LUN{Pool: p.Name}, What: "pool-low", Text: err.Error(),
						Hint: "give the pool more room",
					})
				}
			}
			c.pause.leave()
		}
	}
}

// hasLUNs reports whether a pool has LUNs.
func (c *Controller) hasLUNs(pool string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.luns {
		if e.pool.Name == pool {
			return true
		}
	}
	return false
}

// relieve grows a pool, or drops copies, until as much is free as is wanted. Errors: VDS_E_NOT_ENOUGH_SPACE if no
// copy is left to drop and less than low is free.
func (c *Controller) relieve(p NamedPool, low, want int64) error {
	if p.Room(want+low/2) == nil {
		return nil
	}
	for c.life.Err() == nil {
		s, err := p.Space()
		if err != nil || s.Free >= want {
			return err
		}
		l, err := c.dropOldest(p.Name)
		if err != nil {
			return err
		}
		if l.ID.IsZero() && s.Free >= low {
			return nil
		}
		if l.ID.IsZero() {
			return vss.E(
				"ProtectPool", vss.VDSErrNotEnoughSpace,
				fmt.Errorf("it has %d MiB left and no shadow copy to drop", s.Free>>20),
			).
				On(p.Name)
		}
		c.events.send(Event{Time: time.Now(), LUN: l, What: "dropped",
			Text: fmt.Sprintf(
				"pool %s had %d MiB left, and %d MiB are wanted while it is written so fast: the oldest shadow "+
					"copy was dropped so that its original can be written",
				p.Name,
				s.Free>>20,
				want>>20,
			),
			Hint: "give the pool more room, or keep fewer copies"})
	}
	return nil
}

// dropOldest deletes the copy that is to go first; there may be none.
func (c *Controller) dropOldest(pool string) (LUN, error) {
	c.work.Lock()
	defer c.work.Unlock()
	victims := c.droppable(pool)
	if len(victims) == 0 {
		return LUN{}, nil
	}
	l := c.snapshot(victims[0])
	return l, c.erase(victims[0])
}

// droppable are the copies that may go when a pool runs full, in the order in which they go: first those of
// unfinished sets, then the oldest, by the order in which they were made: the clock may have been set back.
func (c *Controller) droppable(pool string) []*entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*entry
	for _, e := range c.luns {
		if e.pool.Name == pool && e.Kind == KindShadowCopy && e.Method == MethodDifferential &&
			(e.State == StateReady || e.State == StateCommitted) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b *entry) int {
		if a.Final != b.Final {
			if b.Final {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Order, b.Order), a.Created.Compare(b.Created))
	})
	return out
}
