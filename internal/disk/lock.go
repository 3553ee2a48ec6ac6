package disk

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	lockPoll = 5 * time.Millisecond // the interval at which a lock that another program holds is tried again
	lockWait = 30 * time.Second     // how long Lock waits: as long as udev may need for the rules of a new disk
)

// Locked is a disk whose lock (flock on its node) is held. udev runs no rules for the disk and its partitions while
// it is.
type Locked struct {
	device string
	node   *os.File
}

// Lock takes a disk's lock for several changes, until Release. udev's rules for the disk and its partitions have run by
// then or wait for the release, so that none of them acts on what it has read before. Errors: VSS_E_VOLUME_IN_USE,
// VSS_E_OBJECT_NOT_FOUND.
func Lock(ctx context.Context, device string) (*Locked, error) {
	node, err := os.Open(device)
	if err != nil {
		return nil, openError("LockDisk", device, err)
	}
	wait, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	if err := flock(wait, node, device); err != nil {
		node.Close()
		return nil, err
	}
	return &Locked{device, node}, nil
}

// Release releases the lock.
func (l *Locked) Release() { l.node.Close() }

// Edit changes the disk's flags or identity under the lock. Errors: those of change, VSS_E_OBJECT_NOT_FOUND,
// VSS_E_VOLUME_NOT_SUPPORTED for a corrupt table.
func (l *Locked) Edit(change func(*Editor) error) error {
	b, err := openBlocks(l.device, os.O_RDWR)
	if err != nil {
		return openError("OpenDisk", l.device, err)
	}
	e := &Editor{blocks: b, lock: b.file} // the lock is the caller's
	if e.disk, err = readDisk(b, l.device); err != nil {
		e.Close()
		return err
	}
	return e.closeAfter(change(e))
}

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
