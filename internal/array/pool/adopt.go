package pool

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/atomicfile"
)

// subvolumeInode is the inode number of every subvolume's root, and of no other folder.
const subvolumeInode = 256

// adopt makes subvolumes of LUNs whose data is in plain folders, as they are when a pool was copied here file by
// file. The new subvolume is complete and durable before it takes the folder's place; a crash in between is finished by
// the next call.
func (p *Reflink) adopt() error {
	homes, err := filepath.Glob(filepath.Join(p.dir, "luns", "*"))
	if err != nil {
		return err
	}
	for _, home := range homes {
		if err := adoptOne(home); err != nil {
			return err
		}
	}
	return nil
}

func adoptOne(home string) error {
	data, fresh, old := filepath.Join(home, "data"), filepath.Join(home, "adopted"), filepath.Join(home, "old")
	if exists(old) { // an earlier adoption was interrupted after the new data was complete
		if !exists(data) {
			if err := os.Rename(fresh, data); err != nil {
				return err
			}
		}
		return errors.Join(atomicfile.SyncFolders(home), os.RemoveAll(old))
	}
	if exists(fresh) {
		if err := subvolume(btrfsSnapDestroy, home, "adopted"); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(data, &st); err != nil || st.Ino == subvolumeInode {
		return nil // an unfinished LUN, or one of ours
	}
	if err := subvolume(btrfsSubvolCreate, home, "adopted"); err != nil {
		return err
	}
	if err := errors.Join(setNoCOW(home), setNoCOW(fresh)); err != nil {
		return err
	}
	if err := copySparse(filepath.Join(data, "image"), filepath.Join(fresh, "image")); err != nil &&
		!errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := atomicfile.SyncFolders(fresh, home); err != nil {
		return err
	}
	if err := os.Rename(data, old); err != nil {
		return err
	}
	if err := os.Rename(fresh, data); err != nil {
		return err
	}
	return errors.Join(atomicfile.SyncFolders(home), os.RemoveAll(old))
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

// copySparse copies a file's data and leaves its holes, durably.
func copySparse(from, to string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer w.Close()
	st, err := r.Stat()
	if err != nil {
		return err
	}
	if err := w.Truncate(st.Size()); err != nil {
		return err
	}
	for at := int64(0); ; {
		start, err := unix.Seek(int(r.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return w.Sync() // only a hole is left
		}
		if err != nil {
			return err
		}
		end, err := unix.Seek(int(r.Fd()), start, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(w, start), io.NewSectionReader(r, start, end-start)); err != nil {
			return err
		}
		at = end
	}
}
