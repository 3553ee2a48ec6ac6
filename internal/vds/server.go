package vds

import (
	"context"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Server serves a Manager over gRPC. The rights of callers are checked before it.
type Server struct {
	vssv1.UnimplementedDisksServer
	m *Manager
}

// NewServer serves a disk manager.
func NewServer(m *Manager) *Server { return &Server{m: m} }

var _ vssv1.DisksServer = (*Server)(nil)

func (s *Server) reply(d Disk, err error) (*vssv1.Lun, error) {
	if err != nil {
		return nil, err
	}
	return s.m.describe(d), nil
}

// ListArrays implements vssv1.DisksServer, as do all methods below.
func (s *Server) ListArrays(ctx context.Context, _ *vssv1.ListArraysRequest) (*vssv1.ListArraysReply, error) {
	arrays, err := s.m.describeArrays(ctx)
	if err != nil {
		return nil, err
	}
	return &vssv1.ListArraysReply{Arrays: arrays}, nil
}

// ListLuns lists all LUNs of all arrays.
func (s *Server) ListLuns(ctx context.Context, _ *vssv1.ListLunsRequest) (*vssv1.LunList, error) {
	disks, err := s.m.Disks(ctx)
	if err != nil {
		return nil, err
	}
	return &vssv1.LunList{Luns: s.m.describeAll(disks)}, nil
}

// ShowLun describes one LUN.
func (s *Server) ShowLun(ctx context.Context, r *vssv1.LunRequest) (*vssv1.Lun, error) {
	return s.reply(s.m.Find(ctx, r.GetLun()))
}

// CreateLun makes a LUN.
func (s *Server) CreateLun(ctx context.Context, r *vssv1.CreateLunRequest) (*vssv1.Lun, error) {
	return s.reply(
		s.m.Create(
			ctx,
			r.GetArray(),
			array.CreateRequest{Name: r.GetName(), Pool: r.GetPool(), Size: r.GetSize()},
			r.GetMasked(),
		),
	)
}

// FormatLun writes a table and a file system.
func (s *Server) FormatLun(ctx context.Context, r *vssv1.FormatLunRequest) (*vssv1.Lun, error) {
	style, err := disk.StyleByName(r.GetStyle())
	if err != nil {
		return nil, err
	}
	return s.reply(s.m.Format(ctx, r.GetLun(), style, r.GetFileSystem(), r.GetLabel()))
}

// MaskLun hides a LUN from a host.
func (s *Server) MaskLun(ctx context.Context, r *vssv1.MaskLunRequest) (*vssv1.Lun, error) {
	return s.reply(s.m.Mask(ctx, r.GetLun(), r.GetHost(), r.GetForce()))
}

// UnmaskLun shows a LUN to a host.
func (s *Server) UnmaskLun(ctx context.Context, r *vssv1.UnmaskLunRequest) (*vssv1.Lun, error) {
	return s.reply(s.m.Unmask(ctx, r.GetLun(), r.GetHost()))
}

// SetLunReadOnly makes a LUN read-only or read/write.
func (s *Server) SetLunReadOnly(ctx context.Context, r *vssv1.SetLunReadOnlyRequest) (*vssv1.Lun, error) {
	return s.reply(s.m.SetReadOnly(ctx, r.GetLun(), r.GetReadOnly()))
}

// MountLun mounts a volume.
func (s *Server) MountLun(ctx context.Context, r *vssv1.MountLunRequest) (*vssv1.Lun, error) {
	return s.reply(s.m.Mount(ctx, r.GetLun(), int(r.GetPartition()), r.GetPath(), r.GetPersist()))
}

// UnmountLun takes mounts off.
func (s *Server) UnmountLun(ctx context.Context, r *vssv1.UnmountLunRequest) (*vssv1.Lun, error) {
	return s.reply(s.m.Unmount(ctx, r.GetLun(), int(r.GetPartition())))
}

// ChangeLunFlags sets and clears flags.
func (s *Server) ChangeLunFlags(ctx context.Context, r *vssv1.ChangeLunFlagsRequest) (*vssv1.Lun, error) {
	if (r.GetSet()|r.GetClear())&^uint32(vss.FlagsShadowCopy) != 0 {
		return nil, vss.E("ChangeLunFlags", vss.ErrInvalidArg, nil).
			On(r.GetLun()).
			Advise("flags are read-only, hidden, no-auto-mount, shadow-copy")
	}
	return s.reply(
		s.m.ChangeFlags(ctx, r.GetLun(), int(r.GetPartition()), vss.DiskFlags(r.GetSet()), vss.DiskFlags(r.GetClear())),
	)
}

// RenameLun gives a LUN another name.
func (s *Server) RenameLun(ctx context.Context, r *vssv1.RenameLunRequest) (*vssv1.Lun, error) {
	return s.reply(s.m.Rename(ctx, r.GetLun(), r.GetName()))
}

// ExtendLun makes a LUN larger.
func (s *Server) ExtendLun(ctx context.Context, r *vssv1.ExtendLunRequest) (*vssv1.Lun, error) {
	return s.reply(s.m.Extend(ctx, r.GetLun(), r.GetSize()))
}

// DeleteLun frees a LUN; the reply is what it was.
func (s *Server) DeleteLun(ctx context.Context, r *vssv1.DeleteLunRequest) (*vssv1.Lun, error) {
	d, err := s.m.Find(ctx, r.GetLun())
	if err != nil {
		return nil, err
	}
	was := s.m.describe(d)
	if _, err := s.m.Delete(ctx, r.GetLun(), r.GetForce()); err != nil {
		return nil, err
	}
	return was, nil
}

// RescanLuns attaches and detaches what changed.
func (s *Server) RescanLuns(ctx context.Context, _ *vssv1.RescanLunsRequest) (*vssv1.LunList, error) {
	arrived, err := s.m.Rescan(ctx, RescanOptions{})
	if err != nil {
		return nil, err
	}
	return &vssv1.LunList{Luns: s.m.describeAll(arrived)}, nil
}
