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

// Snapshot describes one copy (VSS_SNAPSHOT_PROP, and what an import needs).
type Snapshot struct {
	ID                 vss.SnapshotID
	SetID              vss.SnapshotSetID
	Count              int // volumes in the set when it was created
	ProviderID         vss.ProviderID
	ProviderName       string
	OriginalVolume     string
	FileSystem         string
	FileSystemUUID     string // the original's; of btrfs the fsid
	Label              string
	Subvolume          string // btrfs: path of the subvolume within the file system
	OriginatingMachine string
	ServiceMachine     string
	Attributes         vss.Attributes
	Created            time.Time
	Consistency        vss.Consistency
	LUNs               []LUNMapping
	Extents            []vss.Extent // what the volume occupies of the LUNs
	Other              Foreign
}

// LUNMapping is one LUN of a volume: the original and its copy.
type LUNMapping struct {
	Source      vss.LUNInformation
	Identity    DiskIdentity  // of the original disk
	Flags       vss.DiskFlags // of a disk without a partition table, which has no room for them
	Destination vss.LUNInformation
	Other       Foreign
}

// DiskIdentity tells a disk and its partitions apart from all others.
type DiskIdentity struct {
	Style      string // "gpt", "mbr", "none"; "" where it isn't known
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

// Transportable says whether the document holds what an import needs: the LUNs of every copy.
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

// check looks for contradictions that would lead an import astray. A copy that names no set is of this one.
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
			return errors.New("a copy without an id")
		case seen[c.ID]:
			return fmt.Errorf("copy %s is there twice", c.ID)
		case c.SetID != s.ID:
			return fmt.Errorf("copy %s is of set %s, not of %s", c.ID, c.SetID, s.ID)
		}
		seen[c.ID] = true
		for _, e := range c.Extents {
			if e.LUN < 0 || e.LUN >= len(c.LUNs) || e.Start < 0 || e.Length <= 0 || e.Start > math.MaxInt64-e.Length {
				return fmt.Errorf("copy %s: impossible extent %+v", c.ID, e)
			}
		}
	}
	return nil
}
