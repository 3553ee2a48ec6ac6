package volume

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// notSupported returns an error with the reason why a shadow copy of something isn't possible.
func notSupported(object, hint, format string, args ...any) error {
	return vss.E("FindVolume", vss.ErrVolumeNotSupported, fmt.Errorf(format, args...)).On(object).Advise(hint)
}

const wantLocal = "shadow copies are made of file systems on local block devices; `vss list volumes` shows them"

// describeMount returns the volume that a mount shows.
func describeMount(m *mount, all []*mount) (*Volume, error) {
	if !m.local() {
		return nil, notSupported(m.reach(), wantLocal, "its file system %s is not on a local block device", m.kind)
	}
	v := &Volume{
		FileSystem:  m.kind,
		Mounted:     true,
		Key:         m.key(),
		SuperKey:    m.superKey,
		Devices:     m.devices,
		Subvolume:   m.subvolume,
		SubvolumeID: m.subvolumeID,
	}
	fs, err := disk.ProbeFileSystem(v.Devices[0])
	if err == nil { // an unreadable device doesn't hide the mount
		v.UUID, v.Label = fs.UUID, fs.Label
	}
	if v.Outside = m.outside; v.Outside == nil && fs.Outside != "" {
		v.Outside = []string{fs.Outside}
	}
	v.Unrecovered = m.noLog && (fs.NeedsRecovery || !strings.HasPrefix(fs.Type, "ext")) // an empty journal isn't missed
	v.mounts(all)
	v.finish()
	return v, nil
}

// describeDevice returns the volume on a device, given by its number.
func describeDevice(dev string, all []*mount) (*Volume, error) {
	device := deviceNode(dev)
	for _, m := range all {
		if m.dev == dev || slices.Contains(m.devices, device) {
			return describeMount(m, all)
		}
	}
	fs, err := disk.ProbeFileSystem(device)
	if err != nil {
		return nil, vss.E("FindVolume", vss.ErrObjectNotFound, err).
			On(device).
			Advise("the device can't be read; check the kernel log")
	}
	if noCopies(fs.Type) {
		return nil, notSupported(device, wantLocal, "it holds a %s file system", fs.Type)
	}
	if err := noTable(device, fs); err != nil {
		return nil, err
	}
	v := &Volume{
		FileSystem: fs.Type, UUID: fs.UUID, Label: fs.Label, SuperKey: "dev:" + dev, Devices: []string{device},
	}
	if fs.Outside != "" {
		v.Outside = []string{fs.Outside}
	}
	v.Key = v.SuperKey
	if fs.Type == "btrfs" {
		v.Devices = btrfsDevices(device, fs, all)
		v.SuperKey = "btrfs:" + fs.FSID.Plain()
		v.SubvolumeID = "5" // the top level, which isn't mounted
		v.Key = v.SuperKey + ":" + v.SubvolumeID
	}
	v.finish()
	return v, nil
}

// noTable returns an error for a partitioned disk: its partitions are the volumes.
func noTable(device string, fs disk.FileSystem) error {
	nodes := disk.Nodes(device)[1:]
	if len(nodes) == 0 && fs.Type == "" {
		t, err := disk.Read(device)
		if err != nil {
			return err
		}
		if t.Style == disk.StyleNone {
			return nil
		}
		for _, p := range t.Partitions {
			nodes = append(nodes, disk.PartitionNode(device, p.Number))
		}
		return notSupported(
			device,
			"name a partition: "+strings.Join(nodes, ", "),
			"it is a disk with a %s partition table, not a volume",
			t.Style,
		)
	}
	if len(nodes) > 0 {
		return notSupported(
			device,
			"name a partition: "+strings.Join(nodes, ", "),
			"it is a disk with partitions, not a volume",
		)
	}
	return nil
}

// finish sets the fields that follow from the devices.
func (v *Volume) finish() {
	v.Device = v.Devices[0]
	v.DeviceReadOnly = slices.ContainsFunc(v.Devices, disk.ReadOnly)
	v.ReadOnly = v.ReadOnly || v.DeviceReadOnly
	if v.Name == "" {
		v.Name = v.Device
	}
	v.locate()
}

// mounts sets the fields that depend on mounts. Mounts of the volume's root precede those of a folder in it, then
// those of this namespace precede others. A mount with another file system on top of it can't be used.
func (v *Volume) mounts(all []*mount) {
	var mine []*mount
	for _, whole := range []bool{true, false} {
		for _, m := range all {
			if m.local() && m.key() == v.Key && m.whole() == whole {
				mine = append(mine, m)
			}
		}
	}
	v.NoExec = slices.ContainsFunc(mine, func(m *mount) bool { return m.here })
	for _, m := range mine {
		v.ReadOnly = v.ReadOnly || m.readOnly
		v.NoExec = v.NoExec && (m.noExec || !m.here)
		if m.here && !slices.Contains(v.MountPoints, m.point) {
			v.MountPoints = append(v.MountPoints, m.point)
		}
	}
	named := func(m *mount) bool { return m.here && m.whole() && utf8.ValidString(m.point) }
	if i := slices.IndexFunc(mine, named); i >= 0 {
		v.Name = mine[i].point
	}
	in := slices.IndexFunc(mine, (*mount).open)
	v.Reach = mine[max(in, 0)].reach() // Open reports the error if no mount can be used
}

// Printable returns a path in which each byte that isn't part of a UTF-8 character is written as \xHH. Documents and
// messages can't have others; a volume that has no other mount point is named by its device.
func Printable(path string) string {
	var b strings.Builder
	for len(path) > 0 {
		r, n := utf8.DecodeRuneInString(path)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, path[0])
		} else {
			b.WriteString(path[:n])
		}
		path = path[n:]
	}
	return b.String()
}
