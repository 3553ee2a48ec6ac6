package remote

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Connect reaches an array that serves at a unix socket. Options are those of wire.Dial, and AsHost. While no process
// answers there every call is VSS_E_UNEXPECTED with wire.ErrServiceGone; the array is there again when a process
// serves. Errors: those of wire.Dial.
func Connect(ctx context.Context, socket string, opts ...grpc.DialOption) (array.Array, error) {
	conn, err := wire.Dial(ctx, socket, opts...)
	if err != nil {
		return nil, err
	}
	return New(conn, socket), nil
}

// New is the array at the other end of a connection that has the options of wire.DialOptions. Its Close closes the
// connection. The address is what people know it by.
func New(conn *grpc.ClientConn, address string) array.Array {
	return &client{conn: conn, rpc: vssv1.NewArrayClient(conn), address: address}
}

type client struct {
	conn    *grpc.ClientConn
	rpc     vssv1.ArrayClient
	address string
}

var _ array.Array = (*client)(nil)

// Close ends the connection, and calls under way with it. The array keeps running.
func (c *client) Close() error { return c.conn.Close() }

func one(m *vssv1.ArrayLun, err error) (array.LUN, error) {
	if err != nil {
		return array.LUN{}, err
	}
	var p reply
	l := p.lun(m)
	return l, p.err
}

func many(m *vssv1.ArrayLunList, err error) ([]array.LUN, error) {
	if err != nil {
		return nil, err
	}
	var p reply
	all := p.luns(m.GetLuns())
	return all, p.err
}

func done(_ *vssv1.ArrayDone, err error) error { return err }

func texts(ids []vss.LUNID) []string {
	var out []string
	for _, id := range ids {
		out = append(out, id.String())
	}
	return out
}

// Info implements array.Array.
func (c *client) Info(ctx context.Context) (array.Info, error) {
	m, err := c.rpc.ArrayInfo(ctx, &vssv1.ArrayInfoRequest{})
	return infoIn(m, c.address), err
}

// LUNs implements array.Array.
func (c *client) LUNs(ctx context.Context) ([]array.LUN, error) {
	return many(c.rpc.ListLuns(ctx, &vssv1.ListArrayLunsRequest{}))
}

// LUN implements array.Array.
func (c *client) LUN(ctx context.Context, id vss.LUNID) (array.LUN, error) {
	return one(c.rpc.GetLun(ctx, &vssv1.ArrayLunRequest{Id: id.String()}))
}

// Create implements array.Array.
func (c *client) Create(ctx context.Context, r array.CreateRequest) (array.LUN, error) {
	return one(c.rpc.CreateLun(ctx, &vssv1.CreateArrayLunRequest{Name: r.Name, Pool: r.Pool, Size: r.Size}))
}

// Delete implements array.Array.
func (c *client) Delete(ctx context.Context, id vss.LUNID, force bool) error {
	return done(c.rpc.DeleteLun(ctx, &vssv1.DeleteArrayLunRequest{Id: id.String(), Force: force}))
}

// Rename implements array.Array.
func (c *client) Rename(ctx context.Context, id vss.LUNID, name string) (array.LUN, error) {
	return one(c.rpc.RenameLun(ctx, &vssv1.RenameArrayLunRequest{Id: id.String(), Name: name}))
}

// Extend implements array.Array.
func (c *client) Extend(ctx context.Context, id vss.LUNID, size int64) (array.LUN, error) {
	return one(c.rpc.ExtendLun(ctx, &vssv1.ExtendArrayLunRequest{Id: id.String(), Size: size}))
}

// Map implements array.Array.
func (c *client) Map(ctx context.Context, id vss.LUNID, host string) (array.LUN, error) {
	return one(c.rpc.MapLun(ctx, &vssv1.MapArrayLunRequest{Id: id.String(), Host: host}))
}

// MapAll implements array.Array.
func (c *client) MapAll(ctx context.Context, host string, ids []vss.LUNID) error {
	return done(c.rpc.MapLuns(ctx, &vssv1.MapArrayLunsRequest{Host: host, Ids: texts(ids)}))
}

// Unmap implements array.Array.
func (c *client) Unmap(ctx context.Context, id vss.LUNID, host string) (array.LUN, error) {
	return one(c.rpc.UnmapLun(ctx, &vssv1.MapArrayLunRequest{Id: id.String(), Host: host}))
}

// SetFlags implements array.Array.
func (c *client) SetFlags(ctx context.Context, id vss.LUNID, f vss.DiskFlags) (array.LUN, error) {
	return one(c.rpc.SetLunFlags(ctx, &vssv1.SetArrayLunFlagsRequest{Id: id.String(), Flags: uint32(f)}))
}

// MarkImported implements array.Array.
func (c *client) MarkImported(ctx context.Context, host string, ids []vss.LUNID) error {
	return done(c.rpc.MarkImported(ctx, &vssv1.MarkImportedRequest{Host: host, Ids: texts(ids)}))
}

