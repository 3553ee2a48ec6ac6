package provider

import (
	"context"
	"errors"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

type softwareClient struct {
	client
	sw vssv1.SoftwareProviderClient
}

func (c *softwareClient) IsVolumeSupported(ctx context.Context, volume string) (bool, error) {
	r, err := c.sw.IsVolumeSupported(ctx, &vssv1.ProviderVolume{Volume: volume})
	return r.GetValue(), err
}

func (c *softwareClient) IsVolumeSnapshotted(ctx context.Context, volume string) (bool, vss.SnapshotCompatibility, error) {
	r, err := c.sw.IsVolumeSnapshotted(ctx, &vssv1.ProviderVolume{Volume: volume})
	return r.GetSnapshotted(), vss.SnapshotCompatibility(r.GetCompatibility()), err
}

func (c *softwareClient) BeginPrepareSnapshot(ctx context.Context, set vss.SnapshotSetID, snapshot vss.SnapshotID, volume string, vc vss.Context) error {
	_, err := c.sw.BeginPrepareSnapshot(ctx, &vssv1.BeginPrepareVolumeRequest{SetId: set.String(), SnapshotId: snapshot.String(), Volume: volume, Context: uint32(vc)})
	return err
}

func (c *softwareClient) GetSnapshotProperties(ctx context.Context, snapshot vss.SnapshotID) (SnapshotProperties, error) {
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

func (c *softwareClient) SetSnapshotProperty(ctx context.Context, snapshot vss.SnapshotID, prop Property, value any) error {
	m := &vssv1.SetSnapshotPropertyRequest{SnapshotId: snapshot.String(), Property: int32(prop)}
	if err := setProperty(m, value); err != nil {
		return err
	}
	_, err := c.sw.SetSnapshotProperty(ctx, m)
	return err
}

func (c *softwareClient) DeleteSnapshots(ctx context.Context, id vss.GUID, t vss.ObjectType, force bool) (int, vss.SnapshotID, error) {
	r, err := c.sw.DeleteSnapshots(ctx, &vssv1.ProviderDeleteRequest{Id: id.String(), Type: int32(t), Force: force})
	if err != nil {
		return 0, vss.SnapshotID{}, err
	}
	var p parser
	failed := p.snapshot(r.GetFailed())
	return int(r.GetDeleted()), failed, errors.Join(wire.FromDetail(r.GetError()), p.err)
}

func (c *softwareClient) RevertToSnapshot(ctx context.Context, snapshot vss.SnapshotID) error {
	_, err := c.sw.RevertToSnapshot(ctx, &vssv1.ProviderSnapshotRequest{SnapshotId: snapshot.String()})
	return err
}

func (c *softwareClient) QueryRevertStatus(ctx context.Context, volume string) (RevertStatus, error) {
	r, err := c.sw.QueryRevertStatus(ctx, &vssv1.ProviderVolume{Volume: volume})
	if err != nil {
		return RevertStatus{}, err
	}
	return RevertStatus{Done: r.GetDone(), Percent: r.GetPercent(), Err: wire.FromDetail(r.GetError())}, nil
}
