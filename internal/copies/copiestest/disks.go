package copiestest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

var _ copies.Disks = (*World)(nil)

// all lists the LUNs. The caller holds mu.
func (w *World) all() []providertest.LUN {
	var out []providertest.LUN
	for _, a := range w.arrays {
		out = append(out, a.LUNs()...)
	}
	return out
}

// disk describes a LUN as a disk. The caller holds mu.
func (w *World) disk(l providertest.LUN) vds.Disk {
	d := vds.Disk{Device: w.devices[id(&l.Info)], LUN: array.LUN{
		ID: id(&l.Info), Name: "lun-" + l.Info.SerialNumber, Kind: array.KindPlain, Final: l.Final,
		Imported: l.Imported, Flags: w.flags[id(&l.Info)],
	}}
	if l.Copy {
		d.LUN.Kind, d.LUN.Set, d.LUN.Host = array.KindShadowCopy, l.Set, Name
	}
	if l.Visible {
		d.LUN.MappedTo = []string{Name}
	}
	return d
}

// find returns the first LUN that matches. The caller holds mu.
func (w *World) find(match func(providertest.LUN) bool) (providertest.LUN, bool) {
	all := w.all()
	i := slices.IndexFunc(all, match)
	if i < 0 {
		return providertest.LUN{}, false
	}
	return all[i], true
}

func (w *World) diskBy(match func(providertest.LUN) bool) (vds.Disk, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l, ok := w.find(match)
	if !ok {
		return vds.Disk{}, false
	}
	return w.disk(l), true
}

// Disks implements copies.Disks.
func (w *World) Disks(context.Context) ([]vds.Disk, error) {
	if err := w.fail("Disks", ""); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []vds.Disk
	for _, l := range w.all() {
		out = append(out, w.disk(l))
	}
	return out, nil
}

// Find implements copies.Disks.
func (w *World) Find(_ context.Context, lun vss.LUNID) (vds.Disk, error) {
	d, ok := w.diskBy(func(l providertest.LUN) bool { return id(&l.Info) == lun })
	if !ok {
		return d, vss.E("FindLun", vss.VDSErrObjectNotFound, nil).On(lun.String())
	}
	return d, w.fail("Find", lun.String())
}

// ByDevice implements copies.Disks.
func (w *World) ByDevice(_ context.Context, device string) (vds.Disk, bool) {
	return w.diskBy(func(l providertest.LUN) bool { return device != "" && w.devices[id(&l.Info)] == device })
}

// ByInformation implements copies.Disks.
func (w *World) ByInformation(_ context.Context, info *vss.LUNInformation) (vds.Disk, bool) {
	return w.diskBy(func(l providertest.LUN) bool { return l.Info.SameLUN(info) })
}

// Locate implements copies.Disks.
func (w *World) Locate(ctx context.Context, infos []vss.LUNInformation) ([]vds.Disk, error) {
	out := make([]vds.Disk, len(infos))
	for i := range infos {
		out[i], _ = w.ByInformation(ctx, &infos[i])
	}
	return out, w.fail("Locate", "")
}

// Inquiry implements copies.Disks.
func (w *World) Inquiry(_ context.Context, device string) (*vss.LUNInformation, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l, ok := w.find(func(l providertest.LUN) bool { return device != "" && w.devices[id(&l.Info)] == device })
	return &l.Info, ok
}

// VisibleOriginal implements copies.Disks.
func (w *World) VisibleOriginal(ctx context.Context, info *vss.LUNInformation) bool {
	d, ok := w.ByInformation(ctx, info)
	return ok && d.Device != ""
}

