package provider

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

type softwareServer struct {
	vssv1.UnimplementedSoftwareProviderServer
	p Software
}

func (s *softwareServer) IsVolumeSupported(
	ctx context.Context,
	r *vssv1.ProviderVolumeRequest,
) (*vssv1.ProviderBool, error) {
	var p parser
	v := p.volume(r.GetVolume())
	if p.err != nil {
		return nil, p.err
	}
	ok, err := s.p.IsVolumeSupported(ctx, v, vss.Context(r.GetContext()))
	return &vssv1.ProviderBool{Value: ok}, err
}

func (s *softwareServer) Consider(ctx context.Context, r *vssv1.ProviderVolumeRequest) (*vssv1.ProviderOffer, error) {
	var p parser
	v := p.volume(r.GetVolume())
	if p.err != nil {
		return nil, p.err
	}
	o, err := s.p.Consider(ctx, v, vss.Context(r.GetContext()))
	return &vssv1.ProviderOffer{Hold: int32(o.Hold), Suspends: o.Suspends, Cost: o.Cost}, err
}

func (s *softwareServer) IsVolumeSnapshotted(
	ctx context.Context,
	r *vssv1.ProviderVolumeRequest,
) (*vssv1.ProviderVolumeSnapshotted, error) {
	var p parser
	v := p.volume(r.GetVolume())
	if p.err != nil {
		return nil, p.err
	}
	ok, c, err := s.p.IsVolumeSnapshotted(ctx, v)
	return &vssv1.ProviderVolumeSnapshotted{Snapshotted: ok, Compatibility: int32(c)}, err
}

func (s *softwareServer) BeginPrepareSnapshot(
	ctx context.Context,
	r *vssv1.BeginPrepareVolumeRequest,
) (*vssv1.ProviderDone, error) {
	var p parser
	set, snapshot, v := p.set(r.GetSetId()), p.snapshot(r.GetSnapshotId()), p.volume(r.GetVolume())
	if p.err != nil {
		return nil, p.err
	}
	return &vssv1.ProviderDone{}, s.p.BeginPrepareSnapshot(ctx, set, snapshot, v, vss.Context(r.GetContext()))
}

func (s *softwareServer) WritePaths(ctx context.Context, r *vssv1.ProviderSetRequest) (*vssv1.ProviderPaths, error) {
	var p parser
	set := p.set(r.GetSetId())
	if p.err != nil {
		return nil, p.err
	}
	paths, err := s.p.WritePaths(ctx, set)
	return &vssv1.ProviderPaths{Paths: paths}, err
}

func (s *softwareServer) Describe(ctx context.Context, r *vssv1.ProviderDescribeRequest) (*vssv1.ProviderCopy, error) {
	var p parser
	set, snapshot := p.set(r.GetSetId()), p.snapshot(r.GetSnapshotId())
	if p.err != nil {
		return nil, p.err
	}
	c, err := s.p.Describe(ctx, set, snapshot)
	if err == nil {
		err = checkPayload("Describe", c.Payload)
	}
	if err != nil {
		return nil, err
	}
	return copyOut(c), nil
}

func (s *softwareServer) Surface(ctx context.Context, r *vssv1.ProviderRef) (*vssv1.ProviderLocation, error) {
	var p parser
	c := p.ref(r)
	if p.err != nil {
		return nil, p.err
	}
	l, err := s.p.Surface(ctx, c)
	return locationOut(l), err
}

func (s *softwareServer) SetWritable(
	ctx context.Context,
	r *vssv1.ProviderSetWritableRequest,
) (*vssv1.ProviderDone, error) {
	var p parser
	c := p.ref(r.GetCopy())
	if p.err != nil {
		return nil, p.err
	}
	return &vssv1.ProviderDone{}, s.p.SetWritable(ctx, c, r.GetOn())
}

func (s *softwareServer) Withdraw(ctx context.Context, r *vssv1.ProviderWithdrawRequest) (*vssv1.ProviderDone, error) {
	var p parser
	c := p.ref(r.GetCopy())
	if p.err != nil {
		return nil, p.err
	}
	return &vssv1.ProviderDone{}, s.p.Withdraw(ctx, c, r.GetForce())
}

