// Package rpc is the coordinator as requesters reach it: the gRPC service Coordinator. It finds the session that a
// call names, converts requests and replies, and has no rules of its own; which account may make which call is
// checked before.
package rpc

import (
	"context"
	"errors"
	"log/slog"

	"google.golang.org/grpc"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/coordinator"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

type (
	sessionStream = grpc.ServerStreamingServer[vssv1.SessionEvent]

	session = *coordinator.Session
	async   = *coordinator.Async
)

// Service implements the gRPC service Coordinator.
type Service struct {
	vssv1.UnimplementedCoordinatorServer
	k      *coordinator.Coordinator
	logger *slog.Logger
}

// New returns the service of a coordinator.
func New(k *coordinator.Coordinator, logger *slog.Logger) *Service {
	return &Service{k: k, logger: logger}
}

// user returns the user id of the caller. Errors: E_ACCESSDENIED.
func user(ctx context.Context) (uint32, error) {
	p, ok := wire.Peer(ctx)
	if !ok {
		return 0, vss.E("FindSession", vss.ErrAccessDenied, errors.New("the caller is not known"))
	}
	return p.UID, nil
}

// session returns an open session of the caller. Errors: E_ACCESSDENIED, VSS_E_BAD_STATE.
func (v *Service) session(ctx context.Context, token string) (session, error) {
	u, err := user(ctx)
	if err != nil {
		return nil, err
	}
	return v.k.Session(token, u)
}

// request is a request that names a session.
type request interface{ GetSession() string }

// on finds the session of a request and calls f with it.
func on[R any](v *Service, ctx context.Context, r request, f func(session) (*R, error)) (*R, error) {
	s, err := v.session(ctx, r.GetSession())
	if err != nil {
		return nil, err
	}
	return f(s)
}

// done is on for calls that return nothing but success.
func done(v *Service, ctx context.Context, r request, f func(session) error) (*vssv1.Done, error) {
	return on(v, ctx, r, func(s session) (*vssv1.Done, error) { return &vssv1.Done{}, f(s) })
}

// begun is on for calls that begin an asynchronous operation.
func begun(v *Service, ctx context.Context, r request, f func(session) (async, error)) (*vssv1.Async, error) {
	return on(v, ctx, r, func(s session) (*vssv1.Async, error) {
		a, err := f(s)
		if err != nil {
			return nil, err
		}
		return &vssv1.Async{Id: a.ID}, nil
	})
}

// OpenSession opens a session that lasts as long as the stream.
func (v *Service) OpenSession(r *vssv1.OpenSessionRequest, stream sessionStream) error {
	u, err := user(stream.Context())
	if err != nil {
		return err
	}
	s, err := v.k.Admit(u)
	if err != nil {
		return err
	}
	defer s.Close()
	v.logger.Debug("session opened", "session", s.ID, "user", u, "program", r.GetProgram())
	if err := stream.Send(&vssv1.SessionEvent{Session: s.Token}); err != nil {
		return err
	}
	select {
	case <-stream.Context().Done():
	case <-s.Done():
	}
	return nil
}

// GetSessionId implements the call of this name.
func (v *Service) GetSessionId(ctx context.Context, r *vssv1.SessionRequest) (*vssv1.SessionIdReply, error) {
	return on(v, ctx, r, func(s session) (*vssv1.SessionIdReply, error) {
		id, err := s.SessionID()
		return &vssv1.SessionIdReply{SessionId: id.String()}, err
	})
}

// onAsync finds an operation of a session and returns what f makes of it.
func onAsync[R any](v *Service, ctx context.Context, r *vssv1.AsyncRequest, f func(async) *R) (*R, error) {
	return on(v, ctx, r, func(s session) (*R, error) {
		a, err := s.Async(r.GetAsync())
		if err != nil {
			return nil, err
		}
		return f(a), nil
	})
}

// AsyncWait implements the call of this name.
func (v *Service) AsyncWait(ctx context.Context, r *vssv1.AsyncRequest) (*vssv1.AsyncStatus, error) {
	return onAsync(v, ctx, r, func(a async) *vssv1.AsyncStatus {
		a.Wait(ctx, limitOf(r.GetTimeoutMs()))
		return statusOut(a.QueryStatus())
	})
}

// AsyncQueryStatus implements the call of this name.
func (v *Service) AsyncQueryStatus(ctx context.Context, r *vssv1.AsyncRequest) (*vssv1.AsyncStatus, error) {
	return onAsync(v, ctx, r, func(a async) *vssv1.AsyncStatus { return statusOut(a.QueryStatus()) })
}

// AsyncCancel implements the call of this name.
func (v *Service) AsyncCancel(ctx context.Context, r *vssv1.AsyncRequest) (*vssv1.AsyncStatus, error) {
	return onAsync(v, ctx, r, func(a async) *vssv1.AsyncStatus { return statusOut(a.Cancel()) })
}
