package provider

import (
	"context"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// MaxPayload is the largest payload of a copy, in bytes.
const MaxPayload = 64 << 10

// HoldMode is how writes to a volume are held while its copy is taken.
type HoldMode int32

// The modes. The numbers are part of the protocol.
const (
	HoldFreeze HoldMode = 0 // the file system is frozen: what is on the device is consistent
	// the file system is only flushed: the commit itself takes a consistent copy of a running one
	HoldFlush   HoldMode = 1
	HoldSuspend HoldMode = 2 // the volume's device is suspended: for volumes without a file system that can be frozen
)

var holdModes = map[HoldMode]string{HoldFreeze: "freeze", HoldFlush: "flush", HoldSuspend: "suspend"}

// String returns "freeze", "flush" or "suspend".
func (m HoldMode) String() string {
	if s, ok := holdModes[m]; ok {
		return s
	}
	return "unknown"
}

// Volume identifies a volume of this host. It is the same volume for as long as UUID and Extents are the same; Name,
// Mount and Devices may change between two calls.
type Volume struct {
	Name       string       // as the requester named it
	Mount      string       // a mount point, "" for a volume that isn't mounted
	FileSystem string       // "ext4", "xfs", "btrfs", ...; "" for a volume without a file system
	UUID       string       // of the file system
	Subvolume  string       // of a btrfs: path inside the file system
	Device     string       // the volume's own block device; its name may change
	Devices    []string     // the disks at the bottom, as device paths
	Extents    []vss.Extent // of the volume on Devices; Extent.LUN is an index into Devices
	Size       int64        // bytes
}

// Offer describes how a provider would copy a volume. This version of the service can't suspend devices: a volume whose
// offer needs that, by HoldSuspend or Suspends, isn't added to a set (VSS_E_VOLUME_NOT_SUPPORTED).
type Offer struct {
	Hold HoldMode
	// Suspends lists the devices that CommitSnapshots suspends and resumes itself. The service's guards resume them
	// should the provider die in between. They must lie below the volume and must not be suspended already.
	Suspends []string
	Cost     string // for the user, in a few words: "a full copy of 12 GiB", "1 GiB in the volume group"
}

// Location is where a copy can be read on this host: either devices, the first of which is mounted, or a folder.
type Location struct {
	Devices   []string
	Folder    string
	Subvolume string // of a btrfs on Devices: what to mount
}

// Copy describes a copy that has been taken.
type Copy struct {
	// Payload is what the provider needs to know about the copy later, in a format of its own. The service keeps it in
	// the copy's record and passes it to every later call for the copy. At most MaxPayload bytes.
	Payload  []byte
	Version  int       // of the payload's format
	FirstCut time.Time // the copy shows the volume between FirstCut and LastCut; equal for an exact instant
	LastCut  time.Time
	// Attributes are what the copy has become: vss.AttrDifferential or vss.AttrPlex.
	Attributes vss.Attributes
}

// Ref names a copy in calls that come after its creation.
type Ref struct {
	ID      vss.SnapshotID
	Payload []byte // as Describe returned it
}

// EventKind is the kind of an Event.
type EventKind string

// The kinds of events.
const (
	EventCopyLost    EventKind = "copy-lost"    // the copy can't be read any more; delete it
	EventAreaFilling EventKind = "area-filling" // the space for the copies' differences is running out
)

// Event is something that happened to a copy without a call.
type Event struct {
	Time     time.Time
	Kind     EventKind
	Snapshot vss.SnapshotID // zero if it concerns no copy in particular
	Object   string         // the volume, device or area concerned
	Percent  float64        // of EventAreaFilling: how full the area is
	Text     string
	Hint     string // what to do
}

// SnapshotProperties are the properties of one copy of a software provider (VSS_SNAPSHOT_PROP).
type SnapshotProperties struct {
	ID              vss.SnapshotID
	SetID           vss.SnapshotSetID
	Count           int // volumes in the set when it was created; never decremented
	DeviceObject    string
	OriginalVolume  string
	OriginatingHost string
	ServiceHost     string
	ExposedName     string
	ExposedPath     string
	ProviderID      vss.ProviderID
	Attributes      vss.Attributes
	Created         time.Time
	State           vss.SnapshotState
}

// Property names one settable property of a copy (VSS_SNAPSHOT_PROPERTY_ID).
type Property int32

// The properties that the service sets.
const (
	PropertyExposedName Property = 8
	PropertyExposedPath Property = 9
	PropertyAttributes  Property = 11
)

// RevertStatus is the progress of a revert.
type RevertStatus struct {
	Done    bool
	Percent float64
	Err     error
}

// Software is a provider that keeps copies of single volumes on this host (IVssSoftwareSnapshotProvider). The system
// provider is one, too.
//
// A provider needs no store of its own for finished copies: the Copy.Payload that it returns is part of each Ref. It
// must find unfinished copies of a former process by itself, in AbortSnapshots and OnLoad.
type Software interface {
	Provider
	// IsVolumeSupported reports whether copies of the volume are possible in principle, even if not at this moment (a
	// maximum is reached, space is short).
	IsVolumeSupported(ctx context.Context, v Volume, c vss.Context) (bool, error)
	// Consider reports how the provider would copy the volume now. It changes nothing. Errors:
	// VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER with the reason, after which the next provider is asked.
	Consider(ctx context.Context, v Volume, c vss.Context) (Offer, error)
	// IsVolumeSnapshotted reports whether the volume has copies of this provider, and what they disable on it.
	IsVolumeSnapshotted(ctx context.Context, v Volume) (bool, vss.SnapshotCompatibility, error)
	// BeginPrepareSnapshot starts the slow work for one copy and returns at once. Errors: also
	// VSS_E_UNSUPPORTED_CONTEXT.
	BeginPrepareSnapshot(
		ctx context.Context,
		set vss.SnapshotSetID,
		snapshot vss.SnapshotID,
		v Volume,
		c vss.Context,
	) error
	// WritePaths returns the files and devices that CommitSnapshots writes to; it is called after
	// EndPrepareSnapshots. The service refuses a set that holds a volume on which one of them lies.
	WritePaths(ctx context.Context, set vss.SnapshotSetID) ([]string, error)
	// Describe describes one copy of the set; it is called after PostCommitSnapshots. Errors: VSS_E_OBJECT_NOT_FOUND,
	// VSS_E_BAD_STATE before the copy is taken.
	Describe(ctx context.Context, set vss.SnapshotSetID, snapshot vss.SnapshotID) (Copy, error)
	// Surface makes a copy accessible on this host, read-only, and returns where. It mounts nothing below
	// Location.Devices. It may be called again for a copy that is accessible already, and after a restart of the
	// host.
	Surface(ctx context.Context, r Ref) (Location, error)
	// SetWritable makes a surfaced copy writable, for auto-recovery, or read-only again.
	SetWritable(ctx context.Context, r Ref, on bool) error
	// Withdraw undoes Surface and keeps the copy. Without force it fails with VSS_E_VOLUME_IN_USE while the copy is
	// in use. It may be repeated.
	Withdraw(ctx context.Context, r Ref, force bool) error
	// GetSnapshotProperties returns the properties of one copy. Errors: VSS_E_OBJECT_NOT_FOUND, also for a copy that
	// isn't created yet.
	GetSnapshotProperties(ctx context.Context, snapshot vss.SnapshotID) (SnapshotProperties, error)
	// Query lists the created copies.
	Query(ctx context.Context) ([]SnapshotProperties, error)
	// SetSnapshotProperty records what the service did with a copy.
	SetSnapshotProperty(ctx context.Context, snapshot vss.SnapshotID, p Property, value any) error
	// DeleteSnapshots deletes copies one after another and stops at the first failure. It returns the number of copies
	// deleted and the one that failed. Errors: VSS_E_OBJECT_NOT_FOUND, VSS_E_VOLUME_IN_USE unless force is set.
	DeleteSnapshots(ctx context.Context, copies []Ref, force bool) (deleted int, failed vss.SnapshotID, err error)
	// RevertToSnapshot brings the volume back to the copy. It can't be cancelled and continues after a restart. Errors:
	// E_NOTIMPL without CanRevert, VSS_E_REVERT_IN_PROGRESS.
	RevertToSnapshot(ctx context.Context, r Ref) error
	// QueryRevertStatus returns the progress of the volume's revert. Errors: VSS_E_OBJECT_NOT_FOUND without one.
	QueryRevertStatus(ctx context.Context, v Volume) (RevertStatus, error)
	// Events sends what happens to copies without a call, and closes the channel when ctx ends. An event that happens
	// while nobody listens is sent to the next caller if it still holds.
	Events(ctx context.Context) (<-chan Event, error)
}
