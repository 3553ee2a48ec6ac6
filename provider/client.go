package provider

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Remote is a provider in another process: a Hardware or a Software, by its type.
type Remote interface {
	Provider
	io.Closer // ends the connection, and the calls under way
	// Gone is closed when the process has ended or the connection was closed. It doesn't come back: connect again to
	// reach the next process.
	Gone() <-chan struct{}
}

// Connect connects to the provider that serves at a unix socket. Trust returns an error for a process that must not be
// a provider, by its uid; nil trusts any. Calls fail with VSS_E_UNEXPECTED once the process has ended.
//
// Errors: E_ACCESSDENIED if there is no right to the socket or trust returned an error; VSS_E_UNEXPECTED if no process
// answers; VSS_E_PROVIDER_VETO for a provider of another type than hardware, software or system; those of Properties.
func Connect(
	ctx context.Context, socket string, trust func(uid uint32) error, opts ...grpc.DialOption,
) (Remote, error) {
	if trust != nil {
		opts = append([]grpc.DialOption{wire.Trust(func(p wire.PeerInfo) error { return trust(p.UID) })}, opts...)
	}
	conn, err := wire.DialOnce(ctx, socket, opts...)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn, rpc: vssv1.NewSnapshotProviderClient(conn), gone: make(chan struct{})}
	go c.watch()
	props, err := c.Properties(ctx)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	switch props.Type {
	case vss.ProviderHardware:
		return &hardwareClient{c, vssv1.NewHardwareProviderClient(conn)}, nil
	case vss.ProviderSoftware, vss.ProviderSystem:
		return &softwareClient{c, vssv1.NewSoftwareProviderClient(conn)}, nil
	}
	err = vss.E("Connect", vss.ErrProviderVeto, fmt.Errorf("unsupported provider type %s", props.Type)).On(socket).
		Advise("hardware, software and system providers can be reached over a socket")
	return nil, errors.Join(err, c.Close())
}

// client has the calls of every kind of provider.
type client struct {
	conn *grpc.ClientConn
	rpc  vssv1.SnapshotProviderClient
	gone chan struct{}
}

var (
	_ Hardware = (*hardwareClient)(nil)
	_ Software = (*softwareClient)(nil)
	_ Remote   = (*hardwareClient)(nil)
	_ Remote   = (*softwareClient)(nil)
)

// watch closes gone when the connection is lost.
func (c *client) watch() {
	for c.conn.GetState() == connectivity.Ready {
		c.conn.WaitForStateChange(context.Background(), connectivity.Ready)
	}
	close(c.gone)
}

// Gone implements Remote.
func (c *client) Gone() <-chan struct{} { return c.gone }

// Close implements io.Closer.
func (c *client) Close() error { return c.conn.Close() }

func (c *client) Properties(ctx context.Context) (Properties, error) {
	m, err := c.rpc.Properties(ctx, &vssv1.ProviderPropertiesRequest{})
	if err != nil {
		return Properties{}, err
	}
	var p parser
	return p.properties(m), p.err
}

func (c *client) OnLoad(ctx context.Context) error {
	_, err := c.rpc.OnLoad(ctx, &vssv1.OnLoadRequest{})
	return err
}

func (c *client) OnUnload(ctx context.Context, force bool) error {
	r, err := c.rpc.OnUnload(ctx, &vssv1.OnUnloadRequest{Force: force})
	if err == nil && r.GetRefused() {
		return vss.E("OnUnload", vss.False, errors.New("work is pending"))
	}
	return err
}

func (c *client) EndPrepareSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.rpc.EndPrepareSnapshots(ctx, &vssv1.ProviderSetRequest{SetId: set.String()})
	if err != nil {
		return err
	}
	return follow(stream, func(percent float64) { Report(ctx, percent) })
}

func (c *client) PreCommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	_, err := c.rpc.PreCommitSnapshots(ctx, &vssv1.ProviderSetRequest{SetId: set.String()})
	return err
}

func (c *client) CommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	_, err := c.rpc.CommitSnapshots(ctx, &vssv1.ProviderSetRequest{SetId: set.String()})
	return err
}

func (c *client) PostCommitSnapshots(ctx context.Context, set vss.SnapshotSetID, count int) error {
	_, err := c.rpc.PostCommitSnapshots(
		ctx,
		&vssv1.PostCommitSnapshotsRequest{SetId: set.String(), Snapshots: int32(count)},
	)
	return err
}

func (c *client) PreFinalCommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	_, err := c.rpc.PreFinalCommitSnapshots(ctx, &vssv1.ProviderSetRequest{SetId: set.String()})
	return err
}

func (c *client) PostFinalCommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	_, err := c.rpc.PostFinalCommitSnapshots(ctx, &vssv1.ProviderSetRequest{SetId: set.String()})
	return err
}

