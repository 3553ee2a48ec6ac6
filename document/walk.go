package document

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// File is one thing to save: a file, a symbolic link, or a directory of a recursive set, which is restored even when empty.
type File struct {
	Path   string // where it belongs
	Source string // where it is read from; differs from Path below an alternate path
	At     string // Source, on this host: below the root of the walk
	Dir    bool
	Set    *BackupSet
}

// Walk visits all that the list names, below root, where the copies are mounted as their originals are below "/". Links on the
// way to a file set are followed within root; links in it are visited as links. Sockets, pipes and devices are passed over.
// What can't be had is visited with an error: a file named without wildcards that isn't there (VSS_E_OBJECT_NOT_FOUND), or
// whatever reading a directory says; its component's backup has failed then. An error of visit ends the walk and is returned.
func (l *FileList) Walk(root string, visit func(File, error) error) error {
	for i := range l.Sets {
		if err := l.Sets[i].walk(root, visit); err != nil {
			return err
		}
	}
	return nil
}

func (s *BackupSet) walk(root string, visit func(File, error) error) error {
	named := !wild(s.FileSpec)
	at, err := resolve(root, s.Source)
	if err == nil && !s.Recursive && named {
		var info fs.FileInfo
		if info, err = os.Lstat(filepath.Join(at, s.FileSpec)); err == nil && !info.IsDir() {
			return s.visit(at, s.FileSpec, info, visit)
		}
	}
	found := false
	if err == nil && (s.Recursive || !named) {
		err = filepath.WalkDir(at, func(p string, d fs.DirEntry, err error) error {
			rel, _ := filepath.Rel(at, p)
			if err != nil {
				return visit(s.file(at, rel), err)
			}
			switch {
			case p == at && !d.IsDir():
				return visit(s.file(at, rel), &fs.PathError{Op: "walk", Path: p, Err: syscall.ENOTDIR})
			case d.IsDir():
				switch {
				case s.Recursive:
					f := s.file(at, rel)
					f.Dir = true
					return visit(f, nil)
				case p != at:
					return fs.SkipDir
				}
				return nil
			case !MatchSpec(s.FileSpec, d.Name()):
				return nil
			}
			found = true
			info, err := d.Info()
			if err != nil {
				return visit(s.file(at, rel), err)
			}
			return s.visit(at, rel, info, visit)
		})
		if err != nil {
			return err
		}
	}
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return visit(s.file(at, s.FileSpec), err)
	case named && !found && !s.excluded(s.FileSpec):
		return visit(s.file(at, s.FileSpec), vss.E("BackupFiles", vss.ErrObjectNotFound, fs.ErrNotExist).On(s.FileSet.String()).
			Advise("the writer names a file that isn't there; see whether its volume is in the set"))
	}
	return nil
}

// visit hands out a file of the set unless it is excluded, was handed out before, or has not changed.
func (s *BackupSet) visit(at, rel string, info fs.FileInfo, visit func(File, error) error) error {
	dir, name := path.Split(path.Join(cleanPath(s.Path), rel))
	dir = cleanPath(dir)
	if s.excluded(rel) || info.Mode()&(fs.ModeSocket|fs.ModeNamedPipe|fs.ModeDevice) != 0 {
		return nil
	}
	for _, o := range s.earlier {
		if o.has(dir, name) {
			return nil
		}
	}
	if s.Since != 0 && info.Mode().IsRegular() && FileTime(info.ModTime()) < s.Since {
		return nil
	}
	return visit(s.file(at, rel), nil)
}

func (s *BackupSet) excluded(rel string) bool {
	dir, name := path.Split(path.Join(cleanPath(s.Path), rel))
	for _, e := range s.excludes {
		if e.has(cleanPath(dir), name) {
			return true
		}
	}
	return false
}

func (s *BackupSet) file(at, rel string) File {
	return File{Path: path.Join(s.Path, rel), Source: path.Join(s.Source, rel), At: filepath.Join(at, rel), Set: s}
}

// FileTime is a time as FILETIME: 100 ns since 1601, UTC. Times before that are 0.
func FileTime(t time.Time) uint64 {
	const unixEpoch = 11644473600 // seconds from 1601 to 1970
	seconds := t.Unix() + unixEpoch
	if seconds < 0 {
		return 0
	}
	return uint64(seconds)*10_000_000 + uint64(t.Nanosecond()/100)
}

const maxLinks = 40 // as the kernel's

// resolve is where a path leads below root, with root as the top for absolute links and "..".
func resolve(root, p string) (string, error) {
	if !strings.HasPrefix(p, "/") {
		return p, fmt.Errorf("%s: not an absolute path of this system", p)
	}
	left, at, links := strings.Split(p, "/"), "/", 0
	for len(left) > 0 {
		next := path.Join(at, left[0]) // Join takes care of "", "." and ".." and never leaves "/"
		left = left[1:]
		target, err := os.Readlink(filepath.Join(root, next))
		switch {
		case err == nil:
			if links++; links > maxLinks {
				return filepath.Join(root, next), fmt.Errorf("%s: more than %d links", p, maxLinks)
			}
			if strings.HasPrefix(target, "/") {
				at = "/"
			}
			left = append(strings.Split(target, "/"), left...)
		case errors.Is(err, fs.ErrNotExist):
			return filepath.Join(root, p), err
		default: // no link
			at = next
		}
	}
	return filepath.Join(root, at), nil
}
