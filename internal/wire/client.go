package wire

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/keepalive"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Dial connects to the service at a unix socket and returns when it has answered, so that a missing service is
// detected immediately. Calls on the connection return *vss.Error. Options take precedence over those of DialOptions;
// Trust is one.
// Errors: VSS_E_UNEXPECTED with ErrServiceGone as cause (no answer), E_ACCESSDENIED (no permission for the socket, or
// the other side isn't trusted).
func Dial(ctx context.Context, socketPath string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return dial(ctx, socketPath, false, opts)
}

// DialOnce is Dial for a connection to one process: once it is lost, calls fail with ErrServiceGone, even if another
// process serves at the socket by then. It doesn't go idle.
func DialOnce(ctx context.Context, socketPath string, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	return dial(ctx, socketPath, true, append([]grpc.DialOption{grpc.WithIdleTimeout(0)}, opts...))
}

func dial(ctx context.Context, socketPath string, once bool, opts []grpc.DialOption) (*grpc.ClientConn, error) {
	const op = "Connect"
	var last dialError
	var used atomic.Bool
	all := append(DialOptions(), grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		if once && used.Load() {
			return nil, ErrServiceGone
		}
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", socketPath)
		last.set(err)
		if err != nil {
			return nil, err
		}
		used.Store(true)
		return &dialed{c.(*net.UnixConn), &last}, nil
	}), grpc.WithTransportCredentials(TransportCredentials(nil)))
	conn, err := grpc.NewClient("passthrough:///localhost", append(all, opts...)...)
	if err != nil {
		return nil, vss.E(op, vss.ErrInvalidArg, err).On(socketPath)
	}
	conn.Connect()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		if state == connectivity.TransientFailure {
			_ = conn.Close()
			return nil, last.explain(op, socketPath)
		}
		if !conn.WaitForStateChange(ctx, state) {
			_ = conn.Close()
			return nil, vss.E(op, vss.ErrUnexpected, ctx.Err()).On(socketPath)
		}
	}
	return conn, nil
}

// Trust returns an option by which Dial rejects a service whose process isn't acceptable, for example a writer under
// an account that may not run writers.
func Trust(trust func(PeerInfo) error) grpc.DialOption {
	return grpc.WithTransportCredentials(TransportCredentials(trust))
}

// DialOptions returns the limits and interceptors of Dial, for other kinds of connections (TLS to an array).
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)),
		grpc.WithMaxHeaderListSize(maxHeaders),
		// Longer than any hold, so that a service that waits for a thaw isn't considered dead.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 30 * time.Second}),
		grpc.WithChainUnaryInterceptor(unaryClient),
		grpc.WithChainStreamInterceptor(streamClient),
	}
}

// dialError keeps the reason why the last attempt failed, which gRPC returns as text only.
type dialError struct {
	mu       sync.Mutex
	err      error // without a connection
	distrust error // with a connection to an untrusted process
}

// dialed is a connection that records why the handshake failed.
type dialed struct {
	*net.UnixConn
	last *dialError
}

func (d *dialed) refuse(err error) {
	d.last.mu.Lock()
	defer d.last.mu.Unlock()
	d.last.distrust = err
}

func (d *dialError) set(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

func (d *dialError) explain(op, path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.distrust != nil:
		return vss.E(op, vss.ErrAccessDenied, d.distrust).
			On(path).
			Advise("the process at this socket runs under an account that isn't allowed")
	case errors.Is(d.err, fs.ErrPermission):
		return vss.E(op, vss.ErrAccessDenied, d.err).
			On(path).
			Advise("run this as root or as a member of the group that owns the socket")
	case d.err != nil:
		return vss.E(op, vss.ErrUnexpected, &remote{text: ErrServiceGone.Error() + ": " + d.err.Error(),
			causes: []error{ErrServiceGone, d.err}}).
			On(path).
			Advise("check that the service is running")
	}
	return vss.E(op, vss.ErrUnexpected, &remote{text: ErrServiceGone.Error() + " as soon as it had answered",
		causes: []error{ErrServiceGone}}).
		On(path).
		Advise("check that the service is running, and try again")
}

func unaryClient(
	ctx context.Context,
	method string,
	req, reply any,
	conn *grpc.ClientConn,
	call grpc.UnaryInvoker,
	opts ...grpc.CallOption,
) error {
	return FromStatus(methodName(method), call(ctx, method, req, reply, conn, opts...))
}

func streamClient(
	ctx context.Context,
	desc *grpc.StreamDesc,
	conn *grpc.ClientConn,
	method string,
	open grpc.Streamer,
	opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	s, err := open(ctx, desc, conn, method, opts...)
	if err != nil {
		return nil, FromStatus(methodName(method), err)
	}
	return &clientStream{s, methodName(method)}, nil
}

// clientStream converts the errors of a stream, except for io.EOF, which is its end.
type clientStream struct {
	grpc.ClientStream
	method string
}

func (s *clientStream) turn(err error) error {
	if err == io.EOF { //nolint:errorlint // gRPC returns it bare, and callers compare it so
		return err
	}
	return FromStatus(s.method, err)
}

// RecvMsg implements grpc.ClientStream.
func (s *clientStream) RecvMsg(m any) error { return s.turn(s.ClientStream.RecvMsg(m)) }

// SendMsg implements grpc.ClientStream.
func (s *clientStream) SendMsg(m any) error { return s.turn(s.ClientStream.SendMsg(m)) }

// CloseSend implements grpc.ClientStream.
func (s *clientStream) CloseSend() error { return s.turn(s.ClientStream.CloseSend()) }
