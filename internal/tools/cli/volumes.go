package cli

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stillpoint-vss/stillpoint/requester"
)

// OfVolume returns the copies of a volume, which may be named in any way: those of the volume that is there now, by its
// identity. If the volume no longer exists, its copies are found by the name that it had.
func OfVolume(
	ctx context.Context, c *requester.Client, all []requester.Snapshot, name string,
) ([]requester.Snapshot, error) {
	volumes, err := c.ListVolumes(ctx)
	if err != nil {
		return nil, err
	}
	return copiesOf(volumes, all, name), nil
}

func copiesOf(volumes []requester.Volume, all []requester.Snapshot, name string) []requester.Snapshot {
	at, exact, names := findVolume(volumes, name)
	var former, own []requester.Snapshot
	for _, s := range all {
		of := slices.IndexFunc(volumes, func(v requester.Volume) bool { return slices.Contains(v.Snapshots, s.ID) })
		switch {
		case of >= 0 && of == at:
			own = append(own, s)
		case of < 0 && slices.Contains(names, s.OriginalVolume):
			former = append(former, s)
		}
	}
	if !exact && len(former) > 0 {
		return former
	}
	return own
}

// findVolume returns the volume that name stands for, or that contains the path name, -1 if there is none; exact says
// that it is a name of the volume itself. Names are the forms of name by which former volumes were known.
func findVolume(volumes []requester.Volume, name string) (at int, exact bool, names []string) {
	names = []string{name}
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
			return i, true, names
		}
		for _, m := range v.MountPoints {
			if path == m {
				return i, true, names
			}
			if strings.HasPrefix(path, strings.TrimSuffix(m, "/")+"/") && len(m) > length {
				best, length = i, len(m)
			}
		}
	}
	return best, false, names
}

// IsLetter reports whether a name is a drive letter, which the configuration maps.
func IsLetter(name string) bool { return len(name) == 2 && name[1] == ':' }
