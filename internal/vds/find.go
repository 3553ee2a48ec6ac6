package vds

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Disks lists the LUNs of all arrays, and where those that this host may see are. Errors: the arrays'.
func (m *Manager) Disks(ctx context.Context) ([]Disk, error) {
	var out []Disk
	for _, a := range m.cfg.Arrays {
		luns, err := a.LUNs(ctx)
		if err != nil {
			return nil, err
		}
		shown := m.shownBy(ctx, a)
		for _, l := range luns {
			out = append(out, m.disk(a, l, shown))
		}
	}
	return out, nil
}

// shownLUN is a LUN that an array shows to this host, with its disk if that was found.
type shownLUN struct {
	array.Mapping
	device string
}

// shownBy returns a function that finds what an array shows to this host. When it is first called it asks the array,
// and searches the disks of this host for the LUNs without a known place.
func (m *Manager) shownBy(ctx context.Context, a array.Array) func(vss.LUNID) (shownLUN, bool) {
	var all map[vss.LUNID]shownLUN
	return func(id vss.LUNID) (shownLUN, bool) {
		if all == nil {
			all = map[vss.LUNID]shownLUN{}
			list, _ := a.Mappings(ctx, m.cfg.Host)
			devices := m.search(list)
			for _, x := range list {
				all[x.LUN.ID] = shownLUN{x, devices[x.LUN.ID]}
			}
		}
		x, ok := all[id]
		return x, ok
	}
}

// search searches the disks of this host, once for each kind of target, for LUNs that have no known place.
func (m *Manager) search(mappings []array.Mapping) map[vss.LUNID]string {
	unplaced := map[string][]array.Mapping{}
	for _, x := range mappings {
		if _, here := m.places.of(x.LUN.ID); !here {
			unplaced[x.Address.Type] = append(unplaced[x.Address.Type], x)
		}
	}
	out := map[vss.LUNID]string{}
	for _, of := range unplaced {
		i, err := m.initiator(of[0].Address)
		if err != nil {
			continue
		}
		for n, device := range i.Find(of) {
			if device != "" {
				out[of[n].LUN.ID] = device
			}
		}
	}
	return out
}

func (m *Manager) disk(a array.Array, l array.LUN, shown func(vss.LUNID) (shownLUN, bool)) Disk {
	d := Disk{LUN: l, Array: a}
	if !slices.Contains(l.MappedTo, m.cfg.Host) {
		return d
	}
	if p, ok := m.places.of(l.ID); ok {
		d.Device, d.Address = p.Device, p.Address
		if p.Bus != vss.BusUnknown {
			d.LUN.Bus = p.Bus
		}
		return d
	}
	if x, ok := shown(l.ID); ok {
		d.Address, d.LUN.Bus = x.Address, x.LUN.Bus
		if x.device != "" {
			m.places.remember(x.Mapping, x.device)
			d.Device = x.device
		}
	}
	return d
}

// byID finds a LUN as it is now, on the array that has it.
func (m *Manager) byID(ctx context.Context, id vss.LUNID) (Disk, error) {
	var errs []error
	for _, a := range m.cfg.Arrays {
		l, err := a.LUN(ctx, id)
		if err == nil {
			return m.disk(a, l, m.shownBy(ctx, a)), nil
		}
		if !errors.Is(err, vss.VDSErrObjectNotFound) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return Disk{}, err
	}
	return Disk{}, notFound(id.String())
}

func notFound(name string) error {
	return vss.E("FindLun", vss.VDSErrObjectNotFound, nil).On(name).Advise("`vss lun list` shows which LUNs exist")
}

// Find finds a LUN by its id, its name, or a device of it here, a partition too. Errors: VDS_E_OBJECT_NOT_FOUND;
// E_INVALIDARG for a name that LUNs of several arrays have.
func (m *Manager) Find(ctx context.Context, name string) (Disk, error) {
	if id, err := vss.ParseGUID(name); err == nil {
		return m.byID(ctx, vss.LUNID{GUID: id})
	}
	if d, ok := m.ByDevice(ctx, name); ok {
		return d, nil
	}
	var found []Disk
	for _, a := range m.cfg.Arrays {
		luns, err := a.LUNs(ctx)
		if err != nil {
			return Disk{}, err
		}
		for _, l := range luns {
			if l.Name == name {
				found = append(found, m.disk(a, l, m.shownBy(ctx, a)))
			}
		}
	}
	switch len(found) {
	case 0:
		return Disk{}, notFound(name)
	case 1:
		return found[0], nil
	}
	return Disk{}, vss.E("FindLun", vss.ErrInvalidArg, fmt.Errorf("%d arrays have a LUN of this name", len(found))).
		On(name).
		Advise("name it by its id: " + found[0].LUN.ID.String() + " or " + found[1].LUN.ID.String())
}