// MakePlain implements array.Array.
func (c *client) MakePlain(ctx context.Context, ids []vss.LUNID) error {
	return done(c.rpc.MakePlain(ctx, &vssv1.ArrayLunsRequest{Ids: texts(ids)}))
}

// Mappings implements array.Array.
func (c *client) Mappings(ctx context.Context, host string) ([]array.Mapping, error) {
	m, err := c.rpc.ListMappings(ctx, &vssv1.ListArrayMappingsRequest{Host: host})
	if err != nil {
		return nil, err
	}
	var (
		p   reply
		out []array.Mapping
	)
	for _, x := range m.GetMappings() {
		a := x.GetAddress()
		out = append(out, array.Mapping{
			LUN:     p.lun(x.GetLun()),
			Address: array.Address{Type: a.GetType(), Path: a.GetPath(), DirectIO: a.GetDirectIo()},
		})
	}
	return out, p.err
}

// WritePaths implements array.Array. An array on another machine has none on this host.
func (c *client) WritePaths(ctx context.Context) ([]string, error) {
	m, err := c.rpc.ListWritePaths(ctx, &vssv1.ListWritePathsRequest{})
	return m.GetPaths(), err
}

func copiesOut(r []array.CopyRequest) []*vssv1.ArrayCopy {
	var out []*vssv1.ArrayCopy
	for _, q := range r {
		out = append(out, &vssv1.ArrayCopy{Origin: q.Origin.String(), Method: string(q.Method), Name: q.Name})
	}
	return out
}

// CanCopy implements array.Array.
func (c *client) CanCopy(ctx context.Context, r []array.CopyRequest) (bool, error) {
	m, err := c.rpc.CanCopy(ctx, &vssv1.CanCopyRequest{Copies: copiesOut(r)})
	return m.GetPossible(), err
}

// PrepareCopies implements array.Array.
func (c *client) PrepareCopies(
	ctx context.Context,
	set vss.SnapshotSetID,
	host string,
	r []array.CopyRequest,
) ([]array.LUN, error) {
	return many(
		c.rpc.PrepareCopies(ctx, &vssv1.PrepareCopiesRequest{SetId: set.String(), Host: host, Copies: copiesOut(r)}),
	)
}

func setOut(set vss.SnapshotSetID, host string) *vssv1.ArraySetRequest {
	return &vssv1.ArraySetRequest{SetId: set.String(), Host: host}
}

// CommitCopies implements array.Array.
func (c *client) CommitCopies(ctx context.Context, set vss.SnapshotSetID, host string) (time.Duration, error) {
	m, err := c.rpc.CommitCopies(ctx, setOut(set, host))
	return time.Duration(m.GetSkewNanoseconds()), err
}

// FinishCopies implements array.Array.
func (c *client) FinishCopies(ctx context.Context, set vss.SnapshotSetID, host string) ([]array.LUN, error) {
	return many(c.rpc.FinishCopies(ctx, setOut(set, host)))
}

// KeepCopies implements array.Array.
func (c *client) KeepCopies(ctx context.Context, set vss.SnapshotSetID, host string) error {
	return done(c.rpc.KeepCopies(ctx, setOut(set, host)))
}

// AbortCopies implements array.Array.
func (c *client) AbortCopies(ctx context.Context, set vss.SnapshotSetID, host string) error {
	return done(c.rpc.AbortCopies(ctx, setOut(set, host)))
}

// Resync implements array.Array.
func (c *client) Resync(ctx context.Context, source, target vss.LUNID, progress func(float64)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.rpc.Resync(ctx, &vssv1.ArrayResyncRequest{Source: source.String(), Target: target.String()})
	for err == nil {
		var m *vssv1.ArrayResyncProgress
		if m, err = stream.Recv(); err == nil && progress != nil {
			progress(m.GetPercent())
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// PauseBackground implements array.Array. The pause outlives ctx, and ends at the latest when the connection does.
func (c *client) PauseBackground(ctx context.Context) (func(), error) {
	held, resume := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, resume)
	stream, err := c.rpc.PauseBackground(held, &vssv1.PauseBackgroundRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if !stop() && err == nil { // ctx ended just now, and the pause with it
		err = ctx.Err()
	}
	if err != nil {
		resume()
		if ctx.Err() != nil {
			err = vss.E("PauseBackground", vss.ErrUnexpected, ctx.Err())
		}
		return nil, err
	}
	go func() {
		defer resume()
		for _, err := stream.Recv(); err == nil; _, err = stream.Recv() {
		}
	}()
	return resume, nil
}

// Events implements array.Array.
func (c *client) Events(ctx context.Context) (<-chan array.Event, error) {
	stream, err := c.rpc.WatchEvents(ctx, &vssv1.WatchEventsRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		return nil, err
	}
	return wire.Receive(ctx, stream.Recv, 64, func(m *vssv1.ArrayEvent) (array.Event, bool) {
		var p reply
		e := p.event(m)
		return e, p.err == nil
	}), nil
}
