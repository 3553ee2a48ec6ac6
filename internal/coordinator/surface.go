package coordinator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// surface brings copies to this host: their LUNs are unmasked, arrive, are recognised, get disk identities of their own,
// turn read-only and get device objects. It fills in the records; those whose disks did not arrive are in missing.
// The list of arrivals is complete when Rescan returns. With again it goes on where a former service died, who may have had
// the LUNs marked as imported. Source: ImportSnapshots, LocateLuns, FillInLunInfo.
func (k *Coordinator) surface(ctx context.Context, set vss.SnapshotSetID, records []*catalog.Snapshot, again bool) (missing []error, err error) {
	var ids []vss.LUNID
	for _, id := range providerIDs(records) {
		hw, props, err := k.hardware(id)
		if err != nil {
			return nil, err
		}
		var luns []vss.LUNInformation
		for _, r := range records {
			for _, l := range r.LUNs {
				known := slices.ContainsFunc(luns, func(o vss.LUNInformation) bool { return o.SameLUN(&l.Copy) })
				if r.ProviderID == id && !known {
					luns = append(luns, l.Copy)
				}
			}
		}
		err = locate(ctx, hw, luns)
		if err != nil && !(again && errors.Is(err, vss.ErrBadState)) {
			return nil, k.said(props, "LocateLuns", set, err)
		}
		for _, l := range luns {
			if d, ok := k.Disks.ByInformation(ctx, &l); ok {
				ids = append(ids, d.LUN.ID)
			}
		}
	}
	err = fault.Around("import", "rescan", func() error {
		_, err := k.Disks.Rescan(ctx, vds.RescanOptions{Import: ids})
		return err
	})
	if err != nil {
		k.Logger.Warn("rescan", "error", err) // what matters is whether our disks came: arrive says so
	}
	here, missing := k.arriveAll(ctx, records)
	if len(here) == 0 {
		return missing, nil
	}
	for _, r := range here {
		if err := fault.Around("import", "read-only", func() error { return k.blockReadOnly(ctx, r, true) }); err != nil {
			return missing, err
		}
	}
	if err := k.Catalog.Update(func(tx *catalog.Tx) (err error) {
		for _, r := range here {
			if r.DeviceNumber, err = tx.NextDevice(); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		for _, r := range here {
			r.DeviceNumber = 0 // nobody has reserved it
		}
		return missing, err
	}
	for _, r := range here {
		if err := fault.Around("import", "link", func() error { return k.link(ctx, r) }); err != nil {
			return missing, err
		}
		r.Imported = true
		r.ServiceMachine = k.Host
	}
	return missing, nil
}

// arriveAtOnce is how many copies are recognised at the same time.
const arriveAtOnce = 8

// arriveAll recognises the disks of copies. Both lists keep the records' order.
func (k *Coordinator) arriveAll(ctx context.Context, records []*catalog.Snapshot) (here []*catalog.Snapshot, missing []error) {
	own := &renewals{of: map[vss.LUNID]func() error{}}
	failed := make([]error, len(records))
	slots := make(chan struct{}, arriveAtOnce)
	var all sync.WaitGroup
	for i, r := range records {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			failed[i] = fault.Around("import", "arrive", func() error { return k.arrive(ctx, r, own) })
		})
	}
	all.Wait()
	for i, r := range records {
		if failed[i] == nil {
			here = append(here, r)
		} else {
			missing = append(missing, failed[i])
		}
	}
	return here, missing
}

// renewals sees that a disk with several volumes gets one new identity.
type renewals struct {
	mu sync.Mutex
	of map[vss.LUNID]func() error
}

func (n *renewals) once(id vss.LUNID, renew func() error) error {
	n.mu.Lock()
	if n.of[id] == nil {
		n.of[id] = sync.OnceValue(renew)
	}
	f := n.of[id]
	n.mu.Unlock()
	return f()
}

// locate has the LUNs unmasked to this host. Where some don't exist any more it is done for each of the others: those that
// are missing are found not to arrive.
func locate(ctx context.Context, hw provider.Hardware, luns []vss.LUNInformation) error {
	one := func(some []vss.LUNInformation) error {
		return fault.Around("import", "locate", func() error { return hw.LocateLUNs(ctx, some) })
	}
	err := one(luns)
	if !errors.Is(err, vss.ErrObjectNotFound) || len(luns) == 0 {
		return err
	}
	for i := range luns {
		if err := one(luns[i : i+1]); err != nil && !errors.Is(err, vss.ErrObjectNotFound) {
			return err
		}
	}
	return nil
}

func providerIDs(records []*catalog.Snapshot) []vss.ProviderID {
	var out []vss.ProviderID
	for _, r := range records {
		if !slices.Contains(out, r.ProviderID) {
			out = append(out, r.ProviderID)
		}
	}
	return out
}

