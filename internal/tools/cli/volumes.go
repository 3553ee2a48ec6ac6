package cli

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stillpoint-vss/stillpoint/requester"
)

// OfVolume returns the copies of a volume, which may be named in any way. If the volume no longer exists, its copies
// are found by the name that it had.
func OfVolume(
	ctx context.Context, c *requester.Client, all []requester.Snapshot, name string,
) ([]requester.Snapshot, error) {
	volumes, err := c.ListVolumes(ctx)
	if err != nil {
		return nil, err
	}
	names := VolumeNames(volumes, name)
	return slices.DeleteFunc(all, func(s requester.Snapshot) bool {
		return !slices.Contains(names, s.OriginalVolume)
	}), nil
}

// VolumeNames returns the names of the volume that name stands for, name included. A path stands for the volume that
// contains it.
func VolumeNames(volumes []requester.Volume, name string) []string {
	names := []string{name}
	path := name
	if !strings.Contains(name, "=") && !IsLetter(name) {
		if abs, err := filepath.Abs(name); err == nil {
			path = abs
		}
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		names = append(names, path)
	}
	best, length := -1, -1
	for i, v := range volumes {
		if v.Name == path || v.Device == path || v.UUID != "" && strings.EqualFold("UUID="+v.UUID, name) {
			best = i
			break
		}
		for _, m := range v.MountPoints {
			if (path == m || strings.HasPrefix(path, strings.TrimSuffix(m, "/")+"/")) && len(m) > length {
				best, length = i, len(m)
			}
		}
	}
	if best >= 0 {
		v := volumes[best]
		names = append(append(names, v.Name, v.Device), v.MountPoints...)
	}
	return names
}

// IsLetter reports whether a name is a drive letter, which the configuration maps.
func IsLetter(name string) bool { return len(name) == 2 && name[1] == ':' }
