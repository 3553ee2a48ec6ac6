package coordinator

import (
	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// describeSet puts the created set into the session's document: all that another host needs. The caller holds mu.
func (s *Session) describeSet(c *creation) {
	set := &document.SnapshotSet{ID: c.id, Context: c.context}
	for _, v := range c.copies {
		d := documentSnapshot(&v.record)
		d.Label = v.vol.Label
		for i, o := range v.record.LUNs {
			if o.OriginalIdentity.Style == disk.StyleNone {
				d.LUNs[i].Flags = vss.FlagsShadowCopy
			}
		}
		set.Snapshots = append(set.Snapshots, d)
	}
	s.backup.SnapshotSet = set
}

func documentSnapshot(r *catalog.Snapshot) *document.Snapshot {
	d := &document.Snapshot{
		ID: r.ID, SetID: r.SetID, Count: r.Count, ProviderID: r.ProviderID, ProviderName: r.ProviderName, OriginalVolume: r.OriginalVolume,
		FileSystem: r.FileSystem, FileSystemUUID: r.FileSystemUUID, Subvolume: r.Subvolume, OriginatingMachine: r.OriginatingMachine,
		ServiceMachine: r.ServiceMachine, Attributes: r.Attributes, Created: r.Created, Consistency: r.Consistency, Extents: r.Extents,
	}
	for _, l := range r.LUNs {
		d.LUNs = append(d.LUNs, document.LUNMapping{Source: l.Original, Identity: documentIdentity(l.OriginalIdentity), Destination: l.Copy})
	}
	return d
}

func documentIdentity(id disk.Identity) document.DiskIdentity {
	out := document.DiskIdentity{Style: id.Style.String(), Disk: id.Disk}
	for _, p := range id.Partitions {
		out.Partitions = append(out.Partitions, document.PartitionIdentity{Number: p.Number, ID: p.ID})
	}
	return out
}

// catalogSnapshot is a copy as a document of another host describes it. Errors: E_INVALIDARG for an identity of no known
// kind.
func catalogSnapshot(d *document.Snapshot) (catalog.Snapshot, error) {
	r := catalog.Snapshot{
		ID: d.ID, SetID: d.SetID, Kind: catalog.KindLUN, OriginalVolume: d.OriginalVolume, FileSystem: d.FileSystem, FileSystemUUID: d.FileSystemUUID, Subvolume: d.Subvolume,
		ProviderID: d.ProviderID, ProviderName: d.ProviderName, Attributes: d.Attributes, Created: d.Created,
		OriginatingMachine: d.OriginatingMachine, ServiceMachine: d.ServiceMachine, Consistency: d.Consistency, Extents: d.Extents,
	}
	for _, l := range d.LUNs {
		style, err := disk.StyleByName(l.Identity.Style)
		if err != nil {
			return r, err
		}
		id := disk.Identity{Style: style, Disk: l.Identity.Disk}
		for _, p := range l.Identity.Partitions {
			id.Partitions = append(id.Partitions, disk.PartitionID{Number: p.Number, ID: p.ID})
		}
		r.LUNs = append(r.LUNs, catalog.LUN{Original: l.Source, OriginalIdentity: id, Copy: l.Destination})
	}
	return r, nil
}
