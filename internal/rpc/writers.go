package rpc

import (
	"context"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/writerset"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// EnableWriterClasses implements the call of this name.
func (v *Service) EnableWriterClasses(ctx context.Context, r *vssv1.WriterSelection) (*vssv1.Done, error) {
	return done(v, ctx, r, func(s session) error { return s.EnableWriterClasses(r.GetIds()) })
}

// DisableWriterClasses implements the call of this name.
func (v *Service) DisableWriterClasses(ctx context.Context, r *vssv1.WriterSelection) (*vssv1.Done, error) {
	return done(v, ctx, r, func(s session) error { return s.DisableWriterClasses(r.GetIds()) })
}

// DisableWriterInstances implements the call of this name.
func (v *Service) DisableWriterInstances(ctx context.Context, r *vssv1.WriterSelection) (*vssv1.Done, error) {
	return done(v, ctx, r, func(s session) error {
		var ids []vss.WriterInstanceID
		for _, t := range r.GetIds() {
			g, err := vss.ParseGUID(t)
			if err != nil {
				return err
			}
			ids = append(ids, vss.WriterInstanceID{GUID: g})
		}
		return s.DisableWriterInstances(ids)
	})
}

// GatherWriterMetadata implements the call of this name.
func (v *Service) GatherWriterMetadata(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.Async, error) {
	return begun(v, ctx, r, session.GatherWriterMetadata)
}

// GetWriterMetadata implements the call of this name.
func (v *Service) GetWriterMetadata(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.WriterMetadataList, error) {
	return on(v, ctx, r, func(s session) (*vssv1.WriterMetadataList, error) {
		all, err := s.WriterMetadata()
		if err != nil {
			return nil, err
		}
		return metadataOut(all)
	})
}

// GatherWriterStatus implements the call of this name.
func (v *Service) GatherWriterStatus(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.Async, error) {
	return begun(v, ctx, r, session.GatherWriterStatus)
}

// GetWriterStatus implements the call of this name.
func (v *Service) GetWriterStatus(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.WriterStatusList, error) {
	return on(v, ctx, r, func(s session) (*vssv1.WriterStatusList, error) {
		all, err := s.WriterStatus()
		return &vssv1.WriterStatusList{Writers: each(all, writerOut)}, err
	})
}

// AddComponent implements the call of this name.
func (v *Service) AddComponent(ctx context.Context, r *vssv1.ComponentRequest) (*vssv1.Done, error) {
	return done(v, ctx, r, func(s session) error {
		n, err := componentIn(r)
		if err != nil {
			return err
		}
		return s.AddComponent(n.Instance, n.Writer, n.Type, n.LogicalPath, n.Name)
	})
}

// SetBackupSucceeded implements the call of this name.
func (v *Service) SetBackupSucceeded(ctx context.Context, r *vssv1.ComponentRequest) (*vssv1.Done, error) {
	return done(v, ctx, r, func(s session) error {
		n, err := componentIn(r)
		if err != nil {
			return err
		}
		return s.SetBackupSucceeded(n, r.GetSucceeded())
	})
}

type name = writerset.ComponentName

// componentRequest is a request that names a component of a session.
type componentRequest interface {
	request
	GetComponent() *vssv1.ComponentName
}

// onComponent is done for calls that name a component.
func onComponent(
	v *Service, ctx context.Context, r componentRequest, f func(session, name) error,
) (*vssv1.Done, error) {
	return done(v, ctx, r, func(s session) error {
		n, err := componentIn(r.GetComponent())
		if err != nil {
			return err
		}
		return f(s, n)
	})
}

// SetBackupOptions implements the call of this name.
func (v *Service) SetBackupOptions(ctx context.Context, r *vssv1.ComponentTextRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r, func(s session, n name) error { return s.SetBackupOptions(n, r.GetText()) })
}

// SetPreviousBackupStamp implements the call of this name.
func (v *Service) SetPreviousBackupStamp(ctx context.Context, r *vssv1.ComponentTextRequest) (*vssv1.Done, error) {
	return onComponent(v, ctx, r, func(s session, n name) error { return s.SetPreviousBackupStamp(n, r.GetText()) })
}

// GetWriterComponents implements the call of this name.
func (v *Service) GetWriterComponents(
	ctx context.Context, r *vssv1.SessionRequest,
) (*vssv1.WriterComponentsList, error) {
	return on(v, ctx, r, func(s session) (*vssv1.WriterComponentsList, error) {
		all, err := s.WriterComponents()
		out := &vssv1.WriterComponentsList{}
		for _, w := range all {
			xml, err := w.XML()
			if err != nil {
				return nil, err
			}
			out.Writers = append(out.Writers, xml)
		}
		return out, err
	})
}
