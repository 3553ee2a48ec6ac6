package vds

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// change runs what an administrator does with one LUN, alone, and gives the LUN as it is then.
func (m *Manager) change(ctx context.Context, op, name string, f func(Disk) error) (Disk, error) {
	d, err := m.Find(ctx, name)
	if err != nil {
		return d, err
	}
	err = func() error {
		defer m.lock(d.LUN.ID)()
		if d, err = m.byID(ctx, d.LUN.ID); err != nil {
			return err
		}
		return f(d)
	}()
	if err != nil {
		return d, vdsError(op, err)
	}
	return m.byID(ctx, d.LUN.ID)
}

// vdsError gives VDS's code to errors of the packages below that have one, and keeps all others.
func vdsError(op string, err error) error {
	switch vss.CodeOf(err) {
	case vss.ErrVolumeInUse:
		return vss.E(op, vss.VDSErrDeviceInUse, err).Advise(vss.Hint(err))
	case vss.ErrNotSupported:
		return vss.E(op, vss.VDSErrNotSupported, err).Advise(vss.Hint(err))
	}
	return err
}

func inUse(op string, err error) error {
	return vss.E(op, vss.VDSErrDeviceInUse, err).Advise(vss.Hint(err))
}

// checkNotInUse returns an error for a LUN that the coordinator needs as it is. Errors: VDS_E_DEVICE_IN_USE.
func (m *Manager) checkNotInUse(op string, d Disk) error {
	if m.cfg.InUse == nil {
		return nil
	}
	if why := m.cfg.InUse(d.LUN.ID); why != "" {
		return vss.E(op, vss.VDSErrDeviceInUse, errors.New(why)).
			On(d.LUN.Name).
			Advise("use the shadow copy commands for it: `vss expose`, `vss delete`, or `vss break` to make an " +
				"ordinary LUN of it")
	}
	return nil
}

// checkPlain is checkNotInUse that refuses all shadow copies, those of other hosts too. Errors: also
// VDS_E_INVALID_OPERATION.
func (m *Manager) checkPlain(op string, d Disk) error {
	if err := m.checkNotInUse(op, d); err != nil {
		return err
	}
	if d.LUN.Kind == array.KindShadowCopy {
		return vss.E(op, vss.VDSErrInvalidOperation, errors.New("it is a shadow copy")).
			On(d.LUN.Name).
			Advise("break its set first: `vss break`")
	}
	return nil
}

func unmountFirst(d Disk) string {
	return "unmount it first: `vss lun unmount " + d.LUN.Name + "`, or use --force"
}

// checkIdle returns an error for a disk that has a mounted volume or is open exclusively. Errors: VDS_E_DEVICE_IN_USE.
func checkIdle(op string, d Disk, hint string) error {
	if d.Device == "" {
		return nil
	}
	used := claimed(d.Device)
	if len(used) == 0 {
		return nil
	}
	node := used[len(used)-1]
	why := errors.New("the device is open exclusively (O_EXCL)")
	if h := holders(node); len(h) > 0 {
		why = fmt.Errorf("%v lies on it", h)
	} else if paths, err := volume.MountsOf(node); err == nil && len(paths) > 0 {
		why = fmt.Errorf("it is mounted at %s", paths[0])
	}
	return vss.E(op, vss.VDSErrDeviceInUse, why).On(node).Advise(hint)
}

// Create makes a LUN and, unless masked is asked for, shows it to this host. ArrayName "" is the first array. Errors:
// VDS_E_OBJECT_NOT_FOUND (the array), those of array.Array's Create.
func (m *Manager) Create(ctx context.Context, arrayName string, r array.CreateRequest, masked bool) (Disk, error) {
	a, err := m.arrayNamed(ctx, arrayName)
	if err != nil {
		return Disk{}, err
	}
	l, err := a.Create(ctx, r)
	if err != nil {
		return Disk{}, err
	}
	if masked {
		return Disk{LUN: l, Array: a}, nil
	}
	return m.Unmask(ctx, l.ID.String(), "")
}

func (m *Manager) arrayNamed(ctx context.Context, name string) (array.Array, error) {
	for _, a := range m.cfg.Arrays {
		info, err := a.Info(ctx)
		if err == nil && (name == "" || info.Name == name) {
			return a, nil
		}
		if err != nil && name == "" {
			return nil, err
		}
	}
	return nil, vss.E("FindArray", vss.VDSErrObjectNotFound, nil).On(name).Advise("`vss array list` shows the arrays")
}

// Unmask shows a LUN to a host, "" for this one, where it arrives at once. Errors: VDS_E_OBJECT_NOT_FOUND,
// VDS_E_INVALID_OPERATION for a LUN that arrived and has the identity of another disk. Source: IVdsLun::SetMask.
func (m *Manager) Unmask(ctx context.Context, name, host string) (Disk, error) {
	d, err := m.Find(ctx, name)
	if err != nil {
		return d, err
	}
	if host == "" {
		host = m.cfg.Host
	}
	if _, err := d.Array.Map(ctx, d.LUN.ID, host); err != nil {
		return d, err
	}
	if host == m.cfg.Host {
		if x, ok := m.shownBy(ctx, d.Array)(d.LUN.ID); ok {
			err = m.bring(ctx, d.Array, x.Mapping)
			m.savePlaces()
		}
		if err != nil {
			return d, err
		}
		m.mountPersistent(ctx)
	}
	return m.byID(ctx, d.LUN.ID)
}

