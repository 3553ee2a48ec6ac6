package array

import (
	"context"
	"errors"
	"slices"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Map unmasks a LUN to a host.
func (c *Controller) Map(ctx context.Context, id vss.LUNID, host string) (LUN, error) {
	if err := c.MapAll(ctx, host, []vss.LUNID{id}); err != nil {
		return LUN{}, err
	}
	return c.LUN(ctx, id)
}

// MapAll unmasks LUNs to a host.
func (c *Controller) MapAll(ctx context.Context, host string, ids []vss.LUNID) error {
	const op = "UnmaskLun"
	c.work.Lock()
	defer c.work.Unlock()
	var all []*entry
	var masked []vss.LUNID
	for _, id := range ids {
		e, err := c.find(op, id)
		if err != nil {
			return err
		}
		if !NameOK(host) {
			return vss.E(op, vss.ErrInvalidArg, errors.New("no host name")).On(e.Name)
		}
		all = append(all, e)
		if !slices.Contains(c.snapshot(e).MappedTo, host) {
			masked = append(masked, id)
		}
	}
	t, err := c.target(op, host)
	if err != nil {
		return err
	}
	// Recorded first: a host must not see a LUN that isn't mapped to it by its record.
	if err := c.changeAll(op, masked, func(l *LUN) error {
		l.MappedTo = append(l.MappedTo, host)
		return nil
	}); err != nil {
		return err
	}
	for _, e := range all {
		if err := t.Export(ctx, c.snapshot(e), e.pool.Backing(e.ID), host); err != nil {
			return err
		}
	}
	return nil
}

// Unmap masks a LUN from a host.
func (c *Controller) Unmap(ctx context.Context, id vss.LUNID, host string) (LUN, error) {
	c.work.Lock()
	defer c.work.Unlock()
	e, err := c.find("MaskLun", id)
	if err != nil {
		return LUN{}, err
	}
	l := c.snapshot(e)
	if !slices.Contains(l.MappedTo, host) {
		return l, nil
	}
	if err := c.withdraw(ctx, l, host); err != nil {
		return LUN{}, err
	}
	return c.change(e, func(l *LUN) {
		l.MappedTo = slices.DeleteFunc(l.MappedTo, func(h string) bool { return h == host })
	})
}

// SetFlags stores the flags of a disk without a table.
func (c *Controller) SetFlags(_ context.Context, id vss.LUNID, f vss.DiskFlags) (LUN, error) {
	return c.changeByID("SetLunFlags", id, func(l *LUN) { l.Flags = f })
}

// MarkImported records that copies were surfaced.
func (c *Controller) MarkImported(_ context.Context, host string, ids []vss.LUNID) error {
	if !NameOK(host) {
		return vss.E("LocateLuns", vss.ErrInvalidArg, errors.New("no host name")).
			Advise("name the host that the copies were mapped to")
	}
	c.work.Lock()
	defer c.work.Unlock()
	return c.changeAll("LocateLuns", ids, func(l *LUN) error {
		if l.Imported {
			return vss.E(
				"LocateLuns", vss.ErrBadState, errors.New("the copy was imported before; a set is imported once"),
			).
				On(l.Name).
				Advise("delete it where it was imported, or break it")
		}
		l.Imported, l.Importer = true, host
		return nil
	})
}

// MakePlain makes ordinary LUNs of copies.
func (c *Controller) MakePlain(_ context.Context, ids []vss.LUNID) error {
	c.work.Lock()
	defer c.work.Unlock()
	return c.changeAll("BreakLun", ids, func(l *LUN) error {
		l.Kind, l.Set, l.Final, l.State, l.Copied = KindPlain, vss.SnapshotSetID{}, true, StateReady, true
		return nil
	})
}
