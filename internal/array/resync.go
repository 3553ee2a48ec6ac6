package array

import (
	"context"
	"errors"
	"fmt"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Resync replaces the target's content by the source's.
func (c *Controller) Resync(_ context.Context, source, target vss.LUNID, progress func(float64)) error {
	const op = "ResyncLuns"
	c.work.Lock()
	defer c.work.Unlock()
	from, err := c.find(op, source)
	if err != nil {
		return err
	}
	to, err := c.find(op, target)
	if err != nil {
		return err
	}
	switch {
	case from == to:
		return vss.E(op, vss.ErrInvalidArg, errors.New("source and target are one LUN")).On(to.Name)
	case len(to.MappedTo) > 0:
		return vss.E(op, vss.VDSErrDeviceInUse, fmt.Errorf("the target is mapped to %v", to.MappedTo)).
			On(to.Name).
			Advise("mask it from its hosts first")
	case to.Kind != KindPlain, from.pool.Name != to.pool.Name:
		return vss.E(op, vss.VDSErrNotSupported, errors.New("the target must be a plain LUN of the source's pool")).
			On(to.Name)
	case c.beingCopied(target):
		return vss.E(op, vss.VDSErrDeviceInUse, errors.New("a copy of the target is being made")).
			On(to.Name).
			Advise("try again when the shadow copy set is there")
	}
	if from.Size > to.Size {
		if err := c.promise(to.pool, from.Size-to.Size); err != nil {
			return err
		}
	}
	if progress == nil {
		progress = func(float64) {}
	}
	progress(0)
	if _, err := c.change(to, func(l *LUN) { l.State = StateResyncing }); err != nil {
		return err
	}
	if err := to.pool.Replace(source, target); err != nil {
		_, undo := c.change(to, func(l *LUN) { l.State = StateReady })
		return vss.E(op, prepareCode(err), errors.Join(err, undo)).
			On(to.Name).
			Advise("the target has its old content; make room in the pool and resync again")
	}
	if _, err := c.change(to, func(l *LUN) { l.State, l.Size = StateReady, from.Size }); err != nil {
		return err
	}
	progress(100)
	return nil
}
