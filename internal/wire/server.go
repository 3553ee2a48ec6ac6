package wire

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Limits of every connection.
const (
	MaxMessage = 16 << 20 // bytes of one message, in either direction: documents of writers with many files are large
	maxStreams = 256      // calls in progress on one connection
	maxHeaders = 1 << 20  // bytes of headers that a client accepts, including status details
)

// NewServer returns a gRPC server with our limits, interceptors and the credentials of unix sockets. Options take
// precedence: grpc.Creds for TLS, more interceptors (which run inside ours), keepalive for a network.
func NewServer(logger *slog.Logger, opts ...grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(ServerOptions(logger), opts...)...)
}

// ServerOptions returns the options of NewServer. The server sends no keepalive pings: a unix socket ends with its
// process, and a requester that its user has suspended must not lose its session.
func ServerOptions(logger *slog.Logger) []grpc.ServerOption {
	i := interceptor{logger}
	return []grpc.ServerOption{
		grpc.Creds(TransportCredentials(nil)),
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxSendMsgSize(MaxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.KeepaliveEnforcementPolicy(
			keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true},
		),
		grpc.ChainUnaryInterceptor(i.unary),
		grpc.ChainStreamInterceptor(i.stream),
	}
}

// Serve serves on a listener until ctx ends, which ends calls in progress and isn't an error. Errors:
// VSS_E_UNEXPECTED.
func Serve(ctx context.Context, s *grpc.Server, l net.Listener) error {
	stop := context.AfterFunc(ctx, s.Stop)
	defer stop()
	err := s.Serve(l)
	if ctx.Err() != nil || errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return vss.E("Serve", vss.ErrUnexpected, err).On(l.Addr().String())
}

type interceptor struct{ logger *slog.Logger }

func (i interceptor) unary(
	ctx context.Context,
	req any,
	info *grpc.UnaryServerInfo,
	handler grpc.UnaryHandler,
) (reply any, err error) {
	err = i.guard(ctx, info.FullMethod, func() (err error) {
		reply, err = handler(ctx, req)
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply, nil
}

func (i interceptor) stream(
	srv any,
	ss grpc.ServerStream,
	info *grpc.StreamServerInfo,
	handler grpc.StreamHandler,
) error {
	return i.guard(ss.Context(), info.FullMethod, func() error { return handler(srv, ss) })
}

// guard runs a handler and converts its error to a status. A panic is VSS_E_UNEXPECTED and is logged with its stack.
func (i interceptor) guard(ctx context.Context, full string, handler func() error) (err error) {
	method := methodName(full)
	defer func() {
		if p := recover(); p != nil {
			i.logger.ErrorContext(
				ctx,
				"panic in a handler",
				"method",
				method,
				"panic",
				p,
				"stack",
				string(debug.Stack()),
			)
			err = ToStatus(method, vss.E(method, vss.ErrUnexpected, errors.New("internal error")).
				Advise("see the log of the service for details, and report them"))
		}
	}()
	return ToStatus(method, handler())
}
