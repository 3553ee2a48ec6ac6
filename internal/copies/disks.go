package copies

import (
	"context"
	"errors"
	"fmt"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Disks are the LUNs of this host as disks, and what the package does with them. Manager makes it of the disk manager;
// package copiestest has one in memory.
type Disks interface {
	// Disks lists all LUNs that the arrays have, whether this host sees them or not.
	Disks(ctx context.Context) ([]vds.Disk, error)
	// Find finds a LUN by its id. Errors: VDS_E_OBJECT_NOT_FOUND.
	Find(ctx context.Context, id vss.LUNID) (vds.Disk, error)
	// Locate finds many LUNs by page 0x83. The result has one disk for each, which doesn't exist for a LUN that no
	// array has; an error is returned beside it if an array didn't answer.
	Locate(ctx context.Context, infos []vss.LUNInformation) ([]vds.Disk, error)
	// ByDevice finds the LUN that a device of this host lies on; ByInformation finds the one that page 0x83 names.
	ByDevice(ctx context.Context, device string) (vds.Disk, bool)
	ByInformation(ctx context.Context, info *vss.LUNInformation) (vds.Disk, bool)
	// Inquiry returns what the LUN behind a device says of itself.
	Inquiry(ctx context.Context, device string) (*vss.LUNInformation, bool)
	// VisibleOriginal reports whether a LUN is attached to this kernel, whichever host attached it.
	VisibleOriginal(ctx context.Context, info *vss.LUNInformation) bool
	// PartitionAt returns the node that occupies exactly an extent of a disk. Errors: VSS_E_MISSING_VOLUME.
	PartitionAt(ctx context.Context, d vds.Disk, e vss.Extent) (node string, err error)
	// Rescan makes the disks of this host what the arrays show.
	Rescan(ctx context.Context, o vds.RescanOptions) (arrived []vds.Disk, err error)
	// Uninstall takes a disk off this host. Errors: VSS_E_VOLUME_IN_USE.
	Uninstall(ctx context.Context, d vds.Disk, force bool) error
	// Attached reports whether a LUN is known to be a disk of this host, without a look at anything.
	Attached(id vss.LUNID) bool
	// Identity reads a disk's identity; RenewIdentity gives it a fresh one and, after that, its partitions.
	Identity(ctx context.Context, d vds.Disk) (disk.Identity, error)
	RenewIdentity(ctx context.Context, d vds.Disk) (disk.Identity, error)
	// SetFlags sets and clears the shadow copy flags of a disk.
	SetFlags(ctx context.Context, d vds.Disk, set, clr vss.DiskFlags) error
	// Lock keeps udev's rules and all others from a disk until it is unlocked.
	Lock(ctx context.Context, d vds.Disk) (LockedDisk, error)
	// MakePlain makes ordinary LUNs of copies, in their arrays. LUNs that no array has are left out.
	MakePlain(ctx context.Context, ids []vss.LUNID) error
	// KeepCopies informs the arrays that a set of a host is created. Arrays without copies of it are omitted.
	KeepCopies(ctx context.Context, set vss.SnapshotSetID, host string) error
	// WritePaths returns what the arrays write to when they copy LUNs.
	WritePaths(ctx context.Context) ([]string, error)
	// Pause stops the arrays' background work until resume is called.
	Pause(ctx context.Context) (resume func(), err error)
	// Arrays describes each array, or returns why it doesn't answer.
	Arrays(ctx context.Context) []ArrayInfo

	Devices
}

// ArrayInfo describes an array, unless it doesn't answer.
type ArrayInfo struct {
	array.Info
	Err error
}

// LockedDisk is a disk whose lock is held.
type LockedDisk interface {
	SetIdentity(ctx context.Context, id disk.Identity) error
	SetFlags(ctx context.Context, set, clr vss.DiskFlags) error
	Unlock()
}

// Devices is what the package does with block devices themselves.
type Devices interface {
	// Table reads a disk's partition table. Errors: VSS_E_VOLUME_NOT_SUPPORTED for a corrupt one.
	Table(device string) (*disk.Table, error)
	// CanFlag returns why a disk could not carry the shadow copy flags.
	CanFlag(device string) error
	// CanRenew returns why a copy of the file system on these devices could not get an identity of its own.
	CanRenew(fileSystem string, devices []string) error
	// Edit opens and locks a disk for changes of its flags. The file systems on it may be in use.
	Edit(ctx context.Context, device string, live bool) (Editor, error)
	// Partitioned reports whether the kernel knows partitions of a disk.
	Partitioned(device string) bool
	// SetReadOnly makes a disk and its partitions refuse writes, or take them.
	SetReadOnly(device string, on bool) error
	// SetBtrfsFSID gives a btrfs that isn't mounted a new identity. SetFileSystemUUID gives an ext4 or XFS one; its log
	// is replayed first. RestoreFileSystemUUID puts back the one it had.
	SetBtrfsFSID(nodes []string, fsid vss.GUID) error
	SetFileSystemUUID(ctx context.Context, node, uuid string) error
	RestoreFileSystemUUID(ctx context.Context, node, uuid string) error
}

// Editor changes the flags of one disk. The error of a change wraps disk.ErrTableChanged, and nothing is written, once
// another program has changed the table; Reload reads it again.
type Editor interface {
	Table() *disk.Table
	Reload() error
	SetFlags(set, clr vss.DiskFlags) error
	SetPartitionFlags(number int, set, clr vss.DiskFlags) error
	Close() error
}

// Manager returns the disks of this host as the disk manager sees them.
func Manager(m *vds.Manager) Disks { return &manager{Manager: m} }

type manager struct {
	*vds.Manager
	kernel
}

func (m *manager) Find(ctx context.Context, id vss.LUNID) (vds.Disk, error) {
	return m.Manager.Find(ctx, id.String())
}

func (m *manager) SetFlags(ctx context.Context, d vds.Disk, set, clr vss.DiskFlags) error {
	return m.SetLUNFlags(ctx, d, set, clr)
}

func (m *manager) SetReadOnly(device string, on bool) error { return disk.SetReadOnly(device, on) }

func (m *manager) Lock(ctx context.Context, d vds.Disk) (LockedDisk, error) {
	l, err := m.Manager.Lock(ctx, d)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (m *manager) MakePlain(ctx context.Context, ids []vss.LUNID) error {
	byArray := map[array.Array][]vss.LUNID{}
	for _, id := range ids {
		if d, err := m.Find(ctx, id); err == nil {
			byArray[d.Array] = append(byArray[d.Array], id)
		}
	}
	for a, of := range byArray {
		if err := a.MakePlain(ctx, of); err != nil {
			return err
		}
	}
	return nil
}

func (m *manager) KeepCopies(ctx context.Context, set vss.SnapshotSetID, host string) error {
	for _, a := range m.Manager.Arrays() {
		if err := a.KeepCopies(ctx, set, host); err != nil && !errors.Is(err, vss.ErrObjectNotFound) {
			return err
		}
	}
	return nil
}

func (m *manager) WritePaths(ctx context.Context) ([]string, error) {
	var out []string
	for _, a := range m.Manager.Arrays() {
		w, err := a.WritePaths(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, w...)
	}
	return out, nil
}

func (m *manager) Pause(ctx context.Context) (resume func(), err error) {
	var all []func()
	resume = func() {
		for _, r := range all {
			r()
		}
	}
	for _, a := range m.Manager.Arrays() {
		r, err := a.PauseBackground(ctx)
		if err != nil {
			resume()
			return nil, fmt.Errorf("pause an array's background work: %w", err)
		}
		all = append(all, r)
	}
	return resume, nil
}

func (m *manager) Arrays(ctx context.Context) []ArrayInfo {
	var out []ArrayInfo
	for _, a := range m.Manager.Arrays() {
		info, err := a.Info(ctx)
		out = append(out, ArrayInfo{info, err})
	}
	return out
}

// kernel is Devices by package disk.
type kernel struct{}

func (kernel) Table(device string) (*disk.Table, error) { return disk.Read(device) }
func (kernel) CanFlag(device string) error              { return disk.CanFlag(device) }
func (kernel) CanRenew(fileSystem string, devices []string) error {
	if fileSystem != "btrfs" {
		return nil
	}
	return disk.CheckBtrfs(devices)
}
func (kernel) Partitioned(device string) bool { return len(disk.Nodes(device)) > 1 }
func (kernel) SetBtrfsFSID(nodes []string, fsid vss.GUID) error {
	return disk.SetBtrfsFSID(nodes, fsid)
}

func (kernel) Edit(ctx context.Context, device string, live bool) (Editor, error) {
	open := disk.Open
	if live {
		open = disk.OpenLive
	}
	e, err := open(ctx, device)
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (kernel) SetFileSystemUUID(ctx context.Context, node, uuid string) error {
	return disk.SetFileSystemUUID(ctx, node, uuid)
}

func (kernel) RestoreFileSystemUUID(ctx context.Context, node, uuid string) error {
	return disk.RestoreFileSystemUUID(ctx, node, uuid)
}
