// Package array is the storage array: LUNs in pools, copies of many LUNs at one instant, masking per host. Array is what a
// host sees of one; Controller is ours, which other hosts may reach over a socket. Data lives in pools (package pool), hosts
// reach it through targets (package target/...).
//
// A LUN's record is durable before the LUN exists and goes after it is gone: a crash leaves a record without a LUN, never
// the reverse. Records live with the data, so that a pool whose files are copied elsewhere is whole there.
package array

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Kind says what a LUN is to its hosts.
type Kind string

// Kinds of LUNs.
const (
	KindPlain      Kind = "plain"
	KindShadowCopy Kind = "shadow-copy"
)

// Method is how a copy was made.
type Method string

// Methods of copying. A differential copy shares blocks with its origin; a plex ends up sharing none.
const (
	MethodDifferential Method = "differential"
	MethodPlex         Method = "plex"
)

// State is where a LUN is in its life.
type State string

// States of a LUN. What is creating or preparing at a controller's start is dead and removed; what is committed waits for
// its host to keep or abort it; what is deleting is deleted.
const (
	StateCreating  State = "creating"
	StatePreparing State = "preparing"
	StateCommitted State = "committed"
	StateReady     State = "ready"
	StateResyncing State = "resyncing" // its content is being replaced; the old one or the new one after a crash
	StateDeleting  State = "deleting"
)

// Format is the version of the records and of the pool's layout.
const Format = 1

// LUN is the record of one LUN.
type LUN struct {
	Format   int               `json:"format"`
	ID       vss.LUNID         `json:"id"`
	Name     string            `json:"name"`
	Array    string            `json:"-"`
	Pool     string            `json:"-"`
	Size     int64             `json:"size"` // bytes
	Serial   string            `json:"serial"`
	NAA      string            `json:"naa"` // 32 hexadecimal digits, the first is 6
	Kind     Kind              `json:"kind"`
	State    State             `json:"state"`
	Origin   vss.LUNID         `json:"origin"`
	Method   Method            `json:"method,omitempty"`
	Percent  float64           `json:"percent"` // hydration of a plex
	MappedTo []string          `json:"mapped_to"`
	Flags    vss.DiskFlags     `json:"flags"` // the four flags of a disk that has no partition table
	Imported bool              `json:"imported"`
	Importer string            `json:"importer,omitempty"` // the host that surfaced the copy
	Set      vss.SnapshotSetID `json:"set"`
	Host     string            `json:"host,omitempty"` // who had the copy made
	Final    bool              `json:"final"`          // its set was created: an abort doesn't touch it
	Created  time.Time         `json:"created"`
	Order    uint64            `json:"order,omitempty"` // of creation in its array, whatever the clock says; not told to hosts
	Skew     time.Duration     `json:"skew,omitempty"`  // first to last cut of the call that made it
}

// Inquiry data of every LUN.
const (
	Vendor   = "STILLPNT"
	Product  = "VSS LUN"
	Revision = "1"
)

// Information describes the LUN to hosts (VDS_LUN_INFORMATION): vendor, product, page 0x80 and page 0x83.
func (l *LUN) Information() vss.LUNInformation {
	naa, _ := hex.DecodeString(l.NAA)
	return vss.LUNInformation{
		Version: 1, BusType: vss.BusFileBackedVirtual, VendorID: Vendor, ProductID: Product, ProductRevision: Revision, SerialNumber: l.Serial,
		DeviceIDs: []vss.StorageIdentifier{{CodeSet: vss.CodeSetBinary, Type: vss.IdentifierNAA, ID: naa}},
	}
}

// CreateRequest asks for a new LUN. Pool "" is the first one.
type CreateRequest struct {
	Name, Pool string
	Size       int64
}

// CopyRequest asks for a copy of one LUN. Method "" is differential.
type CopyRequest struct {
	Origin vss.LUNID
	Method Method
	Name   string
}

// Address is where a host finds a LUN.
type Address struct {
	Type     string // of the target: "loop"
	Path     string // loop: the image
	DirectIO bool
}

// Mapping is a LUN that a host may see.
type Mapping struct {
	LUN     LUN
	Address Address
}

// PoolInfo tells of a pool, in bytes; a pool that grows counts what it can grow to.
type PoolInfo struct {
	Name, Type string
	Size, Free int64
}

// Info tells of an array.
type Info struct {
	Name, Address string
	Pools         []PoolInfo
	Targets       []string
}

// Event is something that the array did by itself.
type Event struct {
	Time       time.Time
	LUN        LUN
	What       string // "dropped", "hydrated", "pool-low"
	Text, Hint string
}

