package coordinator

import (
	"context"
	"os"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/hold"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Quiet buffers the process's log in memory while volumes are held.
type Quiet interface {
	Hold()
	Release()
}

// Volumes finds the volumes of this host. Package volume is one.
type Volumes interface {
	Find(ctx context.Context, name string) (*volume.Volume, error)
	List(ctx context.Context) ([]*volume.Volume, error)
	// Open opens the root of a mounted volume and checks that it still is the file system that was found.
	Open(v *volume.Volume) (*os.File, error)
	// CheckNesting returns VSS_E_NESTED_VOLUME_LIMIT if one of the volumes carries another, or one of the paths.
	CheckNesting(ctx context.Context, vols []*volume.Volume, writes []string) error
	// CheckAdded is CheckNesting for a volume that is added to a set, of which only the new one is looked at.
	CheckAdded(ctx context.Context, set []*volume.Volume, v *volume.Volume, writes []string) error
}

// Holder stops the writes to volumes. Package hold is adapted to it by internal/service.
type Holder interface {
	// Start prepares to hold the volumes for limit at most. Nothing is held yet. The devices are those that providers
	// suspend during the hold: they are resumed when it ends, also if this process dies.
	Start(ctx context.Context, limit time.Duration, volumes []HeldVolume, suspended []string) (Guard, error)
	// CanSuspend reports whether devices can be suspended and resumed. Offers that need it are refused otherwise.
	CanSuspend() bool
	// Left lists the volumes that a service which died has left held.
	Left() ([]string, error)
	// Thaw releases them and returns their names.
	Thaw() ([]string, error)
}

// HeldVolume is one file system to be held.
type HeldVolume struct {
	Name string
	Root *os.File // a directory on it, open
	Mode provider.HoldMode
}

// Guard is one hold. Preflush, Flush, Hold and Release are called one after the other, Close at any time.
type Guard interface {
	Preflush(ctx context.Context) error
	Flush(ctx context.Context) error
	Hold(ctx context.Context) error
	Release() (hold.Result, error)
	Close() error
}

// noGuard is the hold of no volume.
type noGuard struct{}

func (noGuard) Preflush(context.Context) error { return nil }
func (noGuard) Flush(context.Context) error    { return nil }
func (noGuard) Hold(context.Context) error     { return nil }
func (noGuard) Release() (hold.Result, error)  { return hold.Result{}, nil }
func (noGuard) Close() error                   { return nil }

// Host is the part of copies.Host that the coordinator uses: copies on this host, of any kind.
type Host interface {
	Load(ctx context.Context, p provider.Provider) (copies.Kind, error)
	LUNs(ctx context.Context, v *volume.Volume) []vss.LUNID
	Place(ctx context.Context, here []copies.Copy) error
	DeviceObject(r *catalog.Snapshot) string
	Path(r *catalog.Snapshot) string
	Expose(ctx context.Context, c copies.Copy, name string, user uint32) error
	Original(ctx context.Context, v *volume.Volume) func(*catalog.Snapshot) bool
	Unexpose(ctx context.Context, c copies.Copy, user uint32) error
	MountPrivate(ctx context.Context, c copies.Copy, token string) (string, error)
	HandOver(ctx context.Context, c copies.Copy) (*os.File, error)
	UnmountPrivate(paths []string)
	Delete(ctx context.Context, c copies.Copy, force bool) error
	Withdraw(ctx context.Context, c copies.Copy)
	Restore(ctx context.Context, c copies.Copy) error
	RestoreOriginals(ctx context.Context, c catalog.Creation) error
	Sweep() error
	SweepLinks(known []catalog.Snapshot)
	Keep(ctx context.Context, set vss.SnapshotSetID) error
	Rescan(ctx context.Context) error
	Inspect(ctx context.Context, known copies.Known, kinds copies.Kinds) ([]copies.Finding, error)
}

var _ Volumes = (*volume.Host)(nil)
