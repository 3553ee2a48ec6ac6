package vds

import (
	"context"

	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// LockedDisk is a disk whose lock is held: udev runs no rules for it between the changes that are made by its methods.
type LockedDisk struct {
	m    *Manager
	d    Disk
	lock *disk.Locked
}

// Lock takes the lock of a disk for several changes. Errors: VSS_E_MISSING_DISK, VSS_E_VOLUME_IN_USE.
func (m *Manager) Lock(ctx context.Context, d Disk) (*LockedDisk, error) {
	if d.Device == "" {
		return nil, missing("LockDisk", d)
	}
	l, err := disk.Lock(ctx, d.Device)
	if err != nil {
		return nil, err
	}
	return &LockedDisk{m, d, l}, nil
}

// Unlock releases the disk's lock.
func (l *LockedDisk) Unlock() { l.lock.Release() }

// SetIdentity is Manager.SetIdentity under the lock.
func (l *LockedDisk) SetIdentity(ctx context.Context, id disk.Identity) error {
	return l.m.setIdentity(ctx, l.d, l.lock, id)
}

// SetFlags is Manager.SetLUNFlags under the lock.
func (l *LockedDisk) SetFlags(ctx context.Context, set, clr vss.DiskFlags) error {
	defer l.m.lock(l.d.LUN.ID)()
	return setFlags(ctx, l.d, l.lock, 0, set, clr)
}