// Array is a storage array as a host sees it. All methods may be called from many goroutines. Errors of LUN management carry
// VDS's codes, those of copies VSS's.
type Array interface {
	Info(ctx context.Context) (Info, error)
	LUNs(ctx context.Context) ([]LUN, error)
	// LUN finds one. Errors: VDS_E_OBJECT_NOT_FOUND.
	LUN(ctx context.Context, id vss.LUNID) (LUN, error)
	// Create makes a LUN, masked from everybody. Errors: VDS_E_NOT_ENOUGH_SPACE, VDS_E_INVALID_OPERATION for a name in use.
	Create(ctx context.Context, r CreateRequest) (LUN, error)
	// Delete frees a LUN. Errors: VDS_E_DEVICE_IN_USE while it is mapped, or while a differential shadow copy depends on it,
	// unless forced.
	Delete(ctx context.Context, id vss.LUNID, force bool) error
	Rename(ctx context.Context, id vss.LUNID, name string) (LUN, error)
	// Extend makes a LUN larger. Errors: VDS_E_INVALID_OPERATION for a smaller size, VDS_E_NOT_ENOUGH_SPACE.
	Extend(ctx context.Context, id vss.LUNID, size int64) (LUN, error)
	// Map unmasks a LUN to a host, Unmap masks it; both may be repeated.
	Map(ctx context.Context, id vss.LUNID, host string) (LUN, error)
	Unmap(ctx context.Context, id vss.LUNID, host string) (LUN, error)
	// SetFlags stores the four flags of a disk that has no partition table.
	SetFlags(ctx context.Context, id vss.LUNID, f vss.DiskFlags) (LUN, error)
	// MarkImported records that a host surfaced copies, which happens once. Errors: VSS_E_BAD_STATE, and none is marked.
	MarkImported(ctx context.Context, host string, ids []vss.LUNID) error
	// MakePlain makes ordinary LUNs of copies, after a break.
	MakePlain(ctx context.Context, ids []vss.LUNID) error
	// Mappings are the LUNs that a host may see.
	Mappings(ctx context.Context, host string) ([]Mapping, error)
	// CanCopy says whether these copies could be made now.
	CanCopy(ctx context.Context, r []CopyRequest) (bool, error)
	// PrepareCopies does all that is slow for the copies of a host's set, and makes it durable. To all other hosts the set
	// doesn't exist: the calls below find it by the host, too. Errors: VSS_E_INSUFFICIENT_STORAGE.
	PrepareCopies(ctx context.Context, set vss.SnapshotSetID, host string, r []CopyRequest) ([]LUN, error)
	// CommitCopies cuts all copies of a set, or leaves none. It issues ioctls on open descriptors only. The skew is the time
	// from the first cut to the last.
	CommitCopies(ctx context.Context, set vss.SnapshotSetID, host string) (skew time.Duration, err error)
	// FinishCopies makes the cut copies durable and begins to hydrate plexes.
	FinishCopies(ctx context.Context, set vss.SnapshotSetID, host string) ([]LUN, error)
	// KeepCopies says that the set was created.
	KeepCopies(ctx context.Context, set vss.SnapshotSetID, host string) error
	// AbortCopies deletes every copy of the set that isn't kept. Errors: VSS_E_OBJECT_NOT_FOUND, also for another host's set.
	AbortCopies(ctx context.Context, set vss.SnapshotSetID, host string) error
	// Resync replaces the target's content by the source's, inside the array. Errors: VDS_E_DEVICE_IN_USE while the target is
	// mapped.
	Resync(ctx context.Context, source, target vss.LUNID, progress func(percent float64)) error
	// PauseBackground stops hydration and watching until resume is called, or 15 s have gone.
	PauseBackground(ctx context.Context) (resume func(), err error)
	// WritePaths are the files and folders that a commit writes to.
	WritePaths(ctx context.Context) ([]string, error)
	// Events gives events from now on, until ctx ends.
	Events(ctx context.Context) (<-chan Event, error)
	Close() error
}

// Space tells how much a pool has, in bytes.
type Space struct{ Size, Free, Growth int64 }

// Cut is one copy to be made.
type Cut struct{ Origin, Copy vss.LUNID }

// Cutter holds all that cutting needs, open and ready.
type Cutter interface {
	// Cut makes all copies at once and returns when the first and the last one was there. On an error what was cut is still
	// there, for Delete.
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
	// Delete frees a LUN's data; none is no error. When it returns the space can be used again.
	Delete(id vss.LUNID) error
	// Stored lists the LUNs that have data, with their sizes.
	Stored() (map[vss.LUNID]int64, error)
	Address(id vss.LUNID) Address
	// Space is what the pool has, what of it is free for data now, and by how much it could grow, in bytes.
	Space() (s Space, err error)
	// Room makes sure that so many bytes are free, growing if the pool can. Errors: VDS_E_NOT_ENOUGH_SPACE.
	Room(bytes int64) error
	// Allocated is how much of the pool the LUN's data takes, shared or not.
	Allocated(id vss.LUNID) (int64, error)
	Prepare(cuts []Cut) (Cutter, error)
	// Hydrate gives a LUN blocks of its own until it shares none, while it is in use. It does so in short pieces of work,
	// each run through step, which may make it wait. It stops when ctx ends and may be called again.
	Hydrate(ctx context.Context, id vss.LUNID, step func(percent float64, piece func() error) error) error
	// Replace makes the target's content and size the source's: a crash leaves all of the old or all of the new.
	Replace(source, target vss.LUNID) error
	WritePaths() []string
	Close() error
}

// Target shows LUNs to hosts.
type Target interface {
	Type() string
	// Export makes a LUN reachable for a host and says where; Withdraw ends that. Both may be repeated.
	Export(ctx context.Context, l LUN, data Address, host string) (Address, error)
	Withdraw(ctx context.Context, l LUN, host string) error
}
