package engine

import (
	"context"
	"fmt"
	"strings"

	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// affected splits paths by whether they lie on the volumes of a set (IsPathAffected). A removed path counts where it
// was.
func affected(volumes, paths []string) (in, out []string) {
	on := volume.NewLocator(volumes)
	for _, p := range paths {
		if on.Find(p) >= 0 {
			in = append(in, p)
		} else {
			out = append(out, p)
		}
	}
	return in, out
}

// needs returns the paths whose volumes a backup must have: those of the files that it reads from the copy.
func (d *Description) needs(kind vss.BackupType) []string {
	var out []string
	from := vss.FullSnapshotRequired // for a copy, too
	switch kind {
	case vss.BackupIncremental:
		from = vss.IncrementalSnapshotRequired
	case vss.BackupDifferential:
		from = vss.DifferentialSnapshotRequired
	default:
		out = append(out, d.Needs...)
	}
	for _, f := range d.Files {
		if f.BackupMask()&from != 0 {
			out = append(out, f.Path)
		}
	}
	return out
}

// complete reports whether a set includes any volume of an instance, and fails if it includes some but not all of
// them. Errors: VSS_E_WRITERERROR_INCONSISTENTSNAPSHOT, which names the first path that is missing.
func complete(ctx context.Context, d *Description, kind vss.BackupType, volumes []string) (touched bool, err error) {
	in, out := affected(volumes, d.needs(kind))
	if len(in) == 0 || len(out) == 0 {
		return len(in) > 0, nil
	}
	missing := out[0]
	if v, err := volume.New(volume.Options{}).Find(ctx, missing); err == nil {
		missing = v.Name
	}
	return true, vss.E(
		"PrepareSnapshot",
		vss.ErrWriterErrorInconsistentSnapshot,
		fmt.Errorf(
			"%s is not on a volume of the set (%s)",
			out[0],
			strings.Join(volumes, ", "),
		),
	).Advise("add " + missing + " to the set")
}
