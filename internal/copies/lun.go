package copies

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// lunKind is the copies of a hardware provider: LUNs of their own, which arrive on this host as disks.
type lunKind struct {
	*base
	hw provider.Hardware
}

var (
	_ Kind     = (*lunKind)(nil)
	_ Breaker  = (*lunKind)(nil)
	_ Importer = (*lunKind)(nil)
	_ Keeper   = (*lunKind)(nil)
)

func (k *lunKind) disks() Disks { return k.host.cfg.Disks }

// sources describes the LUNs that a volume lies on, or returns why they can't be copied.
func (k *lunKind) sources(ctx context.Context, v *volume.Volume) ([]vss.LUNInformation, error) {
	if v.DeviceReadOnly {
		return nil, vss.E("AddToSnapshotSet", vss.ErrVolumeNotSupported, errors.New("its LUN is read-only")).On(v.Name).
			Advise("a copy needs its flags written; make the LUN read/write, or back it up as it is")
	}
	if err := k.disks().CanRenew(v.FileSystem, v.Devices); err != nil {
		return nil, err
	}
	var out []vss.LUNInformation
	for _, dev := range v.Disks {
		d, ok := k.disks().ByDevice(ctx, dev)
		if !ok {
			return nil, fmt.Errorf("%s is not a LUN of an array that this host knows", dev)
		}
		if d.LUN.Kind == array.KindShadowCopy {
			return nil, fmt.Errorf("%s is a shadow copy itself; break its set first", dev)
		}
		if err := k.disks().CanFlag(dev); err != nil {
			return nil, err
		}
		info, ok := k.disks().Inquiry(ctx, dev)
		if !ok {
			return nil, fmt.Errorf("%s doesn't answer an inquiry", dev)
		}
		out = append(out, *info)
	}
	if len(out) == 0 {
		return nil, errors.New("it lies on no disk of this host")
	}
	return out, nil
}

// Supports implements Kind. It reports whether the provider knows all LUNs, in any state.
func (k *lunKind) Supports(ctx context.Context, v *volume.Volume, c vss.Context) (bool, error) {
	sources, err := k.sources(ctx, v)
	if err != nil || k.props.Allows(c) != nil {
		return false, nil
	}
	for i := range sources {
		ok, err := call(ctx, k.caller, callFillIn, noSet, func(ctx context.Context) (bool, error) {
			info := sources[i]
			return k.hw.FillInLUNInfo(ctx, v.Disks[i], &info)
		})
		if err != nil || !ok {
			return false, nil // only the answer counts. Source: FillInLunInfo
		}
	}
	return true, nil
}

// supported is the answer to AreLunsSupported.
type supported struct {
	yes    bool
	filled []vss.LUNInformation
}

// Consider implements Kind.
func (k *lunKind) Consider(ctx context.Context, v *volume.Volume, c vss.Context) (Offer, error) {
	sources, err := k.sources(ctx, v)
	if err == nil {
		err = k.props.Allows(c)
	}
	if err != nil {
		return Offer{}, &Obstacle{err}
	}
	answer, err := call(ctx, k.caller, callAreLUNs, noSet, func(ctx context.Context) (s supported, err error) {
		s.yes, s.filled, err = k.hw.AreLUNsSupported(ctx, c, v.Disks, sources)
		return s, err
	})
	if err != nil {
		return Offer{}, err
	}
	if !answer.yes {
		return Offer{}, &Obstacle{fmt.Errorf("%s can't copy its LUNs with context %s and attributes %v now",
			k.props.Name, c.ContextName(), c.Names())}
	}
	return Offer{Offer: provider.Offer{Hold: provider.HoldFreeze}, sources: answer.filled}, nil
}

// Snapshotted implements Kind. LUN copies disable nothing on their volume, and the catalogue knows of them.
func (k *lunKind) Snapshotted(context.Context, *volume.Volume) (bool, vss.SnapshotCompatibility, error) {
	return false, 0, nil
}

// WritePaths implements Kind.
func (k *lunKind) WritePaths(ctx context.Context) ([]string, error) { return k.disks().WritePaths(ctx) }

// Join implements Kind.
func (k *lunKind) Join(set vss.SnapshotSetID, c vss.Context) Member {
	return &lunMember{sequence: sequence{k.base, set, c}, k: k, uses: map[vss.LUNID]bool{}}
}

// Open implements Kind.
func (k *lunKind) Open(r *catalog.Snapshot) Copy { return k.open(r) }

func (k *lunKind) open(r *catalog.Snapshot) *lunCopy { return &lunCopy{k: k, r: r} }

func (k *lunKind) openAll(records []*catalog.Snapshot) []*lunCopy {
	out := make([]*lunCopy, len(records))
	for i, r := range records {
		out[i] = k.open(r)
	}
	return out
}

