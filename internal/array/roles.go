package array

import (
	"context"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Array is a storage array as a host sees it. All methods may be called from many goroutines. Errors of LUN
// management carry VDS's codes, those of copies VSS's.
type Array interface {
	Lister
	Administrator
	Masker
	Copier
	Worker
	Close() error
}

// Lister describes an array and its LUNs. Its methods change nothing.
type Lister interface {
	Info(ctx context.Context) (Info, error)
	LUNs(ctx context.Context) ([]LUN, error)
	// LUN finds one. Errors: VDS_E_OBJECT_NOT_FOUND.
	LUN(ctx context.Context, id vss.LUNID) (LUN, error)
}

// Administrator creates, changes and deletes LUNs.
type Administrator interface {
	// Create makes a LUN that is masked from all hosts. Errors: VDS_E_NOT_ENOUGH_SPACE, VDS_E_INVALID_OPERATION for a
	// name in use.
	Create(ctx context.Context, r CreateRequest) (LUN, error)
	// Delete frees a LUN. Errors: VDS_E_DEVICE_IN_USE while it is mapped, or while a differential shadow copy depends
	// on it, unless forced.
	Delete(ctx context.Context, id vss.LUNID, force bool) error
	Rename(ctx context.Context, id vss.LUNID, name string) (LUN, error)
	// Extend makes a LUN larger. Errors: VDS_E_INVALID_OPERATION for a smaller size, VDS_E_NOT_ENOUGH_SPACE.
	Extend(ctx context.Context, id vss.LUNID, size int64) (LUN, error)
	// SetFlags stores the four flags of a disk that has no partition table.
	SetFlags(ctx context.Context, id vss.LUNID, f vss.DiskFlags) (LUN, error)
	// MakePlain makes ordinary LUNs of copies, after a break.
	MakePlain(ctx context.Context, ids []vss.LUNID) error
}

// Masker decides which host sees which LUN.
type Masker interface {
	// Map unmasks a LUN to a host, Unmap masks it; both may be repeated. Errors of Map: VDS_E_NOT_SUPPORTED for a
	// host that no target of the array reaches.
	Map(ctx context.Context, id vss.LUNID, host string) (LUN, error)
	Unmap(ctx context.Context, id vss.LUNID, host string) (LUN, error)
	// MapAll is Map for several LUNs. If their records can't be written, none is mapped that wasn't.
	MapAll(ctx context.Context, host string, ids []vss.LUNID) error
	// Mappings lists the LUNs that a host may see. It changes nothing.
	Mappings(ctx context.Context, host string) ([]Mapping, error)
	// MarkImported records that a host surfaced copies, which happens once. Errors: VSS_E_BAD_STATE, and none is
	// marked.
	MarkImported(ctx context.Context, host string, ids []vss.LUNID) error
}

// Copier copies LUNs. The copies of a host's set don't exist to other hosts until they are kept: its methods find a
// set by id and host.
type Copier interface {
	// CanCopy reports whether these copies could be made now.
	CanCopy(ctx context.Context, r []CopyRequest) (bool, error)
	// PrepareCopies does all slow work for the copies of a set, and makes it durable. Errors:
	// VSS_E_INSUFFICIENT_STORAGE.
	PrepareCopies(ctx context.Context, set vss.SnapshotSetID, host string, r []CopyRequest) ([]LUN, error)
	// CommitCopies cuts all copies of a set, or leaves none. It issues ioctls on open descriptors only. The skew is
	// the time from the first cut to the last.
	CommitCopies(ctx context.Context, set vss.SnapshotSetID, host string) (skew time.Duration, err error)
	// FinishCopies makes the cut copies durable and begins to hydrate plexes.
	FinishCopies(ctx context.Context, set vss.SnapshotSetID, host string) ([]LUN, error)
	// KeepCopies records that the set was created.
	KeepCopies(ctx context.Context, set vss.SnapshotSetID, host string) error
	// AbortCopies deletes every copy of the set that isn't kept. Errors: VSS_E_OBJECT_NOT_FOUND, also for another
	// host's set.
	AbortCopies(ctx context.Context, set vss.SnapshotSetID, host string) error
	// Resync replaces the target's content by the source's, inside the array. Errors: VDS_E_DEVICE_IN_USE while the
	// target is mapped.
	Resync(ctx context.Context, source, target vss.LUNID, progress func(percent float64)) error
	// WritePaths returns the files and folders that a commit writes to.
	WritePaths(ctx context.Context) ([]string, error)
}

// Worker controls and reports the background work of the array: hydration, and keeping pools from running full.
type Worker interface {
	// PauseBackground stops this work until resume is called, or 15 s have passed.
	PauseBackground(ctx context.Context) (resume func(), err error)
	// Events returns events from now on, until ctx ends.
	Events(ctx context.Context) (<-chan Event, error)
}

// Space is how much a pool has, in bytes.
type Space struct{ Size, Free, Growth int64 }

// Cut is one copy to be made.
type Cut struct{ Origin, Copy vss.LUNID }

// Cutter holds open what cutting needs.
type Cutter interface {
	// Cut makes all copies at once and returns the times of the first and the last cut. On an error the copies that
	// were cut remain, for Delete.
	Cut() (first, last time.Time, err error)
	// Close makes what was cut durable.
	Close() error
}

// Pool keeps the data of LUNs. It knows neither records nor masks.
type Pool interface {
	Type() string
	// RecordDir is where the records of the pool's LUNs are kept.
	RecordDir() string
	Create(id vss.LUNID, size int64) error
	Extend(id vss.LUNID, size int64) error
	// Delete frees a LUN's data, if there is any. When it returns the space can be used again.
	Delete(id vss.LUNID) error
	// Stored lists the LUNs that have data, with their sizes.
	Stored() (map[vss.LUNID]int64, error)
	// Backing returns where a LUN's data is.
	Backing(id vss.LUNID) Backing
	// Space returns the size of the pool, what of it is free for data now, and by how much it could grow.
	Space() (s Space, err error)
	// Room ensures that so many bytes are free; a pool that can grow does. Errors: VDS_E_NOT_ENOUGH_SPACE.
	Room(bytes int64) error
	// Overhead returns what the pool needs at worst beside so many bytes of data, so that they can be written without a
	// process that makes room.
	Overhead(data int64) int64
	// Allocated returns how much of the pool the LUN's data takes, shared or not.
	Allocated(id vss.LUNID) (int64, error)
	Prepare(cuts []Cut) (Cutter, error)
	// Hydrate gives a LUN blocks of its own until it shares none, while it is in use. It does so in short pieces of
	// work, each of which it passes to step, which may wait before it runs the piece. Hydrate stops when ctx ends and
	// may be called again.
	Hydrate(ctx context.Context, id vss.LUNID, step func(percent float64, piece func() error) error) error
	// Replace gives the target the content and size of the source. A crash leaves the old content or the new.
	Replace(source, target vss.LUNID) error
	WritePaths() []string
	Close() error
}

// Target shows LUNs to hosts. An array may have several of different types.
type Target interface {
	// Type names the kind of target, and of its addresses.
	Type() string
	// Bus is how LUNs are attached to a host by this target.
	Bus() vss.BusType
	// Serves reports whether this target can show LUNs to a host. The first of an array's targets that can does.
	Serves(host string) bool
	// Export makes a LUN reachable for a host; Withdraw ends that. Both may be repeated.
	Export(ctx context.Context, l LUN, data Backing, host string) error
	Withdraw(ctx context.Context, l LUN, host string) error
	// Address returns how a host reaches a LUN, false if the LUN isn't exported to it. It changes nothing.
	Address(ctx context.Context, l LUN, data Backing, host string) (Address, bool)
}
