package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// ImportSnapshots surfaces the set that the document given to InitializeForBackup describes: its LUNs are unmasked to this
// host, recognised, given identities of their own, and shown read-only and hidden. It happens once in a set's life. What
// fails is left as it is: the requester cleans up. Errors, at once: VSS_E_BAD_STATE; through the Async:
// VSS_E_NONTRANSPORTABLE_BCD, VSS_E_PROVIDER_NOT_REGISTERED, VSS_E_BAD_STATE (imported before),
// VSS_E_NO_SNAPSHOTS_IMPORTED, and the success code VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED. Source: ImportSnapshots.
func (s *Session) ImportSnapshots() (*Async, error) {
	const op = "ImportSnapshots"
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(op, true, phaseInit); err != nil {
		return nil, err
	}
	if !s.loaded {
		return nil, vss.E(op, vss.ErrBadState, errors.New("no document was given to InitializeForBackup")).Advise("give it the Backup Components Document of the host that made the set")
	}
	return s.async(func(ctx context.Context, a *Async) (vss.Code, error) {
		code, err := s.importDocument(ctx, a)
		if set := s.backup.SnapshotSet; set != nil {
			s.k.failed("import-failed", set.ID, "", err)
		}
		return code, err
	}), nil
}

func (s *Session) importDocument(ctx context.Context, a *Async) (vss.Code, error) {
	const op = "ImportSnapshots"
	doc, set := s.backup, s.backup.SnapshotSet
	switch {
	case set == nil:
		return 0, vss.E(op, vss.ErrNonTransportableBCD, errors.New("the document describes no shadow copies")).Advise("save it after DoSnapshotSet has finished")
	case !set.Context.Has(vss.AttrTransportable) || !doc.Transportable():
		return 0, vss.E(op, vss.ErrNonTransportableBCD, nil).On(set.ID.String()).Advise("only a set created with --transportable can be imported")
	}
	unlock, err := s.k.lockSet(op, set.ID)
	if err != nil {
		return 0, err
	}
	defer unlock()
	records := make([]*catalog.Snapshot, len(set.Snapshots))
	for i, d := range set.Snapshots {
		r, err := catalogSnapshot(d)
		if err != nil {
			return 0, vss.E(op, vss.ErrInvalidXMLDocument, err).On(d.ID.String())
		}
		if _, err := s.k.provider(r.ProviderID); err != nil {
			return 0, err
		}
		if !s.autoRelease() { // whoever imports decides how long it lives
			r.Attributes |= vss.AttrPersistent | vss.AttrNoAutoRelease
		}
		r.Order, r.Count = i, len(records)
		records[i] = &r
	}
	a.progress("import", 10)
	code, err := s.k.importSet(ctx, catalog.Set{ID: set.ID, Context: set.Context, Count: len(records)}, records, false)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	s.owned = append(s.owned, set.ID)
	s.mu.Unlock()
	return code, nil
}

// importSet surfaces a set of another session. The copies are recorded first, as committed and not here yet: an import that
// dies with the service goes on at the next start, where again says so.
func (k *Coordinator) importSet(ctx context.Context, set catalog.Set, records []*catalog.Snapshot, again bool) (vss.Code, error) {
	const op = "ImportSnapshots"
	if !again {
		if err := k.beginImport(&set, records); err != nil {
			return 0, err
		}
	}
	made := map[vss.SnapshotID]bool{} // by this host, which left them to be imported: they can be imported later, too
	for _, r := range records {
		made[r.ID] = !slices.ContainsFunc(r.LUNs, func(l catalog.LUN) bool { return l.LUNID.IsZero() })
	}
	missing, err := k.surface(ctx, set.ID, records, again)
	var here []*catalog.Snapshot
	for _, r := range records {
		if r.Imported {
			r.State = vss.StateCreated
			r.Attributes |= vss.AttrImported | vss.AttrNotSurfaced
			here = append(here, r)
		}
	}
	failed := err
	k.sendAway(context.WithoutCancel(ctx), records)
	if err := k.endImport(records, made); err != nil {
		return 0, err
	}
	for _, m := range missing {
		k.events.add(catalog.Event{Severity: "warning", What: "not-imported", SetID: set.ID, Code: vss.CodeOf(m), Message: m.Error(), Hint: vss.Hint(m)})
	}
	switch {
	case failed != nil:
		return 0, failed
	case len(here) == 0:
		return 0, vss.E(op, vss.ErrNoSnapshotsImported, errors.Join(missing...)).On(set.ID.String()).Advise("`vss lun list` shows which LUNs exist and who may see them; delete those of no more use")
	case len(missing) > 0:
		return vss.SuccessSomeSnapshotsNotImported, nil
	}
	return vss.OK, nil
}

