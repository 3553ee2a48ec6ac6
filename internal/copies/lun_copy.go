package copies

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// lunCopy is a copy on LUNs of its own.
type lunCopy struct {
	k     *lunKind
	r     *catalog.Snapshot
	disks []vds.Disk // of r.LUNs, in their order; nil until they are looked up
	nodes []string   // the devices that the volume lies on; nil until they are looked up
}

// Record implements Copy.
func (c *lunCopy) Record() *catalog.Snapshot { return c.r }

// Kind implements Copy.
func (c *lunCopy) Kind() Kind { return c.k }

// moved forgets where the disks are.
func (c *lunCopy) moved() { c.disks, c.nodes = nil, nil }

// lunDisk finds a copy's LUN as a disk of this host. Errors: VSS_E_MISSING_DISK, VSS_E_BAD_STATE for a LUN that isn't a
// copy of the set.
func (k *lunKind) lunDisk(ctx context.Context, set vss.SnapshotSetID, l *catalog.LUN) (vds.Disk, error) {
	d, ok := k.disks().ByInformation(ctx, &l.Copy)
	if ok && d.Exists() && !copyOf(d, set) {
		return d, notACopy(d, set)
	}
	return d, here(l, d)
}

// here returns VSS_E_MISSING_DISK for a LUN that is not a disk of this host.
func here(l *catalog.LUN, d vds.Disk) error {
	if d.Device != "" {
		return nil
	}
	return vss.E("FindDisk", vss.ErrMissingDisk, nil).
		On(l.LUNID.String()).
		Advise("`vss lun list` shows whether the LUN exists and the hosts that may see it")
}

// find looks up the disks, once.
func (c *lunCopy) find(ctx context.Context) ([]vds.Disk, error) {
	if c.disks != nil {
		return c.disks, nil
	}
	disks := c.k.find(ctx, c.r.LUNs)
	for i, d := range disks {
		if err := here(&c.r.LUNs[i], d); err != nil {
			return nil, err
		}
		if !copyOf(d, c.r.SetID) {
			return nil, notACopy(d, c.r.SetID)
		}
	}
	c.disks = disks
	return disks, nil
}

// Source implements Copy: the block devices that the volume lies on, one for each of its extents.
func (c *lunCopy) Source(ctx context.Context) (provider.Location, error) {
	at := provider.Location{Devices: c.nodes, Subvolume: c.r.Subvolume}
	if c.nodes != nil {
		return at, nil
	}
	missing := func(err error) (provider.Location, error) {
		return provider.Location{}, vss.E("FindVolume", vss.ErrMissingVolume, err).On(c.r.ID.String())
	}
	disks, err := c.find(ctx)
	if err != nil {
		return provider.Location{}, err
	}
	for _, e := range c.r.Extents {
		if e.LUN < 0 || e.LUN >= len(disks) {
			return missing(fmt.Errorf("extent on LUN %d of %d", e.LUN, len(disks)))
		}
		n, err := c.k.disks().PartitionAt(ctx, disks[e.LUN], e)
		if err != nil {
			return missing(err)
		}
		if !slices.Contains(at.Devices, n) {
			at.Devices = append(at.Devices, n)
		}
	}
	if len(at.Devices) == 0 {
		return missing(errors.New("the copy has no extents"))
	}
	c.nodes = at.Devices
	return at, nil
}

// ReadOnly implements Copy.
func (c *lunCopy) ReadOnly(ctx context.Context, on bool) error {
	disks, err := c.find(ctx)
	if err != nil {
		return err
	}
	for _, d := range disks {
		if err := c.k.disks().SetReadOnly(d.Device, on); err != nil {
			return err
		}
	}
	return nil
}

// Withdraw implements Copy. A disk that isn't here is left out; the others go even if one fails.
func (c *lunCopy) Withdraw(ctx context.Context, force bool) error {
	defer c.moved()
	var errs []error
	for i := range c.r.LUNs {
		if d, err := c.k.lunDisk(ctx, c.r.SetID, &c.r.LUNs[i]); err == nil {
			errs = append(errs, c.k.disks().Uninstall(ctx, d, force))
		}
	}
	return errors.Join(errs...)
}

// Restore implements Copy. The LUNs have been attached by a rescan.
func (c *lunCopy) Restore(ctx context.Context) error {
	c.moved()
	return c.ReadOnly(ctx, true)
}

// TakeAway implements Copy.
func (c *lunCopy) TakeAway(ctx context.Context, kept Kept, force bool) error {
	defer c.moved()
	for i := range c.r.LUNs {
		l := &c.r.LUNs[i]
		if kept(l.LUNID) {
			continue
		}
		if d, err := c.k.lunDisk(ctx, c.r.SetID, l); err == nil {
			err := fault.Around("delete", "uninstall", func() error { return c.k.disks().Uninstall(ctx, d, force) })
			if err != nil {
				return inUse(err, d.Device)
			}
		}
	}
	return nil
}

// Remove implements Copy. After TakeAway a LUN is on this host only if a rescan has brought it back; a former service
// may have left a disk that nothing knows of.
func (c *lunCopy) Remove(ctx context.Context, kept Kept, resumed bool) error {
	defer c.moved()
	for i := range c.r.LUNs {
		l := &c.r.LUNs[i]
		if kept(l.LUNID) {
			continue
		}
		if resumed || c.k.disks().Attached(l.LUNID) {
			if d, err := c.k.lunDisk(ctx, c.r.SetID, l); err == nil {
				if err := c.k.disks().Uninstall(ctx, d, true); err != nil {
					return err
				}
			}
		}
		err := fault.Around("delete", "on-lun-empty", func() error { return c.k.empty(ctx, c.r.SetID, *l) })
		if err != nil {
			return c.k.translate(ctx, callOnLUNEmpty, c.r.SetID, err)
		}
	}
	return nil
}
