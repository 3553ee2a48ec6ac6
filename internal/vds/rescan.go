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

// RescanOptions are options of Rescan.
type RescanOptions struct {
	// Import lists copies that are being imported: they arrive writable and without their partitions, which
	// RenewIdentity adds when they have identities of their own. If there are any, nothing else arrives: LUNs that
	// another session is removing from this host must not come back with them.
	Import []vss.LUNID
}

// Rescan makes the disks of this host what the arrays show to it: a new LUN arrives, with its partitions and
// read-only where its flags say so; a LUN that isn't shown any more is removed, unless something uses it. Persistent
// mounts of new LUNs are mounted. A disk whose identity another visible one has arrives without partitions, and is an
// error. The list of arrivals is complete, and so is the work on all other LUNs, when an error is returned. Source:
// IVdsService::Reenumerate.
func (m *Manager) Rescan(ctx context.Context, o RescanOptions) (arrived []Disk, err error) {
	coming, wanted, errs := m.coming(ctx, o)
	complete := len(errs) == 0
	m.searchFor(coming)
	parallel(len(coming), func(i int) { m.attach(ctx, coming[i]) })
	near := &neighbours{unsettled: map[string]bool{}}
	for _, x := range coming {
		near.unsettled[x.disk.Device] = x.unsettled
	}
	for _, x := range coming {
		m.settle(ctx, x, near)
		if x.came {
			arrived = append(arrived, x.disk)
		}
		if x.err != nil {
			m.event(events.Arrival, events.Error, x.disk.LUN.Name, x.err)
			errs = append(errs, x.err)
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

// arrival is a LUN that the array shows to this host and that becomes a disk of it.
type arrival struct {
	mapping   array.Mapping
	disk      Disk
	found     string // the disk that the LUN had before the rescan, if its place wasn't known
	isImport  bool
	came      bool // it wasn't a disk of this host before
	unsettled bool // its partitions are still to be added
	err       error
}

// coming lists the LUNs that a rescan looks at, and the ids of all that the arrays show. Errors are of arrays that
// fail.
func (m *Manager) coming(
	ctx context.Context,
	o RescanOptions,
) (out []*arrival, wanted map[vss.LUNID]bool, errs []error) {
	wanted = map[vss.LUNID]bool{}
	for _, a := range m.cfg.Arrays {
		mappings, err := a.Mappings(ctx, m.cfg.Host)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, x := range mappings {
			wanted[x.LUN.ID] = true
			isImport := slices.Contains(o.Import, x.LUN.ID)
			if len(o.Import) == 0 || isImport {
				out = append(out, newArrival(a, x, isImport))
			}
		}
	}
	return out, wanted, errs
}

func newArrival(a array.Array, x array.Mapping, isImport bool) *arrival {
	return &arrival{mapping: x, disk: Disk{LUN: x.LUN, Array: a, Address: x.Address}, isImport: isImport}
}

// bring makes a LUN that the array shows a disk of this host.
func (m *Manager) bring(ctx context.Context, a array.Array, mapping array.Mapping) error {
	x := newArrival(a, mapping, false)
	m.searchFor([]*arrival{x})
	m.attach(ctx, x)
	m.settle(ctx, x, &neighbours{})
	return x.err
}

// searchFor searches the disks of this host for LUNs.
func (m *Manager) searchFor(coming []*arrival) {
	all := make([]array.Mapping, len(coming))
	for i, x := range coming {
		all[i] = x.mapping
	}
	devices := m.search(all)
	for _, x := range coming {
		x.found = devices[x.mapping.LUN.ID]
	}
}

// shown reports whether the array still shows a LUN to this host.
func (m *Manager) shown(ctx context.Context, d Disk) bool {
	l, err := d.Array.LUN(ctx, d.LUN.ID)
	return err == nil && slices.Contains(l.MappedTo, m.cfg.Host)
}

// attach gives a LUN its disk, without partitions.
func (m *Manager) attach(ctx context.Context, x *arrival) {
	id, final := x.disk.LUN.ID, x.disk.LUN.Final
	if p, here := m.places.of(id); here && !x.isImport {
		x.disk.Device = p.Device
		if len(partitions(p.Device)) > 0 || m.places.isImporting(id) || !final {
			return // nothing to do, or its import continues
		}
	}
	defer m.lock(id)()
	if !m.shown(ctx, x.disk) {
		return
	}
	var i Initiator
	if i, x.err = m.initiator(x.mapping.Address); x.err != nil {
		return
	}
	device := x.found
	if p, here := m.places.of(id); here { // another caller may have attached it since
		device = p.Device
	}
	if device == "" {
		if !final && !x.isImport { // of a creation that isn't finished, or never will be
			return
		}
		if device, x.err = i.Attach(ctx, x.mapping); x.err != nil {
			return
		}
		x.came = true
	}
	x.disk.Device = device
	m.places.remember(x.mapping, device)
	if x.isImport {
		m.places.setImporting(id, true)
		if !x.came {
			x.err = disk.SetReadOnly(device, false)
		}
		return
	}
	x.unsettled = final && !m.places.isImporting(id)
}

// settle gives an attached disk its partitions, unless it has the identity of another one.
func (m *Manager) settle(ctx context.Context, x *arrival, near *neighbours) {
	if !x.unsettled {
		return
	}
	d := &x.disk
	delete(near.unsettled, d.Device)
	defer m.lock(d.LUN.ID)()
	i, err := m.initiator(d.Address)
	if err != nil {
		x.err = err
		return
	}
	p, here := m.places.of(d.LUN.ID)
	if !here { // the kernel doesn't number disks
		p.Device = m.search([]array.Mapping{x.mapping})[d.LUN.ID]
	}
	if p.Device != d.Device || m.places.isImporting(d.LUN.ID) {
		return // another caller has removed it or imports it since it was attached
	}
	var t *disk.Table
	if t, x.err = disk.Read(d.Device); x.err != nil {
		return
	}
	if !x.came && t.Style == disk.StyleNone {
		return
	}
	if x.err = m.checkTwin(ctx, *d, t, near); x.err != nil {
		if t.Style == disk.StyleNone && i.Detach(ctx, d.Device) == nil { // nothing less keeps it from being used
			m.forget(d.LUN.ID)
			d.Device, x.came = "", false
		}
		return
	}
	if near.read {
		near.add(d.Device, t)
	}
	if _, x.err = disk.AddPartitions(d.Device, t); x.err == nil {
		x.err = applyReadOnly(*d, t)
	}
}

// applyReadOnly makes those devices of a disk read-only for the kernel that the flags make read-only.
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
	for _, id := range m.places.except(wanted) {
		m.dropOne(ctx, id)
	}
}

func (m *Manager) dropOne(ctx context.Context, id vss.LUNID) {
	defer m.lock(id)()
	d, err := m.byID(ctx, id)
	if err == nil && slices.Contains(d.LUN.MappedTo, m.cfg.Host) {
		return // shown again since
	}
	p, here := m.places.of(id)
	if !here {
		m.forget(id)
		return
	}
	if used := claimed(p.Device); len(used) > 0 {
		err := vss.E(
			"RescanLuns", vss.VDSErrDeviceInUse,
			errors.New("its LUN isn't shown to this host any more, and it is still in use"),
		).On(used[0]).Advise("unmount it, then `vss lun rescan`")
		m.event(events.Departure, events.Warning, p.Device, err)
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
