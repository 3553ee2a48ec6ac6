package providertest

import (
	"context"
	"slices"

	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// RecordHardware returns a provider that records each call in log before it passes it on to p.
func RecordHardware(p provider.Hardware, log *Log) provider.Hardware {
	return &recordedHardware{recorded{p, log}, p}
}

type recordedHardware struct {
	recorded
	p provider.Hardware
}

func (r *recordedHardware) AreLUNsSupported(
	ctx context.Context,
	c vss.Context,
	devices []string,
	luns []vss.LUNInformation,
) (ok bool, out []vss.LUNInformation, err error) {
	err = r.call(ctx, Call{Method: "AreLunsSupported", LUNs: slices.Clone(luns)}, func() (err error) {
		ok, out, err = r.p.AreLUNsSupported(ctx, c, devices, luns)
		return err
	})
	return ok, out, err
}

func (r *recordedHardware) BeginPrepareSnapshot(ctx context.Context, set vss.SnapshotSetID,
	snapshot vss.SnapshotID, c vss.Context, devices []string, luns []vss.LUNInformation) error {
	return r.call(
		ctx,
		Call{Method: "BeginPrepareSnapshot", Set: set, Snapshots: []vss.SnapshotID{snapshot}, LUNs: slices.Clone(luns)},
		func() error {
			return r.p.BeginPrepareSnapshot(ctx, set, snapshot, c, devices, luns)
		},
	)
}

func (r *recordedHardware) GetTargetLUNs(
	ctx context.Context,
	set vss.SnapshotSetID,
	devices []string,
	sources []vss.LUNInformation,
) (out []vss.LUNInformation, err error) {
	err = r.call(ctx, Call{Method: "GetTargetLuns", Set: set, LUNs: slices.Clone(sources)}, func() (err error) {
		out, err = r.p.GetTargetLUNs(ctx, set, devices, sources)
		return err
	})
	return out, err
}

func (r *recordedHardware) LocateLUNs(ctx context.Context, luns []vss.LUNInformation) error {
	return r.call(
		ctx,
		Call{Method: "LocateLuns", LUNs: slices.Clone(luns)},
		func() error { return r.p.LocateLUNs(ctx, luns) },
	)
}

func (r *recordedHardware) FillInLUNInfo(
	ctx context.Context,
	device string,
	info *vss.LUNInformation,
) (ok bool, err error) {
	err = r.call(ctx, Call{Method: "FillInLunInfo", LUNs: []vss.LUNInformation{*info}}, func() (err error) {
		ok, err = r.p.FillInLUNInfo(ctx, device, info)
		return err
	})
	return ok, err
}

func (r *recordedHardware) OnLUNEmpty(ctx context.Context, device string, info *vss.LUNInformation) error {
	return r.call(
		ctx,
		Call{Method: "OnLunEmpty", LUNs: []vss.LUNInformation{*info}},
		func() error { return r.p.OnLUNEmpty(ctx, device, info) },
	)
}

func (r *recordedHardware) OnLUNStateChange(
	ctx context.Context,
	snapshots, originals []vss.LUNInformation,
	change vss.LUNStateChange,
) error {
	return r.call(ctx, Call{Method: "OnLunStateChange", LUNs: slices.Clone(snapshots), Change: change}, func() error {
		return r.p.OnLUNStateChange(ctx, snapshots, originals, change)
	})
}

func (r *recordedHardware) ResyncLUNs(
	ctx context.Context,
	sources, targets []vss.LUNInformation,
	progress func(percent float64),
) error {
	return r.call(
		ctx,
		Call{Method: "ResyncLuns", LUNs: slices.Clone(sources)},
		func() error { return r.p.ResyncLUNs(ctx, sources, targets, progress) },
	)
}
