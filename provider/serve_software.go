package provider

import (
	"context"
	"fmt"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

type softwareServer struct {
	vssv1.UnimplementedSoftwareProviderServer
	p Software
}

func (s *softwareServer) IsVolumeSupported(ctx context.Context, r *vssv1.ProviderVolume) (*vssv1.ProviderBool, error) {
	ok, err := s.p.IsVolumeSupported(ctx, r.GetVolume())
	return &vssv1.ProviderBool{Value: ok}, err
}

func (s *softwareServer) IsVolumeSnapshotted(ctx context.Context, r *vssv1.ProviderVolume) (*vssv1.ProviderVolumeSnapshotted, error) {
	ok, c, err := s.p.IsVolumeSnapshotted(ctx, r.GetVolume())
	return &vssv1.ProviderVolumeSnapshotted{Snapshotted: ok, Compatibility: int32(c)}, err
}

func (s *softwareServer) BeginPrepareSnapshot(ctx context.Context, r *vssv1.BeginPrepareVolumeRequest) (*vssv1.ProviderDone, error) {
	var p parser
	set, snapshot := p.set(r.GetSetId()), p.snapshot(r.GetSnapshotId())
	if p.err != nil {
		return nil, p.err
	}
	return &vssv1.ProviderDone{}, s.p.BeginPrepareSnapshot(ctx, set, snapshot, r.GetVolume(), vss.Context(r.GetContext()))
}

func (s *softwareServer) GetSnapshotProperties(ctx context.Context, r *vssv1.ProviderSnapshotRequest) (*vssv1.ProviderSnapshot, error) {
	var p parser
	id := p.snapshot(r.GetSnapshotId())
	if p.err != nil {
		return nil, p.err
	}
	props, err := s.p.GetSnapshotProperties(ctx, id)
	return snapshotOut(props), err
}

func (s *softwareServer) Query(ctx context.Context, _ *vssv1.ProviderQueryRequest) (*vssv1.ProviderSnapshotList, error) {
	all, err := s.p.Query(ctx)
	var out vssv1.ProviderSnapshotList
	for _, c := range all {
		out.Snapshots = append(out.Snapshots, snapshotOut(c))
	}
	return &out, err
}

func (s *softwareServer) SetSnapshotProperty(ctx context.Context, r *vssv1.SetSnapshotPropertyRequest) (*vssv1.ProviderDone, error) {
	var p parser
	id := p.snapshot(r.GetSnapshotId())
	if p.err != nil {
		return nil, p.err
	}
	var value any
	switch v := r.GetValue().(type) {
	case *vssv1.SetSnapshotPropertyRequest_Text:
		value = v.Text
	case *vssv1.SetSnapshotPropertyRequest_Number:
		value = vss.Attributes(v.Number)
	default:
		return nil, badMessage("SetSnapshotProperty", "give the property a value")
	}
	return &vssv1.ProviderDone{}, s.p.SetSnapshotProperty(ctx, id, Property(r.GetProperty()), value)
}

// DeleteSnapshots puts a failure into the reply: what was deleted before it counts.
func (s *softwareServer) DeleteSnapshots(ctx context.Context, r *vssv1.ProviderDeleteRequest) (*vssv1.ProviderDeleteReply, error) {
	var p parser
	id := p.guid(r.GetId())
	if p.err != nil {
		return nil, p.err
	}
	n, failed, err := s.p.DeleteSnapshots(ctx, id, vss.ObjectType(r.GetType()), r.GetForce())
	return &vssv1.ProviderDeleteReply{Deleted: int32(n), Failed: failed.String(), Error: wire.Detail("DeleteSnapshots", err)}, nil
}

func (s *softwareServer) RevertToSnapshot(ctx context.Context, r *vssv1.ProviderSnapshotRequest) (*vssv1.ProviderDone, error) {
	var p parser
	id := p.snapshot(r.GetSnapshotId())
	if p.err != nil {
		return nil, p.err
	}
	return &vssv1.ProviderDone{}, s.p.RevertToSnapshot(ctx, id)
}

func (s *softwareServer) QueryRevertStatus(ctx context.Context, r *vssv1.ProviderVolume) (*vssv1.ProviderRevertStatus, error) {
	st, err := s.p.QueryRevertStatus(ctx, r.GetVolume())
	return &vssv1.ProviderRevertStatus{Done: st.Done, Percent: st.Percent, Error: wire.Detail("RevertToSnapshot", st.Err)}, err
}

// setProperty puts a property's value into a message. Errors: E_INVALIDARG for a value of another type than the property's.
func setProperty(m *vssv1.SetSnapshotPropertyRequest, value any) error {
	switch v := value.(type) {
	case string:
		m.Value = &vssv1.SetSnapshotPropertyRequest_Text{Text: v}
	case vss.Attributes:
		m.Value = &vssv1.SetSnapshotPropertyRequest_Number{Number: uint32(v)}
	default:
		return vss.E("SetSnapshotProperty", vss.ErrInvalidArg, fmt.Errorf("a value of type %T", value)).Advise("names and paths are text, attributes are vss.Attributes")
	}
	return nil
}
