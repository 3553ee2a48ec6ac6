package coordinator

import (
	"context"
	"errors"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// ImportSnapshots surfaces the set that the document given to InitializeForBackup describes: its LUNs are unmasked to
// this host, recognised, given identities of their own, and shown read-only and hidden. It happens once in a set's
// life. What fails is left as it is: the requester cleans up. Errors, at once: VSS_E_BAD_STATE; through the Async:
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
		return nil, vss.E(op, vss.ErrBadState, errors.New("no document was given to InitializeForBackup")).
			Advise("give it the Backup Components Document of the host that made the set")
	}
	doc := s.document()
	return s.async(func(ctx context.Context, a *Async) (vss.Code, error) {
		code, err := s.importDocument(ctx, a, doc)
		if set := doc.SnapshotSet; set != nil {
			s.k.Events.Failed(events.ImportFailed, set.ID, "", err)
		}
		return code, err
	}), nil
}

func (s *Session) importDocument(ctx context.Context, a *Async, doc *document.Components) (vss.Code, error) {
	const op = "ImportSnapshots"
	set := doc.SnapshotSet
	switch {
	case set == nil:
		return 0, vss.E(op, vss.ErrNonTransportableBCD, errors.New("the document describes no shadow copies")).
			Advise("save it after DoSnapshotSet has finished")
	case !set.Context.Has(vss.AttrTransportable) || !doc.Transportable():
		return 0, vss.E(op, vss.ErrNonTransportableBCD, nil).On(set.ID.String()).
			Advise("only a set created with --transportable can be imported")
	}
	unlock, err := s.k.lockSet(op, set.ID)
	if err != nil {
		return 0, err
	}
	defer unlock()
	records := make([]*catalog.Snapshot, len(set.Snapshots))
	for i, d := range set.Snapshots {
		r, err := copies.FromDocument(d)
		if err != nil {
			return 0, vss.E(op, vss.ErrInvalidXMLDocument, err).On(d.ID.String())
		}
		if !s.autoRelease() { // the context of the import decides how long the copies exist
			r.Attributes |= vss.AttrPersistent | vss.AttrNoAutoRelease
		}
		r.Order, r.Count = i, len(records)
		records[i] = &r
	}
	parts, err := s.k.parts(records)
	if err != nil {
		return 0, err
	}
	for _, p := range parts {
		if _, ok := p.kind.(copies.Importer); !ok { // its document can't come from a host that made such a set
			why := errors.New("copies of " + p.kind.Properties().Name + " can't be imported")
			return 0, vss.E(op, vss.ErrNonTransportableBCD, why).On(set.ID.String())
		}
	}
	a.Progress("import", 10)
	code, err := s.k.importSet(ctx, catalog.Set{ID: set.ID, Context: set.Context, Count: len(records)}, records, false)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	s.own(set.ID)
	s.mu.Unlock()
	return code, nil
}

// importSet surfaces a set of another session. The copies are recorded first, as committed and not here yet: an
// import during which the service dies goes on at the next start, with again.
func (k *Coordinator) importSet(
	ctx context.Context, set catalog.Set, records []*catalog.Snapshot, again bool,
) (vss.Code, error) {
	const op = "ImportSnapshots"
	if !again {
		if err := k.beginImport(&set, records); err != nil {
			return 0, err
		}
	}
	made := map[vss.SnapshotID]bool{} // by this host, which left them to be imported: they can be imported later, too
	for _, r := range records {
		made[r.ID] = copies.MadeHere(r)
	}
	missing, failed := k.surface(ctx, set.ID, records, again)
	arrived := 0
	for _, r := range records {
		if r.Imported {
			r.State = vss.StateCreated
			r.Attributes |= vss.AttrImported | vss.AttrNotSurfaced
			arrived++
		}
	}
	k.sendAway(context.WithoutCancel(ctx), records)
	if err := k.endImport(records, made); err != nil {
		return 0, err
	}
	for _, m := range missing {
		k.Events.Problem(events.NotImported, events.Warning, set.ID, "", m)
	}
	switch {
	case failed != nil:
		return 0, failed
	case arrived == 0:
		return 0, vss.E(op, vss.ErrNoSnapshotsImported, errors.Join(missing...)).On(set.ID.String()).
			Advise("`vss lun list` shows which LUNs exist and which hosts see them; delete those that aren't needed")
	case len(missing) > 0:
		return vss.SuccessSomeSnapshotsNotImported, nil
	}
	return vss.OK, nil
}

// surface brings the copies of a set to this host, kind by kind. Those that don't arrive have an error in missing.
func (k *Coordinator) surface(
	ctx context.Context, set vss.SnapshotSetID, records []*catalog.Snapshot, again bool,
) (missing []error, err error) {
	parts, err := k.parts(records)
	if err != nil {
		return nil, err
	}
	var here []copies.Copy
	for _, p := range parts {
		arrived, absent, err := p.kind.Surface(ctx, set, p.records, again)
		if err != nil {
			return missing, err
		}
		here, missing = append(here, arrived...), append(missing, absent...)
	}
	return missing, k.Host.Place(ctx, here)
}

// sendAway hides from this host what could not be imported: it may still have the identity of its original.
func (k *Coordinator) sendAway(ctx context.Context, records []*catalog.Snapshot) {
	parts, err := k.parts(records)
	if err != nil {
		return
	}
	for _, p := range parts {
		if i, ok := p.kind.(copies.Importer); ok {
			i.SendAway(ctx, p.records)
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
				why := errors.New("a copy of that id is in another set here")
				return vss.E("ImportSnapshots", vss.ErrInvalidXMLDocument, why).On(r.ID.String())
			}
			if ok && old.Imported {
				return vss.E("ImportSnapshots", vss.ErrBadState, errors.New("the set is imported here already")).
					On(set.ID.String()).Advise("`vss list shadows` shows it")
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

// resumeImport goes on with an import during which the service died.
func (k *Coordinator) resumeImport(ctx context.Context, set catalog.Set, records []*catalog.Snapshot) error {
	code, err := k.importSet(ctx, set, records, true)
	if err == nil && code != vss.OK {
		why := errors.New("not all copies arrived")
		err = vss.E("ImportSnapshots", vss.ErrSomeSnapshotsNotImported, why).On(set.ID.String())
	}
	return err
}
