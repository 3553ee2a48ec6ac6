package rpc

import (
	"context"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/coordinator"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// GetSnapshotProperties implements the call of this name.
func (v *Service) GetSnapshotProperties(ctx context.Context, r *vssv1.SnapshotRequest) (*vssv1.Snapshot, error) {
	return onCopy(v, ctx, r, session.GetSnapshotProperties)
}

// copyRequest is a request that names a copy.
type copyRequest interface {
	request
	GetSnapshotId() string
}

// onCopy is on for calls that return a copy.
func onCopy(
	v *Service, ctx context.Context, r copyRequest, f func(session, vss.SnapshotID) (catalog.Snapshot, error),
) (*vssv1.Snapshot, error) {
	return on(v, ctx, r, func(s session) (*vssv1.Snapshot, error) {
		id, err := vss.ParseGUID(r.GetSnapshotId())
		if err != nil {
			return nil, err
		}
		record, err := f(s, vss.SnapshotID{GUID: id})
		if err != nil {
			return nil, err
		}
		return snapshotOut(v.k.Properties(record)), nil
	})
}

// Query implements the call of this name.
func (v *Service) Query(ctx context.Context, r *vssv1.QueryRequest) (*vssv1.QueryReply, error) {
	return on(v, ctx, r, func(s session) (*vssv1.QueryReply, error) {
		switch vss.ObjectType(r.GetReturnedType()) {
		case vss.ObjectProvider:
			if _, err := s.Query(); err != nil {
				return nil, err
			}
			return &vssv1.QueryReply{Providers: each(v.k.Providers(ctx), providerOut)}, nil
		case vss.ObjectSnapshot:
			all, err := s.Query()
			if err != nil {
				return nil, err
			}
			return &vssv1.QueryReply{Snapshots: each(all, func(r catalog.Snapshot) *vssv1.Snapshot {
				return snapshotOut(v.k.Properties(r))
			})}, nil
		}
		return nil, vss.E("Query", vss.ErrInvalidArg, nil).Advise("query shadow copies (3) or providers (4)")
	})
}

// DeleteSnapshots implements the call of this name.
func (v *Service) DeleteSnapshots(
	ctx context.Context, r *vssv1.DeleteSnapshotsRequest,
) (*vssv1.DeleteSnapshotsReply, error) {
	return on(v, ctx, r, func(s session) (*vssv1.DeleteSnapshotsReply, error) {
		id, err := vss.ParseGUID(r.GetId())
		if err != nil {
			return nil, err
		}
		deleted, stayed, err := s.Delete(context.WithoutCancel(ctx), id, vss.ObjectType(r.GetType()), r.GetForce())
		if err != nil && stayed.IsZero() {
			return nil, err
		}
		out := &vssv1.DeleteSnapshotsReply{Deleted: each(deleted, vss.SnapshotID.String), Error: wire.MarshalError(err)}
		if !stayed.IsZero() {
			out.NotDeleted = stayed.String()
		}
		return out, nil
	})
}

// breakSet begins to break a set.
func breakSet(s session, set string, flags vss.BreakFlags) (async, error) {
	id, err := vss.ParseGUID(set)
	if err != nil {
		return nil, err
	}
	return s.Break(vss.SnapshotSetID{GUID: id}, flags)
}

// BreakSnapshotSetEx implements the call of this name.
func (v *Service) BreakSnapshotSetEx(ctx context.Context, r *vssv1.BreakRequest) (*vssv1.Async, error) {
	return begun(v, ctx, r, func(s session) (async, error) {
		return breakSet(s, r.GetSetId(), vss.BreakFlags(r.GetFlags()))
	})
}

// BreakSnapshotSet implements the call of this name. It returns when the set is broken.
func (v *Service) BreakSnapshotSet(ctx context.Context, r *vssv1.SetRequest) (*vssv1.BreakReply, error) {
	return on(v, ctx, r, func(s session) (*vssv1.BreakReply, error) {
		a, err := breakSet(s, r.GetSetId(), 0)
		if err != nil {
			return nil, err
		}
		<-a.Done()
		if err := a.QueryStatus().Err; err != nil {
			return nil, err
		}
		return &vssv1.BreakReply{SetId: r.GetSetId(), Luns: each(coordinator.BreakResult(a), brokenOut)}, nil
	})
}

// GetBreakResult implements the call of this name.
func (v *Service) GetBreakResult(ctx context.Context, r *vssv1.AsyncRequest) (*vssv1.BreakReply, error) {
	return onAsync(v, ctx, r, func(a async) *vssv1.BreakReply {
		return &vssv1.BreakReply{Luns: each(coordinator.BreakResult(a), brokenOut)}
	})
}

// ExposeSnapshot implements the call of this name.
func (v *Service) ExposeSnapshot(ctx context.Context, r *vssv1.ExposeRequest) (*vssv1.Snapshot, error) {
	return onCopy(v, ctx, r, func(s session, id vss.SnapshotID) (catalog.Snapshot, error) {
		return s.Expose(ctx, id, r.GetPathFromRoot(), vss.Attributes(r.GetAttributes()), r.GetName())
	})
}

// UnexposeSnapshot implements the call of this name.
func (v *Service) UnexposeSnapshot(ctx context.Context, r *vssv1.SnapshotRequest) (*vssv1.Snapshot, error) {
	return onCopy(v, ctx, r, session.Unexpose)
}

// MountSnapshot implements the call of this name.
func (v *Service) MountSnapshot(ctx context.Context, r *vssv1.SnapshotRequest) (*vssv1.Snapshot, error) {
	return onCopy(v, ctx, r, func(s session, id vss.SnapshotID) (catalog.Snapshot, error) {
		record, _, err := s.Mount(ctx, id)
		return record, err
	})
}
