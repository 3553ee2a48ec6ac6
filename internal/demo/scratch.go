package demo

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

const prefix = "vss-demo-"

// begin creates the temporary directory and locks it. First it cleans up after demonstrations that were killed: their
// directories aren't locked.
func begin(c Config) (*run, error) {
	folder := c.folder()
	former, _ := filepath.Glob(filepath.Join(folder, prefix+"*"))
	for _, dir := range former {
		fi, err := os.Lstat(dir)
		// any user may create a directory with such a name
		if err != nil || !fi.IsDir() || fi.Sys().(*syscall.Stat_t).Uid != 0 {
			continue
		}
		if lock, err := claim(dir); err == nil {
			r := &run{Config: c, dir: dir, lock: lock}
			c.Listener.Note("earlier demo", outcome(r.clean(), "cleaned up "+dir))
		}
	}
	for {
		dir, err := os.MkdirTemp(folder, prefix)
		if err != nil {
			return nil, vss.E("Demo", vss.ErrUnexpected, err).On(folder).
				Advise("set TMPDIR to a directory with 4 GiB of space")
		}
		lock, err := claim(dir)
		if err == nil {
			err = os.Chmod(dir, 0o755) // for the user of the database
		}
		switch {
		case err == nil:
			return &run{Config: c, dir: dir, lock: lock}, nil
		// those: another one has cleaned it up
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, fs.ErrNotExist):
			return nil, vss.E("Demo", vss.ErrUnexpected, err).On(dir).Advise("remove it and try again")
		}
	}
}

// claim locks a directory. The lock is held until the file is closed.
func claim(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		_, err = os.Stat(dir) // the process that held the lock may have removed it
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