// stateChange reports a change of LUNs to the provider, unless there are none.
func (k *lunKind) stateChange(
	ctx context.Context,
	m method,
	set vss.SnapshotSetID,
	luns []catalog.LUN,
	change vss.LUNStateChange,
) error {
	if len(luns) == 0 {
		return nil
	}
	return k.do(ctx, m, set, func(ctx context.Context) error { return k.change(ctx, luns, change) })
}

func (k *lunKind) change(ctx context.Context, luns []catalog.LUN, change vss.LUNStateChange) error {
	var copies, originals []vss.LUNInformation
	for _, l := range luns {
		copies, originals = append(copies, l.Copy), append(originals, l.Original)
	}
	return k.hw.OnLUNStateChange(ctx, copies, originals, change)
}

// lunsOf lists the LUNs of copies, each once.
func lunsOf(records []*catalog.Snapshot) []catalog.LUN {
	var out []catalog.LUN
	for _, r := range records {
		for _, l := range r.LUNs {
			known := false
			for i := range out {
				known = known || out[i].Copy.SameLUN(&l.Copy)
			}
			if !known {
				out = append(out, l)
			}
		}
	}
	return out
}

// SendAway implements Importer. A copy that could not be imported may still have its original's identity.
func (k *lunKind) SendAway(ctx context.Context, records []*catalog.Snapshot) {
	kept := map[vss.LUNID]bool{}
	for _, r := range records {
		for _, l := range r.LUNs {
			kept[l.LUNID] = kept[l.LUNID] || r.Imported
		}
	}
	for _, r := range records {
		if r.Imported {
			continue
		}
		for i := range r.LUNs {
			d, ok := k.disks().ByInformation(ctx, &r.LUNs[i].Copy)
			if !ok || kept[d.LUN.ID] || !copyOf(d, r.SetID) {
				continue
			}
			err := k.disks().Uninstall(ctx, d, true)
			if err == nil {
				err = k.plain(ctx, callStateChange, func(ctx context.Context) error {
					return k.change(ctx, r.LUNs[i:i+1], vss.DoMaskLUNs)
				})
			}
			if err != nil {
				err = k.translate(ctx, callStateChange, r.SetID, err)
				k.events.Failed(events.NotMasked, r.SetID, d.LUN.Name, err)
			}
		}
	}
}

// DropRemains implements Kind.
func (k *lunKind) DropRemains(ctx context.Context, set vss.SnapshotSetID, records []*catalog.Snapshot) error {
	disks, err := k.disks().Disks(ctx)
	if err != nil {
		return err
	}
	for _, d := range disks {
		if copyOf(d, set) && d.Device != "" {
			if err := k.disks().Uninstall(ctx, d, true); err != nil {
				return err
			}
		}
	}
	for _, r := range records {
		k.host.unlink(r)
	}
	for _, l := range lunsOf(records) {
		if err := k.empty(ctx, set, l); err != nil {
			return err
		}
	}
	return k.abort(ctx, set)
}

// Kept implements Keeper: an array calls a LUN final once its set was created.
func (k *lunKind) Kept(ctx context.Context, set vss.SnapshotSetID) ([]string, error) {
	disks, err := k.disks().Disks(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, d := range disks {
		if d.LUN.Set == set && d.LUN.Kind == array.KindShadowCopy && d.LUN.Final {
			out = append(out, d.LUN.Name)
		}
	}
	return out, nil
}

// empty makes the provider delete a LUN without copies. A missing LUN isn't an error. A LUN that isn't a copy of the
// set by its array's record, since it was broken, is left alone.
func (k *lunKind) empty(ctx context.Context, set vss.SnapshotSetID, l catalog.LUN) error {
	if d, ok := k.disks().ByInformation(ctx, &l.Copy); ok && d.Exists() && !copyOf(d, set) {
		k.logger.Warn("LUN not deleted", "lun", d.LUN.Name, "error", notACopy(d, set))
		return nil
	}
	err := k.plain(ctx, callOnLUNEmpty, func(ctx context.Context) error { return k.hw.OnLUNEmpty(ctx, "", &l.Copy) })
	if errors.Is(err, vss.ErrObjectNotFound) {
		return nil
	}
	return err
}

// Inspect implements Kind: what the arrays have, the host's inspection sees.
func (k *lunKind) Inspect(context.Context, Known) ([]Finding, error) { return nil, nil }

// parallel is how many copies or disks are worked on at the same time. Most of the time each waits for its disk's
// cache.
const parallel = 64

// each runs f for 0 to n-1, a few at the same time, and returns the errors in order.
func each(n int, f func(i int) error) []error {
	errs := make([]error, n)
	slots := make(chan struct{}, parallel)
	var all sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			errs[i] = f(i)
		})
	}
	all.Wait()
	return errs
}
