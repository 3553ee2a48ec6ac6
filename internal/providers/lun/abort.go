package lun

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const opAbort = "AbortSnapshots"

// AbortSnapshots implements provider.Provider. Sets of a former process are found in the records of the arrays.
func (p *Provider) AbortSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	p.flushDeferredErrors()
	err := p.machine.Abort(ctx, set)
	if vss.CodeOf(err) == vss.ErrObjectNotFound {
		err = p.abortFormer(ctx, set)
	}
	return p.answer(opAbort, set.String(), err)
}

// drop undoes the set that is being created, for the machine. Copies that are kept already are deleted, too.
func (p *Provider) drop(ctx context.Context, set vss.SnapshotSetID) error {
	p.mu.Lock()
	c := p.creation
	if c == nil || c.id != set || c.prepared == nil { // it has not reached the arrays
		if c != nil && c.id == set {
			c.dropped = true
		}
		p.mu.Unlock()
		return nil
	}
	c.dropped = true
	prepared, parts := c.prepared, c.parts
	p.mu.Unlock()
	<-prepared // otherwise copies could appear after the abort
	err := each(parts, func(x part) error {
		_, err := p.abort(ctx, x.array, set)
		if err == nil {
			err = p.reclaimSet(ctx, x.array, set)
		}
		return err
	})
	if err != nil {
		err = legal(opAbort, set.String(), err)
		p.log(err)
	}
	return err
}

// abort drops the copies of a set that an array doesn't keep, and reports whether the array knew the set.
func (p *Provider) abort(ctx context.Context, a array.Array, set vss.SnapshotSetID) (known bool, err error) {
	err = a.AbortCopies(ctx, set, p.cfg.Host)
	if errors.Is(err, vss.ErrObjectNotFound) {
		return false, nil
	}
	return err == nil, err
}

// abortFormer undoes a set of a former process. If any of its copies isn't kept, the set was not created, and the kept
// ones are deleted as well; if all are kept, nothing is done. Errors: VSS_E_OBJECT_NOT_FOUND if no array has copies of
// the set, or if it is a set of another host.
func (p *Provider) abortFormer(ctx context.Context, set vss.SnapshotSetID) error {
	unknown := func(why string) error { return vss.E(opAbort, vss.ErrObjectNotFound, errors.New(why)).On(set.String()) }
	created := true
	for _, f := range p.inventory(ctx).luns {
		if f.lun.Set != set || f.lun.Kind != array.KindShadowCopy {
			continue
		}
		if f.lun.Host != p.cfg.Host {
			return unknown("the set belongs to host " + f.lun.Host)
		}
		created = created && f.lun.Final
	}
	var known atomic.Bool
	err := each(p.cfg.Arrays(), func(a array.Array) error {
		has, err := p.abort(ctx, a, set)
		if has {
			known.Store(true)
		}
		if err == nil && !created {
			err = p.reclaimSet(ctx, a, set)
		}
		return err
	})
	if err == nil && !known.Load() {
		return unknown("no array has copies of the set")
	}
	return err
}

// reclaimSet deletes the copies of a set that an array has kept.
func (p *Provider) reclaimSet(ctx context.Context, a array.Array, set vss.SnapshotSetID) error {
	luns, err := a.LUNs(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range luns {
		if p.made(l, set) {
			errs = append(errs, p.reclaim(ctx, opAbort, a, l))
		}
	}
	return errors.Join(errs...)
}

// reclaim deletes a copy's LUN, unless another host sees it or something depends on it. Errors: VSS_E_PROVIDER_VETO.
func (p *Provider) reclaim(ctx context.Context, op string, a array.Array, l array.LUN) error {
	others := slices.DeleteFunc(slices.Clone(l.MappedTo), func(h string) bool { return h == p.cfg.Host })
	if len(others) > 0 {
		return vss.E(op, vss.ErrProviderVeto, fmt.Errorf("the LUN is mapped to %v", others)).On(l.Name).
			Advise("delete the copy on that host, or mask it there: vss lun mask")
	}
	if _, err := a.Unmap(ctx, l.ID, p.cfg.Host); err != nil {
		return err
	}
	return a.Delete(ctx, l.ID, false)
}
