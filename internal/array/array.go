// Package array is the storage array: LUNs in pools, copies of many LUNs at one instant, masking per host. Array is
// what a host sees of one; Controller is ours, which other hosts may reach over a socket. Data lives in pools
// (package pool), hosts reach it through targets (package target/...).
//
// A LUN's record is durable before the LUN exists and is removed after the LUN: a crash leaves a record without a LUN,
// never the reverse. Records are kept with the data, so that a pool whose files are copied elsewhere is complete there.
package array

import (
	"encoding/hex"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Kind is the role of a LUN for its hosts.
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

// States of a LUN. What is creating or preparing at a controller's start is dead and removed; what is committed waits
// for its host to keep or abort it; what is deleting is deleted.
const (
	StateCreating  State = "creating"
	StatePreparing State = "preparing"
	StateCommitted State = "committed"
	StateReady     State = "ready"
	StateResyncing State = "resyncing" // its content is being replaced; the old one or the new one after a crash
	StateDeleting  State = "deleting"
)

var states = []State{
	StateCreating, StatePreparing, StateCommitted, StateReady, StateResyncing, StateDeleting,
}

// Format is the version of the records and of the pool's layout.
const Format = 1

// LUN is the record of one LUN.
type LUN struct {
	Format   int               `json:"format"`
	ID       vss.LUNID         `json:"id"`
	Name     string            `json:"name"`
	Array    string            `json:"-"`
	Pool     string            `json:"-"`
	Bus      vss.BusType       `json:"-"`    // of the target that shows it
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
	Host     string            `json:"host,omitempty"` // that had the copy made
	Final    bool              `json:"final"`          // its set was created: an abort doesn't touch it
	Created  time.Time         `json:"created"`
	Order    uint64            `json:"order,omitempty"`  // of creation in its array; not told to hosts
	Skew     time.Duration     `json:"skew,omitempty"`   // first to last cut of the call that made it
	Copied   bool              `json:"copied,omitempty"` // it had a copy: its blocks may be written to new places
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
		Version: 1, BusType: l.Bus, VendorID: Vendor, ProductID: Product, ProductRevision: Revision,
		SerialNumber: l.Serial,
		DeviceIDs:    []vss.StorageIdentifier{{CodeSet: vss.CodeSetBinary, Type: vss.IdentifierNAA, ID: naa}},
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

// Backing is where a pool has the data of a LUN, on the array's machine.
type Backing struct {
	Path     string // the image file
	DirectIO bool   // the image is better read and written without the page cache
}

// Address is how a host reaches a LUN through a target. Each type of target has fields of its own.
type Address struct {
	Type     string // of the target: "loop"
	Path     string // loop: the image file, on the machine that array and host share
	DirectIO bool   // loop: how the image file is opened
}

// Mapping is a LUN that a host may see. Its address names the target that shows it.
type Mapping struct {
	LUN     LUN
	Address Address
}

// PoolInfo describes a pool, in bytes. A pool that can grow counts with the size that it can grow to.
type PoolInfo struct {
	Name, Type string
	Size, Free int64
}

// Info describes an array.
type Info struct {
	Name, Address string
	Pools         []PoolInfo
	Targets       []string
}

// Event is a change that the array made without a request.
type Event struct {
	Time       time.Time
	LUN        LUN
	What       string // "dropped", "hydrated", "pool-low"
	Text, Hint string
}