func (c *client) AbortSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	_, err := c.rpc.AbortSnapshots(ctx, &vssv1.ProviderSetRequest{SetId: set.String()})
	return err
}

// sameLength returns E_INVALIDARG for two lists of different lengths.
func sameLength(op string, a, b int) error {
	if a == b {
		return nil
	}
	return vss.E(op, vss.ErrInvalidArg, fmt.Errorf("the lists have %d and %d entries", a, b))
}

type hardwareClient struct {
	*client
	hw vssv1.HardwareProviderClient
}

func (c *hardwareClient) AreLUNsSupported(
	ctx context.Context,
	vc vss.Context,
	devices []string,
	luns []vss.LUNInformation,
) (bool, []vss.LUNInformation, error) {
	r, err := c.hw.AreLunsSupported(
		ctx,
		&vssv1.AreLunsSupportedRequest{Context: uint32(vc), Devices: devices, Luns: lunsOut(luns)},
	)
	if err != nil {
		return false, nil, err
	}
	var p parser
	filled := p.luns(r.GetLuns())
	if p.err == nil && r.GetSupported() {
		p.err = sameLength("AreLunsSupported", len(filled), len(luns))
	}
	for i := range min(len(filled), len(luns)) {
		filled[i].Interconnects = luns[i].Interconnects // a provider leaves these unchanged
	}
	return r.GetSupported() && p.err == nil, filled, p.err
}

func (c *hardwareClient) BeginPrepareSnapshot(
	ctx context.Context,
	set vss.SnapshotSetID,
	snapshot vss.SnapshotID,
	vc vss.Context,
	devices []string,
	luns []vss.LUNInformation,
) error {
	_, err := c.hw.BeginPrepareSnapshot(
		ctx,
		&vssv1.BeginPrepareLunsRequest{
			SetId:      set.String(),
			SnapshotId: snapshot.String(),
			Context:    uint32(vc),
			Devices:    devices,
			Luns:       lunsOut(luns),
		},
	)
	return err
}

func (c *hardwareClient) GetTargetLUNs(
	ctx context.Context,
	set vss.SnapshotSetID,
	devices []string,
	sources []vss.LUNInformation,
) ([]vss.LUNInformation, error) {
	r, err := c.hw.GetTargetLuns(
		ctx,
		&vssv1.GetTargetLunsRequest{SetId: set.String(), Devices: devices, Sources: lunsOut(sources)},
	)
	if err != nil {
		return nil, err
	}
	var p parser
	return p.luns(r.GetLuns()), p.err
}

func (c *hardwareClient) LocateLUNs(ctx context.Context, luns []vss.LUNInformation) error {
	_, err := c.hw.LocateLuns(ctx, &vssv1.LunInformationList{Luns: lunsOut(luns)})
	return err
}

func (c *hardwareClient) FillInLUNInfo(ctx context.Context, device string, info *vss.LUNInformation) (bool, error) {
	r, err := c.hw.FillInLunInfo(ctx, &vssv1.DeviceLun{Device: device, Lun: lunOut(info)})
	if err != nil || !r.GetSupported() {
		return false, err
	}
	var p parser
	filled := p.lun(r.GetLun())
	if p.err == nil {
		filled.Interconnects = info.Interconnects // a provider leaves these unchanged
		*info = filled
	}
	return p.err == nil, p.err
}

func (c *hardwareClient) OnLUNEmpty(ctx context.Context, device string, info *vss.LUNInformation) error {
	_, err := c.hw.OnLunEmpty(ctx, &vssv1.DeviceLun{Device: device, Lun: lunOut(info)})
	return err
}

func (c *hardwareClient) OnLUNStateChange(
	ctx context.Context,
	snapshots, originals []vss.LUNInformation,
	change vss.LUNStateChange,
) error {
	_, err := c.hw.OnLunStateChange(
		ctx,
		&vssv1.OnLunStateChangeRequest{
			Snapshots: lunsOut(snapshots),
			Originals: lunsOut(originals),
			Change:    uint32(change),
		},
	)
	return err
}

func (c *hardwareClient) ResyncLUNs(
	ctx context.Context,
	sources, targets []vss.LUNInformation,
	progress func(percent float64),
) error {
	if err := sameLength("ResyncLuns", len(sources), len(targets)); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.hw.ResyncLuns(ctx, &vssv1.ResyncLunsRequest{Sources: lunsOut(sources), Targets: lunsOut(targets)})
	if err != nil {
		return err
	}
	return follow(stream, progress)
}

// follow passes on the progress of a call until it ends, and returns its error.
func follow(stream grpc.ServerStreamingClient[vssv1.ProviderProgress], progress func(percent float64)) error {
	for {
		m, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case progress != nil:
			progress(m.GetPercent())
		}
	}
}
