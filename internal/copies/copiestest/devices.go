package copiestest

import (
	"context"

	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// lun returns which LUN a device is. The caller holds mu.
func (w *World) lun(device string) (vss.LUNID, error) {
	for lun, dev := range w.devices {
		if dev == device {
			return lun, nil
		}
	}
	return vss.LUNID{}, vss.E("OpenDisk", vss.ErrObjectNotFound, nil).On(device)
}

// Table implements copies.Devices.
func (w *World) Table(device string) (*disk.Table, error) {
	if err := w.fail("Table", device); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	lun, err := w.lun(device)
	if err != nil {
		return nil, err
	}
	return clone(w.tables[lun]), nil
}

// CanFlag implements copies.Devices.
func (w *World) CanFlag(device string) error { return w.fail("CanFlag", device) }

// CanRenew implements copies.Devices.
func (w *World) CanRenew(_ string, devices []string) error { return w.fail("CanRenew", devices[0]) }

// Partitioned implements copies.Devices.
func (w *World) Partitioned(device string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.parted[device]
}

// SetReadOnly implements copies.Devices.
func (w *World) SetReadOnly(device string, on bool) error {
	if err := w.fail("SetReadOnly", device); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := w.lun(device); err != nil {
		return err
	}
	w.readOnly[device] = on
	return nil
}

// SetBtrfsFSID implements copies.Devices.
func (w *World) SetBtrfsFSID(nodes []string, fsid vss.GUID) error {
	for _, n := range nodes {
		if err := w.identify("SetBtrfsFSID", n, fsid.Plain()); err != nil {
			return err
		}
	}
	return nil
}

// SetFileSystemUUID implements copies.Devices.
func (w *World) SetFileSystemUUID(_ context.Context, node, uuid string) error {
	return w.identify("SetFileSystemUUID", node, uuid)
}

// RestoreFileSystemUUID implements copies.Devices.
func (w *World) RestoreFileSystemUUID(_ context.Context, node, uuid string) error {
	return w.identify("RestoreFileSystemUUID", node, uuid)
}

// identify gives a file system an identity, which needs a disk that takes writes.
func (w *World) identify(op, node, to string) error {
	if err := w.fail(op, node); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, dev := range w.devices {
		if within(node, dev) && w.readOnly[dev] {
			return vss.E(op, vss.ErrUnexpected, nil).On(node).Advise("the disk is read-only")
		}
	}
	w.fsids[node] = to
	return nil
}

// Edit implements copies.Devices. A disk whose lock is held can't be opened.
func (w *World) Edit(_ context.Context, device string, _ bool) (copies.Editor, error) {
	if err := w.fail("Edit", device); err != nil {
		return nil, err
	}
	lun, err := w.take(device)
	if err != nil {
		return nil, err
	}
	e := &editor{w: w, device: device, lun: lun}
	return e, e.Reload()
}

// Lock implements copies.Disks.
func (w *World) Lock(_ context.Context, d vds.Disk) (copies.LockedDisk, error) {
	if err := w.fail("Lock", d.Device); err != nil {
		return nil, err
	}
	if _, err := w.take(d.Device); err != nil {
		return nil, err
	}
	return &lockedDisk{w, d}, nil
}

// take takes a disk's lock.
func (w *World) take(device string) (vss.LUNID, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	lun, err := w.lun(device)
	if err == nil && w.locked[device] {
		err = vss.E("OpenDisk", vss.ErrVolumeInUse, nil).On(device)
	}
	if err == nil {
		w.locked[device] = true
	}
	return lun, err
}

func (w *World) release(device string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.locked, device)
}

type lockedDisk struct {
	w *World
	d vds.Disk
}

func (l *lockedDisk) SetIdentity(_ context.Context, to disk.Identity) error {
	if err := l.w.fail("SetIdentity", l.d.Device); err != nil {
		return err
	}
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	l.w.tables[l.d.LUN.ID].Identity = to
	return nil
}

func (l *lockedDisk) SetFlags(ctx context.Context, set, clr vss.DiskFlags) error {
	return l.w.SetFlags(ctx, l.d, set, clr)
}

func (l *lockedDisk) Unlock() { l.w.release(l.d.Device) }

// AddPartition adds a partition to the table of a LUN, as another program does.
func (w *World) AddPartition(lun vss.LUNID, p disk.Partition) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tables[lun].Partitions = append(w.tables[lun].Partitions, p)
}

type editor struct {
	w      *World
	device string
	lun    vss.LUNID
	seen   int // partitions when the table was last read
}

func (e *editor) Table() *disk.Table {
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	return clone(e.w.tables[e.lun])
}

func (e *editor) Reload() error {
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	e.seen = len(e.w.tables[e.lun].Partitions)
	return nil
}

func (e *editor) SetFlags(set, clr vss.DiskFlags) error { return e.SetPartitionFlags(0, set, clr) }

func (e *editor) SetPartitionFlags(number int, set, clr vss.DiskFlags) error {
	op := "Edit.Set"
	if set == 0 {
		op = "Edit.Clear"
	}
	if err := e.w.fail(op, e.device); err != nil {
		return err
	}
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	if len(e.w.tables[e.lun].Partitions) != e.seen {
		return vss.E(op, vss.ErrUnexpected, disk.ErrTableChanged).On(e.device)
	}
	e.w.setFlags(e.lun, number, set, clr)
	return nil
}

func (e *editor) Close() error {
	e.w.release(e.device)
	return e.w.fail("Edit.Close", e.device)
}