// PartitionAt implements copies.Disks.
func (w *World) PartitionAt(_ context.Context, d vds.Disk, e vss.Extent) (string, error) {
	if err := w.fail("PartitionAt", d.Device); err != nil {
		return "", err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.tables[d.LUN.ID]
	switch {
	case d.Device != "" && w.devices[d.LUN.ID] != d.Device:
		return "", vss.E("PartitionAt", vss.ErrMissingDisk, fmt.Errorf("%s is not the LUN any more", d.Device))
	case e.Start == start && w.parted[d.Device]:
		return disk.PartitionNode(d.Device, 1), nil
	case t.Style == disk.StyleNone && e.Start == 0:
		return d.Device, nil
	}
	return "", vss.E("PartitionAt", vss.ErrMissingVolume, errors.New("no partition there")).On(d.Device)
}

// Rescan implements copies.Disks.
func (w *World) Rescan(_ context.Context, o vds.RescanOptions) (arrived []vds.Disk, err error) {
	err = w.fail("Rescan", "")
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.all() {
		lun := id(&l.Info)
		importing := slices.Contains(o.Import, lun)
		switch {
		case !l.Visible:
			if dev := w.devices[lun]; dev != "" && !w.mountedOn(dev) {
				w.detach(lun)
			}
		case err != nil || len(o.Import) > 0 && !importing || !importing && l.Copy && !l.Final:
		case importing:
			was := w.devices[lun] != ""
			w.attach(lun, false)
			w.readOnly[w.devices[lun]] = false
			if !was {
				arrived = append(arrived, w.disk(l))
			}
		case w.devices[lun] == "":
			w.attach(lun, true)
			arrived = append(arrived, w.disk(l))
		}
	}
	return arrived, err
}

// Uninstall implements copies.Disks.
func (w *World) Uninstall(_ context.Context, d vds.Disk, force bool) error {
	if err := w.fail("Uninstall", d.Device); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	dev := w.devices[d.LUN.ID]
	if dev == "" {
		return nil
	}
	if w.busy(dev) && !force || w.locked[dev] {
		return vss.E("Uninstall", vss.ErrVolumeInUse, nil).On(dev)
	}
	w.mounts = slices.DeleteFunc(w.mounts, func(m mounted) bool { return m.on(dev) })
	w.detach(d.LUN.ID)
	return nil
}

// Attached implements copies.Disks.
func (w *World) Attached(lun vss.LUNID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.devices[lun] != ""
}

// Identity implements copies.Disks.
func (w *World) Identity(_ context.Context, d vds.Disk) (disk.Identity, error) {
	if err := w.fail("Identity", d.Device); err != nil {
		return disk.Identity{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return clone(w.tables[d.LUN.ID]).Identity, nil
}

// RenewIdentity implements copies.Disks.
func (w *World) RenewIdentity(_ context.Context, d vds.Disk) (disk.Identity, error) {
	if err := w.fail("RenewIdentity", d.Device); err != nil {
		return disk.Identity{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.tables[d.LUN.ID]
	t := table(old.Style)
	t.Flags = old.Flags
	for i := range t.Partitions {
		t.Partitions[i].Flags = old.Partitions[i].Flags
	}
	w.tables[d.LUN.ID] = t
	w.attach(d.LUN.ID, true)
	return clone(t).Identity, nil
}

// SetFlags implements copies.Disks.
func (w *World) SetFlags(_ context.Context, d vds.Disk, set, clr vss.DiskFlags) error {
	if err := w.fail("SetFlags", d.Device); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tables[d.LUN.ID].Style == disk.StyleNone {
		w.flags[d.LUN.ID] = w.flags[d.LUN.ID]&^clr | set
		return nil
	}
	w.setFlags(d.LUN.ID, 0, set, clr)
	return nil
}

// setFlags changes the flags of a partition, or of all for 0. The caller holds mu.
func (w *World) setFlags(lun vss.LUNID, number int, set, clr vss.DiskFlags) {
	t := w.tables[lun]
	t.Flags = t.Flags&^clr | set
	if t.Style != disk.StyleGPT {
		return
	}
	for i := range t.Partitions {
		if p := &t.Partitions[i]; number == 0 || p.Number == number {
			p.Flags = p.Flags&^clr | set
		}
	}
}

// KeepCopies implements copies.Disks.
func (w *World) KeepCopies(_ context.Context, set vss.SnapshotSetID, _ string) error {
	if err := w.fail("KeepCopies", ""); err != nil {
		return err
	}
	for _, a := range w.arrays {
		a.Keep(set)
	}
	return nil
}

// MakePlain implements copies.Disks.
func (w *World) MakePlain(_ context.Context, ids []vss.LUNID) error {
	if err := w.fail("MakePlain", ""); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.arrays {
		for _, l := range a.LUNs() {
			if slices.Contains(ids, id(&l.Info)) {
				a.MakePlain(l.Info)
			}
		}
	}
	return nil
}

// WritePaths implements copies.Disks.
func (w *World) WritePaths(context.Context) ([]string, error) {
	return []string{"/var/lib/memory-pool"}, w.fail("WritePaths", "")
}

// Pause implements copies.Disks.
func (w *World) Pause(context.Context) (resume func(), err error) {
	if err := w.fail("Pause", ""); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.Paused++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.Paused--
	}, nil
}

// Arrays implements copies.Disks.
func (w *World) Arrays(context.Context) []copies.ArrayInfo { return w.Infos }
