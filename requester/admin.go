package requester

import (
	"context"
	"errors"
	"io"
	"time"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Volume is a volume of this host. Providers are the names of the providers that can copy it.
type Volume struct {
	Name, Device, FileSystem, UUID string
	MountPoints, LUNs, Providers   []string
	Supported                      bool
	Snapshots                      []vss.SnapshotID // its copies, by identity
}

// Event is an entry of the service's event log.
type Event struct {
	Time     time.Time
	Severity string // "info", "warning", "error"
	What     string
	Provider string
	SetID    vss.SnapshotSetID
	Object   string // volume, copy or LUN
	HRESULT  uint32
	Result   string
	Message  string
	Hint     string // what to do about it
}

// Finding is a problem that Check found.
type Finding struct{ Severity, What, Hint string }

// GetSnapshotSet returns a set with the statistics of its creation. Errors: VSS_E_OBJECT_NOT_FOUND.
func (c *Client) GetSnapshotSet(ctx context.Context, id vss.SnapshotSetID) (SnapshotSet, error) {
	r, err := c.coordinator.GetSnapshotSet(ctx, &vssv1.SetRequest{SetId: id.String()})
	if err != nil {
		return SnapshotSet{}, err
	}
	return snapshotSet(r)
}

// ListVolumes lists the local volumes and the providers that can copy each.
func (c *Client) ListVolumes(ctx context.Context) ([]Volume, error) {
	r, err := c.coordinator.ListVolumes(ctx, &vssv1.ListVolumesRequest{})
	if err != nil {
		return nil, err
	}
	return convert(r.GetVolumes(), func(v *vssv1.Volume) (Volume, error) {
		copies, err := convert(v.GetSnapshots(), func(id string) (vss.SnapshotID, error) {
			g, err := guid(id)
			return vss.SnapshotID{GUID: g}, err
		})
		return Volume{
			v.GetVolume(), v.GetDevice(), v.GetFileSystem(), v.GetUuid(), v.GetMountPoints(), v.GetLuns(),
			v.GetProviders(), v.GetSupported(), copies,
		}, err
	})
}

// Events calls f for each event recorded since the given time (zero: all that are kept). With follow it then waits for
// new events until ctx is done or f returns an error, which Events returns.
func (c *Client) Events(ctx context.Context, since time.Time, follow bool, f func(Event) error) error {
	q := &vssv1.EventsRequest{Follow: follow}
	if !since.IsZero() {
		q.SinceUnixNano = since.UnixNano()
	}
	stream, err := c.coordinator.Events(ctx, q)
	if err != nil {
		return err
	}
	for {
		e, err := stream.Recv()
		if errors.Is(err, io.EOF) || err != nil && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		set, err := guid(e.GetSetId())
		if err != nil {
			return err
		}
		if err := f(Event{
			moment(e.GetTimeUnixNano()), e.GetSeverity(), e.GetWhat(), e.GetProvider(), vss.SnapshotSetID{GUID: set},
			e.GetObject(),
			e.GetHresult(), e.GetResult(), e.GetMessage(), e.GetHint(),
		}); err != nil {
			return err
		}
	}
}

// Check compares the service's records with the state of the host and its arrays and returns the differences. With
// repair it repairs those that can be repaired safely. Root only.
func (c *Client) Check(ctx context.Context, repair bool) ([]Finding, error) {
	r, err := c.coordinator.Check(ctx, &vssv1.CheckRequest{Repair: repair})
	if err != nil {
		return nil, err
	}
	return convert(r.GetFindings(), func(f *vssv1.Finding) (Finding, error) {
		return Finding{f.GetSeverity(), f.GetWhat(), f.GetHint()}, nil
	})
}
