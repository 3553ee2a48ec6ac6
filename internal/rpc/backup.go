package rpc

import (
	"context"
	"time"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// InitializeForBackup implements the call of this name.
func (v *Service) InitializeForBackup(ctx context.Context, r *vssv1.InitializeForBackupRequest) (*vssv1.Done, error) {
	return done(v, ctx, r, func(s session) error { return s.InitializeForBackup(r.GetDocument()) })
}

// SetContext implements the call of this name.
func (v *Service) SetContext(ctx context.Context, r *vssv1.SetContextRequest) (*vssv1.Done, error) {
	return done(v, ctx, r, func(s session) error { return s.SetContext(vss.Context(r.GetContext())) })
}

// SetBackupState implements the call of this name.
func (v *Service) SetBackupState(ctx context.Context, r *vssv1.SetBackupStateRequest) (*vssv1.Done, error) {
	return done(v, ctx, r, func(s session) error {
		t := vss.BackupType(r.GetBackupType())
		return s.SetBackupState(r.GetSelectComponents(), r.GetBootableSystemState(), t, r.GetPartialFiles())
	})
}

// GetRootAndLogicalPrefixPaths implements the call of this name.
func (v *Service) GetRootAndLogicalPrefixPaths(ctx context.Context, r *vssv1.PathRequest) (*vssv1.RootReply, error) {
	return on(v, ctx, r, func(s session) (*vssv1.RootReply, error) {
		root, prefix, err := s.RootAndLogicalPrefix(ctx, r.GetPath())
		return &vssv1.RootReply{Root: root, LogicalPrefix: prefix}, err
	})
}

// StartSnapshotSet implements the call of this name.
func (v *Service) StartSnapshotSet(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.StartSnapshotSetReply, error) {
	return on(v, ctx, r, func(s session) (*vssv1.StartSnapshotSetReply, error) {
		id, err := s.StartSnapshotSet()
		return &vssv1.StartSnapshotSetReply{SetId: id.String()}, err
	})
}

// AddToSnapshotSet implements the call of this name.
func (v *Service) AddToSnapshotSet(
	ctx context.Context, r *vssv1.AddToSnapshotSetRequest,
) (*vssv1.AddToSnapshotSetReply, error) {
	return on(v, ctx, r, func(s session) (*vssv1.AddToSnapshotSetReply, error) {
		id, err := s.AddToSnapshotSet(ctx, r.GetVolume(), r.GetProvider())
		return &vssv1.AddToSnapshotSetReply{SnapshotId: id.String()}, err
	})
}

// IsVolumeSupported implements the call of this name.
func (v *Service) IsVolumeSupported(ctx context.Context, r *vssv1.VolumeRequest) (*vssv1.BoolReply, error) {
	return on(v, ctx, r, func(s session) (*vssv1.BoolReply, error) {
		yes, err := s.IsVolumeSupported(ctx, r.GetVolume(), r.GetProvider())
		return &vssv1.BoolReply{Value: yes}, err
	})
}

// IsVolumeSnapshotted implements the call of this name.
func (v *Service) IsVolumeSnapshotted(
	ctx context.Context, r *vssv1.VolumeRequest,
) (*vssv1.IsVolumeSnapshottedReply, error) {
	return on(v, ctx, r, func(session) (*vssv1.IsVolumeSnapshottedReply, error) {
		yes, c, err := v.k.IsVolumeSnapshotted(ctx, r.GetVolume())
		return &vssv1.IsVolumeSnapshottedReply{Present: yes, Compatibility: uint32(c)}, err
	})
}

// PrepareForBackup implements the call of this name.
func (v *Service) PrepareForBackup(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.Async, error) {
	return begun(v, ctx, r, session.PrepareForBackup)
}

// DoSnapshotSet implements the call of this name.
func (v *Service) DoSnapshotSet(ctx context.Context, r *vssv1.DoSnapshotSetRequest) (*vssv1.Async, error) {
	return begun(v, ctx, r, func(s session) (async, error) {
		return s.DoSnapshotSet(limitOf(r.GetHoldLimitMs()))
	})
}

// limitOf returns a duration of milliseconds. One that is negative or beyond an hour becomes an hour, so that an
// overflow does not produce a valid limit.
func limitOf(ms int64) time.Duration {
	if ms < 0 || ms > time.Hour.Milliseconds() {
		return time.Hour
	}
	return time.Duration(ms) * time.Millisecond
}

// BackupComplete implements the call of this name.
func (v *Service) BackupComplete(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.Async, error) {
	return begun(v, ctx, r, session.BackupComplete)
}

// AbortBackup implements the call of this name.
func (v *Service) AbortBackup(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.Done, error) {
	return done(v, ctx, r, func(s session) error { return s.AbortBackup(context.WithoutCancel(ctx)) })
}

// SaveAsXML implements the call of this name.
func (v *Service) SaveAsXML(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.Document, error) {
	return on(v, ctx, r, func(s session) (*vssv1.Document, error) {
		xml, err := s.SaveAsXML()
		return &vssv1.Document{Xml: xml}, err
	})
}

// ImportSnapshots implements the call of this name.
func (v *Service) ImportSnapshots(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.Async, error) {
	return begun(v, ctx, r, session.ImportSnapshots)
}
