// Package aside sets aside the files that a restore replaces. A restore then finds none of the application's former
// files, above all no log that a starting server would replay, and nothing is lost if it fails.
package aside

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
)

// Mark is part of the names of folders with files that were set aside.
const Mark = ".before-restore-"

// Owner is the account that owns the files. All operations run as this account, so that its symbolic links can't lead
// root to files of others.
type Owner struct{ UID, GID int }

// Moved is a folder whose files were set aside.
type Moved struct {
	Dir string `json:"dir"`
	To  string `json:"to"`
}

// Set moves the files of a file set into a new folder beside their own folder. If that lies on another volume or isn't
// the owner's, the new folder is created inside. A folder that doesn't exist is created. Volumes mounted below a
// recursive set are emptied in the same way. Set returns what was moved also with an error.
func (o Owner) Set(set document.FileSet, tag string) (out []Moved, err error) {
	if _, err := os.Stat(set.Path); errors.Is(err, fs.ErrNotExist) {
		return nil, o.create(set.Path)
	}
	beside := ""
	if all(set) {
		beside = set.Path + Mark + tag
		if err := o.folder(set.Path, beside); err != nil {
			beside = ""
		}
	}
	err = server.As(o.UID, o.GID, func() (err error) { out, err = move(set, beside, tag); return err })
	return out, err
}

// all reports whether a set is a folder with all files in it.
func all(set document.FileSet) bool { return set.Recursive && set.FileSpec == "*" }

// create creates a folder that belongs to the owner, and the folders above it.
func (o Owner) create(dir string) error {
	above := filepath.Dir(dir)
	if _, err := os.Lstat(above); errors.Is(err, fs.ErrNotExist) {
		if err := o.create(above); err != nil {
			return err
		}
	}
	return o.mkdir(dir)
}

// folder creates a folder that belongs to the owner, on the volume of dir.
func (o Owner) folder(dir, path string) error {
	if device(filepath.Dir(path)) != device(dir) {
		return unix.EXDEV
	}
	return o.mkdir(path)
}

// mkdir creates a folder as the owner, or as this process and for the owner if only root can change the folders above
// it: otherwise another folder could take its place before it gets its owner.
func (o Owner) mkdir(path string) error {
	err := server.As(o.UID, o.GID, func() error { return os.Mkdir(path, 0o700) })
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	above, e := filepath.EvalSymlinks(filepath.Dir(path))
	if e == nil {
		e = server.Owned(above, os.Geteuid(), os.Getegid())
	}
	if e != nil {
		return errors.Join(err, e)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Chown(o.UID, o.GID)
}

// move moves the files of a set to another folder; "" stands for a new one in their own.
func move(set document.FileSet, to, tag string) ([]Moved, error) {
	entries, err := os.ReadDir(set.Path)
	if err != nil {
		return nil, err
	}
	if to == "" {
		to = filepath.Join(set.Path, Mark+tag)
		// several sets may have the same folder
		if err := os.Mkdir(to, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	out := []Moved{{set.Path, to}}
	for _, e := range entries {
		path := filepath.Join(set.Path, e.Name())
		match, err := filepath.Match(set.FileSpec, e.Name())
		if err != nil {
			return out, err
		}
		switch {
		case !match, e.IsDir() && !set.Recursive, strings.HasPrefix(e.Name(), Mark), e.Name() == "lost+found":
		case e.IsDir() && device(path) != device(set.Path):
			below, err := move(document.FileSet{Path: path, FileSpec: "*", Recursive: true}, "", tag)
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

// device returns the device number of a folder, 0 if it doesn't exist.
func device(path string) uint64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Dev
}

// Back undoes Set. Files whose names are taken by restored ones stay, and are an error.
func (o Owner) Back(moved []Moved) error {
	return o.each(moved, func(m Moved, name string) error {
		return unix.Renameat2(
			unix.AT_FDCWD,
			filepath.Join(m.To, name),
			unix.AT_FDCWD,
			filepath.Join(m.Dir, name),
			unix.RENAME_NOREPLACE,
		)
	})
}

// Drop deletes the files that were set aside.
func (o Owner) Drop(moved []Moved) error {
	return o.each(moved, func(m Moved, name string) error { return os.RemoveAll(filepath.Join(m.To, name)) })
}

// each calls f for all files that were set aside, and removes the folders.
func (o Owner) each(moved []Moved, f func(m Moved, name string) error) error {
	err := server.As(o.UID, o.GID, func() error {
		var errs []error
		for _, m := range moved {
			entries, err := os.ReadDir(m.To)
			if !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
			for _, e := range entries {
				errs = append(errs, f(m, e.Name()))
			}
		}
		return errors.Join(errs...)
	})
	for _, m := range moved {
		// As this process: the parent folder may belong to root. Rmdir only: the owner may have put a file there.
		if e := unix.Rmdir(m.To); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, &fs.PathError{Op: "rmdir", Path: m.To, Err: e})
		}
	}
	return err
}

// Empty reports whether no file of the sets exists.
func Empty(sets []document.FileSet) bool {
	for _, set := range sets {
		entries, err := os.ReadDir(set.Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false
		}
		for _, e := range entries {
			match, err := filepath.Match(set.FileSpec, e.Name())
			if err != nil ||
				match && (set.Recursive || !e.IsDir()) && !strings.HasPrefix(e.Name(), Mark) &&
					e.Name() != "lost+found" {
				return false
			}
		}
	}
	return true
}

// Owns checks that completely restored folders belong to the owner. The application itself would report this only
// later, in its log.
func (o Owner) Owns(sets []document.FileSet) error {
	for _, set := range sets {
		st, err := os.Stat(set.Path)
		if err != nil {
			return err
		}
		if uid := int(st.Sys().(*syscall.Stat_t).Uid); set.Recursive && uid != o.UID {
			return fmt.Errorf(
				"%s belongs to account %d, not to %d: restore files with their owner and mode",
				set.Path,
				uid,
				o.UID,
			)
		}
	}
	return nil
}

// Places returns the folders with files that were set aside, as text for messages.
func Places(moved []Moved) string {
	var out []string
	for _, m := range moved {
		out = append(out, m.To)
	}
	return strings.Join(out, ", ")
}
