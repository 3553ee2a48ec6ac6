// Package atomicfile replaces the content of files so that a reader, or a crash, finds the old content or the new and
// never a part of either.
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Suffix is that of the files that Write and Replace leave beside the file itself when the process dies.
const Suffix = ".new"

// Write replaces the content of a file, or creates it, with permissions 0600. The new content survives a power cut when
// Write returns. At most one caller may write a file at a time.
func Write(path string, content []byte) error {
	if err := WriteOne(path, content); err != nil {
		return err
	}
	return SyncFolders(filepath.Dir(path))
}

// WriteOne is Write for one of several files in a folder, without its last step: the caller makes the names of all of
// them durable with one SyncFolders.
func WriteOne(path string, content []byte) error { return replace(path, content, true) }

// Replace is Write for a file that only needs to survive the death of the process.
func Replace(path string, content []byte) error { return replace(path, content, false) }

func replace(path string, content []byte, durable bool) error {
	f, err := os.OpenFile(path+Suffix, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	return save(f, path, content, durable)
}

// save writes the content, closes the file and gives it its name. The name isn't durable yet.
func save(f *os.File, path string, content []byte, durable bool) error {
	_, err := f.Write(content)
	if err == nil && durable {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

// SyncFolders makes the entries of folders durable: what was created, renamed or removed in them.
// It writes them at the same time: a file system flushes its log once for several.
func SyncFolders(folders ...string) error {
	errs := make([]error, len(folders))
	slots := make(chan struct{}, syncsAtOnce)
	var all sync.WaitGroup
	for i, d := range folders {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			f, err := os.Open(d)
			if err == nil {
				err = errors.Join(f.Sync(), f.Close())
			}
			errs[i] = err
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// syncsAtOnce is how many folders are written at the same time.
const syncsAtOnce = 16

// File is a file whose content is written later than it is opened, so that an error of its folder is found early.
type File struct {
	temp    *os.File
	path    string
	saved   bool
	special bool // what is at the path isn't a regular file: the content is written into it
}

// writeLimit is how long the reader of a pipe may take.
const writeLimit = 30 * time.Second

// Create opens a file for Save. Nothing is at the path, or what was there, until then.
//
// A device, pipe or socket at the path is never replaced: the content is written into it. A pipe without a reader is an
// error.
func Create(path string) (*File, error) {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
		if err != nil {
			return nil, err
		}
		return &File{temp: f, path: path, special: true}, nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return nil, err
	}
	return &File{temp: f, path: path}, nil
}

// Path returns the path that the file has once it is saved.
func (f *File) Path() string { return f.path }

// Save makes this the file's content, durably. It may be called once.
func (f *File) Save(content []byte) error {
	if f.special {
		f.saved = true
		_ = f.temp.SetWriteDeadline(time.Now().Add(writeLimit)) // devices have none
		_, err := f.temp.Write(content)
		return errors.Join(err, f.temp.Close())
	}
	err := save(f.temp, f.path, content, true)
	f.saved = err == nil
	if err != nil {
		return err
	}
	return SyncFolders(filepath.Dir(f.path))
}

// Discard closes the file. What Save has written stays.
func (f *File) Discard() {
	if !f.saved {
		_ = f.temp.Close()
		if !f.special {
			_ = os.Remove(f.temp.Name())
		}
	}
}
