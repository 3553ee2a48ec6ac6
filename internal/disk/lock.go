package disk

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	lockPoll = 5 * time.Millisecond // how often a lock that another program holds is tried again
	lockWait = 30 * time.Second     // how long Lock waits: as long as udev may need for the rules of a disk that has just come
)

// lockKey is the name under which a context knows that its owner has a disk's lock.
type lockKey struct{ device string }

// Lock takes a disk's lock (flock) for several changes, until release. udev's rules for the disk and its partitions have run
// by then or wait, so none of them comes in between, with what it has read before. Editors that are opened with the context
// which Lock returns find the lock taken, and so does another Lock. Errors: VSS_E_VOLUME_IN_USE, VSS_E_OBJECT_NOT_FOUND.
func Lock(ctx context.Context, device string) (has context.Context, release func(), err error) {
	if locked(ctx, device) {
		return ctx, func() {}, nil
	}
	node, err := os.Open(device)
	if err != nil {
		return nil, nil, openError("LockDisk", device, err)
	}
	wait, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	if err := flock(wait, node, device); err != nil {
		node.Close()
		return nil, nil, err
	}
	return context.WithValue(ctx, lockKey{device}, true), func() { node.Close() }, nil
}

func locked(ctx context.Context, device string) bool { return ctx.Value(lockKey{device}) != nil }

// flock waits for the lock until ctx ends.
func flock(ctx context.Context, node *os.File, device string) error {
	for {
		err := unix.Flock(int(node.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return vss.E("OpenDisk", vss.ErrVolumeInUse, err).On(device).Advise("another program holds the disk's lock")
		case <-time.After(lockPoll):
		}
	}
}
