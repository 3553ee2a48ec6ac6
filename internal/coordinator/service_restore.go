package coordinator

import (
	"context"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func (v *Service) InitializeForRestore(ctx context.Context, r *vssv1.InitializeForRestoreRequest) (*vssv1.Done, error) {
	return done(v, ctx, r.GetSession(), func(s *Session) error { return s.InitializeForRestore(r.GetDocument(), r.GetMetadata()) })
}

func (v *Service) SetRestoreState(ctx context.Context, r *vssv1.SetRestoreStateRequest) (*vssv1.Done, error) {
	return done(v, ctx, r.GetSession(), func(s *Session) error { return s.SetRestoreState(vss.RestoreType(r.GetRestoreType())) })
}

func (v *Service) SetSelectedForRestoreEx(ctx context.Context, r *vssv1.SelectRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r.GetSession(), r.GetComponent(), func(s *Session, n ComponentName) error {
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

func (v *Service) AddRestoreSubcomponent(ctx context.Context, r *vssv1.SubcomponentRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r.GetSession(), r.GetComponent(), func(s *Session, n ComponentName) error {
		return s.AddRestoreSubcomponent(n, r.GetSubPath(), r.GetSubName())
	})
}

func (v *Service) SetRestoreOptions(ctx context.Context, r *vssv1.ComponentTextRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r.GetSession(), r.GetComponent(), func(s *Session, n ComponentName) error { return s.SetRestoreOptions(n, r.GetText()) })
}

func (v *Service) SetAdditionalRestores(ctx context.Context, r *vssv1.ComponentFlagRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r.GetSession(), r.GetComponent(), func(s *Session, n ComponentName) error { return s.SetAdditionalRestores(n, r.GetValue()) })
}

func (v *Service) AddNewTarget(ctx context.Context, r *vssv1.ComponentFilesRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r.GetSession(), r.GetComponent(), func(s *Session, n ComponentName) error { return s.AddNewTarget(n, fileSetIn(r)) })
}

func (v *Service) SetAuthoritativeRestore(ctx context.Context, r *vssv1.ComponentFlagRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r.GetSession(), r.GetComponent(), func(s *Session, n ComponentName) error { return s.SetAuthoritativeRestore(n, r.GetValue()) })
}

func (v *Service) SetRollForward(ctx context.Context, r *vssv1.RollForwardRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r.GetSession(), r.GetComponent(), func(s *Session, n ComponentName) error {
		return s.SetRollForward(n, vss.RollForwardType(r.GetType()), r.GetPoint())
	})
}

func (v *Service) SetRestoreName(ctx context.Context, r *vssv1.ComponentTextRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r.GetSession(), r.GetComponent(), func(s *Session, n ComponentName) error { return s.SetRestoreName(n, r.GetText()) })
}

func (v *Service) PreRestore(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.Async, error) {
	return begun(v, ctx, r.GetSession(), (*Session).PreRestore)
}

func (v *Service) AddAlternativeLocationMapping(ctx context.Context, r *vssv1.ComponentFilesRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r.GetSession(), r.GetComponent(), func(s *Session, n ComponentName) error {
		return s.AddAlternativeLocationMapping(n, fileSetIn(r))
	})
}

func (v *Service) SetRangesFilePath(ctx context.Context, r *vssv1.RangesFileRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r.GetSession(), r.GetComponent(), func(s *Session, n ComponentName) error {
		return s.SetRangesFilePath(n, int(r.GetPartialFile()), r.GetPath())
	})
}

func (v *Service) SetFileRestoreStatus(ctx context.Context, r *vssv1.FileRestoreStatusRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r.GetSession(), r.GetComponent(), func(s *Session, n ComponentName) error {
		return s.SetFileRestoreStatus(n, vss.FileRestoreStatus(r.GetStatus()))
	})
}

func (v *Service) PostRestore(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.Async, error) {
	return begun(v, ctx, r.GetSession(), (*Session).PostRestore)
}
