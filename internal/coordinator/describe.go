package coordinator

import (
	"context"
	"errors"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// GetSnapshotProperties returns the record of a finished copy. Errors: VSS_E_OBJECT_NOT_FOUND, VSS_E_BAD_STATE.
func (s *Session) GetSnapshotProperties(id vss.SnapshotID) (catalog.Snapshot, error) {
	const op = "GetSnapshotProperties"
	if _, err := s.look(op, initialized); err != nil {
		return catalog.Snapshot{}, err
	}
	return s.k.find(op, id)
}

// Query lists the finished copies of the session's context, or all of them for VSS_CTX_ALL. SetContext comes first.
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
	out, err := s.k.recordsWhere(func(r *catalog.Snapshot) bool {
		return r.State == vss.StateCreated && (c == vss.ContextAll || r.Attributes.BaseContext() == c.BaseContext())
	})
	oldestFirst(out)
	return out, err
}

// oldestFirst sorts copies by age. Those that were made here and stayed are in the order of their device numbers,
// since the clock may have been set back between two; those that were imported have their places among them by their
// times.
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

// Properties is a copy as requesters see it: its record and what follows from that.
type Properties struct {
	catalog.Snapshot
	DeviceObject string // "" while the copy isn't on this host
	Path         string // where it can be read now, "" if nowhere
}

// Properties completes a record.
func (k *Coordinator) Properties(r catalog.Snapshot) Properties {
	return Properties{r, k.Host.DeviceObject(&r), k.Host.Path(&r)}
}

// SnapshotSet returns a set and its finished copies. Errors: VSS_E_OBJECT_NOT_FOUND.
func (k *Coordinator) SnapshotSet(id vss.SnapshotSetID) (set catalog.Set, all []Properties, err error) {
	var found bool
	err = k.Catalog.View(func(tx *catalog.Tx) (err error) {
		set, found, err = tx.Set(id)
		return err
	})
	if err != nil {
		return set, nil, err
	}
	records, err := k.recordsOf(id)
	for _, r := range records {
		if r.State == vss.StateCreated {
			all = append(all, k.Properties(*r))
		}
	}
	if err == nil && (!found || len(all) == 0) {
		err = vss.E("GetSnapshotSet", vss.ErrObjectNotFound, nil).On(id.String()).
			Advise("`vss list shadows` shows which sets exist")
	}
	return set, all, err
}

// InUse returns why a LUN must stay as it is, "" if nothing needs it: it is a copy's, or an original of a set that is
// being created. The disk manager asks before it changes a LUN.
func (k *Coordinator) InUse(id vss.LUNID) string {
	k.mu.Lock()
	creating := k.creating
	k.mu.Unlock()
	records, _ := k.recordsWhere(func(r *catalog.Snapshot) bool { return copies.On(r, id) })
	switch {
	case len(records) > 0:
		return "it is shadow copy " + records[0].ID.String() + " of " + records[0].OriginalVolume
	case creating != nil && creating.usesLUN(id):
		return "shadow copy set " + creating.id.String() + " of it is being made"
	}
	return ""
}

// ListedVolume is a volume and the providers that can copy it.
type ListedVolume struct {
	*volume.Volume
	LUNs      []vss.LUNID
	Providers []string
	Snapshots []vss.SnapshotID // its copies on this host
}

// ListVolumes lists the volumes of this host.
func (k *Coordinator) ListVolumes(ctx context.Context) ([]ListedVolume, error) {
	all, err := k.Volumes.List(ctx)
	if err != nil {
		return nil, err
	}
	records, err := k.recordsWhere(func(r *catalog.Snapshot) bool { return r.State == vss.StateCreated })
	if err != nil {
		return nil, err
	}
	var out []ListedVolume
	for _, v := range all {
		l := ListedVolume{
			Volume: v, LUNs: k.Host.LUNs(ctx, v), Providers: supporting(ctx, v, k.loaded(), vss.ContextBackup),
		}
		if len(records) > 0 {
			is := k.Host.Original(ctx, v)
			for i := range records {
				if is(&records[i]) {
					l.Snapshots = append(l.Snapshots, records[i].ID)
				}
			}
		}
		out = append(out, l)
	}
	return out, nil
}

// IsVolumeSnapshotted reports whether a volume has copies here, and what they disable on it. Copies of hardware
// providers have LUNs of their own and disable nothing. Errors: VSS_E_OBJECT_NOT_FOUND.
func (k *Coordinator) IsVolumeSnapshotted(
	ctx context.Context, name string,
) (present bool, disabled vss.SnapshotCompatibility, err error) {
	v, err := k.Volumes.Find(ctx, name)
	if err != nil {
		return false, 0, err
	}
	is := k.Host.Original(ctx, v)
	records, err := k.recordsWhere(func(r *catalog.Snapshot) bool {
		return r.State == vss.StateCreated && r.OriginatingMachine == k.Name && is(r)
	})
	if err != nil {
		return false, 0, err
	}
	present = len(records) > 0
	for _, kind := range k.loaded() {
		yes, c, err := kind.Snapshotted(ctx, v)
		if err != nil {
			return false, 0, err
		}
		present, disabled = present || yes, disabled|c
	}
	return present, disabled, nil
}
