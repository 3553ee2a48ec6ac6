package vds

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// VisibleOriginal reports whether the LUN that page 0x83 names is attached to this kernel, by this host or by another
// one on the same machine: then no other disk may have its identity.
func (m *Manager) VisibleOriginal(ctx context.Context, info *vss.LUNInformation) bool {
	d, ok := m.ByInformation(ctx, info)
	if !ok {
		return false
	}
	if _, here := m.places.of(d.LUN.ID); here || d.Device != "" { // also one that was masked behind this host's back
		return true
	}
	for _, host := range d.LUN.MappedTo {
		mappings, err := d.Array.Mappings(ctx, host)
		if err != nil {
			continue // an array of another machine lists only the caller's mappings
		}
		for _, x := range mappings {
			if x.LUN.ID == d.LUN.ID && len(m.search([]array.Mapping{x})) > 0 {
				return true
			}
		}
	}
	return false
}

// neighbours are the disks of this kernel by their identities, read when they are first needed.
type neighbours struct {
	read      bool
	owners    map[string][]string // the disks that have the id of a disk or partition
	bare      []string            // disks without a table
	unsettled map[string]bool     // disks that have arrived and are looked at after this one
}

// identityKeys are the ids that no two disks may share.
func identityKeys(id disk.Identity) []string {
	var out []string
	if !id.Disk.IsZero() {
		out = append(out, id.Style.String()+id.Disk.Plain())
	}
	for _, p := range id.Partitions {
		if !p.ID.IsZero() {
			out = append(out, p.ID.Plain())
		}
	}
	return out
}

// look reads the tables of all disks. Those that can't be read have no identity.
func (n *neighbours) look() {
	if n.read {
		return
	}
	n.read, n.owners = true, map[string][]string{}
	entries, _ := os.ReadDir("/sys/block")
	for _, e := range entries {
		device := nodeOf(e.Name())
		shown := strings.HasPrefix(e.Name(), "dm-") // shows what the disks below it show
		if shown || strings.HasPrefix(e.Name(), "ram") || sizeOf(device) == 0 || n.unsettled[device] {
			continue
		}
		if t, err := disk.Read(device); err == nil {
			n.add(device, t)
		}
	}
}

func (n *neighbours) add(device string, t *disk.Table) {
	if t.Style == disk.StyleNone {
		n.bare = append(n.bare, device)
	}
	for _, k := range identityKeys(t.Identity) {
		n.owners[k] = append(n.owners[k], device)
	}
}

// twin finds another disk that has one of the ids.
func (n *neighbours) twin(device string, id disk.Identity) (other string, ok bool) {
	keys := identityKeys(id)
	if len(keys) == 0 {
		return "", false
	}
	n.look()
	for _, k := range keys {
		for _, o := range n.owners[k] {
			if o != device {
				return o, true
			}
		}
	}
	return "", false
}

// btrfsTwin finds another disk that holds the same device of the same btrfs as a disk without a table: the kernel
// would mix the two.
func (n *neighbours) btrfsTwin(device string) (other string, ok bool) {
	mine, err := disk.ProbeFileSystem(device)
	if err != nil || mine.Type != "btrfs" {
		return "", false
	}
	n.look()
	i := slices.IndexFunc(n.bare, func(o string) bool {
		if o == device {
			return false
		}
		fs, err := disk.ProbeFileSystem(o)
		return err == nil && fs.Type == "btrfs" && fs.FSID == mine.FSID && fs.DeviceUUID == mine.DeviceUUID
	})
	if i < 0 {
		return "", false
	}
	return n.bare[i], true
}

// checkTwin returns an error for a new disk whose identity another visible disk has. Errors: VDS_E_INVALID_OPERATION.
func (m *Manager) checkTwin(ctx context.Context, d Disk, t *disk.Table, n *neighbours) error {
	if other, ok := n.twin(d.Device, t.Identity); ok {
		return vss.E(
			"RescanLuns", vss.VDSErrInvalidOperation,
			fmt.Errorf(
				"disk or partition ids of %s are also those of %s%s; it has no partitions here until they differ",
				d.Device, other, m.nameOf(ctx, other),
			),
		).
			On(d.LUN.Name).
			Advise("mask one of the two (`vss lun mask`), or give this one ids of its own (`sgdisk -G " +
				"" + d.Device + "`), then `vss lun rescan`; is its pool a copy of another pool?")
	}
	if t.Style != disk.StyleNone {
		return nil
	}
	if other, ok := n.btrfsTwin(d.Device); ok {
		return vss.E(
			"RescanLuns", vss.VDSErrInvalidOperation,
			fmt.Errorf("it holds the same btrfs as %s%s, which the kernel would mix up", other, m.nameOf(ctx, other)),
		).
			On(d.LUN.Name).
			Advise("mask the other one first (`vss lun mask`); is its pool a copy of another pool?")
	}
	return nil
}

func (m *Manager) nameOf(ctx context.Context, device string) string {
	if d, ok := m.ByDevice(ctx, device); ok {
		return " (LUN " + d.LUN.Name + ")"
	}
	return ""
}
