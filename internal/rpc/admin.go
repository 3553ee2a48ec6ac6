package rpc

import (
	"context"
	"time"

	"google.golang.org/grpc"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// GetSnapshotSet implements the call of this name.
func (v *Service) GetSnapshotSet(_ context.Context, r *vssv1.SetRequest) (*vssv1.SnapshotSet, error) {
	id, err := vss.ParseGUID(r.GetSetId())
	if err != nil {
		return nil, err
	}
	set, copies, err := v.k.SnapshotSet(vss.SnapshotSetID{GUID: id})
	if err != nil {
		return nil, err
	}
	return setOut(set, copies), nil
}

// ListVolumes implements the call of this name.
func (v *Service) ListVolumes(ctx context.Context, _ *vssv1.ListVolumesRequest) (*vssv1.ListVolumesReply, error) {
	all, err := v.k.ListVolumes(ctx)
	return &vssv1.ListVolumesReply{Volumes: each(all, volumeOut)}, err
}

// Events implements the call of this name.
func (v *Service) Events(r *vssv1.EventsRequest, stream grpc.ServerStreamingServer[vssv1.Event]) error {
	var later <-chan catalog.Event
	if r.GetFollow() { // before the stored ones are listed: none is lost between the two
		var stop func()
		later, stop = v.k.Events.Follow()
		defer stop()
	}
	past, err := v.k.Events.List(time.Unix(0, r.GetSinceUnixNano()))
	if err != nil {
		return err
	}
	for _, e := range past {
		if err := stream.Send(eventOut(e)); err != nil {
			return err
		}
	}
	for later != nil {
		select {
		case e := <-later:
			if err := stream.Send(eventOut(e)); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		}
	}
	return nil
}

// Check implements the call of this name.
func (v *Service) Check(ctx context.Context, r *vssv1.CheckRequest) (*vssv1.CheckReply, error) {
	found, err := v.k.Check(ctx, r.GetRepair())
	return &vssv1.CheckReply{Findings: each(found, func(f copies.Finding) *vssv1.Finding {
		return &vssv1.Finding{Severity: f.Severity, What: f.What, Hint: f.Hint}
	})}, err
}
