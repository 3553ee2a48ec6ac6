package writer

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
)

// Listen opens the socket name.sock in a folder, where the service finds a writer. The folder is RUN/writers/ for a
// process of root, and RUN/writers/ACCOUNT/ for one of another account that the configuration allows. Only root and
// the process's own account can connect. Closing the listener removes the socket. Errors: VSS_E_OBJECT_ALREADY_EXISTS
// if another process answers there, E_INVALIDARG, E_ACCESSDENIED, VSS_E_UNEXPECTED.
func Listen(folder, name string) (net.Listener, error) {
	return wire.Listen(filepath.Join(folder, name+".sock"), 0o600, "")
}

// Serve serves a writer on a listener, as Listen returns it, until ctx ends. The writer runs under Watch. The end of
// a connection ends the sessions that came by it, and when Serve returns all sessions have ended: each Freeze has
// been followed by Thaw or Abort. Callers must run as root or under the process's own account.
func Serve(ctx context.Context, l net.Listener, w Writer, logger *slog.Logger) error {
	watched := Watch(w, logger)
	uid := uint32(os.Geteuid())
	s := wire.NewServer(logger, grpc.StatsHandler(connections{watched}),
		grpc.Creds(wire.TransportCredentials(func(p wire.PeerInfo) error {
			if p.UID != 0 && p.UID != uid {
				return fmt.Errorf("a process of user id %d may not call the writer", p.UID)
			}
			return nil
		})))
	vssv1.RegisterWriterServer(s, &server{w: watched})
	err := wire.Serve(ctx, s, l)
	_ = watched.Close() // it logs its failures
	return err
}

// connections ends the sessions of a connection when the connection ends.
type connections struct{ w *Watched }

type ownerKey struct{}

// ownerOf returns the connection that a call came by; nil for calls in process.
func ownerOf(ctx context.Context) any { return ctx.Value(ownerKey{}) }

// TagConn implements stats.Handler.
func (connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return context.WithValue(ctx, ownerKey{}, new(byte))
}

// HandleConn implements stats.Handler.
func (c connections) HandleConn(ctx context.Context, s stats.ConnStats) {
	if _, ended := s.(*stats.ConnEnd); ended {
		owner := ownerOf(ctx)
		go c.w.end(func(s *session) bool { return s.owner == owner })
	}
}

// TagRPC implements stats.Handler.
func (connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements stats.Handler.
func (connections) HandleRPC(context.Context, stats.RPCStats) {}

// server implements the gRPC service Writer.
type server struct {
	vssv1.UnimplementedWriterServer
	w *Watched
}

// GetInfo implements the call of this name.
func (s *server) GetInfo(ctx context.Context, _ *vssv1.WriterInfoRequest) (*vssv1.WriterInfo, error) {
	i, err := s.w.Info(ctx)
	return infoOut(i), err
}

// Identify implements the call of this name.
func (s *server) Identify(ctx context.Context, _ *vssv1.WriterIdentifyRequest) (*vssv1.WriterIdentifyReply, error) {
	m, err := s.w.Identify(ctx)
	if err != nil {
		return nil, err
	}
	xml, err := m.XML()
	return &vssv1.WriterIdentifyReply{Metadata: xml}, err
}

// handle calls a handler and returns what it changed.
func (s *server) handle(ctx context.Context, h Handler, m *vssv1.WriterEvent) (*vssv1.WriterEventReply, error) {
	e, err := eventIn(m)
	if err != nil {
		return nil, err
	}
	err = h.Call(ctx, s.w, e)
	reply := &vssv1.WriterEventReply{Failure: failureOut(e.Failure), Error: wire.Detail(h.String(), err)}
	if h.changes() {
		var xerr error
		if reply.Components, xerr = componentsOut(e.Components); xerr != nil && err == nil {
			reply.Error = wire.Detail(h.String(), legal(h.String(), xerr, nil)) // its changes are not valid XML
		}
	}
	return reply, nil
}

// PrepareBackup implements the call of this name.
func (s *server) PrepareBackup(ctx context.Context, m *vssv1.WriterEvent) (*vssv1.WriterEventReply, error) {
	return s.handle(ctx, OnPrepareBackup, m)
}

// PrepareSnapshot implements the call of this name.
func (s *server) PrepareSnapshot(ctx context.Context, m *vssv1.WriterEvent) (*vssv1.WriterEventReply, error) {
	return s.handle(ctx, OnPrepareSnapshot, m)
}

// Freeze implements the call of this name.
func (s *server) Freeze(ctx context.Context, m *vssv1.WriterEvent) (*vssv1.WriterEventReply, error) {
	return s.handle(ctx, OnFreeze, m)
}

// Thaw implements the call of this name.
func (s *server) Thaw(ctx context.Context, m *vssv1.WriterEvent) (*vssv1.WriterEventReply, error) {
	return s.handle(ctx, OnThaw, m)
}

// PostSnapshot implements the call of this name.
func (s *server) PostSnapshot(ctx context.Context, m *vssv1.WriterEvent) (*vssv1.WriterEventReply, error) {
	return s.handle(ctx, OnPostSnapshot, m)
}

// BackupComplete implements the call of this name.
func (s *server) BackupComplete(ctx context.Context, m *vssv1.WriterEvent) (*vssv1.WriterEventReply, error) {
	return s.handle(ctx, OnBackupComplete, m)
}

// BackupShutdown implements the call of this name.
func (s *server) BackupShutdown(ctx context.Context, m *vssv1.WriterEvent) (*vssv1.WriterEventReply, error) {
	return s.handle(ctx, OnBackupShutdown, m)
}

// Abort implements the call of this name.
func (s *server) Abort(ctx context.Context, m *vssv1.WriterEvent) (*vssv1.WriterEventReply, error) {
	return s.handle(ctx, OnAbort, m)
}

// PreRestore implements the call of this name.
func (s *server) PreRestore(ctx context.Context, m *vssv1.WriterEvent) (*vssv1.WriterEventReply, error) {
	return s.handle(ctx, OnPreRestore, m)
}

// PostRestore implements the call of this name.
func (s *server) PostRestore(ctx context.Context, m *vssv1.WriterEvent) (*vssv1.WriterEventReply, error) {
	return s.handle(ctx, OnPostRestore, m)
}
