// Package pool has the kinds of pools that our storage array keeps LUNs in. Reflink is a folder on XFS or btrfs,
// where copies share blocks by the file system's own means: on btrfs each LUN is a subvolume and a copy is a snapshot
// of it, which costs the same however fragmented the LUN is; on XFS a copy is a reflinked file. SelfMade is a Reflink
// on a file system that it makes for itself in an image file on any disk.
//
// A pool's folder is complete in itself:
//
//	pool.json            format version
//	lock                 flock: one owner at a time
//	records/ID.json      the array's records
//	luns/ID/data/image   the LUN's content; data is a subvolume on btrfs
//	work/                temporary files of hydration
package pool

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/atomicfile"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Reflink is a pool in a folder on XFS or btrfs.
type Reflink struct {
	dir   string
	btrfs bool
	space *accounts // btrfs
	lock  *os.File
}

// Magic numbers of statfs. Source: linux/magic.h.
const (
	magicBtrfs = 0x9123683e
	magicXFS   = 0x58465342
)

// Open takes a folder as a pool, making it one if it is empty. Errors: VSS_E_VOLUME_NOT_SUPPORTED on another file
// system, VSS_E_NOT_SUPPORTED for a pool of a newer format (left untouched), VDS_E_DEVICE_IN_USE while another
// process owns it.
func Open(dir string) (*Reflink, error) {
	const op = "OpenPool"
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return nil, vss.E(op, vss.ErrObjectNotFound, err).
			On(dir).
			Advise("make the folder on an XFS or btrfs file system")
	}
	p := &Reflink{dir: dir, btrfs: fs.Type == magicBtrfs}
	if !p.btrfs && fs.Type != magicXFS {
		return nil, vss.E(op, vss.ErrVolumeNotSupported, errors.New("a reflink pool lies on XFS or btrfs")).
			On(dir).
			Advise("use a folder on such a file system, or no path at all: the pool then makes its own")
	}
	if err := checkPoolFormat(dir); err != nil {
		return nil, err
	}
	var err error
	if p.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, vss.E(op, vss.ErrUnexpected, err).On(dir)
	}
	if err := unix.Flock(int(p.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		p.lock.Close()
		return nil, vss.E(op, vss.VDSErrDeviceInUse, errors.New("another process owns the pool")).
			On(dir).
			Advise("two hosts share a pool only through one vss-array process")
	}
	if p.btrfs {
		p.space, err = openAccounts(p.lock)
	}
	if err == nil {
		err = p.furnish()
	}
	if err != nil {
		p.lock.Close()
		return nil, vss.E(op, vss.ErrUnexpected, err).On(dir)
	}
	return p, nil
}

type poolFile struct {
	Format int `json:"format"`
}

func checkPoolFormat(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "pool.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var f poolFile
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil {
		return vss.E("OpenPool", vss.VDSErrProviderCacheCorrupt, err).On(dir)
	}
	if f.Format > array.Format {
		return vss.E(
			"OpenPool", vss.ErrNotSupported,
			fmt.Errorf("the pool has format %d, this program knows up to %d", f.Format, array.Format),
		).
			On(dir).
			Advise("use the newer program that wrote it; nothing was changed")
	}
	return nil
}

func (p *Reflink) furnish() error {
	for _, d := range []string{"records", "luns", "work"} {
		if err := os.MkdirAll(filepath.Join(p.dir, d), 0o700); err != nil {
			return err
		}
	}
	if p.btrfs { // images without checksums and without copy-on-write of what isn't shared: far faster random writes
		for _, d := range []string{"luns", "work"} {
			if err := setNoCOW(filepath.Join(p.dir, d)); err != nil {
				return err
			}
		}
	}
	if p.btrfs {
		if err := p.adopt(); err != nil {
			return fmt.Errorf("adopt the LUNs of a copied pool: %w", err)
		}
	}
	left, _ := filepath.Glob(filepath.Join(p.dir, "work", "*"))
	for _, f := range left {
		_ = os.Remove(f)
	}
	if _, err := os.Stat(filepath.Join(p.dir, "pool.json")); err == nil {
		return nil
	}
	b, err := json.Marshal(poolFile{array.Format})
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(p.dir, "pool.json"), b)
}

// Type names the kind of pool.
func (p *Reflink) Type() string { return "reflink" }

// RecordDir is where records are kept.
func (p *Reflink) RecordDir() string { return filepath.Join(p.dir, "records") }

// WritePaths are what a commit writes to.
func (p *Reflink) WritePaths() []string { return []string{p.dir} }

