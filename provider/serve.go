package provider

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"

	"google.golang.org/grpc"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Listen opens the socket NAME.sock in a folder, for Serve: RUN/providers, or for another account than root
// RUN/providers/ACCOUNT. Errors: VSS_E_OBJECT_ALREADY_EXISTS if another process serves there, E_INVALIDARG,
// E_ACCESSDENIED, VSS_E_UNEXPECTED.
func Listen(folder, name string) (net.Listener, error) {
	return wire.Listen(filepath.Join(folder, name+".sock"), 0o600, "")
}

// Serve serves a provider, which is a Hardware or a Software, on a listener until ctx ends. The service finds it when
// the listener is a socket in RUN/providers. Calls under way end first, unless they run on after their own context
// has ended with ctx. Errors: E_INVALIDARG for a provider of neither kind.
func Serve(ctx context.Context, l net.Listener, p Provider, logger *slog.Logger) error {
	s := wire.NewServer(logger)
	vssv1.RegisterSnapshotProviderServer(s, &server{p: p})
	switch p := p.(type) {
	case Hardware:
		vssv1.RegisterHardwareProviderServer(s, &hardwareServer{p: p})
	case Software:
		vssv1.RegisterSoftwareProviderServer(s, &softwareServer{p: p})
	default:
		return vss.E("Serve", vss.ErrInvalidArg, fmt.Errorf("%T is neither a hardware nor a software provider", p))
	}
	return wire.Serve(ctx, s, l)
}

// server is the part that all kinds of providers share.
type server struct {
	vssv1.UnimplementedSnapshotProviderServer
	p Provider
}

func (s *server) Properties(
	ctx context.Context,
	_ *vssv1.ProviderPropertiesRequest,
) (*vssv1.ProviderProperties, error) {
	props, err := s.p.Properties(ctx)
	return propertiesOut(props), err
}

func (s *server) OnLoad(ctx context.Context, _ *vssv1.OnLoadRequest) (*vssv1.ProviderDone, error) {
	return &vssv1.ProviderDone{}, s.p.OnLoad(ctx)
}

// OnUnload puts S_FALSE into the reply, since it isn't a failure and a status can't express it.
func (s *server) OnUnload(ctx context.Context, r *vssv1.OnUnloadRequest) (*vssv1.OnUnloadReply, error) {
	err := s.p.OnUnload(ctx, r.GetForce())
	if errors.Is(err, vss.False) {
		return &vssv1.OnUnloadReply{Refused: true}, nil
	}
	return &vssv1.OnUnloadReply{}, err
}

// onSet reads the set's id and calls the method.
func onSet(
	ctx context.Context,
	id string,
	call func(context.Context, vss.SnapshotSetID) error,
) (*vssv1.ProviderDone, error) {
	var p parser
	set := p.set(id)
	if p.err != nil {
		return nil, p.err
	}
	return &vssv1.ProviderDone{}, call(ctx, set)
}

func (s *server) EndPrepareSnapshots(r *vssv1.ProviderSetRequest, stream progressStream) error {
	send, stop := sender(stream)
	defer stop()
	_, err := onSet(WithReport(stream.Context(), send), r.GetSetId(), s.p.EndPrepareSnapshots)
	return err
}

type progressStream = grpc.ServerStreamingServer[vssv1.ProviderProgress]

// sender returns a function that sends progress to the coordinator until stop is called. It may be called from several
// goroutines. A failure to send is ignored: the stream's context ends with the connection.
func sender(stream progressStream) (send func(percent float64), stop func()) {
	var mu sync.Mutex
	stopped := false
	send = func(percent float64) {
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			_ = stream.Send(&vssv1.ProviderProgress{Percent: percent})
		}
	}
	return send, func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
	}
}

func (s *server) PreCommitSnapshots(ctx context.Context, r *vssv1.ProviderSetRequest) (*vssv1.ProviderDone, error) {
	return onSet(ctx, r.GetSetId(), s.p.PreCommitSnapshots)
}

func (s *server) CommitSnapshots(ctx context.Context, r *vssv1.ProviderSetRequest) (*vssv1.ProviderDone, error) {
	return onSet(ctx, r.GetSetId(), s.p.CommitSnapshots)
}

func (s *server) PostCommitSnapshots(
	ctx context.Context,
	r *vssv1.PostCommitSnapshotsRequest,
) (*vssv1.ProviderDone, error) {
	return onSet(ctx, r.GetSetId(), func(ctx context.Context, set vss.SnapshotSetID) error {
		return s.p.PostCommitSnapshots(ctx, set, int(r.GetSnapshots()))
	})
}

func (s *server) PreFinalCommitSnapshots(
	ctx context.Context,
	r *vssv1.ProviderSetRequest,
) (*vssv1.ProviderDone, error) {
	return onSet(ctx, r.GetSetId(), s.p.PreFinalCommitSnapshots)
}

func (s *server) PostFinalCommitSnapshots(
	ctx context.Context,
	r *vssv1.ProviderSetRequest,
) (*vssv1.ProviderDone, error) {
	return onSet(ctx, r.GetSetId(), s.p.PostFinalCommitSnapshots)
}

func (s *server) AbortSnapshots(ctx context.Context, r *vssv1.ProviderSetRequest) (*vssv1.ProviderDone, error) {
	return onSet(ctx, r.GetSetId(), s.p.AbortSnapshots)
}
