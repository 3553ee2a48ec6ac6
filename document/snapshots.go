package document

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// SnapshotSet describes the copies of a set, so that another host can import them.
type SnapshotSet struct {
	ID        vss.SnapshotSetID
	Context   vss.Context // with the attribute bits that the requester added
	Snapshots []*Snapshot
	Other     Foreign
}

// Snapshot describes one copy: its properties (VSS_SNAPSHOT_PROP), and what an import requires.
type Snapshot struct {
	ID                 vss.SnapshotID
	SetID              vss.SnapshotSetID
	Count              int // volumes in the set when it was created
	ProviderID         vss.ProviderID
	ProviderName       string
	OriginalVolume     string
	FileSystem         string
	FileSystemUUID     string // of the original; for btrfs the fsid
	Label              string
	Subvolume          string // btrfs: path of the subvolume within the file system
	SubvolumeID        string // btrfs: id of the subvolume
	NoExec             bool   // programs of the original could not be run
	OriginatingMachine string
	ServiceMachine     string
	Attributes         vss.Attributes
	Created            time.Time
	Consistency        vss.Consistency
	LUNs               []LUNMapping
	Extents            []vss.Extent // the parts of the LUNs that the volume occupies
	Other              Foreign
}

// LUNMapping is one LUN of a volume: the original and its copy.
type LUNMapping struct {
	Source      vss.LUNInformation
	Identity    DiskIdentity  // of the original disk
	Flags       vss.DiskFlags // of a disk without a partition table, which can't store them
	Destination vss.LUNInformation
	Other       Foreign
}

// DiskIdentity identifies a disk and its partitions.
type DiskIdentity struct {
	Style      string // "gpt", "mbr", "none"; "" if unknown
	Disk       vss.GUID
	Partitions []PartitionIdentity
}

func (i *DiskIdentity) empty() bool {
	return i.Style == "" && i.Disk.IsZero() && len(i.Partitions) == 0
}

// PartitionIdentity is the identity of one partition.
type PartitionIdentity struct {
	Number int
	ID     vss.GUID
}

// Transportable reports whether the document has what an import requires: the LUNs of every copy.
func (c *Components) Transportable() bool {
	if c.SnapshotSet == nil || len(c.SnapshotSet.Snapshots) == 0 {
		return false
	}
	for _, s := range c.SnapshotSet.Snapshots {
		if len(s.LUNs) == 0 {
			return false
		}
	}
	return true
}

// check returns an error for contradictions that would affect an import. A copy without a set ID belongs to this set.
func (s *SnapshotSet) check() error {
	if len(s.Snapshots) > vss.MaxVolumes {
		return fmt.Errorf("%d copies in one set", len(s.Snapshots))
	}
	seen := map[vss.SnapshotID]bool{}
	for _, c := range s.Snapshots {
		if c.SetID.IsZero() {
			c.SetID = s.ID
		}
		switch {
		case c.ID.IsZero():
			return errors.New("a copy without an ID")
		case seen[c.ID]:
			return fmt.Errorf("duplicate copy %s", c.ID)
		case c.SetID != s.ID:
			return fmt.Errorf("copy %s belongs to set %s, not to %s", c.ID, c.SetID, s.ID)
		}
		seen[c.ID] = true
		for _, e := range c.Extents {
			if e.LUN < 0 || e.LUN >= len(c.LUNs) || e.Start < 0 || e.Length <= 0 || e.Start > math.MaxInt64-e.Length {
				return fmt.Errorf("copy %s: invalid extent %+v", c.ID, e)
			}
		}
	}
	return nil
}
