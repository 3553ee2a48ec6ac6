package vds

import (
	"context"
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// SetReadOnly makes a LUN read-only or read/write, permanently on its disk and now in the mounts of its volumes.
// Errors: VDS_E_DEVICE_IN_USE while files are open for writing, and nothing was changed; VDS_E_INVALID_OPERATION for
// a shadow copy or a LUN that isn't here; VDS_E_NOT_SUPPORTED for a disk without room for flags.
func (m *Manager) SetReadOnly(ctx context.Context, name string, readOnly bool) (Disk, error) {
	if readOnly {
		return m.ChangeFlags(ctx, name, 0, vss.FlagReadOnly, 0)
	}
	return m.ChangeFlags(ctx, name, 0, 0, vss.FlagReadOnly)
}

// ChangeFlags sets and clears flags of a partition, or of all for number 0; those of an MBR disk, and of one without
// a table, are the disk's. Where the read-only flag changes, mounts follow. Errors: as SetReadOnly;
// VDS_E_OBJECT_NOT_FOUND. Source: IVdsVolume::SetFlags, IVdsVolume::ClearFlags.
func (m *Manager) ChangeFlags(ctx context.Context, name string, number int, set, clr vss.DiskFlags) (Disk, error) {
	const op = "ChangeLunFlags"
	return m.change(ctx, op, name, func(d Disk) error {
		if set&clr != 0 || (set|clr)&^vss.FlagsShadowCopy != 0 {
			return vss.E(op, vss.ErrInvalidArg, errors.New("a flag can be set or cleared, and there are four")).
				On(d.LUN.Name)
		}
		if err := m.checkPlain(op, d); err != nil {
			return err
		}
		if d.Device == "" {
			return notHere(op, d)
		}
		t, err := disk.Read(d.Device)
		if err != nil {
			return err
		}
		nodes, err := flagged(op, d, t, number)
		if err != nil {
			return err
		}
		var turned []string
		if set&vss.FlagReadOnly != 0 {
			if turned, err = remountReadOnly(op, nodes); err != nil {
				return err
			}
		}
		if err := setFlags(ctx, d, nil, number, set, clr); err != nil {
			for _, p := range turned {
				_ = mount.Reconfigure(p, false)
			}
			return err
		}
		if (set|clr)&vss.FlagReadOnly == 0 {
			return nil
		}
		if d, err = m.byID(ctx, d.LUN.ID); err != nil {
			return err
		}
		if t, err = disk.Read(d.Device); err == nil {
			err = applyReadOnly(d, t)
		}
		if err == nil && clr&vss.FlagReadOnly != 0 {
			err = remountReadWrite(op, nodes)
		}
		return err
	})
}

// flagged returns the devices whose flags change.
func flagged(op string, d Disk, t *disk.Table, number int) ([]string, error) {
	if t.Style == disk.StyleNone {
		if number != 0 {
			return nil, noPartition(op, d, number)
		}
		return []string{d.Device}, nil
	}
	if number != 0 && !slices.ContainsFunc(t.Partitions, func(p disk.Partition) bool { return p.Number == number }) {
		return nil, noPartition(op, d, number)
	}
	var out []string
	for _, p := range t.Partitions {
		if p.Data && (number == 0 || p.Number == number || t.Style == disk.StyleMBR) {
			out = append(out, disk.PartitionNode(d.Device, p.Number))
		}
	}
	return out, nil
}

// remountReadOnly makes the mounts of devices read-only, all or none. It returns those that were writable.
func remountReadOnly(op string, nodes []string) (turned []string, err error) {
	for _, n := range nodes {
		paths, err := mountsOf(n)
		if err != nil {
			return nil, err
		}
		for _, p := range paths {
			if readOnlyMount(p) {
				continue
			}
			if err := mount.Reconfigure(p, true); err != nil {
				for _, p := range turned {
					_ = mount.Reconfigure(p, false)
				}
				return nil, vss.E(op, vss.VDSErrDeviceInUse, err).
					On(p).
					Advise("end what writes there: `fuser -vm " + p + "`")
			}
			turned = append(turned, p)
		}
	}
	return turned, nil
}

// remountReadWrite makes the mounts of devices writable; one that can't be turned is mounted anew.
func remountReadWrite(op string, nodes []string) error {
	for _, n := range nodes {
		paths, err := mountsOf(n)
		if err != nil {
			return err
		}
		for _, p := range paths {
			if mount.Reconfigure(p, false) == nil {
				continue
			}
			fs, err := disk.ProbeFileSystem(n)
			if err == nil {
				err = mount.Unmount(p, mount.Owner{Devices: []string{n}}, false)
			}
			if err == nil {
				err = (&lunVolume{node: n, fs: fs}).mount(p)
			}
			if err != nil {
				return vss.E(op, vss.VDSErrVolumeTemporarilyDismounted, err).
					On(p).
					Advise("the LUN is read/write; unmount this volume and mount it anew")
			}
		}
	}
	return nil
}

// mountsOf is where a device is mounted, without those of other namespaces: a file system is read-only or
// read/write for all.
func mountsOf(node string) ([]string, error) {
	if len(claimed(node)) == 0 {
		return nil, nil
	}
	paths, err := volume.MountsOf(node)
	return slices.DeleteFunc(paths, func(p string) bool { return strings.HasPrefix(p, "/proc/") }), err
}

func readOnlyMount(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Flags&unix.ST_RDONLY != 0
}
