package copies

import (
	"context"
	"errors"
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
	return h.cfg.Catalog.Update(func(tx *catalog.Tx) error { return tx.RemoveSnapshot(r.ID) })
}

// takeAway ends all access to a copy and records it as deleted: from then on a deletion that is cut off is resumed.
func (h *Host) takeAway(ctx context.Context, c Copy, kept Kept, force bool) error {
	r := c.Record()
	if r.ExposedAt != "" {
		if err := h.unmount(ctx, c, r.ExposedAt, force); err != nil {
			return inUse(err, r.ExposedAt)
		}
	}
	h.mu.Lock()
	private := h.private[r.ID]
	h.mu.Unlock()
	if private != "" {
		h.UnmountPrivate([]string{private})
	}
	if err := c.TakeAway(ctx, kept, force); err != nil {
		return err
	}
	deleted := *r
	deleted.State, deleted.ExposedAt = vss.StateDeleted, ""
	if err := h.cfg.Catalog.Update(func(tx *catalog.Tx) error { return tx.PutSnapshot(deleted) }); err != nil {
		return err
	}
	*r = deleted
	return nil
}

// inUse is the error for a copy that something uses.
func inUse(err error, object string) error {
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
