package provider

import (
	"context"
	"errors"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

type softwareClient struct {
	*client
	sw vssv1.SoftwareProviderClient
}

func (c *softwareClient) IsVolumeSupported(ctx context.Context, v Volume, vc vss.Context) (bool, error) {
	r, err := c.sw.IsVolumeSupported(ctx, &vssv1.ProviderVolumeRequest{Volume: volumeOut(v), Context: uint32(vc)})
	return r.GetValue(), err
}

func (c *softwareClient) Consider(ctx context.Context, v Volume, vc vss.Context) (Offer, error) {
	r, err := c.sw.Consider(ctx, &vssv1.ProviderVolumeRequest{Volume: volumeOut(v), Context: uint32(vc)})
	if err != nil {
		return Offer{}, err
	}
	var p parser
	return p.offer(r), p.err
}

func (c *softwareClient) IsVolumeSnapshotted(ctx context.Context, v Volume) (bool, vss.SnapshotCompatibility, error) {
	r, err := c.sw.IsVolumeSnapshotted(ctx, &vssv1.ProviderVolumeRequest{Volume: volumeOut(v)})
	return r.GetSnapshotted(), vss.SnapshotCompatibility(r.GetCompatibility()), err
}

func (c *softwareClient) BeginPrepareSnapshot(
	ctx context.Context,
	set vss.SnapshotSetID,
	snapshot vss.SnapshotID,
	v Volume,
	vc vss.Context,
) error {
	_, err := c.sw.BeginPrepareSnapshot(ctx, &vssv1.BeginPrepareVolumeRequest{
		SetId: set.String(), SnapshotId: snapshot.String(), Volume: volumeOut(v), Context: uint32(vc),
	})
	return err
}

func (c *softwareClient) WritePaths(ctx context.Context, set vss.SnapshotSetID) ([]string, error) {
	r, err := c.sw.WritePaths(ctx, &vssv1.ProviderSetRequest{SetId: set.String()})
	return r.GetPaths(), err
}

func (c *softwareClient) Describe(ctx context.Context, set vss.SnapshotSetID, snapshot vss.SnapshotID) (Copy, error) {
	r, err := c.sw.Describe(ctx, &vssv1.ProviderDescribeRequest{SetId: set.String(), SnapshotId: snapshot.String()})
	if err != nil {
		return Copy{}, err
	}
	var p parser
	return p.copy(r), p.err
}

func (c *softwareClient) Surface(ctx context.Context, r Ref) (Location, error) {
	m, err := c.sw.Surface(ctx, refOut(r))
	return locationIn(m), err
}

func (c *softwareClient) SetWritable(ctx context.Context, r Ref, on bool) error {
	_, err := c.sw.SetWritable(ctx, &vssv1.ProviderSetWritableRequest{Copy: refOut(r), On: on})
	return err
}

func (c *softwareClient) Withdraw(ctx context.Context, r Ref, force bool) error {
	_, err := c.sw.Withdraw(ctx, &vssv1.ProviderWithdrawRequest{Copy: refOut(r), Force: force})
	return err
}

func (c *softwareClient) GetSnapshotProperties(
	ctx context.Context,
	snapshot vss.SnapshotID,
) (SnapshotProperties, error) {
	r, err := c.sw.GetSnapshotProperties(ctx, &vssv1.ProviderSnapshotRequest{SnapshotId: snapshot.String()})
	if err != nil {
		return SnapshotProperties{}, err
	}
	var p parser
	return p.snapshotProperties(r), p.err
}

func (c *softwareClient) Query(ctx context.Context) ([]SnapshotProperties, error) {
	r, err := c.sw.Query(ctx, &vssv1.ProviderQueryRequest{})
	if err != nil {
		return nil, err
	}
	var p parser
	var out []SnapshotProperties
	for _, s := range r.GetSnapshots() {
		out = append(out, p.snapshotProperties(s))
	}
	return out, p.err
}

func (c *softwareClient) SetSnapshotProperty(
	ctx context.Context,
	snapshot vss.SnapshotID,
	prop Property,
	value any,
) error {
	m := &vssv1.SetSnapshotPropertyRequest{SnapshotId: snapshot.String(), Property: int32(prop)}
	if err := setProperty(m, value); err != nil {
		return err
	}
	_, err := c.sw.SetSnapshotProperty(ctx, m)
	return err
}

func (c *softwareClient) DeleteSnapshots(ctx context.Context, copies []Ref, force bool) (int, vss.SnapshotID, error) {
	m := &vssv1.ProviderDeleteRequest{Force: force}
	for _, r := range copies {
		m.Copies = append(m.Copies, refOut(r))
	}
	r, err := c.sw.DeleteSnapshots(ctx, m)
	if err != nil {
		return 0, vss.SnapshotID{}, err
	}
	var p parser
	failed := p.snapshot(r.GetFailed())
	return int(r.GetDeleted()), failed, errors.Join(wire.FromDetail(r.GetError()), p.err)
}

func (c *softwareClient) RevertToSnapshot(ctx context.Context, r Ref) error {
	_, err := c.sw.RevertToSnapshot(ctx, refOut(r))
	return err
}

func (c *softwareClient) QueryRevertStatus(ctx context.Context, v Volume) (RevertStatus, error) {
	r, err := c.sw.QueryRevertStatus(ctx, &vssv1.ProviderVolumeRequest{Volume: volumeOut(v)})
	if err != nil {
		return RevertStatus{}, err
	}
	return RevertStatus{Done: r.GetDone(), Percent: r.GetPercent(), Err: wire.FromDetail(r.GetError())}, nil
}

// Events closes the channel when the provider's process ends, too.
func (c *softwareClient) Events(ctx context.Context) (<-chan Event, error) {
	stream, err := c.sw.Events(ctx, &vssv1.ProviderEventsRequest{})
	if err != nil {
		return nil, err
	}
	if header, err := stream.Header(); header == nil ||
		err != nil { // it has failed: the error comes with the first message
		if _, rerr := stream.Recv(); rerr != nil {
			err = rerr
		}
		return nil, err
	}
	return wire.Receive(ctx, stream.Recv, 0, func(m *vssv1.ProviderEvent) (Event, bool) {
		var p parser
		e := p.event(m)
		return e, p.err == nil
	}), nil
}
