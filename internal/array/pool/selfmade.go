package pool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/array/loopdev"
	"github.com/stillpoint-vss/stillpoint/internal/atomicfile"
	"github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// SelfMade is a reflink pool on a btrfs that it makes for itself in an image file. The file's space is really
// reserved (fallocate), so the disk below can't run out under the LUNs; it is made when the first LUN needs it, and
// grows with what is promised. Why btrfs, and the figures: docs/array.md.
type SelfMade struct {
	image string // the file
	mount string // where its file system is mounted, private

	mu   sync.Mutex
	pool *Reflink // nil until it is made
	loop *os.File // the loop device under it
}

const (
	firstSize = 1 << 30
	growStep  = 256 << 20
	hostSpare = 1 << 30 // what is left on the disk below
)

// OpenSelfMade finds a pool in an image file, mounted already or not. If there is none, it is made when
// needed. Both paths may be relative or lead through symbolic links.
func OpenSelfMade(image, mount string) (*SelfMade, error) {
	p := &SelfMade{image: canonical(image), mount: canonical(mount)}
	if _, err := os.Stat(p.image); errors.Is(err, os.ErrNotExist) {
		return p, nil
	}
	return p, p.open()
}

// canonical returns a path as the kernel reports it, also for what doesn't exist yet.
func canonical(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if dir := filepath.Dir(path); dir != path {
		return filepath.Join(canonical(dir), filepath.Base(path))
	}
	return path
}

func (p *SelfMade) fail(op string, err error) error {
	return vss.E(op, vss.ErrUnexpected, err).On(p.image)
}

// make creates file and file system. The file gets its name last: a crash leaves no half pool.
func (p *SelfMade) make() error {
	if err := os.MkdirAll(filepath.Dir(p.image), 0o700); err != nil {
		return p.fail("MakePool", err)
	}
	temp := p.image + ".new"
	_ = os.Remove(temp)
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return p.fail("MakePool", err)
	}
	err = p.hostRoom(firstSize)
	if err == nil {
		err = unix.Fallocate(int(f.Fd()), 0, 0, firstSize)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		var out []byte
		mkfs := exec.Command("mkfs.btrfs", "-q", "-f", "-K", "-m", "single", "-d", "single", temp)
		if out, err = mkfs.CombinedOutput(); err != nil {
			err = fmt.Errorf("mkfs.btrfs: %w: %s", err, bytes.TrimSpace(out))
		}
	}
	if err == nil {
		err = os.Rename(temp, p.image)
	}
	if err == nil {
		err = atomicfile.SyncFolders(filepath.Dir(p.image))
	}
	if err != nil {
		_ = os.Remove(temp)
		return vss.E("MakePool", vss.VDSErrNotEnoughSpace, err).
			On(p.image).
			Advise("the pool needs btrfs-progs and 1 GiB of space; or configure a pool on a file system that has it")
	}
	return p.open()
}

// open attaches and mounts the image, or takes it over as a former process left it. It undoes its own part only, for
// the other part may belong to another process that has the pool open.
func (p *SelfMade) open() error {
	if err := os.MkdirAll(p.mount, 0o700); err != nil {
		return p.fail("OpenPool", err)
	}
	loop, attached, err := attach(p.image)
	if err != nil {
		return p.fail("OpenPool", err)
	}
	missing := !p.mountedFrom(loop)
	undo := func() {
		if missing {
			_ = mount.Unmount(p.mount, p.owner(loop), false)
		}
		loop.Close()
		if attached {
			_ = loopdev.Detach(loop.Name())
		}
	}
	if missing {
		// nodiscard: the blocks of the image are reserved, and stay so
		o := mount.Options{Device: loop.Name(), Type: "btrfs", NoATime: true, Data: []string{"nodiscard"}}
		if _, err := mount.FileSystem(p.mount, o); err != nil {
			missing = false
			undo()
			return p.fail("OpenPool", err)
		}
	}
	r, err := Open(p.mount)
	if err == nil {
		err = os.Chmod(p.mount, 0o700) // the root of its file system
	}
	if err != nil {
		undo()
		return err
	}
	p.loop, p.pool = loop, r
	return nil
}

// owner identifies the pool's own mounts.
func (p *SelfMade) owner(loop *os.File) mount.Owner {
	return mount.Owner{Devices: []string{loop.Name()}}
}

// mountedFrom reports whether the pool is mounted in its place already.
func (p *SelfMade) mountedFrom(loop *os.File) bool {
	return slices.ContainsFunc(mount.List(), func(m mount.Info) bool { return m.Point == p.mount && m.On(loop.Name()) })
}

// attach returns the loop device that an image has, or a new one.
func attach(image string) (dev *os.File, attached bool, err error) {
	name, found := loopdev.Find(image)
	if !found {
		file, err := os.OpenFile(image, os.O_RDWR, 0)
		if err != nil {
			return nil, false, err
		}
		defer file.Close()
		if name, err = loopdev.Attach(file, unix.LO_FLAGS_DIRECT_IO); err != nil {
			return nil, false, err
		}
		// a discard would give blocks of the image back to the disk below
		_ = os.WriteFile(filepath.Join("/sys/block", filepath.Base(name), "queue/discard_max_bytes"), []byte("0"), 0)
	}
	dev, err = os.OpenFile(name, os.O_RDWR, 0)
	return dev, !found, err
}

