package filelist

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// File is a file to save: a regular file, a symbolic link, or a directory of a recursive set, which is restored even
// if empty.
type File struct {
	Path   string // original path
	Source string // path to read from; differs from Path below an alternate path
	At     string // Source below the root of the walk
	Dir    bool
	Set    *Set
}

// Walk calls visit for all files of the list below root, where the copies are mounted like their originals below "/".
// Links on the way to a file set are followed within root; links in it are visited as links. Sockets, pipes and
// devices are skipped. What can't be read is visited with an error, which means that the backup of its component has
// failed: a file named without wildcards that doesn't exist (VSS_E_OBJECT_NOT_FOUND), or an error of reading a
// directory. Walk ends with the first error of visit and returns it.
func (l *List) Walk(root string, visit func(File, error) error) error {
	for i := range l.Sets {
		if err := l.Sets[i].walk(root, visit); err != nil {
			return err
		}
	}
	return nil
}

func (s *Set) walk(root string, visit func(File, error) error) error {
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
			case !document.MatchSpec(s.FileSpec, d.Name()):
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
		return visit(
			s.file(at, s.FileSpec),
			vss.E("BackupFiles", vss.ErrObjectNotFound, fs.ErrNotExist).On(s.FileSet.String()).
				Advise("the file doesn't exist in the copy; check that its volume is in the set"),
		)
	}
	return nil
}

// visit calls visit for a file of the set unless it is excluded, was visited before, or has not changed.
func (s *Set) visit(at, rel string, info fs.FileInfo, visit func(File, error) error) error {
	dir, name := path.Split(path.Join(document.CleanPath(s.Path), rel))
	dir = document.CleanPath(dir)
	if s.excluded(rel) || info.Mode()&(fs.ModeSocket|fs.ModeNamedPipe|fs.ModeDevice) != 0 {
		return nil
	}
	for _, o := range s.earlier {
		if o.Contains(dir, name) {
			return nil
		}
	}
	if s.Since != 0 && info.Mode().IsRegular() && document.FileTime(info.ModTime()) < s.Since {
		return nil
	}
	return visit(s.file(at, rel), nil)
}

func (s *Set) excluded(rel string) bool {
	dir, name := path.Split(path.Join(document.CleanPath(s.Path), rel))
	for _, e := range s.excludes {
		if e.Contains(document.CleanPath(dir), name) {
			return true
		}
	}
	return false
}

func (s *Set) file(at, rel string) File {
	return File{Path: path.Join(s.Path, rel), Source: path.Join(s.Source, rel), At: filepath.Join(at, rel), Set: s}
}

const maxLinks = 40 // like the kernel

// resolve resolves a path below root, which is the top for absolute links and "..".
func resolve(root, p string) (string, error) {
	if !strings.HasPrefix(p, "/") {
		return p, fmt.Errorf("%s: not an absolute Unix path", p)
	}
	left, at, links := strings.Split(p, "/"), "/", 0
	for len(left) > 0 {
		next := path.Join(at, left[0]) // Join handles "", "." and ".." and never leaves "/"
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
		default: // not a link
			at = next
		}
	}
	return filepath.Join(root, at), nil
}
