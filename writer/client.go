package writer

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Remote is a writer in another process.
type Remote interface {
	Writer
	io.Closer // closes the connection, which ends the sessions that came by it on the other side
	// Gone is closed when the writer's process has died or the connection was closed. Neither comes back.
	Gone() <-chan struct{}
}

// Connect connects to a writer that serves at a unix socket. The connection is to the process that serves there now;
// it does not reconnect. Trust returns an error to refuse the process, by its user id; if it is nil, any process is
// accepted. Options are further options of the gRPC client.
//
// Results are those of Watched: a call to a process that has died, or that does not answer before its context ends, is
// VSS_E_WRITER_NOT_RESPONDING, and a result that is illegal for writers is VSS_E_WRITERERROR_NONRETRYABLE. Errors:
// VSS_E_WRITER_NOT_RESPONDING, E_ACCESSDENIED, and others of the connection.
func Connect(
	ctx context.Context, socket string, trust func(uid uint32) error, opts ...grpc.DialOption,
) (Remote, error) {
	// The end of a connection ends its sessions, so it must not become idle while a backup copies for hours.
	all := []grpc.DialOption{grpc.WithIdleTimeout(0)}
	if trust != nil {
		all = append(all, wire.Trust(func(p wire.PeerInfo) error { return trust(p.UID) }))
	}
	conn, err := wire.Dial(ctx, socket, append(all, opts...)...)
	if err != nil {
		return nil, err
	}
	r := &remote{conn: conn, rpc: vssv1.NewWriterClient(conn), gone: make(chan struct{})}
	go r.watch()
	return r, nil
}

type remote struct {
	conn  *grpc.ClientConn
	rpc   vssv1.WriterClient
	gone  chan struct{}
	close sync.Once
}

var _ Writer = (*remote)(nil)

// watch closes the connection when it is lost, because gRPC would connect again, perhaps to another process.
func (r *remote) watch() {
	for state := connectivity.Ready; state == connectivity.Ready; state = r.conn.GetState() {
		if !r.conn.WaitForStateChange(context.Background(), state) {
			break
		}
	}
	_ = r.Close()
}

// Close implements io.Closer.
func (r *remote) Close() (err error) {
	r.close.Do(func() { err = r.conn.Close(); close(r.gone) })
	return err
}

// Gone implements Remote.
func (r *remote) Gone() <-chan struct{} { return r.gone }

// result converts the error of a call. A failure of the connection is VSS_E_WRITER_NOT_RESPONDING; others become legal.
func result(op string, err error) error {
	lost := errors.Is(err, wire.ErrServiceGone) || errors.Is(err, context.Canceled) ||
		errors.Is(err, context.DeadlineExceeded)
	if lost && vss.CodeOf(err) == vss.ErrUnexpected {
		return silent(op, err)
	}
	return legal(op, err, nil, vss.ErrWriterNotResponding, vss.ErrWriterStatusNotAvailable)
}

// Info implements Writer.
func (r *remote) Info(ctx context.Context) (Info, error) {
	m, err := r.rpc.GetInfo(ctx, &vssv1.WriterInfoRequest{})
	if err != nil {
		return Info{}, result("GetInfo", err)
	}
	return infoIn(m)
}

// Identify implements Writer.
func (r *remote) Identify(ctx context.Context) (*document.WriterMetadata, error) {
	reply, err := r.rpc.Identify(ctx, &vssv1.WriterIdentifyRequest{})
	if err != nil {
		return nil, result("Identify", err)
	}
	m, err := document.ParseMetadata(reply.GetMetadata())
	if err == nil {
		err = m.Validate()
	}
	return m, result("Identify", err)
}

// rpc is a handler's call over the connection.
type rpc func(context.Context, *vssv1.WriterEvent, ...grpc.CallOption) (*vssv1.WriterEventReply, error)

// handle sends an event and takes over what the writer changed in it.
func handle(ctx context.Context, h Handler, e *Event, call rpc) error {
	m, err := eventOut(e)
	if err != nil {
		return result(h.String(), err)
	}
	reply, err := call(ctx, m)
	if err != nil {
		return result(h.String(), err)
	}
	theirs := &Event{Failure: failureIn(reply.GetFailure())}
	err = wire.FromDetail(reply.GetError())
	if h.changes() {
		var xerr error
		if theirs.Components, xerr = componentsIn(reply.GetComponents()); err == nil {
			err = xerr
		}
	}
	return e.end(h, theirs, err, vss.ErrWriterNotResponding, vss.ErrWriterStatusNotAvailable)
}

// PrepareBackup implements Writer.
func (r *remote) PrepareBackup(ctx context.Context, e *Event) error {
	return handle(ctx, OnPrepareBackup, e, r.rpc.PrepareBackup)
}

// PrepareSnapshot implements Writer.
func (r *remote) PrepareSnapshot(ctx context.Context, e *Event) error {
	return handle(ctx, OnPrepareSnapshot, e, r.rpc.PrepareSnapshot)
}

// Freeze implements Writer.
func (r *remote) Freeze(ctx context.Context, e *Event) error {
	return handle(ctx, OnFreeze, e, r.rpc.Freeze)
}

// Thaw implements Writer.
func (r *remote) Thaw(ctx context.Context, e *Event) error { return handle(ctx, OnThaw, e, r.rpc.Thaw) }

// PostSnapshot implements Writer.
func (r *remote) PostSnapshot(ctx context.Context, e *Event) error {
	return handle(ctx, OnPostSnapshot, e, r.rpc.PostSnapshot)
}

// BackupComplete implements Writer.
func (r *remote) BackupComplete(ctx context.Context, e *Event) error {
	return handle(ctx, OnBackupComplete, e, r.rpc.BackupComplete)
}

// BackupShutdown implements Writer.
func (r *remote) BackupShutdown(ctx context.Context, e *Event) error {
	return handle(ctx, OnBackupShutdown, e, r.rpc.BackupShutdown)
}

// Abort implements Writer.
func (r *remote) Abort(ctx context.Context, e *Event) error {
	return handle(ctx, OnAbort, e, r.rpc.Abort)
}

// PreRestore implements Writer.
func (r *remote) PreRestore(ctx context.Context, e *Event) error {
	return handle(ctx, OnPreRestore, e, r.rpc.PreRestore)
}

// PostRestore implements Writer.
func (r *remote) PostRestore(ctx context.Context, e *Event) error {
	return handle(ctx, OnPostRestore, e, r.rpc.PostRestore)
}