// ready returns the pool. It makes the pool if there is none.
func (p *SelfMade) ready() (*Reflink, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pool == nil {
		if err := p.make(); err != nil {
			return nil, err
		}
	}
	return p.pool, nil
}

// made returns the pool, nil while there is none.
func (p *SelfMade) made() *Reflink {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pool
}

// Type names the kind of pool.
func (p *SelfMade) Type() string { return "reflink" }

// RecordDir is where records are kept.
func (p *SelfMade) RecordDir() string { return filepath.Join(p.mount, "records") }

// WritePaths are what a commit writes to.
func (p *SelfMade) WritePaths() []string {
	if p.made() == nil {
		return nil
	}
	return []string{p.mount, p.image}
}

// Create makes a sparse image.
func (p *SelfMade) Create(id vss.LUNID, size int64) error {
	r, err := p.ready()
	if err != nil {
		return err
	}
	return r.Create(id, size)
}

// Extend makes the image longer.
func (p *SelfMade) Extend(id vss.LUNID, size int64) error { return p.made().Extend(id, size) }

// Delete frees a LUN's data.
func (p *SelfMade) Delete(id vss.LUNID) error {
	if r := p.made(); r != nil {
		return r.Delete(id)
	}
	return nil
}

// Stored lists the LUNs that have data.
func (p *SelfMade) Stored() (map[vss.LUNID]int64, error) {
	if r := p.made(); r != nil {
		return r.Stored()
	}
	return nil, nil
}

// Backing is the image file.
func (p *SelfMade) Backing(id vss.LUNID) array.Backing { return p.made().Backing(id) }

// hostFree is what the pool could still take from the disk below.
func (p *SelfMade) hostFree() int64 {
	var fs unix.Statfs_t
	dir := filepath.Dir(p.image)
	for unix.Statfs(dir, &fs) != nil && dir != "/" {
		dir = filepath.Dir(dir)
	}
	return max(int64(fs.Bavail)*fs.Bsize-hostSpare, 0)
}

func (p *SelfMade) hostRoom(bytes int64) error {
	if free := p.hostFree(); free < bytes {
		return fmt.Errorf("the disk below has %d MiB to give, %d MiB are needed", free>>20, bytes>>20)
	}
	return nil
}

// Space returns what the pool has now, and what the disk below could add.
func (p *SelfMade) Space() (s array.Space, err error) {
	if r := p.made(); r != nil {
		s, err = r.Space()
	}
	s.Growth = p.hostFree()
	return s, err
}

// Room grows the pool until so much is free.
func (p *SelfMade) Room(bytes int64) error {
	if p.made() == nil {
		if err := p.hostRoom(max(bytes, firstSize)); err != nil {
			return vss.E("MakePool", vss.VDSErrNotEnoughSpace, err).On(p.image)
		}
	}
	r, err := p.ready()
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for range 64 {
		s, err := r.Space()
		if err != nil || s.Free >= bytes {
			return err
		}
		more := (max(bytes-s.Free, growStep) + growStep - 1) / growStep * growStep
		if err := p.hostRoom(more); err != nil {
			return vss.E("GrowPool", vss.VDSErrNotEnoughSpace, err).On(p.image)
		}
		if err := p.grow(more); err != nil {
			return vss.E("GrowPool", vss.VDSErrNotEnoughSpace, err).On(p.image)
		}
	}
	return vss.E("GrowPool", vss.VDSErrNotEnoughSpace, errors.New("it grew and has no more room than before")).
		On(p.image)
}

// grow lengthens file, loop device and file system, in that order: a crash between two leaves spare room only.
func (p *SelfMade) grow(more int64) error {
	f, err := os.OpenFile(p.image, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Seek(0, 2)
	if err != nil {
		return err
	}
	if err := unix.Fallocate(int(f.Fd()), 0, size, more); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := ioctl(p.loop.Fd(), unix.LOOP_SET_CAPACITY, nil); err != nil {
		return err
	}
	root, err := os.Open(p.mount)
	if err != nil {
		return err
	}
	defer root.Close()
	var a volArgs
	copy(a.name[:], "max")
	return ioctl(root.Fd(), btrfsResize, unsafe.Pointer(&a))
}

// Allocated is how much the image takes.
func (p *SelfMade) Allocated(id vss.LUNID) (int64, error) {
	if r := p.made(); r != nil {
		return r.Allocated(id)
	}
	return 0, nil
}

// Prepare makes everything that a cut needs.
func (p *SelfMade) Prepare(cuts []array.Cut) (array.Cutter, error) { return p.made().Prepare(cuts) }

// Hydrate gives an image blocks of its own.
func (p *SelfMade) Hydrate(ctx context.Context, id vss.LUNID, step func(float64, func() error) error) error {
	return p.made().Hydrate(ctx, id, step)
}

// Replace makes the target's content the source's.
func (p *SelfMade) Replace(source, target vss.LUNID) error { return p.made().Replace(source, target) }

// Close closes the pool. It stays mounted while something on it is in use.
func (p *SelfMade) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pool == nil {
		return nil
	}
	err := p.pool.Close()
	p.pool = nil
	p.loop.Close()
	if mount.Unmount(p.mount, p.owner(p.loop), false) == nil {
		err = errors.Join(err, loopdev.Detach(p.loop.Name()))
		_ = os.Remove(p.mount)
	}
	return err
}

var _ array.Pool = (*SelfMade)(nil)
