package copies

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Surface implements Kind: the LUNs are unmasked, arrive as disks, are recognised, get disk identities of their own and
// turn read-only. The list of arrivals is complete when Rescan returns. Source: ImportSnapshots, LocateLuns,
// FillInLunInfo.
func (k *lunKind) Surface(
	ctx context.Context,
	set vss.SnapshotSetID,
	records []*catalog.Snapshot,
	again bool,
) (here []Copy, missing []error, err error) {
	luns := lunsOf(records)
	if err := k.checkCopies(ctx, set, luns); err != nil {
		return nil, nil, err
	}
	if err := k.locate(ctx, luns); err != nil && !(again && errors.Is(err, vss.ErrBadState)) {
		return nil, nil, k.translate(ctx, callLocate, set, err)
	}
	arrivals := k.rescan(ctx, luns)
	copies := k.openAll(records)
	own := &renewals{of: map[string]func() error{}}
	failed := each(len(copies), func(i int) error {
		return fault.Around("import", "arrive", func() error { return copies[i].arrive(ctx, arrivals, own) })
	})
	var came []*lunCopy
	for i, c := range copies {
		if failed[i] != nil {
			missing = append(missing, failed[i])
			continue
		}
		came, here = append(came, c), append(here, c)
	}
	// When all identities have been written: several copies may lie on one disk.
	err = errors.Join(each(len(came), func(i int) error {
		return fault.Around("import", "read-only", func() error { return came[i].ReadOnly(ctx, true) })
	})...)
	return here, missing, err
}

// checkCopies returns an error if one of the LUNs that records, which may come from a document, call copies of a set is
// something else by its array's record, before anything is done to it: a LUN that is in use, or a copy of another set.
// Those that no array here has are the provider's. Errors: VSS_E_BAD_STATE.
func (k *lunKind) checkCopies(ctx context.Context, set vss.SnapshotSetID, luns []catalog.LUN) error {
	for _, d := range k.find(ctx, luns) {
		if d.Exists() && !copyOf(d, set) {
			return notACopy(d, set)
		}
	}
	return nil
}

// copyOf reports whether a LUN is a shadow copy of a set, by its array's record.
func copyOf(d vds.Disk, set vss.SnapshotSetID) bool {
	return d.LUN.Kind == array.KindShadowCopy && d.LUN.Set == set
}

func notACopy(d vds.Disk, set vss.SnapshotSetID) error {
	return vss.E("FindDisk", vss.ErrBadState, fmt.Errorf("LUN %s is not a shadow copy of set %s", d.LUN.Name, set)).
		On(d.LUN.ID.String()).
		Advise("it was left as it is; was the set broken, or is the document old or of another set?")
}

// locate has the LUNs unmasked to this host. Where some don't exist any more it is done for each of the others: those
// that are missing are found not to arrive.
func (k *lunKind) locate(ctx context.Context, luns []catalog.LUN) error {
	infos := make([]vss.LUNInformation, len(luns))
	for i, l := range luns {
		infos[i] = l.Copy
	}
	try := func(some []vss.LUNInformation) error {
		return fault.Around("import", "locate", func() error {
			return k.plain(ctx, callLocate, func(ctx context.Context) error { return k.hw.LocateLUNs(ctx, some) })
		})
	}
	err := try(infos)
	if !errors.Is(err, vss.ErrObjectNotFound) || len(infos) == 0 {
		return err
	}
	for i := range infos {
		if err := try(infos[i : i+1]); err != nil && !errors.Is(err, vss.ErrObjectNotFound) {
			return err
		}
	}
	return nil
}

// arrival is a LUN and the disk that it is on this host.
type arrival struct {
	info  *vss.LUNInformation
	disk  vds.Disk
	known bool // it was here before, and may be in use
}

// rescan attaches the LUNs and returns those that are here. That a rescan fails is logged only: what matters is whether
// the LUNs came.
func (k *lunKind) rescan(ctx context.Context, luns []catalog.LUN) []arrival {
	found := k.find(ctx, luns)
	var ids []vss.LUNID
	for _, d := range found {
		if d.Exists() {
			ids = append(ids, d.LUN.ID)
		}
	}
	var arrived []vds.Disk
	err := fault.Around("import", "rescan", func() (err error) {
		arrived, err = k.disks().Rescan(ctx, vds.RescanOptions{Import: ids})
		return err
	})
	if err != nil {
		k.logger.Warn("rescan", "error", err)
	}
	var out []arrival
	var others []catalog.LUN // those that were here already
	for i, d := range found {
		at := slices.IndexFunc(arrived, func(a vds.Disk) bool { return d.Exists() && a.LUN.ID == d.LUN.ID })
		if at >= 0 {
			out = append(out, arrival{&luns[i].Copy, arrived[at], false})
		} else {
			others = append(others, luns[i])
		}
	}
	for i, d := range k.find(ctx, others) {
		if d.Device != "" {
			out = append(out, arrival{&others[i].Copy, d, true})
		}
	}
	return out
}

// find finds the disks of LUNs. That an array doesn't answer is logged: its LUNs aren't found.
func (k *lunKind) find(ctx context.Context, luns []catalog.LUN) []vds.Disk {
	if len(luns) == 0 {
		return nil
	}
	infos := make([]vss.LUNInformation, len(luns))
	for i := range luns {
		infos[i] = luns[i].Copy
	}
	found, err := k.disks().Locate(ctx, infos)
	if err != nil {
		k.logger.Warn("LUNs not found", "error", err)
	}
	return found
}

