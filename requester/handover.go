package requester

import (
	"context"
	"errors"
	"os"

	"github.com/stillpoint-vss/stillpoint/internal/handover"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Handover is a shadow copy as another mount namespace can mount it.
type Handover struct {
	ID     vss.SnapshotID
	Volume string // name of the original
	// Devices are the numbers, MAJ:MIN as in /proc/self/mountinfo, of the original file system; none if it isn't
	// mounted. Copies are those of its copies that are mounted, and Own that of this one.
	Devices, Copies []string
	Own             string
	Root            string // folder of the file system that is the volume: "/", or the path of a btrfs subvolume
	// File is the root of the copy's file system: a mount, read-only, without set-user-id programs and devices, that
	// move_mount(2) attaches in any mount namespace. It is nil for callers other than root.
	File *os.File
}

// HandOver returns the copies that MountSnapshot has mounted, for use in another mount namespace, where their paths
// mean nothing. The caller closes the files. It requires a Client of Connect. Errors: VSS_E_BAD_STATE.
func (b *BackupComponents) HandOver(ctx context.Context) ([]Handover, error) {
	if b.run == "" {
		return nil, vss.E("HandOver", vss.ErrBadState, errors.New("the run directory isn't known")).
			Advise("connect with Connect")
	}
	mounts, err := handover.Ask(ctx, b.run, b.token)
	var out []Handover
	for _, m := range mounts {
		out = append(out, Handover{m.Copy, m.Volume, m.Devices, m.Copies, m.Own, m.Root, m.File})
	}
	return out, err
}