// sendAway masks what could not be imported from this host again: it may still have its original's identity. The LUNs stay
// in the array, for whoever cleans up.
func (k *Coordinator) sendAway(ctx context.Context, records []*catalog.Snapshot) {
	kept := map[vss.LUNID]bool{}
	for _, r := range records {
		for _, l := range r.LUNs {
			kept[l.LUNID] = kept[l.LUNID] || r.Imported
		}
	}
	for _, r := range records {
		hw, props, err := k.hardware(r.ProviderID)
		if err != nil || r.Imported {
			continue
		}
		for i := range r.LUNs {
			l := &r.LUNs[i]
			if d, ok := k.Disks.ByInformation(ctx, &l.Copy); ok && !kept[d.LUN.ID] {
				err := k.Disks.Uninstall(ctx, d, true)
				if err == nil {
					err = hw.OnLUNStateChange(ctx, []vss.LUNInformation{l.Copy}, []vss.LUNInformation{l.Original}, vss.DoMaskLUNs)
				}
				if err != nil {
					k.failed("not-masked", r.SetID, d.LUN.Name, k.said(props, "OnLunStateChange", r.SetID, err))
				}
			}
		}
	}
}

// beginImport makes the intent durable. A set that this host made and left to be imported is known already.
func (k *Coordinator) beginImport(set *catalog.Set, records []*catalog.Snapshot) error {
	return k.Catalog.Update(func(tx *catalog.Tx) error {
		known, ok, err := tx.Set(set.ID)
		if err != nil {
			return err
		}
		if ok {
			*set = known
		} else {
			set.Created = records[0].Created
			set.Consistency = vss.ConsistencyApplication
			for _, r := range records {
				set.Consistency = min(set.Consistency, r.Consistency)
			}
		}
		for _, r := range records {
			old, ok, err := tx.Snapshot(r.ID)
			if err != nil {
				return err
			}
			if ok && old.SetID != set.ID {
				return vss.E("ImportSnapshots", vss.ErrInvalidXMLDocument, errors.New("a copy of that id is in another set here")).On(r.ID.String())
			}
			if ok && old.Imported {
				return vss.E("ImportSnapshots", vss.ErrBadState, errors.New("the set is imported here already")).On(set.ID.String()).Advise("`vss list shadows` shows it")
			}
			if ok && old.State == vss.StateCreated { // our own record, which the document doesn't change
				*r = old
			}
			r.State = vss.StatePostCommitted
			if err := tx.PutSnapshot(*r); err != nil {
				return err
			}
		}
		return tx.PutSet(*set)
	})
}

// endImport makes durable what arrived and forgets the rest, but for what this host itself had made: that can still be
// imported.
func (k *Coordinator) endImport(records []*catalog.Snapshot, made map[vss.SnapshotID]bool) error {
	return k.Catalog.Update(func(tx *catalog.Tx) error {
		for _, r := range records {
			switch {
			case r.Imported:
			case made[r.ID]:
				r.State = vss.StateCreated
			default:
				if err := tx.RemoveSnapshot(r.ID); err != nil {
					return err
				}
				continue
			}
			if err := tx.PutSnapshot(*r); err != nil {
				return err
			}
		}
		return nil
	})
}

// resumeImport goes on with an import that died with the service. One of an auto-release context has no session any more:
// its copies are deleted.
func (k *Coordinator) resumeImport(ctx context.Context, set catalog.Set, records []*catalog.Snapshot) error {
	if !records[0].Attributes.Has(vss.AttrNoAutoRelease) {
		for _, r := range records {
			if err := k.deleteCopy(ctx, r, true); err != nil {
				return err
			}
		}
		return nil
	}
	code, err := k.importSet(ctx, set, records, true)
	if err == nil && code != vss.OK {
		err = vss.E("ImportSnapshots", vss.ErrSomeSnapshotsNotImported, fmt.Errorf("not all copies arrived")).On(set.ID.String())
	}
	return err
}
