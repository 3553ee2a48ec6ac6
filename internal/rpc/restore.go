package rpc

import (
	"context"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// InitializeForRestore implements the call of this name.
func (v *Service) InitializeForRestore(ctx context.Context, r *vssv1.InitializeForRestoreRequest) (*vssv1.Done, error) {
	return done(v, ctx, r, func(s session) error { return s.InitializeForRestore(r.GetDocument(), r.GetMetadata()) })
}

// SetRestoreState implements the call of this name.
func (v *Service) SetRestoreState(ctx context.Context, r *vssv1.SetRestoreStateRequest) (*vssv1.Done, error) {
	return done(v, ctx, r, func(s session) error { return s.SetRestoreState(vss.RestoreType(r.GetRestoreType())) })
}

// SetSelectedForRestoreEx implements the call of this name.
func (v *Service) SetSelectedForRestoreEx(ctx context.Context, r *vssv1.SelectRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r, func(s session, n name) error {
		var instance vss.WriterInstanceID
		if text := r.GetInstanceId(); text != "" {
			g, err := vss.ParseGUID(text)
			if err != nil {
				return err
			}
			instance.GUID = g
		}
		return s.SetSelectedForRestore(n, r.GetSelect(), instance)
	})
}

// AddRestoreSubcomponent implements the call of this name.
func (v *Service) AddRestoreSubcomponent(ctx context.Context, r *vssv1.SubcomponentRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r, func(s session, n name) error {
		return s.AddRestoreSubcomponent(n, r.GetSubPath(), r.GetSubName())
	})
}

// SetRestoreOptions implements the call of this name.
func (v *Service) SetRestoreOptions(ctx context.Context, r *vssv1.ComponentTextRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r, func(s session, n name) error { return s.SetRestoreOptions(n, r.GetText()) })
}

// SetAdditionalRestores implements the call of this name.
func (v *Service) SetAdditionalRestores(ctx context.Context, r *vssv1.ComponentFlagRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r, func(s session, n name) error { return s.SetAdditionalRestores(n, r.GetValue()) })
}

// AddNewTarget implements the call of this name.
func (v *Service) AddNewTarget(ctx context.Context, r *vssv1.ComponentFilesRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r, func(s session, n name) error { return s.AddNewTarget(n, fileSetIn(r)) })
}

// SetAuthoritativeRestore implements the call of this name.
func (v *Service) SetAuthoritativeRestore(ctx context.Context, r *vssv1.ComponentFlagRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r, func(s session, n name) error { return s.SetAuthoritativeRestore(n, r.GetValue()) })
}

// SetRollForward implements the call of this name.
func (v *Service) SetRollForward(ctx context.Context, r *vssv1.RollForwardRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r, func(s session, n name) error {
		return s.SetRollForward(n, vss.RollForwardType(r.GetType()), r.GetPoint())
	})
}

// SetRestoreName implements the call of this name.
func (v *Service) SetRestoreName(ctx context.Context, r *vssv1.ComponentTextRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r, func(s session, n name) error { return s.SetRestoreName(n, r.GetText()) })
}

// PreRestore implements the call of this name.
func (v *Service) PreRestore(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.Async, error) {
	return begun(v, ctx, r, session.PreRestore)
}

// AddAlternativeLocationMapping implements the call of this name.
func (v *Service) AddAlternativeLocationMapping(
	ctx context.Context, r *vssv1.ComponentFilesRequest,
) (*vssv1.Done, error) {
	return onComponent(v, ctx, r, func(s session, n name) error {
		return s.AddAlternativeLocationMapping(n, fileSetIn(r))
	})
}

// SetRangesFilePath implements the call of this name.
func (v *Service) SetRangesFilePath(ctx context.Context, r *vssv1.RangesFileRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r, func(s session, n name) error {
		return s.SetRangesFilePath(n, int(r.GetPartialFile()), r.GetPath())
	})
}

// SetFileRestoreStatus implements the call of this name.
func (v *Service) SetFileRestoreStatus(ctx context.Context, r *vssv1.FileRestoreStatusRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r, func(s session, n name) error {
		return s.SetFileRestoreStatus(n, vss.FileRestoreStatus(r.GetStatus()))
	})
}

// PostRestore implements the call of this name.
func (v *Service) PostRestore(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.Async, error) {
	return begun(v, ctx, r, session.PostRestore)
}
