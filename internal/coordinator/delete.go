package coordinator

import (
	"context"
	"errors"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// GetSnapshotProperties describes a finished copy. Errors: VSS_E_OBJECT_NOT_FOUND, VSS_E_BAD_STATE.
func (s *Session) GetSnapshotProperties(id vss.SnapshotID) (catalog.Snapshot, error) {
	s.mu.Lock()
	err := s.begin("GetSnapshotProperties", false, initialized...)
	s.mu.Unlock()
	if err != nil {
		return catalog.Snapshot{}, err
	}
	return s.k.find("GetSnapshotProperties", id)
}

// Query lists the finished copies of the session's context, or of every one for VSS_CTX_ALL. It needs SetContext first.
// Errors: VSS_E_BAD_STATE.
func (s *Session) Query() ([]catalog.Snapshot, error) {
	s.mu.Lock()
	err := s.begin("Query", false, initialized...)
	if err == nil && !s.contextSet {
		err = vss.E("Query", vss.ErrBadState, errors.New("SetContext comes first"))
	}
	c := s.context
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	var out []catalog.Snapshot
	err = s.k.Catalog.View(func(tx *catalog.Tx) (err error) {
		out, err = tx.Snapshots()
		return err
	})
	out = slices.DeleteFunc(out, func(r catalog.Snapshot) bool {
		return r.State != vss.StateCreated || c != vss.ContextAll && r.Attributes.BaseContext() != c.BaseContext()
	})
	oldestFirst(out)
	return out, err
}

// oldestFirst orders copies by age. Those that were made and have stayed here are in the order of their device numbers, for the
// clock may have been set back between two; those that were imported have their places among them by their times.
func oldestFirst(all []catalog.Snapshot) {
	slices.SortStableFunc(all, func(a, b catalog.Snapshot) int { return a.Created.Compare(b.Created) })
	var at []int
	var own []catalog.Snapshot
	for i, r := range all {
		if r.DeviceNumber != 0 && r.OriginatingMachine == r.ServiceMachine && !r.Attributes.Has(vss.AttrTransportable) {
			at, own = append(at, i), append(own, r)
		}
	}
	slices.SortStableFunc(own, func(a, b catalog.Snapshot) int { return a.DeviceNumber - b.DeviceNumber })
	for i, n := range at {
		all[n] = own[i]
	}
}

// Delete deletes a copy, or a set copy by copy until one stays: which went, and which stayed. Type 0 takes whichever has
// the id. Source: DeleteSnapshots.
func (s *Session) Delete(ctx context.Context, id vss.GUID, t vss.ObjectType, force bool) (deleted []vss.SnapshotID, stayed vss.SnapshotID, err error) {
	const op = "DeleteSnapshots"
	s.mu.Lock()
	err = s.begin(op, false, initialized...)
	s.mu.Unlock()
	if err == nil && t != vss.ObjectUnknown && t != vss.ObjectSnapshot && t != vss.ObjectSnapshotSet {
		err = vss.E(op, vss.ErrInvalidArg, nil).Advise("a copy or a set can be deleted")
	}
	if err != nil {
		return nil, stayed, err
	}
	victims, err := s.k.victims(id, t)
	if err != nil {
		return nil, stayed, err
	}
	unlock, err := s.k.lockSet(op, victims[0].SetID)
	if err != nil {
		return nil, victims[0].ID, err
	}
	defer unlock()
	if victims, err = s.k.victims(id, t); err != nil { // who had the set before may have deleted or broken it
		return nil, stayed, err
	}
	for i := range victims {
		if err := s.k.deleteCopy(ctx, &victims[i], force); err != nil {
			s.k.failed("delete-failed", victims[i].SetID, victims[i].ID.String(), err)
			return deleted, victims[i].ID, err
		}
		deleted = append(deleted, victims[i].ID)
	}
	return deleted, stayed, nil
}

// victims are the finished copies that an id is of: the one copy, or those of the set in their order. No others are read: to
// delete all of thousands asks for each. Errors: VSS_E_OBJECT_NOT_FOUND.
func (k *Coordinator) victims(id vss.GUID, t vss.ObjectType) (out []catalog.Snapshot, err error) {
	const op = "DeleteSnapshots"
	if t != vss.ObjectSnapshotSet {
		r, err := k.find(op, vss.SnapshotID{GUID: id})
		if err == nil {
			return []catalog.Snapshot{r}, nil
		}
		if !errors.Is(err, vss.ErrObjectNotFound) || t == vss.ObjectSnapshot {
			return nil, err
		}
	}
	err = k.Catalog.View(func(tx *catalog.Tx) error {
		out, err = tx.SnapshotsOf(vss.SnapshotSetID{GUID: id})
		return err
	})
	out = slices.DeleteFunc(out, func(r catalog.Snapshot) bool { return r.State != vss.StateCreated })
	if err == nil && len(out) == 0 {
		err = vss.E(op, vss.ErrObjectNotFound, nil).On(id.String()).Advise("`vss list shadows` shows which copies exist")
	}
	return out, err
}

// deleteCopy deletes one copy: unusable for everybody first, then its LUNs that carry no other copy, then its record. What
// fails before the copy is recorded as deleted leaves it as it was. The set's lock is held, or nobody else runs yet.
func (k *Coordinator) deleteCopy(ctx context.Context, r *catalog.Snapshot, force bool) error {
	hw, props, err := k.hardware(r.ProviderID)
	if err != nil {
		return err
	}
	kept, err := k.otherCopiesLUNs(r)
	if err != nil {
		return err
	}
	luns := slices.DeleteFunc(slices.Clone(r.LUNs), func(l catalog.LUN) bool { return slices.Contains(kept, l.LUNID) })
	resumed := r.State == vss.StateDeleted // a former service died in between: it may have left a disk that nobody knows of
	if !resumed {
		if err := k.takeAway(ctx, r, luns, force); err != nil {
			if e := k.bringBack(context.WithoutCancel(ctx), r); e != nil {
				k.Logger.Error("a copy that could not be deleted is not what it was", "copy", r.ID, "error", e)
			}
			return err
		}
	}
	k.unlink(r)
	for i := range luns {
		if resumed || k.Disks.Attached(luns[i].LUNID) { // or it came back with a rescan
			if d, err := k.lunDisk(ctx, &luns[i]); err == nil {
				if err := k.Disks.Uninstall(ctx, d, true); err != nil {
					return err
				}
			}
		}
		info := luns[i].Copy
		err := fault.Around("delete", "on-lun-empty", func() error { return hw.OnLUNEmpty(ctx, "", &info) })
		if err != nil && !errors.Is(err, vss.ErrObjectNotFound) {
			return k.said(props, "OnLunEmpty", r.SetID, err)
		}
	}
	return k.Catalog.Update(func(tx *catalog.Tx) error { return tx.RemoveSnapshot(r.ID) })
}

// takeAway ends all access to a copy and records it as deleted: from there on a crash finds it so and goes on.
func (k *Coordinator) takeAway(ctx context.Context, r *catalog.Snapshot, luns []catalog.LUN, force bool) error {
	inUse := func(err error, object string) error {
		return vss.E("DeleteSnapshots", vss.ErrVolumeInUse, err).On(object).Advise("end what uses the copy, or delete it with --force")
	}
	if r.ExposedAt != "" {
		if err := unmount(r.ExposedAt, force); err != nil {
			return inUse(err, r.ExposedAt)
		}
	}
	k.mu.Lock()
	private := k.private[r.ID]
	k.mu.Unlock()
	if private != "" {
		k.unmountPrivate([]string{private})
	}
	for i := range luns {
		if d, err := k.lunDisk(ctx, &luns[i]); err == nil {
			if err := fault.Around("delete", "uninstall", func() error { return k.Disks.Uninstall(ctx, d, force) }); err != nil {
				return inUse(err, d.Device)
			}
		}
	}
	gone := *r
	gone.State, gone.ExposedAt = vss.StateDeleted, ""
	if err := k.Catalog.Update(func(tx *catalog.Tx) error { return tx.PutSnapshot(gone) }); err != nil {
		return err
	}
	*r = gone
	return nil
}

// bringBack makes a copy accessible again after a deletion that could not be done.
func (k *Coordinator) bringBack(ctx context.Context, r *catalog.Snapshot) error {
	if !r.Imported {
		return nil
	}
	_, err := k.Disks.Rescan(ctx, vds.RescanOptions{})
	return errors.Join(err, k.restore(ctx, r))
}

// otherCopiesLUNs are the LUNs that copies other than r live on.
func (k *Coordinator) otherCopiesLUNs(r *catalog.Snapshot) (ids []vss.LUNID, err error) {
	err = k.Catalog.View(func(tx *catalog.Tx) error {
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
	return ids, err
}

// autoRelease deletes the copies of a set whose requester is gone. A transportable set that was not imported here is not
// deleted, only forgotten: whoever imports it releases it.
func (k *Coordinator) autoRelease(ctx context.Context, id vss.SnapshotSetID) {
	unlock, err := k.waitSet(ctx, "DeleteSnapshots", id)
	if err != nil {
		k.failed("auto-release-failed", id, "", err)
		return
	}
	defer unlock()
	var copies []catalog.Snapshot
	err = k.Catalog.View(func(tx *catalog.Tx) (err error) {
		copies, err = tx.SnapshotsOf(id)
		return err
	})
	for i := range copies {
		r := &copies[i]
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
		k.events.add(catalog.Event{Severity: "error", What: "auto-release-failed", SetID: id, Code: vss.CodeOf(err), Message: err.Error(), Hint: "the next start of the service tries again; `vss doctor` shows what is left"})
	}
}

// Dropped forgets the copies on a LUN that its array has dropped so that the original could be written: what reads them
// gets errors, and nobody is told that they are there.
func (k *Coordinator) Dropped(ctx context.Context, lun vss.LUNID) {
	var lost []catalog.Snapshot
	err := k.Catalog.View(func(tx *catalog.Tx) error {
		all, err := tx.Snapshots()
		for _, r := range all {
			if r.State == vss.StateCreated && slices.ContainsFunc(r.LUNs, func(l catalog.LUN) bool { return l.LUNID == lun }) {
				lost = append(lost, r)
			}
		}
		return err
	})
	for i := range lost {
		r := &lost[i]
		unlock, e := k.lockSet("DropSnapshot", r.SetID)
		if e == nil {
			e = k.deleteCopy(ctx, r, true)
			unlock()
		}
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		k.events.add(catalog.Event{Severity: "error", What: "copy-lost", Provider: r.ProviderName, SetID: r.SetID, Object: r.ID.String(), Code: vss.ErrInsufficientStorage,
			Message: "the copy of " + r.OriginalVolume + " was dropped: its pool ran full, and the original had to go on", Hint: "give the pool more room, or keep fewer copies"})
	}
	if _, e := k.Disks.Rescan(ctx, vds.RescanOptions{}); e != nil { // the device of the LUN that is gone
		err = errors.Join(err, e)
	}
	if err != nil {
		k.Logger.Warn("a dropped copy is not cleared away", "lun", lun, "error", err)
	}
}