// Mask hides a LUN from a host, "" for this one, from which its disk is taken away first. Force unmounts what is
// mounted. Errors: VDS_E_DEVICE_IN_USE. Source: IVdsServiceUninstallDisk, IVdsLun::SetMask.
func (m *Manager) Mask(ctx context.Context, name, host string, force bool) (Disk, error) {
	const op = "MaskLun"
	return m.change(ctx, op, name, func(d Disk) error {
		if host != "" && host != m.cfg.Host {
			_, err := d.Array.Unmap(ctx, d.LUN.ID, host)
			return err
		}
		if err := m.checkNotInUse(op, d); err != nil {
			return err
		}
		if !force {
			if err := checkIdle(op, d, unmountFirst(d)); err != nil {
				return err
			}
		}
		if err := m.uninstall(ctx, d, force, nil); err != nil {
			return err
		}
		_, err := d.Array.Unmap(ctx, d.LUN.ID, m.cfg.Host)
		return err
	})
}

// Rename gives a LUN another name. Errors: VDS_E_INVALID_OPERATION for one that is in use.
func (m *Manager) Rename(ctx context.Context, name, to string) (Disk, error) {
	return m.change(ctx, "RenameLun", name, func(d Disk) error {
		_, err := d.Array.Rename(ctx, d.LUN.ID, to)
		return err
	})
}

// Extend makes a LUN larger, and on this host its disk, the table and the last partition; the file system in it is
// its owner's to grow. With the size that it has it finishes an Extend that was cut off. Errors:
// VDS_E_INVALID_OPERATION for a smaller size, a read-only LUN or a shadow copy, VDS_E_NOT_ENOUGH_SPACE. Source:
// IVdsLun::Extend.
func (m *Manager) Extend(ctx context.Context, name string, size int64) (Disk, error) {
	const op = "ExtendLun"
	return m.change(ctx, op, name, func(d Disk) error {
		if err := m.checkPlain(op, d); err != nil {
			return err
		}
		if d.Device != "" && disk.ReadOnly(d.Device) {
			return vss.E(op, vss.VDSErrInvalidOperation, errors.New("the LUN is read-only")).
				On(d.LUN.Name).
				Advise("make it writable first: `vss lun set " + d.LUN.Name + " --read-write`")
		}
		if size != d.LUN.Size {
			if _, err := d.Array.Extend(ctx, d.LUN.ID, size); err != nil {
				return err
			}
		}
		if d.Device == "" {
			return nil
		}
		i, err := m.initiator(d.Address)
		if err == nil {
			err = i.Resize(ctx, d.Device)
		}
		var t *disk.Table
		if err == nil {
			t, err = disk.Grow(d.Device)
		}
		if err == nil {
			_, err = disk.AddPartitions(d.Device, t)
		}
		if err != nil {
			return vss.E(op, vss.CodeOf(err), fmt.Errorf("the LUN is larger, its partition isn't: %w", err)).
				On(d.Device).
				Advise("remove the cause, then run the command again")
		}
		return nil
	})
}

// Delete frees a LUN and returns what it was. The partition tables at both ends of the disk are wiped if the LUN is on
// this host. Force unmounts what is mounted here, and allows differential copies, which continue to exist. Errors:
// VDS_E_DEVICE_IN_USE, also while other hosts may see it. Source: IVdsLun::Delete.
func (m *Manager) Delete(ctx context.Context, name string, force bool) (Disk, error) {
	const op = "DeleteLun"
	d, err := m.Find(ctx, name)
	if err != nil {
		return d, err
	}
	defer m.lock(d.LUN.ID)()
	if d, err = m.byID(ctx, d.LUN.ID); err != nil {
		return d, err
	}
	if err := m.deletable(ctx, op, d, force); err != nil {
		return d, err
	}
	if err := m.uninstall(ctx, d, force, wipe); err != nil {
		return d, vdsError(op, err)
	}
	if _, err := d.Array.Unmap(ctx, d.LUN.ID, m.cfg.Host); err != nil {
		return d, err
	}
	if err := d.Array.Delete(ctx, d.LUN.ID, force); err != nil {
		return d, err
	}
	return d, m.mounts.remove(d.LUN.ID, -1)
}

// deletable makes the checks of the array before anything is lost.
func (m *Manager) deletable(ctx context.Context, op string, d Disk, force bool) error {
	if err := m.checkNotInUse(op, d); err != nil {
		return err
	}
	others := slices.Clone(d.LUN.MappedTo)
	others = slices.DeleteFunc(others, func(h string) bool { return h == m.cfg.Host })
	if len(others) > 0 {
		return vss.E(op, vss.VDSErrDeviceInUse, fmt.Errorf("it is mapped to %v", others)).
			On(d.LUN.Name).
			Advise("mask it from them first: `vss lun mask " + d.LUN.Name + " --from " + others[0] + "`")
	}
	if force {
		return nil
	}
	luns, err := d.Array.LUNs(ctx)
	if err != nil {
		return err
	}
	for _, l := range luns {
		if l.Origin == d.LUN.ID && l.Kind == array.KindShadowCopy && l.Method == array.MethodDifferential {
			return vss.E(op, vss.VDSErrDeviceInUse, fmt.Errorf("a differential shadow copy depends on it: %s", l.Name)).
				On(d.LUN.Name).
				Advise("delete or break it first; --force deletes the LUN all the same, the copy remains in the pool")
		}
	}
	return checkIdle(op, d, unmountFirst(d))
}

// wipe clears the ends of a disk, read-only or not.
func wipe(device string) error {
	if err := disk.SetReadOnly(device, false); err != nil {
		return err
	}
	return disk.Wipe(device)
}