// Close closes the pool. It may be repeated.
func (p *Reflink) Close() error {
	if err := p.lock.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

func (p *Reflink) home(id vss.LUNID) string  { return filepath.Join(p.dir, "luns", id.Plain()) }
func (p *Reflink) data(id vss.LUNID) string  { return filepath.Join(p.home(id), "data") }
func (p *Reflink) image(id vss.LUNID) string { return filepath.Join(p.data(id), "image") }

// Backing is the image file. XFS takes direct I/O under a loop device; btrfs is better without.
func (p *Reflink) Backing(id vss.LUNID) array.Backing {
	return array.Backing{Path: p.image(id), DirectIO: !p.btrfs}
}

// Stored lists the LUNs that have data.
func (p *Reflink) Stored() (map[vss.LUNID]int64, error) {
	entries, err := os.ReadDir(filepath.Join(p.dir, "luns"))
	if err != nil {
		return nil, vss.E("ListPool", vss.ErrUnexpected, err).On(p.dir)
	}
	out := map[vss.LUNID]int64{}
	for _, e := range entries {
		g, err := vss.ParseGUID(e.Name())
		if err != nil {
			continue
		}
		id := vss.LUNID{GUID: g}
		if st, err := os.Stat(p.image(id)); err == nil {
			out[id] = st.Size()
		}
	}
	return out, nil
}

// Create makes a sparse image.
func (p *Reflink) Create(id vss.LUNID, size int64) error {
	err := os.MkdirAll(p.home(id), 0o700)
	if err == nil && p.btrfs {
		err = setNoCOW(p.home(id))
	}
	if err == nil {
		err = p.makeData(id)
	}
	if err == nil {
		err = makeImage(p.image(id), size)
	}
	if err == nil {
		err = atomicfile.SyncFolders(p.data(id), p.home(id), filepath.Dir(p.home(id)))
	}
	if err != nil {
		return vss.E("CreateLun", vss.VDSErrNotEnoughSpace, err).On(id.String())
	}
	return nil
}

func (p *Reflink) makeData(id vss.LUNID) error {
	if !p.btrfs {
		return os.Mkdir(p.data(id), 0o700)
	}
	if err := subvolume(btrfsSubvolCreate, p.home(id), "data"); err != nil {
		return err
	}
	return setNoCOW(p.data(id))
}

func makeImage(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	return f.Sync()
}

// Extend makes the image longer.
func (p *Reflink) Extend(id vss.LUNID, size int64) error {
	f, err := os.OpenFile(p.image(id), os.O_RDWR, 0)
	if err == nil {
		defer f.Close()
		if err = f.Truncate(size); err == nil {
			err = f.Sync()
		}
	}
	if err != nil {
		return vss.E("ExtendLun", vss.VDSErrNotEnoughSpace, err).On(id.String())
	}
	return nil
}

// Delete frees a LUN's data at once: truncating gives the space back before a subvolume's slow end, and also while
// the image is open: its readers get errors from then on.
func (p *Reflink) Delete(id vss.LUNID) error {
	_ = os.Truncate(p.image(id), 0) // may need space that isn't there; removing it below may not
	var err error
	if p.btrfs {
		err = subvolume(btrfsSnapDestroy, p.home(id), "data")
	} else {
		err = os.RemoveAll(p.data(id))
	}
	if err == nil || errors.Is(err, os.ErrNotExist) {
		err = os.Remove(p.home(id))
	}
	if err == nil || errors.Is(err, os.ErrNotExist) {
		err = atomicfile.SyncFolders(filepath.Dir(p.home(id)))
	}
	if err == nil && p.btrfs {
		err = commit(p.lock) // freed blocks can be used after the next transaction only
	}
	if err != nil {
		return vss.E("DeleteLun", vss.ErrUnexpected, err).On(id.String())
	}
	return nil
}

// Space returns what statfs reports, on btrfs what of it can be written for certain.
func (p *Reflink) Space() (array.Space, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(p.dir, &fs); err != nil {
		return array.Space{}, vss.E("PoolSpace", vss.ErrUnexpected, err).On(p.dir)
	}
	free := int64(fs.Bavail) * fs.Bsize
	if p.btrfs {
		free = p.space.usable(free)
	}
	return array.Space{Size: int64(fs.Blocks) * fs.Bsize, Free: max(free, 0)}, nil
}

// Room returns an error unless so much is free; a folder doesn't grow. Errors: VDS_E_NOT_ENOUGH_SPACE.
func (p *Reflink) Room(bytes int64) error {
	s, err := p.Space()
	if err == nil && s.Free < bytes {
		err = vss.E(
			"PoolSpace", vss.VDSErrNotEnoughSpace,
			fmt.Errorf("%d MiB are needed, %d MiB are free", bytes>>20, s.Free>>20),
		).
			On(p.dir)
	}
	return err
}

// Allocated is how much the image takes.
func (p *Reflink) Allocated(id vss.LUNID) (int64, error) {
	var st unix.Stat_t
	if err := unix.Stat(p.image(id), &st); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return 0, nil // its record is there, its data not yet
		}
		return 0, vss.E("PoolSpace", vss.ErrUnexpected, err).On(id.String())
	}
	return st.Blocks * 512, nil
}

// Replace makes the target a reflink of the source, in one step: a crash leaves the old content or the new.
func (p *Reflink) Replace(source, target vss.LUNID) error {
	from, err := os.Open(p.image(source))
	if err != nil {
		return err
	}
	defer from.Close()
	temp := filepath.Join(p.data(target), "new")
	_ = os.Remove(temp)
	to, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer to.Close()
	if err := from.Sync(); err != nil {
		return err
	}
	if err := unix.IoctlFileClone(int(to.Fd()), int(from.Fd())); err != nil {
		return err
	}
	if err := to.Sync(); err != nil {
		return err
	}
	if err := os.Rename(temp, p.image(target)); err != nil {
		return err
	}
	return atomicfile.SyncFolders(p.data(target))
}

var _ array.Pool = (*Reflink)(nil)
