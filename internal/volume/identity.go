package volume

import "github.com/stillpoint-vss/stillpoint/provider"

// Identity returns the volume as software providers know it.
func (v *Volume) Identity() provider.Volume {
	o := provider.Volume{
		Name: v.Name, FileSystem: v.FileSystem, UUID: v.UUID, Subvolume: v.Subvolume, Device: v.Device,
		Devices: v.Disks, Extents: v.Extents,
	}
	if len(v.MountPoints) > 0 {
		o.Mount = v.MountPoints[0]
	}
	for _, e := range v.Extents {
		o.Size += e.Length
	}
	return o
}
