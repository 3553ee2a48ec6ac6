package remote

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func origins(copies []array.CopyRequest) []vss.LUNID {
	out := []vss.LUNID{}
	for _, c := range copies {
		out = append(out, c.Origin)
	}
	return out
}

// CanCopy returns false, as the array does, if an origin doesn't exist for the caller.
func (s *server) CanCopy(ctx context.Context, r *vssv1.CanCopyRequest) (*vssv1.CanCopyReply, error) {
	q := s.request(ctx)
	copies := q.copies(r.GetCopies())
	q.may(q.caller.owns, origins(copies)...)
	if errors.Is(q.err, vss.VDSErrObjectNotFound) {
		return &vssv1.CanCopyReply{}, nil
	}
	if q.err != nil {
		return nil, q.err
	}
	ok, err := s.a.CanCopy(ctx, copies)
	return &vssv1.CanCopyReply{Possible: ok}, err
}

func (s *server) PrepareCopies(ctx context.Context, r *vssv1.PrepareCopiesRequest) (*vssv1.ArrayLunList, error) {
	q := s.request(ctx)
	set, host, copies := q.set(r.GetSetId()), q.host(r.GetHost()), q.copies(r.GetCopies())
	q.may(q.caller.owns, origins(copies)...)
	if errors.Is(q.err, vss.VDSErrObjectNotFound) { // a copy's origin is missing: a code of copies
		q.err = vss.E("", vss.ErrObjectNotFound, q.err).On(set.String())
	}
	return q.luns(func() ([]array.LUN, error) { return s.a.PrepareCopies(ctx, set, host, copies) })
}

// CommitCopies does nothing but cut: hosts hold their writes.
func (s *server) CommitCopies(ctx context.Context, r *vssv1.ArraySetRequest) (*vssv1.CommitCopiesReply, error) {
	q := s.request(ctx)
	set, host := q.set(r.GetSetId()), q.host(r.GetHost())
	if q.err != nil {
		return nil, q.err
	}
	skew, err := s.a.CommitCopies(ctx, set, host)
	return &vssv1.CommitCopiesReply{SkewNanoseconds: int64(skew)}, err
}

func (s *server) FinishCopies(ctx context.Context, r *vssv1.ArraySetRequest) (*vssv1.ArrayLunList, error) {
	q := s.request(ctx)
	set, host := q.set(r.GetSetId()), q.host(r.GetHost())
	return q.luns(func() ([]array.LUN, error) { return s.a.FinishCopies(ctx, set, host) })
}

func (s *server) KeepCopies(ctx context.Context, r *vssv1.ArraySetRequest) (*vssv1.ArrayDone, error) {
	q := s.request(ctx)
	set, host := q.set(r.GetSetId()), q.host(r.GetHost())
	return q.done(func() error { return s.a.KeepCopies(ctx, set, host) })
}

func (s *server) AbortCopies(ctx context.Context, r *vssv1.ArraySetRequest) (*vssv1.ArrayDone, error) {
	q := s.request(ctx)
	set, host := q.set(r.GetSetId()), q.host(r.GetHost())
	return q.done(func() error { return s.a.AbortCopies(ctx, set, host) })
}

func (s *server) Resync(
	r *vssv1.ArrayResyncRequest,
	stream grpc.ServerStreamingServer[vssv1.ArrayResyncProgress],
) error {
	q := s.request(stream.Context())
	source, target := q.id(r.GetSource()), q.id(r.GetTarget())
	q.may(q.caller.reads, source)
	q.may(q.caller.owns, target)
	if q.err != nil {
		return q.err
	}
	return s.a.Resync(q.ctx, source, target, func(percent float64) {
		_ = stream.Send(&vssv1.ArrayResyncProgress{Percent: percent}) // a caller that has gone away needs no progress
	})
}

// maxPause limits a pause, as the array itself does.
const maxPause = 15 * time.Second

func (s *server) PauseBackground(
	_ *vssv1.PauseBackgroundRequest,
	stream grpc.ServerStreamingServer[vssv1.ArrayDone],
) error {
	q := s.request(stream.Context())
	if q.err != nil {
		return q.err
	}
	resume, err := s.a.PauseBackground(q.ctx)
	if err != nil {
		return err
	}
	defer resume()
	if err := stream.Send(&vssv1.ArrayDone{}); err != nil {
		return err
	}
	over := time.NewTimer(maxPause)
	defer over.Stop()
	select {
	case <-q.ctx.Done():
	case <-over.C:
	}
	return nil
}

func (s *server) WatchEvents(_ *vssv1.WatchEventsRequest, stream grpc.ServerStreamingServer[vssv1.ArrayEvent]) error {
	q := s.request(stream.Context())
	if q.err != nil {
		return q.err
	}
	events, err := s.a.Events(q.ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&vssv1.ArrayEvent{}); err != nil {
		return err
	}
	for e := range events {
		if !q.caller.sees(&e.LUN) {
			continue
		}
		if err := stream.Send(eventOut(e)); err != nil {
			return err
		}
	}
	return nil
}
