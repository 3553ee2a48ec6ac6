package copies

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Delete deletes a copy: it becomes inaccessible first, then its data goes, unless another copy needs it, then its
// record. What fails before the copy is recorded as deleted leaves it as it was; a deletion that a former service had
// begun is resumed. Errors: VSS_E_VOLUME_IN_USE.
func (h *Host) Delete(ctx context.Context, c Copy, force bool) error {
	r := c.Record()
	kept, err := h.kept(r)
	if err != nil {
		return err
	}
	resumed := r.State == vss.StateDeleted
	if !resumed {
		if err := h.takeAway(ctx, c, kept, force); err != nil {
			if e := h.bringBack(context.WithoutCancel(ctx), c); e != nil {
				h.cfg.Logger.Error("a copy that could not be deleted is not what it was", "copy", r.ID, "error", e)
			}
			return err
		}
	}
	h.unlink(r)
	if err := c.Remove(ctx, kept, resumed); err != nil {
		return err
	}
	return h.cfg.Catalog.Update(func(tx *catalog.Tx) error {
		if err := tx.RemoveSnapshot(r.ID); err != nil {
			return err
		}
		left, err := tx.SnapshotsOf(r.SetID)
		if err == nil && len(left) == 0 { // a break that failed can't be undone any more
			err = tx.RemoveBreak(r.SetID)
		}
		return err
	})
}

// takeAway ends all access to a copy and records it as deleted: from then on a deletion that is cut off is resumed.
func (h *Host) takeAway(ctx context.Context, c Copy, kept Kept, force bool) error {
	r := c.Record()
	private, err := h.takePrivate(ctx, c, force)
	if err != nil {
		return err
	}
	if r.ExposedAt != "" {
		err = inUse(h.unmount(ctx, c, r.ExposedAt, force), r.ExposedAt)
	}
	if err == nil {
		err = c.TakeAway(ctx, kept, force)
	}
	if err != nil {
		return errors.Join(err, h.remountPrivate(context.WithoutCancel(ctx), c, private))
	}
	h.forgetPrivate(private)
	deleted := *r
	deleted.State, deleted.ExposedAt = vss.StateDeleted, ""
	if err := h.cfg.Catalog.Update(func(tx *catalog.Tx) error { return tx.PutSnapshot(deleted) }); err != nil {
		return err
	}
	*r = deleted
	return nil
}

// takePrivate unmounts a copy where sessions have it mounted, and returns these paths. Without force a mount in use is
// an error, and all stay.
func (h *Host) takePrivate(ctx context.Context, c Copy, force bool) (taken []string, err error) {
	h.mu.Lock()
	paths := slices.Clone(h.private[c.Record().ID])
	h.mu.Unlock()
	for _, p := range paths {
		if err := h.unmount(ctx, c, p, force); err != nil {
			return nil, errors.Join(inUse(err, p), h.remountPrivate(context.WithoutCancel(ctx), c, taken))
		}
		taken = append(taken, p)
	}
	return taken, nil
}

// remountPrivate puts back what takePrivate took.
func (h *Host) remountPrivate(ctx context.Context, c Copy, paths []string) error {
	var errs []error
	for _, p := range paths {
		errs = append(errs, h.Mount(ctx, c, p, true))
	}
	return errors.Join(errs...)
}

// forgetPrivate removes the folders of private mounts that were taken for good.
func (h *Host) forgetPrivate(paths []string) {
	h.mu.Lock()
	for id, all := range h.private {
		h.private[id] = slices.DeleteFunc(all, func(p string) bool { return slices.Contains(paths, p) })
		if len(h.private[id]) == 0 {
			delete(h.private, id)
		}
	}
	h.mu.Unlock()
	for _, p := range paths {
		_ = os.Remove(p)
	}
}

// inUse is the error for a copy that something uses; nil for nil.
func inUse(err error, object string) error {
	if err == nil {
		return nil
	}
	return vss.E("DeleteSnapshots", vss.ErrVolumeInUse, err).
		On(object).
		Advise("end what uses the copy, or delete it with --force")
}

// bringBack makes a copy accessible again that could not be deleted.
func (h *Host) bringBack(ctx context.Context, c Copy) error {
	if !c.Record().Imported {
		return nil
	}
	return errors.Join(h.Rescan(ctx), h.Restore(ctx, c))
}

// kept returns which LUNs other copies of the set live on.
func (h *Host) kept(r *catalog.Snapshot) (Kept, error) {
	var ids []vss.LUNID
	err := h.cfg.Catalog.View(func(tx *catalog.Tx) error {
		all, err := tx.SnapshotsOf(r.SetID)
		for _, o := range all {
			if o.ID == r.ID || o.State == vss.StateDeleted {
				continue
			}
			for _, l := range o.LUNs {
				ids = append(ids, l.LUNID)
			}
		}
		return err
	})
	return func(id vss.LUNID) bool { return slices.Contains(ids, id) }, err
}
