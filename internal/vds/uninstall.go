package vds

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// idleWait is how long a disk may stay busy after its last unmount: other programs scan it, lazy unmounts end later.
const idleWait = 2 * time.Second

// Uninstall removes a disk from this host: its volumes are unmounted, its partitions and the disk are removed. With
// force, mounts in use are detached; open files there still keep the disk. Errors:
// VSS_E_VOLUME_IN_USE for what is mounted and busy or lies below other devices (LVM, md), VDS_E_DEVICE_IN_USE.
// Source: IVdsServiceUninstallDisk.
func (m *Manager) Uninstall(ctx context.Context, d Disk, force bool) error {
	defer m.lock(d.LUN.ID)()
	return m.uninstall(ctx, d, force, nil)
}

// uninstall is Uninstall; wipe, if it isn't nil, is called when the disk is no longer in use. The caller holds the
// LUN's lock.
func (m *Manager) uninstall(ctx context.Context, d Disk, force bool, wipe func(device string) error) error {
	p, here := m.places.of(d.LUN.ID)
	if here {
		d.Device, d.Address = p.Device, p.Address
	} else if now, err := m.byID(ctx, d.LUN.ID); err == nil {
		d = now
	}
	if d.Device == "" || !here && d.Address.Type == "" {
		m.forget(d.LUN.ID)
		return nil
	}
	if err := unmountAll(d.Device, force); err != nil {
		return err
	}
	i, err := m.initiator(d.Address)
	if err != nil {
		return err
	}
	ro := disk.ReadOnly(d.Device)
	err = whenIdle(func() error { return disk.DeletePartitions(d.Device) })
	if err == nil && wipe != nil {
		err = wipe(d.Device)
	}
	if err == nil {
		err = whenIdle(func() error { return i.Detach(ctx, d.Device) })
	}
	if err != nil {
		if t, e := disk.Read(d.Device); e == nil { // it stays as it was
			_, _ = disk.AddPartitions(d.Device, t)
		}
		if ro {
			_ = disk.SetReadOnly(d.Device, true)
		}
		return err
	}
	m.forget(d.LUN.ID)
	m.savePlaces()
	return nil
}

// whenIdle calls f until the disk isn't busy any more, for up to idleWait.
func whenIdle(f func() error) error {
	for end := time.Now().Add(idleWait); ; time.Sleep(20 * time.Millisecond) {
		err := f()
		if err == nil || !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return err
		}
	}
}

// unmountAll unmounts all volumes of a disk. Errors: VSS_E_VOLUME_IN_USE, also if another device lies on the disk.
func unmountAll(device string, force bool) error {
	for _, n := range disk.Nodes(device) {
		if h := holders(n); len(h) > 0 {
			return vss.E("Uninstall", vss.ErrVolumeInUse, fmt.Errorf("%s lies on it", strings.Join(h, ", "))).
				On(n).
				Advise("stop that device first: `vgchange -an`, `mdadm --stop`, `dmsetup remove`")
		}
	}
	for _, n := range claimed(device) {
		if err := unmountNode(n, force); err != nil {
			return err
		}
	}
	forgetBtrfs(device)
	return nil
}

// unmountNode removes all mounts of a device, the newest first. Errors: VSS_E_VOLUME_IN_USE.
func unmountNode(node string, force bool) error {
	err := mount.UnmountAll(node, force)
	if err == nil {
		return nil
	}
	path, hint := node, ""
	if at := (*fs.PathError)(nil); errors.As(err, &at) {
		path, err = at.Path, at.Err
		hint = "stop what uses it: `fuser -vm " + path + "`"
	}
	if errors.Is(err, mount.ErrElsewhere) {
		hint = "end that process or container, or unmount it there"
	}
	return vss.E("Unmount", vss.ErrVolumeInUse, err).On(path).Advise(hint)
}

// btrfs's list of devices that it has seen.
const (
	btrfsForget  = 0x50009405 // BTRFS_IOC_FORGET_DEV
	btrfsControl = "/dev/btrfs-control"
)

// forgetBtrfs makes the kernel forget that it saw a btrfs on a disk. Else a disk with the same file system in an
// older state, such as a shadow copy that gets its original's identity, would be refused as a stale duplicate.
func forgetBtrfs(device string) {
	f, err := os.Open(btrfsControl)
	if err != nil {
		return // no btrfs here
	}
	defer f.Close()
	for _, n := range disk.Nodes(device) {
		var arg struct {
			fd   int64
			name [4088]byte
		}
		copy(arg.name[:], n)
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, f.Fd(), btrfsForget, uintptr(unsafe.Pointer(&arg))) // ENOENT: never seen
	}
}
