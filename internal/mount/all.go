package mount

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// ErrElsewhere is the cause of the error that UnmountAll returns for a mount that can't be removed from the namespace
// of another process, in most cases since it is in use there.
var ErrElsewhere = errors.New("it is mounted in the mount namespace of another process")

// UnmountAll removes all mounts of file systems on a device, the newest first, from all mount namespaces: those of the
// others first. One that can't be removed there is an error that wraps ErrElsewhere, and the mounts of this namespace
// stay. Errors are *os.PathError, with the path of the mount; a mount in use is unix.EBUSY unless force is set.
func UnmountAll(device string, force bool) error {
	here, elsewhere := of(device)
	for _, m := range slices.Backward(elsewhere) {
		if slices.ContainsFunc(here, m.follows) {
			continue // the kernel removes it with that one
		}
		if err := Unmount(m.Path(), Owner{ID: m.ID}, force); err != nil {
			return &os.PathError{Op: "unmount", Path: m.Path(), Err: fmt.Errorf("%w: %w", ErrElsewhere, err)}
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
