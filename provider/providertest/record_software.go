package providertest

import (
	"context"

	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// RecordSoftware returns a provider that records each call in log before it passes it on to p.
func RecordSoftware(p provider.Software, log *Log) provider.Software {
	return &recordedSoftware{recorded{p, log}, p}
}

type recordedSoftware struct {
	recorded
	p provider.Software
}

func one(id vss.SnapshotID) []vss.SnapshotID { return []vss.SnapshotID{id} }

func (r *recordedSoftware) IsVolumeSupported(
	ctx context.Context,
	v provider.Volume,
	c vss.Context,
) (ok bool, err error) {
	err = r.call(ctx, Call{Method: "IsVolumeSupported", Volume: v.Name}, func() (err error) {
		ok, err = r.p.IsVolumeSupported(ctx, v, c)
		return err
	})
	return ok, err
}

func (r *recordedSoftware) Consider(
	ctx context.Context,
	v provider.Volume,
	c vss.Context,
) (o provider.Offer, err error) {
	err = r.call(ctx, Call{Method: "Consider", Volume: v.Name}, func() (err error) {
		o, err = r.p.Consider(ctx, v, c)
		return err
	})
	return o, err
}

func (r *recordedSoftware) IsVolumeSnapshotted(
	ctx context.Context,
	v provider.Volume,
) (ok bool, c vss.SnapshotCompatibility, err error) {
	err = r.call(ctx, Call{Method: "IsVolumeSnapshotted", Volume: v.Name}, func() (err error) {
		ok, c, err = r.p.IsVolumeSnapshotted(ctx, v)
		return err
	})
	return ok, c, err
}

func (r *recordedSoftware) BeginPrepareSnapshot(ctx context.Context, set vss.SnapshotSetID, id vss.SnapshotID,
	v provider.Volume, c vss.Context) error {
	return r.call(
		ctx,
		Call{Method: "BeginPrepareSnapshot", Set: set, Snapshots: one(id), Volume: v.Name},
		func() error {
			return r.p.BeginPrepareSnapshot(ctx, set, id, v, c)
		},
	)
}

func (r *recordedSoftware) WritePaths(ctx context.Context, set vss.SnapshotSetID) (paths []string, err error) {
	err = r.call(ctx, Call{Method: "WritePaths", Set: set}, func() (err error) {
		paths, err = r.p.WritePaths(ctx, set)
		return err
	})
	return paths, err
}

func (r *recordedSoftware) Describe(
	ctx context.Context,
	set vss.SnapshotSetID,
	id vss.SnapshotID,
) (c provider.Copy, err error) {
	err = r.call(ctx, Call{Method: "Describe", Set: set, Snapshots: one(id)}, func() (err error) {
		c, err = r.p.Describe(ctx, set, id)
		return err
	})
	return c, err
}

func (r *recordedSoftware) Surface(ctx context.Context, c provider.Ref) (l provider.Location, err error) {
	err = r.call(ctx, Call{Method: "Surface", Snapshots: one(c.ID)}, func() (err error) {
		l, err = r.p.Surface(ctx, c)
		return err
	})
	return l, err
}

func (r *recordedSoftware) SetWritable(ctx context.Context, c provider.Ref, on bool) error {
	return r.call(
		ctx,
		Call{Method: "SetWritable", Snapshots: one(c.ID), On: on},
		func() error { return r.p.SetWritable(ctx, c, on) },
	)
}

func (r *recordedSoftware) Withdraw(ctx context.Context, c provider.Ref, force bool) error {
	return r.call(
		ctx,
		Call{Method: "Withdraw", Snapshots: one(c.ID), Force: force},
		func() error { return r.p.Withdraw(ctx, c, force) },
	)
}

func (r *recordedSoftware) GetSnapshotProperties(
	ctx context.Context,
	id vss.SnapshotID,
) (p provider.SnapshotProperties, err error) {
	err = r.call(ctx, Call{Method: "GetSnapshotProperties", Snapshots: one(id)}, func() (err error) {
		p, err = r.p.GetSnapshotProperties(ctx, id)
		return err
	})
	return p, err
}

func (r *recordedSoftware) Query(ctx context.Context) (all []provider.SnapshotProperties, err error) {
	err = r.call(ctx, Call{Method: "Query"}, func() (err error) {
		all, err = r.p.Query(ctx)
		return err
	})
	return all, err
}

func (r *recordedSoftware) SetSnapshotProperty(
	ctx context.Context,
	id vss.SnapshotID,
	p provider.Property,
	value any,
) error {
	return r.call(
		ctx,
		Call{Method: "SetSnapshotProperty", Snapshots: one(id)},
		func() error { return r.p.SetSnapshotProperty(ctx, id, p, value) },
	)
}

func (r *recordedSoftware) DeleteSnapshots(
	ctx context.Context,
	copies []provider.Ref,
	force bool,
) (n int, failed vss.SnapshotID, err error) {
	c := Call{Method: "DeleteSnapshots", Force: force}
	for _, x := range copies {
		c.Snapshots = append(c.Snapshots, x.ID)
	}
	err = r.call(ctx, c, func() (err error) {
		n, failed, err = r.p.DeleteSnapshots(ctx, copies, force)
		return err
	})
	return n, failed, err
}

func (r *recordedSoftware) RevertToSnapshot(ctx context.Context, c provider.Ref) error {
	return r.call(
		ctx,
		Call{Method: "RevertToSnapshot", Snapshots: one(c.ID)},
		func() error { return r.p.RevertToSnapshot(ctx, c) },
	)
}

func (r *recordedSoftware) QueryRevertStatus(
	ctx context.Context,
	v provider.Volume,
) (s provider.RevertStatus, err error) {
	err = r.call(ctx, Call{Method: "QueryRevertStatus", Volume: v.Name}, func() (err error) {
		s, err = r.p.QueryRevertStatus(ctx, v)
		return err
	})
	return s, err
}

func (r *recordedSoftware) Events(ctx context.Context) (out <-chan provider.Event, err error) {
	err = r.call(ctx, Call{Method: "Events"}, func() (err error) {
		out, err = r.p.Events(ctx)
		return err
	})
	return out, err
}
