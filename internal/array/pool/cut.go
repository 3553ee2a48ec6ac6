package pool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/atomicfile"
)

// cutter has the descriptors and arguments of all copies; cutting is one ioctl each, all at once. The copies have
// folders of their own, so that no two ioctls wait for one folder's lock.
type cutter struct {
	pool  *Reflink
	files []*os.File
	run   []func() error
}

// Prepare makes everything that a cut needs, durably.
func (p *Reflink) Prepare(cuts []array.Cut) (array.Cutter, error) {
	c := &cutter{pool: p}
	var dirs []string
	for _, k := range cuts {
		var err error
		if p.btrfs {
			err = c.snapshot(k)
		} else {
			err = c.clone(k)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("prepare a copy: %w", err), c.Close())
		}
		dirs = append(dirs, p.home(k.Copy))
	}
	if err := atomicfile.SyncFolders(append(dirs, filepath.Join(p.dir, "luns"))...); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *cutter) open(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags, 0o600)
	if err == nil {
		c.files = append(c.files, f)
	}
	return f, err
}

// snapshot prepares a snapshot of the origin's subvolume.
func (c *cutter) snapshot(k array.Cut) error {
	if err := os.Mkdir(c.pool.home(k.Copy), 0o700); err != nil {
		return err
	}
	if err := setNoCOW(c.pool.home(k.Copy)); err != nil {
		return err
	}
	source, err := c.open(c.pool.data(k.Origin), os.O_RDONLY)
	if err != nil {
		return err
	}
	parent, err := c.open(c.pool.home(k.Copy), os.O_RDONLY)
	if err != nil {
		return err
	}
	a := &volArgsV2{fd: int64(source.Fd())}
	copy(a.name[:], "data")
	c.run = append(c.run, func() error { return ioctl(parent.Fd(), btrfsSnapCreateV2, unsafe.Pointer(a)) })
	return nil
}

// clone prepares a reflink of the origin's image.
func (c *cutter) clone(k array.Cut) error {
	if err := os.MkdirAll(c.pool.data(k.Copy), 0o700); err != nil {
		return err
	}
	source, err := c.open(c.pool.image(k.Origin), os.O_RDONLY)
	if err != nil {
		return err
	}
	target, err := c.open(c.pool.image(k.Copy), os.O_CREATE|os.O_EXCL|os.O_RDWR)
	if err != nil {
		return err
	}
	if err := atomicfile.SyncFolders(c.pool.data(k.Copy)); err != nil {
		return err
	}
	c.run = append(c.run, func() error { return unix.IoctlFileClone(int(target.Fd()), int(source.Fd())) })
	return nil
}

// Cut makes all copies at once: threads stand ready and start together.
func (c *cutter) Cut() (first, last time.Time, err error) {
	ends := make([]time.Time, len(c.run))
	errs := make([]error, len(c.run))
	start := make(chan struct{})
	var ready, done sync.WaitGroup
	ready.Add(len(c.run))
	for i, run := range c.run {
		done.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			ready.Done()
			<-start
			errs[i] = run()
			ends[i] = time.Now()
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
	for i, e := range errs {
		if e != nil && err == nil {
			err = e
		}
		if first.IsZero() || ends[i].Before(first) {
			first = ends[i]
		}
		if ends[i].After(last) {
			last = ends[i]
		}
	}
	return first, last, err
}

// Close makes clones durable (a snapshot is, when its ioctl returns) and closes the descriptors.
func (c *cutter) Close() error {
	var errs []error
	for _, f := range c.files {
		if !c.pool.btrfs {
			errs = append(errs, f.Sync())
		}
		errs = append(errs, f.Close())
	}
	c.files, c.run = nil, nil
	return errors.Join(errs...)
}