// renewals gives a disk with several volumes, and a btrfs with several subvolumes, one new identity.
type renewals struct {
	mu    sync.Mutex
	of    map[string]func() error
	fsids sync.Map // those that btrfs got, by their devices
}

// btrfs gives the btrfs on these devices a new fsid, unless it got one for another of its subvolumes, and returns it.
func (n *renewals) btrfs(devices []string, set func([]string, vss.GUID) error) (string, error) {
	sorted := slices.Sorted(slices.Values(devices))
	key := strings.Join(sorted, " ")
	err := n.once(key, func() error {
		fsid := vss.NewGUID()
		n.fsids.Store(key, fsid.Plain())
		return set(devices, fsid)
	})
	fsid, _ := n.fsids.Load(key)
	return fsid.(string), err
}

// once calls renew for the first caller with an id, and returns its error to all of them.
func (n *renewals) once(id string, renew func() error) error {
	n.mu.Lock()
	if n.of[id] == nil {
		n.of[id] = sync.OnceValue(renew)
	}
	f := n.of[id]
	n.mu.Unlock()
	return f()
}

// arrive recognises the disks of the copy among those that arrived, and gives them identities of their own.
func (c *lunCopy) arrive(ctx context.Context, arrivals []arrival, own *renewals) error {
	const op = "ImportSnapshots"
	disks := make([]vds.Disk, len(c.r.LUNs))
	for i := range c.r.LUNs {
		l := &c.r.LUNs[i]
		at := slices.IndexFunc(arrivals, func(a arrival) bool { return a.info.SameLUN(&l.Copy) })
		if at < 0 {
			return vss.E(op, vss.ErrMissingDisk, fmt.Errorf("LUN with serial %s did not arrive", l.Copy.SerialNumber)).
				On(c.r.ID.String()).
				Advise("does the copy still exist in the array, and may this host see it? `vss lun list`")
		}
		d := arrivals[at].disk
		if !copyOf(d, c.r.SetID) {
			return notACopy(d, c.r.SetID)
		}
		if paths, err := c.k.mountsOn(arrivals[at]); err != nil || len(paths) > 0 {
			return vss.E(op, vss.ErrVolumeInUse, errors.Join(err, fmt.Errorf("mounted at %q", paths))).On(d.Device).
				Advise("unmount it first; it was left as it is")
		}
		if err := c.recognise(ctx, d, &l.Copy); err != nil {
			return err
		}
		l.LUNID = d.LUN.ID
		disks[i] = d
		if err := own.once(d.LUN.ID.String(), func() error { return c.k.renew(ctx, d) }); err != nil {
			return err
		}
	}
	c.disks = disks
	if c.r.FileSystem != "btrfs" {
		return nil
	}
	at, err := c.Source(ctx)
	if err != nil {
		return err
	}
	c.r.CopyUUID, err = own.btrfs(at.Devices, c.k.disks().SetBtrfsFSID)
	return err
}

// mountsOn returns where the volumes of a disk are mounted. One that has just come isn't.
func (k *lunKind) mountsOn(a arrival) (paths []string, err error) {
	d := a.disk
	if !a.known {
		return nil, nil
	}
	t, err := k.disks().Table(d.Device)
	if err != nil {
		return nil, nil // what can't be read isn't mounted by that table
	}
	nodes := []string{d.Device}
	if k.disks().Partitioned(d.Device) {
		for _, p := range t.Partitions {
			nodes = append(nodes, disk.PartitionNode(d.Device, p.Number))
		}
	}
	for _, n := range nodes {
		at, err := k.host.cfg.Mounts.Of(n)
		if err != nil && !errors.Is(err, vss.ErrObjectNotFound) {
			return nil, err
		}
		paths = append(paths, at...)
	}
	return paths, nil
}

// recognise makes sure that a disk is the LUN that the provider described. Errors: VSS_E_MISSING_DISK.
func (c *lunCopy) recognise(ctx context.Context, d vds.Disk, want *vss.LUNInformation) error {
	info, ok := c.k.disks().Inquiry(ctx, d.Device)
	if ok {
		filled, err := call(
			ctx,
			c.k.caller,
			callFillIn,
			c.r.SetID,
			func(ctx context.Context) (*vss.LUNInformation, error) {
				own := *info
				if yes, err := c.k.hw.FillInLUNInfo(ctx, d.Device, &own); err != nil || !yes {
					return nil, err
				}
				return &own, nil
			},
		)
		ok = err == nil && filled != nil && filled.Matches(want)
	}
	if !ok {
		err := fmt.Errorf("%s is not the LUN that the document describes", d.Device)
		return vss.E("ImportSnapshots", vss.ErrMissingDisk, err).On(c.r.ID.String())
	}
	return nil
}

// renew gives a disk an identity of its own. A disk without a table has none, and no room for flags: the array's record
// holds its flags.
func (k *lunKind) renew(ctx context.Context, d vds.Disk) error {
	id, err := k.disks().RenewIdentity(ctx, d)
	if err == nil && id.Style == disk.StyleNone {
		err = k.disks().SetFlags(ctx, d, vss.FlagsShadowCopy, 0)
	}
	return err
}
