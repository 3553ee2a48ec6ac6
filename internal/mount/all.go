package mount

import (
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// ErrElsewhere is the cause of the error that UnmountAll returns for a mount in the namespace of another process, which
// can only be removed there.
var ErrElsewhere = errors.New("it is mounted in the mount namespace of another process")

// UnmountAll removes all mounts of file systems on a device, the newest first. Mounts in other namespaces that the
// kernel removes with those of this one don't matter; any other one is an error that wraps ErrElsewhere, and nothing
// is unmounted. Errors are *os.PathError, with the path of the mount; a mount in use is unix.EBUSY unless force is
// set.
func UnmountAll(device string, force bool) error {
	here, elsewhere := of(device)
	for _, m := range elsewhere {
		if !slices.ContainsFunc(here, m.follows) {
			return &os.PathError{Op: "unmount", Path: m.Path(), Err: ErrElsewhere}
		}
	}
	for _, m := range slices.Backward(here) {
		if err := Unmount(m.Point, Owner{ID: m.ID}, force); err != nil {
			return err
		}
	}
	here, elsewhere = of(device)
	for _, m := range here { // its mount point can't be reached, since another mount covers a folder above it
		return &os.PathError{Op: "unmount", Path: m.Point, Err: unix.EBUSY}
	}
	for _, m := range elsewhere {
		return &os.PathError{Op: "unmount", Path: m.Path(), Err: ErrElsewhere}
	}
	return nil
}

// of returns the mounts of file systems on a device, in this namespace and in others.
func of(device string) (here, elsewhere []Info) {
	for _, m := range All() {
		switch {
		case !m.On(device):
		case m.Here():
			here = append(here, m)
		default:
			elsewhere = append(elsewhere, m)
		}
	}
	return here, elsewhere
}

// follows reports whether a mount was propagated from another, or is its peer: it is removed with that one.
func (m Info) follows(o Info) bool {
	return o.Shared != 0 && (m.Shared == o.Shared || m.Master == o.Shared)
}
