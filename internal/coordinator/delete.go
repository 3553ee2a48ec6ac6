package coordinator

import (
	"context"
	"errors"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Delete deletes a copy, or the copies of a set one after another until one can't be deleted. It returns the copies
// that were deleted and the one that was not. Type 0 means either. Errors: VSS_E_OBJECT_NOT_FOUND,
// VSS_E_VOLUME_IN_USE, VSS_E_BAD_STATE. Source: DeleteSnapshots.
func (s *Session) Delete(
	ctx context.Context, id vss.GUID, t vss.ObjectType, force bool,
) (deleted []vss.SnapshotID, stayed vss.SnapshotID, err error) {
	const op = "DeleteSnapshots"
	_, err = s.look(op, initialized)
	if err == nil && t != vss.ObjectUnknown && t != vss.ObjectSnapshot && t != vss.ObjectSnapshotSet {
		err = vss.E(op, vss.ErrInvalidArg, nil).Advise("a copy or a set can be deleted")
	}
	if err != nil {
		return nil, stayed, err
	}
	chosen, err := s.k.toDelete(id, t)
	if err != nil {
		return nil, stayed, err
	}
	unlock, err := s.k.lockSet(op, chosen[0].SetID)
	if err != nil {
		return nil, chosen[0].ID, err
	}
	defer unlock()
	if chosen, err = s.k.toDelete(id, t); err != nil { // the operation before may have deleted or broken it
		return nil, stayed, err
	}
	for _, r := range chosen {
		if err := s.k.deleteCopy(ctx, r, force); err != nil {
			s.k.Events.Failed(events.DeleteFailed, r.SetID, r.ID.String(), err)
			return deleted, r.ID, err
		}
		deleted = append(deleted, r.ID)
	}
	return deleted, stayed, nil
}

// toDelete returns the finished copies that an id names: one copy, or those of a set in their order. No other records
// are read: the catalogue may have thousands. Errors: VSS_E_OBJECT_NOT_FOUND.
func (k *Coordinator) toDelete(id vss.GUID, t vss.ObjectType) ([]*catalog.Snapshot, error) {
	const op = "DeleteSnapshots"
	if t != vss.ObjectSnapshotSet {
		r, err := k.find(op, vss.SnapshotID{GUID: id})
		if err == nil {
			return []*catalog.Snapshot{&r}, nil
		}
		if t == vss.ObjectSnapshot || !errors.Is(err, vss.ErrObjectNotFound) {
			return nil, err
		}
	}
	out, err := k.recordsOf(vss.SnapshotSetID{GUID: id})
	if err != nil {
		return nil, err
	}
	out = slices.DeleteFunc(out, func(r *catalog.Snapshot) bool { return r.State != vss.StateCreated })
	if len(out) == 0 {
		return nil, vss.E(op, vss.ErrObjectNotFound, nil).On(id.String()).
			Advise("`vss list shadows` shows which copies exist")
	}
	return out, nil
}

// deleteCopy deletes one copy, or goes on where an earlier service was cut off. The caller holds the set's lock.
func (k *Coordinator) deleteCopy(ctx context.Context, r *catalog.Snapshot, force bool) error {
	c, err := k.open(r)
	if err != nil {
		return err
	}
	return k.Host.Delete(ctx, c, force)
}

// autoRelease deletes the copies of a set whose session has ended. A transportable set that was not imported here
// isn't deleted, only forgotten: the host that imports it releases it.
func (k *Coordinator) autoRelease(ctx context.Context, id vss.SnapshotSetID) {
	unlock, err := k.waitSet(ctx, "DeleteSnapshots", id)
	if err != nil {
		k.Events.Failed(events.AutoReleaseFailed, id, "", err)
		return
	}
	defer unlock()
	records, err := k.recordsOf(id)
	for _, r := range records {
		if r.Attributes.Has(vss.AttrNoAutoRelease) {
			continue
		}
		var e error
		if r.Attributes.Has(vss.AttrTransportable) && !r.Imported {
			e = k.Catalog.Update(func(tx *catalog.Tx) error { return tx.RemoveSnapshot(r.ID) })
		} else {
			e = k.deleteCopy(ctx, r, true)
		}
		err = errors.Join(err, e)
	}
	if err != nil {
		k.report(events.AutoReleaseFailed, id, err,
			"the next start of the service tries again; `vss doctor` shows what is left")
	}
}

// Dropped forgets the copies on a LUN that its array has dropped so that the original could be written.
func (k *Coordinator) Dropped(ctx context.Context, lun vss.LUNID) {
	on := func(r *catalog.Snapshot) bool { return copies.On(r, lun) }
	why := "its pool ran full, and writes to the original had to go on"
	k.lose(ctx, why, "give the pool more room, or keep fewer copies", on)
	if err := k.Host.Rescan(ctx); err != nil { // it removes the device of the LUN
		k.Logger.Warn("rescan after a LUN was dropped", "lun", lun, "error", err)
	}
}

// lose forgets copies that don't exist any more, and reports each: programs that read them get errors.
func (k *Coordinator) lose(ctx context.Context, why, hint string, lost func(*catalog.Snapshot) bool) {
	records, err := k.recordsWhere(func(r *catalog.Snapshot) bool { return r.State == vss.StateCreated && lost(r) })
	for i := range records {
		r := &records[i]
		unlock, e := k.waitSet(ctx, "DropSnapshot", r.SetID)
		if e == nil {
			e = k.deleteCopy(ctx, r, true)
			unlock()
		}
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		k.Events.Add(events.CopyLost, events.Error, catalog.Event{
			Provider: r.ProviderName, SetID: r.SetID, Object: r.ID.String(), Code: vss.ErrInsufficientStorage,
			Message: "the copy of " + r.OriginalVolume + " was dropped: " + why, Hint: hint,
		})
	}
	if err != nil {
		k.Logger.Warn("a copy that was lost is not cleared away", "error", err)
	}
}
