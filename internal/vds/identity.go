package vds

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// lockWait is how long the disk's lock, which udev and partitioning tools take too, is waited for.
const lockWait = 10 * time.Second

// Identity reads the ids of a disk and its partitions. Errors: VSS_E_MISSING_DISK, disk.Read's.
func (m *Manager) Identity(_ context.Context, d Disk) (disk.Identity, error) {
	if d.Device == "" {
		return disk.Identity{}, missing("GetIdentity", d)
	}
	t, err := disk.Read(d.Device)
	if err != nil {
		return disk.Identity{}, err
	}
	return t.Identity, nil
}

// SetIdentity gives a disk these ids; its mounts and partitions stay. Errors: VSS_E_MISSING_DISK;
// VSS_E_CANNOT_REVERT_DISKID, also where another disk of this machine has them.
func (m *Manager) SetIdentity(ctx context.Context, d Disk, id disk.Identity) error {
	if d.Device == "" {
		return missing("SetIdentity", d)
	}
	return m.setIdentity(ctx, d, nil, id)
}

// setIdentity is SetIdentity under the disk's lock, if the caller holds that.
func (m *Manager) setIdentity(ctx context.Context, d Disk, held *disk.Locked, id disk.Identity) error {
	const op = "SetIdentity"
	defer m.lock(d.LUN.ID)()
	return edit(ctx, d, held, true, func(e *disk.Editor) error {
		if has := e.Table().Identity; has.Style == id.Style && has.Disk == id.Disk &&
			slices.Equal(has.Partitions, id.Partitions) {
			return nil
		}
		if other, ok := (&neighbours{}).twin(d.Device, id); ok {
			return vss.E(op, vss.ErrCannotRevertDiskID, fmt.Errorf("%s%s has these ids", other, m.nameOf(ctx, other))).
				On(d.Device).
				Advise("mask the other one first: `vss lun mask " + other + "`")
		}
		return e.SetIdentity(id)
	})
}

// RenewIdentity gives a disk new ids and, after that, its partitions. A disk without a table has no identity to
// renew. Errors: VSS_E_MISSING_DISK, VSS_E_CANNOT_REVERT_DISKID.
func (m *Manager) RenewIdentity(ctx context.Context, d Disk) (id disk.Identity, err error) {
	if d.Device == "" {
		return id, missing("RenewIdentity", d)
	}
	defer m.lock(d.LUN.ID)()
	err = edit(ctx, d, nil, true, func(e *disk.Editor) (err error) {
		id, err = e.RenewIdentity()
		return err
	})
	if err == nil {
		m.places.setImporting(d.LUN.ID, false)
	}
	return id, err
}

// edit changes a disk's table, read-only or not, and then, with arrive, gives the kernel its partitions. The disk's
// lock is taken for the change unless the caller holds it.
func edit(ctx context.Context, d Disk, held *disk.Locked, arrive bool, change func(*disk.Editor) error) (err error) {
	if disk.ReadOnly(d.Device) {
		if err := disk.SetReadOnly(d.Device, false); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, disk.SetReadOnly(d.Device, true)) }()
	}
	var t *disk.Table
	all := func(e *disk.Editor) error {
		err := change(e)
		t = e.Table()
		return err
	}
	if held != nil {
		err = held.Edit(all)
	} else {
		wait, cancel := context.WithTimeout(ctx, lockWait)
		defer cancel()
		err = disk.Edit(wait, d.Device, all)
	}
	if err == nil && arrive {
		_, err = disk.AddPartitions(d.Device, t)
	}
	return err
}

// SetLUNFlags sets and clears flags: of every data partition (GPT), of the disk (MBR), or in the array's record of
// the LUN where the disk has no table. Mounts and the kernel's read-only state stay as they are. Errors:
// VSS_E_MISSING_DISK, VSS_E_NOT_SUPPORTED.
func (m *Manager) SetLUNFlags(ctx context.Context, d Disk, set, clr vss.DiskFlags) error {
	if d.Device == "" {
		return missing("SetFlags", d)
	}
	defer m.lock(d.LUN.ID)()
	return setFlags(ctx, d, nil, 0, set, clr)
}

// setFlags is SetLUNFlags of one partition, or of all for number 0. The caller holds the LUN's lock, and may hold the
// disk's.
func setFlags(ctx context.Context, d Disk, held *disk.Locked, number int, set, clr vss.DiskFlags) error {
	t, err := disk.Read(d.Device)
	if err != nil {
		return err
	}
	if t.Style == disk.StyleNone {
		if number != 0 {
			return noPartition("SetFlags", d, number)
		}
		l, err := d.Array.LUN(ctx, d.LUN.ID)
		if err == nil && l.Flags != l.Flags&^clr|set {
			_, err = d.Array.SetFlags(ctx, d.LUN.ID, l.Flags&^clr|set)
		}
		return err
	}
	return edit(ctx, d, held, false, func(e *disk.Editor) error {
		if number != 0 {
			return e.SetPartitionFlags(number, set, clr)
		}
		return e.SetFlags(set, clr)
	})
}

func noPartition(op string, d Disk, number int) error {
	return vss.E(op, vss.VDSErrObjectNotFound, fmt.Errorf("no partition %d", number)).
		On(d.LUN.Name).
		Advise("`vss lun show " + d.LUN.Name + "` shows its partitions")
}
