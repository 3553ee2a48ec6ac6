package array

import (
	"context"
	"errors"
	"fmt"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// ofSet returns the copies that a host had made for a set, in any state.
func (c *Controller) ofSet(set vss.SnapshotSetID, host string) []*entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*entry
	for _, e := range c.luns {
		if e.Set == set && e.Host == host && !set.IsZero() {
			out = append(out, e)
		}
	}
	return out
}

// KeepCopies records that the set was created.
func (c *Controller) KeepCopies(_ context.Context, set vss.SnapshotSetID, host string) error {
	c.work.Lock()
	defer c.work.Unlock()
	all := c.ofSet(set, host)
	if len(all) == 0 {
		return vss.E("KeepCopies", vss.ErrObjectNotFound, nil).On(set.String())
	}
	c.mu.Lock()
	s := c.cuts[hostSet{set, host}]
	c.mu.Unlock()
	if s != nil && len(all) != len(s.copies) {
		return vss.E(
			"KeepCopies", vss.ErrInsufficientStorage, errors.New("a copy of the set was dropped, its pool ran full"),
		).
			On(set.String()).
			Advise("give the pool more room, or keep fewer copies")
	}
	for _, e := range all {
		if e.State != StateCommitted && e.State != StateReady {
			return vss.E("KeepCopies", vss.ErrBadState, fmt.Errorf("a copy is %s", e.State)).On(e.Name)
		}
	}
	_, errs := c.changeMany(all, func(l *LUN) { l.State, l.Final = StateReady, true })
	if err := errors.Join(errs...); err != nil {
		return err
	}
	c.mu.Lock()
	delete(c.cuts, hostSet{set, host})
	c.mu.Unlock()
	return nil
}

// AbortCopies deletes what isn't kept of a set; a commit under way is waited for.
func (c *Controller) AbortCopies(_ context.Context, set vss.SnapshotSetID, host string) error {
	c.mu.Lock()
	s := c.cuts[hostSet{set, host}]
	cut := s != nil && s.cut
	c.mu.Unlock()
	if cut {
		<-s.done
	}
	c.work.Lock()
	defer c.work.Unlock()
	c.mu.Lock()
	s = c.cuts[hostSet{set, host}]
	if s != nil && s.cut != cut { // it was cut while this waited
		c.mu.Unlock()
		return vss.E("AbortCopies", vss.ErrBadState, errors.New("the set is being cut")).
			On(set.String()).
			Advise("abort it again")
	}
	delete(c.cuts, hostSet{set, host})
	c.mu.Unlock()
	all := c.ofSet(set, host)
	if s == nil && len(all) == 0 {
		return vss.E("AbortCopies", vss.ErrObjectNotFound, nil).On(set.String())
	}
	var errs []error
	if s != nil {
		for _, k := range s.cutters {
			_ = k.Close() // what it couldn't make durable is deleted now
		}
	}
	for _, e := range all {
		if !e.Final {
			errs = append(errs, c.erase(e))
		}
	}
	return errors.Join(errs...)
}