// arrive recognises the disks of one copy and gives them identities of their own.
func (k *Coordinator) arrive(ctx context.Context, r *catalog.Snapshot, own *renewals) error {
	hw, _, err := k.hardware(r.ProviderID)
	if err != nil {
		return err
	}
	for i := range r.LUNs {
		l := &r.LUNs[i]
		d, ok := k.Disks.ByInformation(ctx, &l.Copy)
		if !ok || d.Device == "" {
			return vss.E("ImportSnapshots", vss.ErrMissingDisk, fmt.Errorf("LUN with serial %s did not arrive", l.Copy.SerialNumber)).On(r.ID.String()).Advise("does the copy still exist in the array, and may this host see it? `vss lun list`")
		}
		info, ok := k.Disks.Inquiry(ctx, d.Device)
		if ok {
			ok, err = hw.FillInLUNInfo(ctx, d.Device, info)
		}
		if err != nil || !ok || !info.Matches(&l.Copy) {
			return vss.E("ImportSnapshots", vss.ErrMissingDisk, fmt.Errorf("%s is not the LUN that the document describes", d.Device)).On(r.ID.String())
		}
		l.LUNID = d.LUN.ID
		if err := own.once(d.LUN.ID, func() error {
			id, err := k.Disks.RenewIdentity(ctx, d)
			if err == nil && id.Style == disk.StyleNone {
				err = k.Disks.SetLUNFlags(ctx, d, vss.FlagsShadowCopy, 0)
			}
			return err
		}); err != nil {
			return err
		}
	}
	if r.FileSystem != "btrfs" {
		return nil
	}
	nodes, err := k.nodes(ctx, r)
	if err != nil {
		return err
	}
	fsid := vss.NewGUID()
	if err := disk.SetBtrfsFSID(nodes, fsid); err != nil {
		return err
	}
	r.CopyUUID = fsid.Plain()
	return nil
}

// lunDisk finds a copy's LUN as a disk of this host. Errors: VSS_E_MISSING_DISK.
func (k *Coordinator) lunDisk(ctx context.Context, l *catalog.LUN) (vds.Disk, error) {
	d, ok := k.Disks.ByInformation(ctx, &l.Copy)
	if !ok || d.Device == "" {
		return d, vss.E("FindDisk", vss.ErrMissingDisk, nil).On(l.LUNID.String()).Advise("`vss lun list` shows whether the LUN exists and who may see it")
	}
	return d, nil
}

// nodes are the block devices that the copy's volume lies on, one for each of its extents.
func (k *Coordinator) nodes(ctx context.Context, r *catalog.Snapshot) ([]string, error) {
	var out []string
	for _, e := range r.Extents {
		if e.LUN < 0 || e.LUN >= len(r.LUNs) {
			return nil, vss.E("FindVolume", vss.ErrMissingVolume, fmt.Errorf("extent on LUN %d of %d", e.LUN, len(r.LUNs))).On(r.ID.String())
		}
		d, err := k.lunDisk(ctx, &r.LUNs[e.LUN])
		if err != nil {
			return nil, err
		}
		n, err := k.Disks.PartitionAt(ctx, d, e)
		if err != nil {
			return nil, vss.E("FindVolume", vss.ErrMissingVolume, err).On(r.ID.String())
		}
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	if len(out) == 0 {
		return nil, vss.E("FindVolume", vss.ErrMissingVolume, errors.New("the copy has no extents")).On(r.ID.String())
	}
	return out, nil
}

func (k *Coordinator) blockReadOnly(ctx context.Context, r *catalog.Snapshot, ro bool) error {
	for i := range r.LUNs {
		d, err := k.lunDisk(ctx, &r.LUNs[i])
		if err != nil {
			return err
		}
		if err := disk.SetReadOnly(d.Device, ro); err != nil {
			return err
		}
	}
	return nil
}

// deviceObject is the name of a copy's device, "" while it isn't on this host.
func (k *Coordinator) deviceObject(r *catalog.Snapshot) string {
	if r.DeviceNumber == 0 || !r.Imported {
		return ""
	}
	return filepath.Join(k.DeviceDir, "HarddiskVolumeShadowCopy"+strconv.Itoa(r.DeviceNumber))
}

// link makes the device object point to where the copy is now.
func (k *Coordinator) link(ctx context.Context, r *catalog.Snapshot) error {
	nodes, err := k.nodes(ctx, r)
	if err != nil {
		return err
	}
	name := filepath.Join(k.DeviceDir, "HarddiskVolumeShadowCopy"+strconv.Itoa(r.DeviceNumber))
	temp := name + ".new"
	_ = os.Remove(temp)
	if err = os.Symlink(nodes[0], temp); err == nil {
		err = os.Rename(temp, name)
	}
	if err != nil {
		return vss.E("LinkDevice", vss.ErrUnexpected, err).On(name)
	}
	return nil
}

func (k *Coordinator) unlink(r *catalog.Snapshot) {
	if r.DeviceNumber != 0 {
		_ = os.Remove(filepath.Join(k.DeviceDir, "HarddiskVolumeShadowCopy"+strconv.Itoa(r.DeviceNumber)))
	}
}

// withdraw takes a copy off this host, whatever still uses it: an aborted set, or one whose requester is gone.
func (k *Coordinator) withdraw(ctx context.Context, r *catalog.Snapshot) {
	k.unlink(r)
	for i := range r.LUNs {
		if d, err := k.lunDisk(ctx, &r.LUNs[i]); err == nil {
			if err := k.Disks.Uninstall(ctx, d, true); err != nil {
				k.Logger.Warn("copy not taken off this host", "copy", r.ID, "disk", d.Device, "error", err)
			}
		}
	}
}

// listCreating tells udev's rules, by RUN/creating, which disks to leave alone; no disks removes the list.
func (k *Coordinator) listCreating(disks []*original) error {
	path := filepath.Join(k.RunDir, "creating")
	if len(disks) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	var text []byte
	for _, o := range disks {
		text = append(text, o.device+"\n"...)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return vss.E("ListCreating", vss.ErrUnexpected, err).On(path).Advise("make room in the run folder")
	}
	return nil
}
