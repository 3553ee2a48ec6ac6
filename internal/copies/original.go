package copies

import (
	"context"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Original returns a function that reports whether a copy is one of the volume, by identity: the LUN below it and the
// file system there. The name isn't compared, since mount points change hands. A local copy has only the identity
// of its file system, or the name of its original where that has none.
func (h *Host) Original(ctx context.Context, v *volume.Volume) func(*catalog.Snapshot) bool {
	luns := make([]*vss.LUNInformation, len(v.Disks))
	for i, dev := range v.Disks {
		luns[i], _ = h.cfg.Disks.Inquiry(ctx, dev)
	}
	return func(r *catalog.Snapshot) bool {
		switch {
		case r.FileSystemUUID != v.UUID || !sameSubvolume(r, v):
			return false
		case r.Kind == catalog.KindLocal:
			return v.UUID != "" || r.OriginalVolume == v.Name
		}
		return sameLUN(r, v, luns)
	}
}

// sameSubvolume compares the ids of subvolumes, or the paths where an older record has no id.
func sameSubvolume(r *catalog.Snapshot, v *volume.Volume) bool {
	if r.SubvolumeID != "" && v.SubvolumeID != "" {
		return r.SubvolumeID == v.SubvolumeID
	}
	return r.Subvolume == v.Subvolume
}

// sameLUN reports whether the original of a copy lies on a LUN of the volume, and at the same place if it is one
// partition: other partitions of the LUN may have a file system of the same identity, or of none.
func sameLUN(r *catalog.Snapshot, v *volume.Volume, luns []*vss.LUNInformation) bool {
	single := len(r.Extents) == 1 && len(v.Extents) == 1
	for _, e := range r.Extents {
		if e.LUN < 0 || e.LUN >= len(r.LUNs) {
			continue
		}
		for _, at := range v.Extents {
			l := luns[at.LUN]
			if l != nil && r.LUNs[e.LUN].Original.SameLUN(l) && (!single || e.Start == at.Start) {
				return true
			}
		}
	}
	return false
}
