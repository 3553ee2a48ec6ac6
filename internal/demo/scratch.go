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

// begin makes the scratch folder, after it has cleaned up those of demos that were killed: nobody has their locks.
func begin(c Config) (*run, error) {
	folder := c.folder()
	former, _ := filepath.Glob(filepath.Join(folder, prefix+"*"))
	for _, dir := range former {
		fi, err := os.Lstat(dir)
		if err != nil || !fi.IsDir() || fi.Sys().(*syscall.Stat_t).Uid != 0 { // anybody may write to a folder for scratch files
			continue
		}
		if lock, err := claim(dir); err == nil {
			r := &run{Config: c, dir: dir, lock: lock}
			c.Listener.Note("former demo", told(r.clean(), "cleaned up "+dir))
		}
	}
	for {
		dir, err := os.MkdirTemp(folder, prefix)
		if err != nil {
			return nil, vss.E("Demo", vss.ErrUnexpected, err).On(folder).Advise("set TMPDIR to a folder with 4 GiB of space")
		}
		lock, err := claim(dir)
		if err == nil {
			err = os.Chmod(dir, 0o755) // for the database's account
		}
		switch {
		case err == nil:
			return &run{Config: c, dir: dir, lock: lock}, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, fs.ErrNotExist): // else another demo took it for a former one
			return nil, vss.E("Demo", vss.ErrUnexpected, err).On(dir).Advise("remove it and try again")
		}
	}
}

// claim locks a folder, as long as the file is open.
func claim(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		_, err = os.Stat(dir) // who had it may have removed it
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
