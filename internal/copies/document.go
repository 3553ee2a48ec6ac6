package copies

import (
	"slices"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// ToDocument describes a copy in a Backup Components Document: all that another host needs to import it. The flags of
// disks without a partition table travel in it.
func ToDocument(r *catalog.Snapshot) *document.Snapshot {
	d := &document.Snapshot{
		ID: r.ID, SetID: r.SetID, Count: r.Count,
		Attributes: r.Attributes, Created: r.Created, Consistency: r.Consistency,
		ProviderID: r.ProviderID, ProviderName: r.ProviderName, OriginalVolume: r.OriginalVolume, Extents: r.Extents,
		FileSystem: r.FileSystem, FileSystemUUID: r.FileSystemUUID, Subvolume: r.Subvolume,
		SubvolumeID: r.SubvolumeID, NoExec: r.NoExec,
		OriginatingMachine: r.OriginatingMachine, ServiceMachine: r.ServiceMachine,
	}
	for _, l := range r.LUNs {
		m := document.LUNMapping{Source: l.Original, Identity: toDocument(l.OriginalIdentity), Destination: l.Copy}
		if l.OriginalIdentity.Style == disk.StyleNone {
			m.Flags = vss.FlagsShadowCopy
		}
		d.LUNs = append(d.LUNs, m)
	}
	return d
}

func toDocument(id disk.Identity) document.DiskIdentity {
	out := document.DiskIdentity{Style: id.Style.String(), Disk: id.Disk}
	for _, p := range id.Partitions {
		out.Partitions = append(out.Partitions, document.PartitionIdentity{Number: p.Number, ID: p.ID})
	}
	return out
}

// FromDocument returns the record of a copy that a document of another host describes. Errors: E_INVALIDARG for an
// identity of an unknown kind.
func FromDocument(d *document.Snapshot) (catalog.Snapshot, error) {
	r := catalog.Snapshot{
		ID: d.ID, SetID: d.SetID, Kind: catalog.KindLUN,
		Attributes: d.Attributes, Created: d.Created, Consistency: d.Consistency,
		ProviderID: d.ProviderID, ProviderName: d.ProviderName, OriginalVolume: d.OriginalVolume, Extents: d.Extents,
		FileSystem: d.FileSystem, FileSystemUUID: d.FileSystemUUID, Subvolume: d.Subvolume,
		SubvolumeID: d.SubvolumeID, NoExec: d.NoExec,
		OriginatingMachine: d.OriginatingMachine, ServiceMachine: d.ServiceMachine,
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

// MadeHere reports whether this host made a copy that is to be imported: it knows the ids of its LUNs. Such a copy can
// be imported again after an import that failed.
func MadeHere(r *catalog.Snapshot) bool {
	return !slices.ContainsFunc(r.LUNs, func(l catalog.LUN) bool { return l.LUNID.IsZero() })
}
