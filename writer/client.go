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
	io.Closer // ends the connection, and with it, on the other side, the sessions that came by it
	// Gone is closed when the writer's process has died, or the connection was closed: it doesn't come back.
	Gone() <-chan struct{}
}

// Connect reaches a writer that serves at a unix socket; it is that process for as long as it lives, and nobody after it.
// Trust refuses the process behind the socket by an error; nil takes any. Options are those of wire.Dial.
//
// Whatever the other side does, the results are those of Watched: a call to a process that is gone, or that doesn't answer
// before its context ends, is VSS_E_WRITER_NOT_RESPONDING, and any result that no writer may give is
// VSS_E_WRITERERROR_NONRETRYABLE. Errors: those of wire.Dial.
func Connect(ctx context.Context, socket string, trust func(uid uint32) error, opts ...grpc.DialOption) (Remote, error) {
	// A connection ends sessions when it ends, so it must not go to sleep while a backup copies for hours.
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

// watch closes the connection when it is lost: gRPC would make another one, to whoever is there by then.
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

// result turns what a call gave: of the transport's failures, into a writer that doesn't respond; of others, into legal ones.
func result(op string, err error) error {
	if vss.CodeOf(err) == vss.ErrUnexpected && (errors.Is(err, wire.ErrServiceGone) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return silent(op, err)
	}
	return legal(op, err, nil, vss.ErrWriterNotResponding, vss.ErrWriterStatusNotAvailable)
}

func (r *remote) Info(ctx context.Context) (Info, error) {
	m, err := r.rpc.GetInfo(ctx, &vssv1.WriterInfoRequest{})
	if err != nil {
		return Info{}, result("GetInfo", err)
	}
	return infoIn(m)
}

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

type rpc func(context.Context, *vssv1.WriterEvent, ...grpc.CallOption) (*vssv1.WriterEventReply, error)

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

func (r *remote) PrepareBackup(ctx context.Context, e *Event) error {
	return handle(ctx, OnPrepareBackup, e, r.rpc.PrepareBackup)
}

func (r *remote) PrepareSnapshot(ctx context.Context, e *Event) error {
	return handle(ctx, OnPrepareSnapshot, e, r.rpc.PrepareSnapshot)
}

func (r *remote) Freeze(ctx context.Context, e *Event) error {
	return handle(ctx, OnFreeze, e, r.rpc.Freeze)
}

func (r *remote) Thaw(ctx context.Context, e *Event) error { return handle(ctx, OnThaw, e, r.rpc.Thaw) }

func (r *remote) PostSnapshot(ctx context.Context, e *Event) error {
	return handle(ctx, OnPostSnapshot, e, r.rpc.PostSnapshot)
}

func (r *remote) BackupComplete(ctx context.Context, e *Event) error {
	return handle(ctx, OnBackupComplete, e, r.rpc.BackupComplete)
}

func (r *remote) BackupShutdown(ctx context.Context, e *Event) error {
	return handle(ctx, OnBackupShutdown, e, r.rpc.BackupShutdown)
}

func (r *remote) Abort(ctx context.Context, e *Event) error {
	return handle(ctx, OnAbort, e, r.rpc.Abort)
}

func (r *remote) PreRestore(ctx context.Context, e *Event) error {
	return handle(ctx, OnPreRestore, e, r.rpc.PreRestore)
}

func (r *remote) PostRestore(ctx context.Context, e *Event) error {
	return handle(ctx, OnPostRestore, e, r.rpc.PostRestore)
}
