package coordinator

import (
	"context"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Properties is all that a requester sees of a copy: what is recorded and what follows from it.
type Properties struct {
	catalog.Snapshot
	DeviceObject string // "" while the copy isn't on this host
	Path         string // where it can be read now, "" for nowhere
}

// Properties completes a record with what follows from it.
func (k *Coordinator) Properties(r catalog.Snapshot) Properties {
	return Properties{r, k.deviceObject(&r), k.path(&r)}
}

// SnapshotSet describes a set and how its creation went. Errors: VSS_E_OBJECT_NOT_FOUND.
func (k *Coordinator) SnapshotSet(id vss.SnapshotSetID) (set catalog.Set, copies []Properties, err error) {
	err = k.Catalog.View(func(tx *catalog.Tx) error {
		var ok bool
		if set, ok, err = tx.Set(id); err != nil {
			return err
		}
		all, err := tx.SnapshotsOf(id)
		if err != nil {
			return err
		}
		for _, r := range all {
			if r.State == vss.StateCreated {
				copies = append(copies, k.Properties(r))
			}
		}
		if !ok || len(copies) == 0 {
			return vss.E("GetSnapshotSet", vss.ErrObjectNotFound, nil).On(id.String()).Advise("`vss list shadows` shows which sets exist")
		}
		return nil
	})
	return set, copies, err
}

// InUse says what needs a LUN as it is, "" if nothing does: it is a copy's, or an original's of a set that is being made. The
// disk manager asks before it changes one.
func (k *Coordinator) InUse(id vss.LUNID) (why string) {
	k.mu.Lock()
	if k.creating != nil && k.creating.inUse[id] {
		why = "shadow copy set " + k.creating.id.String() + " of it is being made"
	}
	k.mu.Unlock()
	_ = k.Catalog.View(func(tx *catalog.Tx) error {
		all, err := tx.Snapshots()
		for _, r := range all {
			for _, l := range r.LUNs {
				if l.LUNID == id {
					why = "it is shadow copy " + r.ID.String() + " of " + r.OriginalVolume
				}
			}
		}
		return err
	})
	return why
}

// ListedVolume is a volume and who could copy it.
type ListedVolume struct {
	*volume.Volume
	LUNs      []vss.LUNID
	Providers []string
}

// ListVolumes lists the volumes of this host.
func (k *Coordinator) ListVolumes(ctx context.Context) ([]ListedVolume, error) {
	all, err := k.Volumes.List(ctx)
	if err != nil {
		return nil, err
	}
	var out []ListedVolume
	for _, v := range all {
		l := ListedVolume{Volume: v, LUNs: []vss.LUNID{}, Providers: k.supportedBy(ctx, v, k.providers, vss.ContextBackup)}
		for _, d := range v.Disks {
			if lun, ok := k.Disks.ByDevice(ctx, d); ok {
				l.LUNs = append(l.LUNs, lun.LUN.ID)
			}
		}
		out = append(out, l)
	}
	return out, nil
}

// IsVolumeSnapshotted says whether a volume has copies here, and what they forbid on it: nothing, those of hardware
// providers have LUNs of their own. Errors: VSS_E_OBJECT_NOT_FOUND.
func (k *Coordinator) IsVolumeSnapshotted(ctx context.Context, name string) (bool, vss.SnapshotCompatibility, error) {
	v, err := k.Volumes.Find(ctx, name)
	if err != nil {
		return false, 0, err
	}
	present, forbidden := false, vss.SnapshotCompatibility(0)
	err = k.Catalog.View(func(tx *catalog.Tx) error {
		all, err := tx.Snapshots()
		for _, r := range all {
			present = present || r.State == vss.StateCreated && r.OriginatingMachine == k.Host && r.OriginalVolume == v.Name
		}
		return err
	})
	if err != nil || present {
		return present, forbidden, err
	}
	for _, p := range k.providers {
		sw, ok := p.Provider.(provider.Software)
		if !ok {
			continue
		}
		yes, c, err := sw.IsVolumeSnapshotted(ctx, identityOf(v))
		if err != nil {
			return false, 0, k.said(p.props, "IsVolumeSnapshotted", vss.SnapshotSetID{}, err)
		}
		present, forbidden = present || yes, forbidden|c
	}
	return present, forbidden, nil
}

// identityOf returns what software providers know a volume by.
func identityOf(v *volume.Volume) provider.Volume {
	o := provider.Volume{
		Name: v.Name, FileSystem: v.FileSystem, UUID: v.UUID, Subvolume: v.Subvolume, Device: v.Device,
		Devices: v.Disks, Extents: v.Extents,
	}
	if len(v.MountPoints) > 0 {
		o.Mount = v.MountPoints[0]
	}
	for _, e := range v.Extents {
		o.Size += e.Length
	}
	return o
}
