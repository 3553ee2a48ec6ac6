// Package remote is an array that other processes and other hosts reach: Serve answers for one, Connect gives it to a
// host as an array.Array again. A caller is identified by its connection, and its rights are checked here, on the
// array's side: a client that isn't ours gets no further than one that is.
package remote

import (
	"context"
	"log/slog"
	"net"
	"sync"

	"google.golang.org/grpc"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Serve answers for an array on a listener until ctx ends. Identify returns the caller of a call: UnixCaller on a
// unix socket. Options are those of wire.NewServer; TLS credentials are one. Errors: VSS_E_UNEXPECTED.
func Serve(
	ctx context.Context,
	l net.Listener,
	a array.Array,
	identify Identify,
	logger *slog.Logger,
	opts ...grpc.ServerOption,
) error {
	s := wire.NewServer(logger, append([]grpc.ServerOption{grpc.MaxRecvMsgSize(maxRequest)}, opts...)...)
	vssv1.RegisterArrayServer(s, &server{a: a, identify: identify})
	return wire.Serve(ctx, s, l)
}

type server struct {
	vssv1.UnimplementedArrayServer
	a        array.Array
	identify Identify
	rights   sync.Mutex // held from the check of rights to a LUN to the change of them
}

func (s *server) request(ctx context.Context) *request {
	q := &request{ctx: ctx, a: s.a}
	q.caller, q.err = s.identify(ctx)
	if q.err == nil && q.caller.Host == "" && !q.caller.Administrator {
		q.err = vss.ErrAccessDenied
	}
	if q.err != nil {
		code := vss.CodeOf(q.err)
		if code == vss.ErrUnexpected {
			code = vss.ErrAccessDenied
		}
		q.err = vss.E("", code, q.err).Advise("the array knows hosts by their connection: see its configuration")
	}
	return q
}

func (s *server) ArrayInfo(ctx context.Context, _ *vssv1.ArrayInfoRequest) (*vssv1.ArrayInfoReply, error) {
	if q := s.request(ctx); q.err != nil {
		return nil, q.err
	}
	info, err := s.a.Info(ctx)
	return infoOut(info), err
}

func (s *server) ListLuns(ctx context.Context, _ *vssv1.ListArrayLunsRequest) (*vssv1.ArrayLunList, error) {
	q := s.request(ctx)
	return q.luns(func() ([]array.LUN, error) {
		all, err := s.a.LUNs(ctx)
		return q.visible(all), err
	})
}

func (s *server) GetLun(ctx context.Context, r *vssv1.ArrayLunRequest) (*vssv1.ArrayLun, error) {
	q := s.request(ctx)
	id := q.id(r.GetId())
	return q.lun(func() (array.LUN, error) { return q.find(id) })
}

func (s *server) CreateLun(ctx context.Context, r *vssv1.CreateArrayLunRequest) (*vssv1.ArrayLun, error) {
	q := s.request(ctx)
	c := array.CreateRequest{Name: q.name(r.GetName()), Pool: q.name(r.GetPool()), Size: r.GetSize()}
	return q.lun(func() (array.LUN, error) { return s.a.Create(ctx, c) })
}

func (s *server) DeleteLun(ctx context.Context, r *vssv1.DeleteArrayLunRequest) (*vssv1.ArrayDone, error) {
	s.rights.Lock()
	defer s.rights.Unlock()
	q := s.request(ctx)
	id := q.id(r.GetId())
	q.may(q.caller.owns, id)
	return q.done(func() error { return s.a.Delete(ctx, id, r.GetForce()) })
}

func (s *server) RenameLun(ctx context.Context, r *vssv1.RenameArrayLunRequest) (*vssv1.ArrayLun, error) {
	q := s.request(ctx)
	id, name := q.id(r.GetId()), q.name(r.GetName())
	q.may(q.caller.owns, id)
	return q.lun(func() (array.LUN, error) { return s.a.Rename(ctx, id, name) })
}

func (s *server) ExtendLun(ctx context.Context, r *vssv1.ExtendArrayLunRequest) (*vssv1.ArrayLun, error) {
	q := s.request(ctx)
	id := q.id(r.GetId())
	q.may(q.caller.owns, id)
	return q.lun(func() (array.LUN, error) { return s.a.Extend(ctx, id, r.GetSize()) })
}

func (s *server) MapLun(ctx context.Context, r *vssv1.MapArrayLunRequest) (*vssv1.ArrayLun, error) {
	s.rights.Lock()
	defer s.rights.Unlock()
	q := s.request(ctx)
	id, host := q.id(r.GetId()), q.host(r.GetHost())
	q.may(q.caller.maps, id)
	return q.lun(func() (array.LUN, error) { return s.a.Map(ctx, id, host) })
}

func (s *server) MapLuns(ctx context.Context, r *vssv1.MapArrayLunsRequest) (*vssv1.ArrayDone, error) {
	s.rights.Lock()
	defer s.rights.Unlock()
	q := s.request(ctx)
	host, ids := q.host(r.GetHost()), q.ids(r.GetIds())
	q.may(q.caller.maps, ids...)
	return q.done(func() error { return s.a.MapAll(ctx, host, ids) })
}

func (s *server) UnmapLun(ctx context.Context, r *vssv1.MapArrayLunRequest) (*vssv1.ArrayLun, error) {
	q := s.request(ctx)
	id, host := q.id(r.GetId()), q.host(r.GetHost())
	q.may(func(*array.LUN) error { return nil }, id)
	return q.lun(func() (array.LUN, error) { return s.a.Unmap(ctx, id, host) })
}

func (s *server) SetLunFlags(ctx context.Context, r *vssv1.SetArrayLunFlagsRequest) (*vssv1.ArrayLun, error) {
	q := s.request(ctx)
	id, flags := q.id(r.GetId()), q.flags(r.GetFlags())
	q.may(q.caller.owns, id)
	return q.lun(func() (array.LUN, error) { return s.a.SetFlags(ctx, id, flags) })
}

func (s *server) MarkImported(ctx context.Context, r *vssv1.MarkImportedRequest) (*vssv1.ArrayDone, error) {
	s.rights.Lock()
	defer s.rights.Unlock()
	q := s.request(ctx)
	host, ids := q.host(r.GetHost()), q.ids(r.GetIds())
	q.may(q.caller.imports, ids...)
	return q.done(func() error { return s.a.MarkImported(ctx, host, ids) })
}

func (s *server) MakePlain(ctx context.Context, r *vssv1.ArrayLunsRequest) (*vssv1.ArrayDone, error) {
	s.rights.Lock()
	defer s.rights.Unlock()
	q := s.request(ctx)
	ids := q.ids(r.GetIds())
	q.may(q.caller.owns, ids...)
	return q.done(func() error { return s.a.MakePlain(ctx, ids) })
}

func (s *server) ListMappings(ctx context.Context, r *vssv1.ListArrayMappingsRequest) (*vssv1.ArrayMappingList, error) {
	q := s.request(ctx)
	host := q.host(r.GetHost())
	if q.err != nil {
		return nil, q.err
	}
	all, err := s.a.Mappings(ctx, host)
	out := &vssv1.ArrayMappingList{}
	for _, m := range all {
		out.Mappings = append(out.Mappings, &vssv1.ArrayMapping{
			Lun: lunOut(
				&m.LUN,
			), Address: &vssv1.ArrayAddress{Type: m.Address.Type, Path: m.Address.Path, DirectIo: m.Address.DirectIO}})
	}
	return out, err
}

// ListWritePaths returns no paths to another machine, where they would be taken for its own.
func (s *server) ListWritePaths(ctx context.Context, _ *vssv1.ListWritePathsRequest) (*vssv1.ArrayWritePaths, error) {
	if q := s.request(ctx); q.err != nil {
		return nil, q.err
	}
	if _, here := wire.Peer(ctx); !here {
		return &vssv1.ArrayWritePaths{}, nil
	}
	paths, err := s.a.WritePaths(ctx)
	return &vssv1.ArrayWritePaths{Paths: paths}, err
}
