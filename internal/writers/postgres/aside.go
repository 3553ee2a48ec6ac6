package postgres

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// asideMark is in the names of folders with what a restore replaces.
const asideMark = ".before-restore-"

// moved is a folder whose content was set aside.
type moved struct {
	Dir string `json:"dir"`
	To  string `json:"to"`
}

// setAside empties a folder: what is in it moves into a new folder beside it or, where that is another volume or not the
// owner's, in it. So a restore finds no file of the cluster that was, above all no WAL that a starting server would replay, and
// nothing is lost should it fail. A folder that isn't there is made. Volumes mounted below are emptied likewise.
func (c *Cluster) setAside(dir, tag string) (out []moved, err error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if err := os.Chown(dir, c.UID, c.GID); err != nil {
			return nil, err
		}
		return nil, os.Chmod(dir, 0o700)
	}
	beside := dir + asideMark + tag
	if err := c.folder(dir, beside); err != nil {
		beside = ""
	}
	// As the owner: the folders are his, and what links he makes must not lead us to files that aren't.
	err = as(c.UID, c.GID, func() (err error) { out, err = setAside(dir, beside, tag); return err })
	return out, err
}

// folder makes a folder of the owner on the volume of another folder.
func (c *Cluster) folder(dir, path string) error {
	if device(filepath.Dir(path)) != device(dir) {
		return unix.EXDEV
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Chown(c.UID, c.GID)
}

// setAside moves what is in a folder to another one, "" for a new one in it.
func setAside(dir, to, tag string) ([]moved, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if to == "" {
		to = filepath.Join(dir, asideMark+tag)
		if err := os.Mkdir(to, 0o700); err != nil {
			return nil, err
		}
	}
	out := []moved{{dir, to}}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), asideMark), e.Name() == "lost+found":
		case e.IsDir() && device(path) != device(dir):
			below, err := setAside(path, "", tag)
			out = append(out, below...)
			if err != nil {
				return out, err
			}
		default:
			if err := os.Rename(path, filepath.Join(to, e.Name())); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// device is the number of the volume that a folder is on, 0 if it isn't there.
func device(path string) uint64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Dev
}

// putBack undoes setAside. What a restore has left in the folders stays where a name is taken, and is an error.
func (c *Cluster) putBack(all []moved) error {
	err := as(c.UID, c.GID, func() error {
		var errs []error
		for _, m := range all {
			entries, err := os.ReadDir(m.To)
			errs = append(errs, err)
			for _, e := range entries {
				errs = append(errs, unix.Renameat2(unix.AT_FDCWD, filepath.Join(m.To, e.Name()), unix.AT_FDCWD, filepath.Join(m.Dir, e.Name()), unix.RENAME_NOREPLACE))
			}
		}
		return errors.Join(errs...)
	})
	for _, m := range all {
		err = errors.Join(err, os.Remove(m.To)) // the folder around it may be root's
	}
	return err
}

// drop deletes what was set aside.
func (c *Cluster) drop(all []moved) error {
	err := as(c.UID, c.GID, func() error {
		var errs []error
		for _, m := range all {
			entries, err := os.ReadDir(m.To)
			errs = append(errs, err)
			for _, e := range entries {
				errs = append(errs, os.RemoveAll(filepath.Join(m.To, e.Name())))
			}
		}
		return errors.Join(errs...)
	})
	for _, m := range all {
		err = errors.Join(err, unix.Rmdir(m.To)) // the folder around it may be root's
	}
	return err
}

// empty says whether nothing was restored into the folders.
func empty(l *layout) bool {
	for _, dir := range l.roots() {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), asideMark) && e.Name() != "lost+found" {
				return false
			}
		}
	}
	return true
}

// hollow are folders of a data directory that may be empty, and that programs which restore files alone don't make.
var hollow = append([]string{"pg_commit_ts", "pg_replslot", "pg_stat", "pg_tblspc", "pg_twophase", "pg_wal/archive_status",
	"pg_logical/mappings", "pg_logical/snapshots"}, volatile...)

// fill makes the folders that a server needs and a restore left out.
func (c *Cluster) fill() error {
	return as(c.UID, c.GID, func() error {
		for _, dir := range hollow {
			if err := os.MkdirAll(filepath.Join(c.Data, dir), 0o700); err != nil {
				return err
			}
		}
		if c.Config != "" {
			_ = os.Mkdir(filepath.Join(c.Config, "conf.d"), 0o755) // most have it; the server says so if it misses it
		}
		st, err := os.Stat(c.Data)
		if err != nil {
			return err
		}
		if o := st.Sys().(*syscall.Stat_t); int(o.Uid) != c.UID { // as PostgreSQL would say it, later and in its log
			return fmt.Errorf("%s belongs to account %d, not to %d: files are to be restored with owner and mode", c.Data, o.Uid, c.UID)
		}
		return nil
	})
}