// ByDevice finds the LUN that a device of this host, or its disk, is.
func (m *Manager) ByDevice(ctx context.Context, dev string) (Disk, bool) {
	device, ok := wholeDisk(dev)
	if !ok {
		return Disk{}, false
	}
	if id, ok := m.places.at(device); ok {
		d, err := m.byID(ctx, id)
		return d, err == nil && d.Device == device
	}
	all, err := m.Disks(ctx)
	if err != nil {
		return Disk{}, false
	}
	i := slices.IndexFunc(all, func(d Disk) bool { return d.Device == device })
	if i < 0 {
		return Disk{}, false
	}
	return all[i], true
}

// ByInformation finds the LUN that page 0x83 names, whether this host may see it or not.
func (m *Manager) ByInformation(ctx context.Context, info *vss.LUNInformation) (Disk, bool) {
	m.mu.Lock()
	var id vss.LUNID
	for _, k := range keys(info) {
		if known, ok := m.ids[k]; ok {
			id = known
		}
	}
	m.mu.Unlock()
	if !id.IsZero() {
		if d, err := m.byID(ctx, id); err == nil && sameLUN(info, &d.LUN) {
			return d, true
		}
	}
	found, _ := m.Locate(ctx, []vss.LUNInformation{*info})
	return found[0], found[0].Exists()
}

// Locate finds many LUNs at once, by their page 0x83: each array is asked once. The result has one disk for each; one
// that no array has doesn't exist (Disk.Exists). An array that fails doesn't hide the LUNs of the others: its error
// is returned beside the result if something was not found.
func (m *Manager) Locate(ctx context.Context, infos []vss.LUNInformation) ([]Disk, error) {
	out := make([]Disk, len(infos))
	wanted := map[string][]int{} // indexes in infos by each key
	for i := range infos {
		for _, k := range keys(&infos[i]) {
			wanted[k] = append(wanted[k], i)
		}
	}
	ids := map[string]vss.LUNID{}
	left := len(infos)
	var errs []error
	for _, a := range m.cfg.Arrays {
		luns, err := a.LUNs(ctx)
		if err != nil {
			errs = append(errs, err)
		}
		shown := m.shownBy(ctx, a)
		for _, l := range luns {
			have := l.Information()
			for _, k := range keys(&have) {
				ids[k] = l.ID
				for _, i := range wanted[k] {
					if !out[i].Exists() {
						out[i] = m.disk(a, l, shown)
						left--
					}
				}
			}
		}
	}
	m.mu.Lock()
	m.ids = ids
	m.mu.Unlock()
	if left > 0 {
		return out, errors.Join(errs...)
	}
	return out, nil
}

func sameLUN(info *vss.LUNInformation, l *array.LUN) bool {
	have := l.Information()
	return info.SameLUN(&have)
}

// keys are the designators that name one LUN in the world.
func keys(info *vss.LUNInformation) []string {
	var out []string
	for _, d := range info.DeviceIDs {
		if d.Type.Unique() && len(d.ID) > 0 {
			out = append(out, fmt.Sprint(d.Type)+hex.EncodeToString(d.ID))
		}
	}
	return out
}

// Inquiry returns the identity of the LUN behind a device, false for disks that aren't LUNs of a known array.
func (m *Manager) Inquiry(ctx context.Context, dev string) (*vss.LUNInformation, bool) {
	d, ok := m.ByDevice(ctx, dev)
	if !ok {
		return nil, false
	}
	info := d.LUN.Information()
	return &info, true
}

// PartitionAt returns the device of a disk that occupies exactly an extent: a partition, or the disk itself where it
// isn't divided. Errors: VSS_E_MISSING_DISK, VSS_E_MISSING_VOLUME.
func (m *Manager) PartitionAt(_ context.Context, d Disk, e vss.Extent) (node string, err error) {
	if d.Device == "" {
		return "", missing("PartitionAt", d)
	}
	if node, ok := partitionAt(d.Device, e.Start, e.Length); ok {
		return node, nil
	}
	if len(partitions(d.Device)) == 0 && e.Start == 0 && e.Length == sizeOf(d.Device) {
		return d.Device, nil
	}
	return "", vss.E(
		"PartitionAt", vss.ErrMissingVolume,
		fmt.Errorf("no partition of %s begins at %d and has %d bytes", d.Device, e.Start, e.Length),
	).
		On(d.LUN.Name).
		Advise("`vss lun show " + d.Device + "` shows its partitions; `vss lun rescan` adds those that the kernel " +
			"doesn't know")
}

// missing is the error for a LUN that must be a disk of this host and isn't.
func missing(op string, d Disk) error {
	return vss.E(op, vss.ErrMissingDisk, errors.New("the LUN is not on this host")).
		On(d.LUN.Name).
		Advise("`vss lun unmask` shows it to this host, `vss lun rescan` attaches it")
}