func (s *softwareServer) GetSnapshotProperties(
	ctx context.Context,
	r *vssv1.ProviderSnapshotRequest,
) (*vssv1.ProviderSnapshot, error) {
	var p parser
	id := p.snapshot(r.GetSnapshotId())
	if p.err != nil {
		return nil, p.err
	}
	props, err := s.p.GetSnapshotProperties(ctx, id)
	return snapshotOut(props), err
}

func (s *softwareServer) Query(
	ctx context.Context,
	_ *vssv1.ProviderQueryRequest,
) (*vssv1.ProviderSnapshotList, error) {
	all, err := s.p.Query(ctx)
	var out vssv1.ProviderSnapshotList
	for _, c := range all {
		out.Snapshots = append(out.Snapshots, snapshotOut(c))
	}
	return &out, err
}

func (s *softwareServer) SetSnapshotProperty(
	ctx context.Context,
	r *vssv1.SetSnapshotPropertyRequest,
) (*vssv1.ProviderDone, error) {
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

// DeleteSnapshots returns a failure inside the reply, which also has the number of copies deleted before it.
func (s *softwareServer) DeleteSnapshots(
	ctx context.Context,
	r *vssv1.ProviderDeleteRequest,
) (*vssv1.ProviderDeleteReply, error) {
	var p parser
	var copies []Ref
	for _, c := range r.GetCopies() {
		copies = append(copies, p.ref(c))
	}
	if p.err != nil {
		return nil, p.err
	}
	n, failed, err := s.p.DeleteSnapshots(ctx, copies, r.GetForce())
	return &vssv1.ProviderDeleteReply{
		Deleted: int32(n),
		Failed:  failed.String(),
		Error:   wire.Detail("DeleteSnapshots", err),
	}, nil
}

func (s *softwareServer) RevertToSnapshot(ctx context.Context, r *vssv1.ProviderRef) (*vssv1.ProviderDone, error) {
	var p parser
	c := p.ref(r)
	if p.err != nil {
		return nil, p.err
	}
	return &vssv1.ProviderDone{}, s.p.RevertToSnapshot(ctx, c)
}

func (s *softwareServer) QueryRevertStatus(
	ctx context.Context,
	r *vssv1.ProviderVolumeRequest,
) (*vssv1.ProviderRevertStatus, error) {
	var p parser
	v := p.volume(r.GetVolume())
	if p.err != nil {
		return nil, p.err
	}
	st, err := s.p.QueryRevertStatus(ctx, v)
	return &vssv1.ProviderRevertStatus{
		Done:    st.Done,
		Percent: st.Percent,
		Error:   wire.Detail("RevertToSnapshot", st.Err),
	}, err
}

// Events sends headers first, so that the caller knows when it is listening.
func (s *softwareServer) Events(
	_ *vssv1.ProviderEventsRequest,
	stream grpc.ServerStreamingServer[vssv1.ProviderEvent],
) error {
	events, err := s.p.Events(stream.Context())
	if err == nil {
		err = stream.SendHeader(metadata.MD{})
	}
	if err != nil {
		return err
	}
	for e := range events {
		if err := stream.Send(eventOut(e)); err != nil {
			return err
		}
	}
	return nil
}

// setProperty puts a property's value into a message. Errors: E_INVALIDARG for a value of another type than the
// property's.
func setProperty(m *vssv1.SetSnapshotPropertyRequest, value any) error {
	switch v := value.(type) {
	case string:
		m.Value = &vssv1.SetSnapshotPropertyRequest_Text{Text: v}
	case vss.Attributes:
		m.Value = &vssv1.SetSnapshotPropertyRequest_Number{Number: uint32(v)}
	default:
		return vss.E("SetSnapshotProperty", vss.ErrInvalidArg, fmt.Errorf("unsupported value type %T", value)).
			Advise("names and paths are strings, attributes are vss.Attributes")
	}
	return nil
}
