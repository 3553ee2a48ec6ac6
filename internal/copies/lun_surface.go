package copies

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

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
	if err := k.locate(ctx, luns); err != nil && !(again && errors.Is(err, vss.ErrBadState)) {
		return nil, nil, k.translate(ctx, callLocate, set, err)
	}
	arrivals := k.rescan(ctx, luns)
	copies := k.openAll(records)
	own := &renewals{of: map[vss.LUNID]func() error{}}
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
	info *vss.LUNInformation
	disk vds.Disk
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
			out = append(out, arrival{&luns[i].Copy, arrived[at]})
		} else {
			others = append(others, luns[i])
		}
	}
	for i, d := range k.find(ctx, others) {
		if d.Device != "" {
			out = append(out, arrival{&others[i].Copy, d})
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

// renewals gives a disk with several volumes one new identity.
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
		if err := c.recognise(ctx, d, &l.Copy); err != nil {
			return err
		}
		l.LUNID = d.LUN.ID
		disks[i] = d
		if err := own.once(d.LUN.ID, func() error { return c.k.renew(ctx, d) }); err != nil {
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
	fsid := vss.NewGUID()
	if err := c.k.disks().SetBtrfsFSID(at.Devices, fsid); err != nil {
		return err
	}
	c.r.CopyUUID = fsid.Plain()
	return nil
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
