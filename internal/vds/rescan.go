package vds

import (
	"context"
	"errors"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// RescanOptions say how LUNs shall arrive.
type RescanOptions struct {
	// Import lists copies that are being imported: they arrive writable and without their partitions, which RenewIdentity
	// adds when they have identities of their own. If there are any, nothing else arrives: what another session is just
	// taking off this host must not come back with them.
	Import []vss.LUNID
}

// Rescan makes the disks of this host what the arrays show to it: what is new arrives, with its partitions and read-only
// where its flags say so; what isn't shown any more goes, unless something uses it. Persistent mounts of what arrived are
// mounted. A disk whose identity another visible one has arrives without partitions, and is an error. The list of arrivals
// is complete, and so is the work on all other LUNs, when an error is returned. Source: IVdsService::Reenumerate.
func (m *Manager) Rescan(ctx context.Context, o RescanOptions) (arrived []Disk, err error) {
	var errs []error
	wanted := map[vss.LUNID]bool{}
	complete := true
	near := &neighbours{}
	for _, a := range m.cfg.Arrays {
		mappings, err := a.Mappings(ctx, m.cfg.Host)
		if err != nil {
			errs, complete = append(errs, err), false
			continue
		}
		for _, x := range mappings {
			wanted[x.LUN.ID] = true
			isImport := slices.Contains(o.Import, x.LUN.ID)
			if len(o.Import) > 0 && !isImport {
				continue
			}
			d, came, err := m.bring(ctx, a, x, isImport, near)
			if came {
				arrived = append(arrived, d)
			}
			if err != nil {
				m.event(events.Arrival, events.Error, x.LUN.Name, err)
				errs = append(errs, err)
			}
		}
	}
	if complete {
		m.dropDeparted(ctx, wanted)
	}
	m.savePlaces()
	if len(o.Import) == 0 {
		m.mountPersistent(ctx)
	}
	return arrived, errors.Join(errs...)
}

// bring makes a LUN that the array shows a disk of this host.
func (m *Manager) bring(ctx context.Context, a array.Array, x array.Mapping, isImport bool, near *neighbours) (d Disk, came bool, err error) {
	d = Disk{LUN: x.LUN, Array: a, Address: x.Address}
	if p, here := m.placeOf(x.LUN.ID); here && !isImport {
		d.Device = p.Device
		if len(partitions(p.Device)) > 0 || m.isImporting(x.LUN.ID) || !x.LUN.Final {
			return d, false, nil // as it should be; whoever imports it goes on with it
		}
	}
	defer m.lock(x.LUN.ID)()
	if l, err := a.LUN(ctx, x.LUN.ID); err != nil || !slices.Contains(l.MappedTo, m.cfg.Host) {
		return d, false, nil // gone since
	}
	i, err := m.initiator(x.Address)
	if err != nil {
		return d, false, err
	}
	device, here := i.Find(x)
	switch {
	case here:
	case !x.LUN.Final && !isImport: // of a creation that isn't finished, or never will be
		return d, false, nil
	default:
		if device, err = i.Attach(ctx, x); err != nil {
			return d, false, err
		}
		came = true
	}
	d.Device = device
	m.remember(x.LUN.ID, device, x.Address)
	if isImport {
		m.setImporting(x.LUN.ID, true)
		if !came {
			err = disk.SetReadOnly(device, false)
		}
		return d, came, err
	}
	if m.isImporting(x.LUN.ID) || !x.LUN.Final {
		return d, came, nil
	}
	return m.settle(ctx, i, d, came, near)
}

// settle gives a disk its partitions, unless it is another one's twin.
func (m *Manager) settle(ctx context.Context, i Initiator, d Disk, came bool, near *neighbours) (Disk, bool, error) {
	t, err := disk.Read(d.Device)
	if err != nil {
		return d, came, err
	}
	if !came && t.Style == disk.StyleNone {
		return d, false, nil
	}
	if err := m.checkTwin(ctx, d, t, near); err != nil {
		if t.Style == disk.StyleNone && i.Detach(ctx, d.Device) == nil { // there is nothing else to keep it from
			m.forget(d.LUN.ID)
			d.Device, came = "", false
		}
		return d, came, err
	}
	if near.read {
		near.add(d.Device, t)
	}
	if _, err := disk.AddPartitions(d.Device, t); err != nil {
		return d, came, err
	}
	return d, came, applyReadOnly(d, t)
}

// applyReadOnly makes the kernel refuse writes where the flags say so, and only there.
func applyReadOnly(d Disk, t *disk.Table) error {
	all := t.Flags
	if t.Style == disk.StyleNone {
		all = d.LUN.Flags
	}
	if err := disk.SetReadOnly(d.Device, all&vss.FlagReadOnly != 0); err != nil || all&vss.FlagReadOnly != 0 {
		return err
	}
	for _, p := range t.Partitions {
		if p.Data && p.Flags&vss.FlagReadOnly != 0 {
			if err := disk.SetReadOnly(disk.PartitionNode(d.Device, p.Number), true); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropDeparted removes the disks of LUNs that aren't shown to this host any more. One that is in use stays.
func (m *Manager) dropDeparted(ctx context.Context, wanted map[vss.LUNID]bool) {
	m.mu.Lock()
	var gone []vss.LUNID
	for id := range m.places {
		if !wanted[id] {
			gone = append(gone, id)
		}
	}
	m.mu.Unlock()
	for _, id := range gone {
		m.dropOne(ctx, id)
	}
}

func (m *Manager) dropOne(ctx context.Context, id vss.LUNID) {
	defer m.lock(id)()
	d, err := m.byID(ctx, id)
	if err == nil && slices.Contains(d.LUN.MappedTo, m.cfg.Host) {
		return // shown again since
	}
	p, here := m.placeOf(id)
	if !here {
		m.forget(id)
		return
	}
	if used := claimed(p.Device); len(used) > 0 {
		m.event(events.Departure, events.Warning, p.Device, vss.E("RescanLuns", vss.VDSErrDeviceInUse, errors.New("its LUN isn't shown to this host any more, and it is still in use")).On(used[0]).Advise("unmount it, then `vss lun rescan`"))
		return
	}
	i, err := m.initiator(p.Address)
	if err == nil {
		forgetBtrfs(p.Device)
		err = i.Detach(ctx, p.Device)
	}
	if err != nil {
		m.event(events.Departure, events.Warning, p.Device, err)
		return
	}
	m.forget(id)
}
