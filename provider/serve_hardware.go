package provider

import (
	"context"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/vss"
)

type hardwareServer struct {
	vssv1.UnimplementedHardwareProviderServer
	p Hardware
}

// pairs refuses two lists that should be of one length.
func pairs(op string, a, b int) error {
	if a != b {
		return badMessage(op, "the two lists must be of the same length")
	}
	return nil
}

func (s *hardwareServer) AreLunsSupported(
	ctx context.Context,
	r *vssv1.AreLunsSupportedRequest,
) (*vssv1.AreLunsSupportedReply, error) {
	p := parser{err: pairs("AreLunsSupported", len(r.GetDevices()), len(r.GetLuns()))}
	luns := p.luns(r.GetLuns())
	if p.err != nil {
		return nil, p.err
	}
	ok, luns, err := s.p.AreLUNsSupported(ctx, vss.Context(r.GetContext()), r.GetDevices(), luns)
	return &vssv1.AreLunsSupportedReply{Supported: ok, Luns: lunsOut(luns)}, err
}

func (s *hardwareServer) BeginPrepareSnapshot(
	ctx context.Context,
	r *vssv1.BeginPrepareLunsRequest,
) (*vssv1.ProviderDone, error) {
	p := parser{err: pairs("BeginPrepareSnapshot", len(r.GetDevices()), len(r.GetLuns()))}
	set, snapshot, luns := p.set(r.GetSetId()), p.snapshot(r.GetSnapshotId()), p.luns(r.GetLuns())
	if p.err != nil {
		return nil, p.err
	}
	return &vssv1.ProviderDone{}, s.p.BeginPrepareSnapshot(
		ctx,
		set,
		snapshot,
		vss.Context(r.GetContext()),
		r.GetDevices(),
		luns,
	)
}

func (s *hardwareServer) GetTargetLuns(
	ctx context.Context,
	r *vssv1.GetTargetLunsRequest,
) (*vssv1.LunInformationList, error) {
	p := parser{err: pairs("GetTargetLuns", len(r.GetDevices()), len(r.GetSources()))}
	set, sources := p.set(r.GetSetId()), p.luns(r.GetSources())
	if p.err != nil {
		return nil, p.err
	}
	luns, err := s.p.GetTargetLUNs(ctx, set, r.GetDevices(), sources)
	return &vssv1.LunInformationList{Luns: lunsOut(luns)}, err
}

func (s *hardwareServer) LocateLuns(ctx context.Context, r *vssv1.LunInformationList) (*vssv1.ProviderDone, error) {
	var p parser
	luns := p.luns(r.GetLuns())
	if p.err != nil {
		return nil, p.err
	}
	return &vssv1.ProviderDone{}, s.p.LocateLUNs(ctx, luns)
}

func (s *hardwareServer) FillInLunInfo(ctx context.Context, r *vssv1.DeviceLun) (*vssv1.FillInLunInfoReply, error) {
	var p parser
	lun := p.lun(r.GetLun())
	if p.err != nil {
		return nil, p.err
	}
	ok, err := s.p.FillInLUNInfo(ctx, r.GetDevice(), &lun)
	return &vssv1.FillInLunInfoReply{Supported: ok, Lun: lunOut(&lun)}, err
}

func (s *hardwareServer) OnLunEmpty(ctx context.Context, r *vssv1.DeviceLun) (*vssv1.ProviderDone, error) {
	var p parser
	lun := p.lun(r.GetLun())
	if p.err != nil {
		return nil, p.err
	}
	return &vssv1.ProviderDone{}, s.p.OnLUNEmpty(ctx, r.GetDevice(), &lun)
}

func (s *hardwareServer) OnLunStateChange(
	ctx context.Context,
	r *vssv1.OnLunStateChangeRequest,
) (*vssv1.ProviderDone, error) {
	p := parser{err: pairs("OnLunStateChange", len(r.GetSnapshots()), len(r.GetOriginals()))}
	copies, originals := p.luns(r.GetSnapshots()), p.luns(r.GetOriginals())
	if p.err != nil {
		return nil, p.err
	}
	return &vssv1.ProviderDone{}, s.p.OnLUNStateChange(ctx, copies, originals, vss.LUNStateChange(r.GetChange()))
}

// ResyncLuns ends with the connection, too: the stream's context ends then.
func (s *hardwareServer) ResyncLuns(r *vssv1.ResyncLunsRequest, stream progressStream) error {
	p := parser{err: pairs("ResyncLuns", len(r.GetSources()), len(r.GetTargets()))}
	sources, targets := p.luns(r.GetSources()), p.luns(r.GetTargets())
	if p.err != nil {
		return p.err
	}
	send, stop := sender(stream)
	defer stop()
	return s.p.ResyncLUNs(stream.Context(), sources, targets, send)
}
