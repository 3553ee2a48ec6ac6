// Package catalog is what a host must remember when the process ends: shadow copy sets, their copies, creations,
// breaks and deletions under way, and events. It is one bbolt file, written by one process; tools go through the
// service, never the file.
//
// The tree of buckets and keys (all values JSON unless said otherwise):
//
//	meta/
//	  format         decimal text: Format. A smaller number: Open migrates the file; a greater one: Open refuses it
//	  next-device    decimal text: the next N of HarddiskVolumeShadowCopyN, never used twice
//	sets/
//	  <set id>       Set; written when the set gets its first durable fact, removed with its last copy or by a break
//	snapshots/
//	  <copy id>      Snapshot
//	members/
//	  <set id>/<copy id>  empty: which copies a set has, as their records say
//	creations/
//	  <set id>       Creation: a set that is being made; removed in the transaction that makes its copies Created
//	breaks/
//	  <set id>       Break: a break that is under way
//	events/
//	  <8 bytes, big-endian sequence>  Event, the newest MaxEvents of them
package catalog

import (
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Format is the version of the layout above and of the records in it. What changed, by format:
//
//	2  Snapshot.Kind, Local, FirstCut and LastCut, Set.Finishing, Creation.Suspended
const Format = 2

// MaxEvents is how many events are kept.
const MaxEvents = 10000

// Step is one step of a creation with its times since the creation began.
type Step struct {
	Name  string        `json:"step"`
	Start time.Duration `json:"start"`
	End   time.Duration `json:"end"`
}

// Writer is what became of one writer in the creation of a set.
type Writer struct {
	ID          vss.WriterID         `json:"id"`
	InstanceID  vss.WriterInstanceID `json:"instance_id"`
	Name        string               `json:"name"`
	State       vss.WriterState      `json:"state"`
	Failure     vss.Code             `json:"failure"`
	Message     string               `json:"message,omitempty"`
	Application uint32               `json:"application,omitempty"` // the writer's own code
	Level       vss.ApplicationLevel `json:"level"`
	Frozen      time.Duration        `json:"frozen"`
	Components  int                  `json:"components"`
}

// Set is a shadow copy set.
type Set struct {
	ID                vss.SnapshotSetID `json:"id"`
	Context           vss.Context       `json:"context"` // as the requester gave it, attribute bits included
	Created           time.Time         `json:"created"`
	Count             int               `json:"count"` // volumes at creation; never decremented
	Hold              time.Duration     `json:"hold"`
	WriterWindow      time.Duration     `json:"writer_window"`
	Consistency       vss.Consistency   `json:"consistency"`
	ConsistencyReason string            `json:"consistency_reason,omitempty"`
	Timeline          []Step            `json:"timeline,omitempty"`
	Writers           []Writer          `json:"writers,omitempty"`

	// Finishing is set once the copies are complete and as long as providers may still have to be told so, in
	// PostFinalCommitSnapshots. Recovery finishes such a set and never drops it.
	Finishing bool `json:"finishing,omitempty"`
}

// Kind is how the copies of a provider are kept.
type Kind string

// The kinds of copies.
const (
	KindLUN   Kind = "lun"   // as LUNs of a storage array, by a hardware provider
	KindLocal Kind = "local" // on this host, by a software or system provider
)

// Local is the state of a local copy, which belongs to its provider: the service stores it and passes it to every
// later call.
type Local struct {
	Version int    `json:"version"` // of Data, chosen by the provider
	Data    []byte `json:"data"`
}

// LUN is one LUN of a copy: the original, the copy, and the identities that a break may want back.
type LUN struct {
	Original         vss.LUNInformation `json:"original"`
	OriginalIdentity disk.Identity      `json:"original_identity"`
	Copy             vss.LUNInformation `json:"copy"`
	LUNID            vss.LUNID          `json:"lun_id"` // of the copy, in its array
}

// Snapshot is one shadow copy.
type Snapshot struct {
	ID             vss.SnapshotID    `json:"id"`
	SetID          vss.SnapshotSetID `json:"set_id"`
	Order          int               `json:"order"` // place in the set, from 0, as the volumes were added
	Count          int               `json:"count"` // copies in the set when it was created
	State          vss.SnapshotState `json:"state"`
	OriginalVolume string            `json:"original_volume"`
	FileSystem     string            `json:"file_system"`
	FileSystemUUID string            `json:"file_system_uuid,omitempty"` // the original's; of btrfs the fsid
	// btrfs: the fsid that the copy got at import
	CopyUUID           string          `json:"copy_uuid,omitempty"`
	Subvolume          string          `json:"subvolume,omitempty"`
	SubvolumeID        string          `json:"subvolume_id,omitempty"`
	NoExec             bool            `json:"no_exec,omitempty"`       // no program of the original could be run
	DeviceNumber       int             `json:"device_number,omitempty"` // N of its device object; 0: none yet
	ProviderID         vss.ProviderID  `json:"provider_id"`
	ProviderName       string          `json:"provider_name"`
	Attributes         vss.Attributes  `json:"attributes"`
	Created            time.Time       `json:"created"`
	ExposedAt          string          `json:"exposed_at,omitempty"`
	OriginatingMachine string          `json:"originating_machine"`
	ServiceMachine     string          `json:"service_machine"`
	Consistency        vss.Consistency `json:"consistency"`
	Kind               Kind            `json:"kind"`
	LUNs               []LUN           `json:"luns"`               // of KindLUN
	Local              *Local          `json:"local,omitempty"`    // of KindLocal
	FirstCut           time.Time       `json:"first_cut,omitzero"` // no write before it is missing; zero: unknown
	LastCut            time.Time       `json:"last_cut,omitzero"`  // no write after it is included; zero: unknown
	Extents            []vss.Extent    `json:"extents"`
	Imported           bool            `json:"imported"` // surfaced on this host, by creation or by ImportSnapshots
}

// Flagged is an original disk whose flags a creation is about to change.
type Flagged struct {
	LUN    vss.LUNInformation    `json:"lun"`
	Disk   vss.DiskFlags         `json:"disk"`       // MBR: the flags before
	Before map[int]vss.DiskFlags `json:"partitions"` // GPT: the flags before, by partition number
}

// Creation is a set that is being made.
type Creation struct {
	Set       vss.SnapshotSetID `json:"set"`
	Begun     time.Time         `json:"begun"`
	Providers []vss.ProviderID  `json:"providers,omitempty"`
	Flagged   []Flagged         `json:"flagged,omitempty"`   // durable before the first flag is written
	Suspended []string          `json:"suspended,omitempty"` // devices that a provider suspends; durable before it does
	Writers   bool              `json:"writers"`             // writers may have been told PrepareForSnapshot
}

// BreakLUN is how one LUN was before a break began.
type BreakLUN struct {
	LUNID    vss.LUNID     `json:"lun_id"`
	Identity disk.Identity `json:"identity"`
}

// Break is a break under way. Until Forgetting is set it is undone after a crash; from then on it is finished.
type Break struct {
	Set        vss.SnapshotSetID `json:"set"`
	Before     []BreakLUN        `json:"before"`
	Forgetting bool              `json:"forgetting"`
	ReadWrite  bool              `json:"read_write"` // its file systems may have been written to
	MaskLUNs   bool              `json:"mask_luns"`
}

// Event is one entry of the event log.
type Event struct {
	Time     time.Time         `json:"time"`
	Severity string            `json:"severity"` // "info", "warning", "error"
	What     string            `json:"what"`
	Provider string            `json:"provider,omitempty"`
	SetID    vss.SnapshotSetID `json:"set_id"`
	Object   string            `json:"object,omitempty"`
	Code     vss.Code          `json:"code"`
	Message  string            `json:"message"`
	Hint     string            `json:"hint,omitempty"`
}
