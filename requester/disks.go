package requester

import (
	"context"
	"errors"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Disks manages the LUNs of storage arrays: what an administrator does with a LUN before the service copies it, and
// after a break. Only root may use it. Source: the Virtual Disk Service, as far as VSS needs it.
//
// A LUN is named by its id, its name, or the path of a device that it has on this host. A partition is named by its
// number, from 1. Sizes are in bytes. The methods that return a LUN return it as it is after the call.
//
// Each method may also fail with E_ACCESSDENIED (the caller isn't root), E_INVALIDARG, VDS_E_OBJECT_NOT_FOUND (there is
// no such LUN), or VSS_E_UNEXPECTED. The service never repeats a call; the caller may, once the cause has been removed.
// The methods may be called from multiple goroutines.
type Disks struct{ c vssv1.DisksClient }

// Disks returns the disk manager of the service.
func (c *Client) Disks() *Disks { return &Disks{vssv1.NewDisksClient(c.conn)} }

// LUN is a logical unit of a storage array.
type LUN struct {
	ID              vss.LUNID
	Name            string
	Array           string // name of the array; "local" is the built-in one
	Pool            string
	Size            int64 // bytes
	Serial          string
	VPD83           string    // identifier of page 0x83: "naa." and 32 hexadecimal digits
	Kind            string    // "plain" or "shadow-copy"
	Origin          vss.LUNID // of a copy: the LUN it is a copy of; zero if there is none
	Method          string    // of a copy: "differential" or "plex"
	CompletePercent float64   // of a plex: how much has been copied
	MappedTo        []string  // hosts that can see it
	Device          string    // "" if the LUN is not on this host
	ReadOnly        bool
	Disk            *Disk // nil if the LUN is not on this host
}

// Disk is a LUN as this host sees it.
type Disk struct {
	Style      string        // partition table: "gpt", "mbr" or "none"
	ID         string        // identifier in the partition table
	Flags      vss.DiskFlags // of the disk, where the partition table has no flags per partition
	Partitions []Partition
}

// Partition is one partition, or the disk itself if it has no partition table.
type Partition struct {
	Number     int // 0 if the disk has no partition table
	ID         string
	Device     string
	Start      int64 // bytes
	Size       int64 // bytes
	FileSystem string
	UUID       string // of the file system
	Flags      vss.DiskFlags
}

// StorageArray is an array that the service knows.
type StorageArray struct {
	Name    string
	Address string // "" for the built-in array
	Pools   []StoragePool
	Targets []string // how LUNs reach a host: "loop", "iscsi"
}

// StoragePool is where the LUNs of an array get their space.
type StoragePool struct {
	Name string
	Type string // "reflink" or "thin"
	Size int64  // bytes
	Free int64  // bytes
}

// NewLUN describes the LUN that CreateLUN is to make.
type NewLUN struct {
	Name   string
	Size   int64  // bytes
	Array  string // "": "local"
	Pool   string // "": the first pool of the array
	Masked bool   // do not show it to any host
}

// NewFormat describes what FormatLUN is to write.
type NewFormat struct {
	FileSystem string // "ext4", "xfs" or "btrfs"
	Style      string // partition table: "gpt", "mbr", or "none" for a file system on the disk itself
	Label      string // of the file system; may be ""
}

// ListArrays lists the storage arrays with their pools.
func (d *Disks) ListArrays(ctx context.Context) ([]StorageArray, error) {
	r, err := d.c.ListArrays(ctx, &vssv1.ListArraysRequest{})
	if err != nil {
		return nil, err
	}
	return convert(r.GetArrays(), func(a *vssv1.StorageArray) (StorageArray, error) {
		pools, err := convert(a.GetPools(), func(p *vssv1.StoragePool) (StoragePool, error) {
			return StoragePool{p.GetName(), p.GetType(), p.GetSize(), p.GetFree()}, nil
		})
		return StorageArray{a.GetName(), a.GetAddress(), pools, a.GetTargets()}, err
	})
}

// ListLUNs lists the LUNs of all arrays, those that are shadow copies included.
func (d *Disks) ListLUNs(ctx context.Context) ([]LUN, error) {
	return lunList(d.c.ListLuns(ctx, &vssv1.ListLunsRequest{}))
}

// ShowLUN describes one LUN.
func (d *Disks) ShowLUN(ctx context.Context, lun string) (LUN, error) {
	return lunReply(d.c.ShowLun(ctx, &vssv1.LunRequest{Lun: lun}))
}

// CreateLUN makes a LUN, which holds zeros, and shows it to this host unless Masked is set.
// Errors: VDS_E_INVALID_OPERATION (the name is in use), VDS_E_NOT_ENOUGH_SPACE.
func (d *Disks) CreateLUN(ctx context.Context, n NewLUN) (LUN, error) {
	return lunReply(d.c.CreateLun(ctx, &vssv1.CreateLunRequest{
		Name: n.Name, Size: n.Size, Array: n.Array, Pool: n.Pool, Masked: n.Masked,
	}))
}

// FormatLUN writes a partition table with one partition, and a file system. The former content of the LUN is lost.
// Errors: VDS_E_DEVICE_IN_USE (a volume of it is mounted).
func (d *Disks) FormatLUN(ctx context.Context, lun string, f NewFormat) (LUN, error) {
	return lunReply(d.c.FormatLun(ctx, &vssv1.FormatLunRequest{
		Lun: lun, FileSystem: f.FileSystem, Style: f.Style, Label: f.Label,
	}))
}

// MaskLUN hides a LUN from a host, from this one if host is "". On this host its device is removed first; with force,
// mounted volumes of it are unmounted for that. Errors: VDS_E_DEVICE_IN_USE.
func (d *Disks) MaskLUN(ctx context.Context, lun, host string, force bool) (LUN, error) {
	return lunReply(d.c.MaskLun(ctx, &vssv1.MaskLunRequest{Lun: lun, Host: host, Force: force}))
}

// UnmaskLUN shows a LUN to a host, to this one if host is "". The device appears on this host before the call returns,
// on another host when that next scans for LUNs.
func (d *Disks) UnmaskLUN(ctx context.Context, lun, host string) (LUN, error) {
	return lunReply(d.c.UnmaskLun(ctx, &vssv1.UnmaskLunRequest{Lun: lun, Host: host}))
}

// SetLUNReadOnly makes a LUN read-only or read/write on this host. Errors: VDS_E_DEVICE_IN_USE.
func (d *Disks) SetLUNReadOnly(ctx context.Context, lun string, readOnly bool) (LUN, error) {
	return lunReply(d.c.SetLunReadOnly(ctx, &vssv1.SetLunReadOnlyRequest{Lun: lun, ReadOnly: readOnly}))
}

// MountLUN mounts a partition of a LUN, or its only volume if partition is 0, at path, an absolute path. With persist
// the service mounts it again after a restart.
func (d *Disks) MountLUN(ctx context.Context, lun string, partition int, path string, persist bool) (LUN, error) {
	return lunReply(d.c.MountLun(ctx, &vssv1.MountLunRequest{
		Lun: lun, Partition: int32(partition), Path: path, Persist: persist,
	}))
}

// UnmountLUN unmounts a partition of a LUN, or all of its volumes if partition is 0, at every place where they are
// mounted. Errors: VDS_E_DEVICE_IN_USE.
func (d *Disks) UnmountLUN(ctx context.Context, lun string, partition int) (LUN, error) {
	return lunReply(d.c.UnmountLun(ctx, &vssv1.UnmountLunRequest{Lun: lun, Partition: int32(partition)}))
}

// ChangeLUNFlags sets and clears flags of a partition, or of all partitions if partition is 0.
func (d *Disks) ChangeLUNFlags(ctx context.Context, lun string, partition int, set, unset vss.DiskFlags) (LUN, error) {
	return lunReply(d.c.ChangeLunFlags(ctx, &vssv1.ChangeLunFlagsRequest{
		Lun: lun, Partition: int32(partition), Set: uint32(set), Clear: uint32(unset),
	}))
}

// RenameLUN changes the name of a LUN and nothing else. Errors: VDS_E_INVALID_OPERATION (the name is in use).
func (d *Disks) RenameLUN(ctx context.Context, lun, name string) (LUN, error) {
	return lunReply(d.c.RenameLun(ctx, &vssv1.RenameLunRequest{Lun: lun, Name: name}))
}

// ExtendLUN makes a LUN larger, and with it its last partition. The size is the new size of the LUN.
// Errors: VDS_E_INVALID_OPERATION (the size is less than the present one), VDS_E_NOT_ENOUGH_SPACE.
func (d *Disks) ExtendLUN(ctx context.Context, lun string, size int64) (LUN, error) {
	return lunReply(d.c.ExtendLun(ctx, &vssv1.ExtendLunRequest{Lun: lun, Size: size}))
}

// DeleteLUN deletes a LUN with its content and returns what it was. Without force it fails with VDS_E_DEVICE_IN_USE if
// a volume of it is mounted on this host, or if a differential copy depends on it.
func (d *Disks) DeleteLUN(ctx context.Context, lun string, force bool) (LUN, error) {
	return lunReply(d.c.DeleteLun(ctx, &vssv1.DeleteLunRequest{Lun: lun, Force: force}))
}

// RescanLUNs attaches the LUNs that the arrays show to this host and removes the devices of those that they no longer
// show. It returns the LUNs that arrived.
func (d *Disks) RescanLUNs(ctx context.Context) ([]LUN, error) {
	return lunList(d.c.RescanLuns(ctx, &vssv1.RescanLunsRequest{}))
}

func lunList(p *vssv1.LunList, err error) ([]LUN, error) {
	if err != nil {
		return nil, err
	}
	return convert(p.GetLuns(), lun)
}

func lunReply(p *vssv1.Lun, err error) (LUN, error) {
	if err != nil {
		return LUN{}, err
	}
	return lun(p)
}

func lun(p *vssv1.Lun) (LUN, error) {
	l := LUN{
		Name: p.GetName(), Array: p.GetArray(), Pool: p.GetPool(), Size: p.GetSize(), Serial: p.GetSerial(),
		VPD83: p.GetVpd83(), Kind: p.GetKind(), Method: p.GetMethod(), CompletePercent: p.GetCompletePercent(),
		MappedTo: p.GetMappedTo(), Device: p.GetDevice(), ReadOnly: p.GetReadOnly(),
	}
	if d := p.GetDisk(); d != nil {
		l.Disk = &Disk{Style: d.GetStyle(), ID: d.GetId(), Flags: vss.DiskFlags(d.GetFlags())}
		for _, v := range d.GetPartitions() {
			l.Disk.Partitions = append(l.Disk.Partitions, Partition{
				int(v.GetNumber()), v.GetId(), v.GetDevice(), v.GetStart(), v.GetSize(), v.GetFileSystem(), v.GetUuid(),
				vss.DiskFlags(v.GetFlags()),
			})
		}
	}
	var e1, e2 error
	l.ID.GUID, e1 = guid(p.GetId())
	l.Origin.GUID, e2 = guid(p.GetOrigin())
	return l, errors.Join(e1, e2)
}
