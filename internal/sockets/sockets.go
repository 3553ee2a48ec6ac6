// Package sockets finds the sockets that other processes open for the service in the run directory.
//
// A folder such as RUN/writers belongs to root, with mode 0711; processes of root create their sockets there. Each
// account that the configuration allows has a folder RUN/writers/ACCOUNT of its own, with mode 0700. An account
// therefore can't take another's name, fill the folder, or redirect the service to a socket elsewhere: symbolic links
// are not followed, and the kernel reports the process behind a socket (SO_PEERCRED).
package sockets

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	maxSockets = 256              // sockets examined in one folder
	staleAfter = 10 * time.Second // a socket this old without a listener is removed
)

// Folders is a folder for sockets, with those of the accounts in it.
type Folders struct {
	list []folder
	log  *slog.Logger
}

// folder is a folder with sockets. Their processes must run as uid; -1 allows any.
type folder struct {
	path string
	uid  int64
}

// Socket identifies a socket file. A new file at the same path is a different Socket.
type Socket struct {
	Path     string
	dev, ino uint64
	uid      int64 // of the folder
}

// Open creates the folder top, and in it one for each account, where they don't exist. Accounts that don't exist are
// skipped with a warning in the log. Op names the operation in errors: E_ACCESSDENIED, VSS_E_UNEXPECTED.
func Open(op, top string, accounts []string, logger *slog.Logger) (*Folders, error) {
	f := &Folders{log: logger}
	if err := makeFolder(op, top, os.Geteuid(), 0o711); err != nil {
		return nil, err
	}
	f.list = append(f.list, folder{top, -1})
	for _, name := range accounts {
		u, err := user.Lookup(name)
		if err != nil || name != filepath.Base(name) {
			logger.Warn("a configured account doesn't exist", "account", name, "folder", top, "error", err)
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, vss.E(op, vss.ErrUnexpected, err).On(name)
		}
		sub := folder{filepath.Join(top, name), int64(uid)}
		if err := makeFolder(op, sub.path, int(uid), 0o700); err != nil {
			return nil, err
		}
		f.list = append(f.list, sub)
	}
	return f, nil
}

// makeFolder creates the folder path if necessary and gives it to uid with mode.
func makeFolder(op, path string, uid int, mode os.FileMode) error {
	fail := func(err error) error {
		code := vss.ErrUnexpected
		if errors.Is(err, os.ErrPermission) {
			code = vss.ErrAccessDenied
		}
		return vss.E(op, code, err).On(path).Advise("remove this file, or choose another directory with --run")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fail(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fail(err)
	}
	if info, err := os.Lstat(path); err != nil || !info.IsDir() {
		return fail(cmp.Or(err, errors.New("not a folder")))
	}
	if err := os.Lchown(path, uid, -1); err != nil {
		return fail(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		return fail(err)
	}
	return nil
}

// Allows reports whether a process of uid may serve at one of the sockets: it is the service's own account or one of
// those given to Open.
func (f *Folders) Allows(uid uint32) bool {
	for _, sub := range f.list[1:] {
		if sub.uid == int64(uid) {
			return true
		}
	}
	return int(uid) == os.Geteuid()
}

// Scan returns the sockets in the folders, at most 256 in each. Other files are ignored.
func (f *Folders) Scan() []Socket {
	var all []Socket
	for _, sub := range f.list {
		d, err := os.Open(sub.path)
		if err != nil {
			f.log.Warn("can't read a folder for sockets", "folder", sub.path, "error", err)
			continue
		}
		names, _ := d.Readdirnames(4 * maxSockets) // an error after some names is ignored
		_ = d.Close()
		n := 0
		for _, name := range names {
			s, ok := find(filepath.Join(sub.path, name), sub.uid)
			if ok && strings.HasSuffix(name, ".sock") && n < maxSockets {
				all = append(all, s)
				n++
			}
		}
	}
	return all
}

// find identifies the socket at path; false for any other file, including symbolic links.
func find(path string, uid int64) (Socket, bool) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return Socket{}, false
	}
	return Socket{path, st.Dev, st.Ino, uid}, true
}

// Connect calls dial with a path that leads to this very socket, and with a function that returns an error for a
// process that must not serve there: one that trust refuses, or of another account than the folder's. A socket without
// a listener is removed once it is ten seconds old. Errors: those of dial; VSS_E_UNEXPECTED if another file has
// replaced the socket.
func (s Socket) Connect(
	trust func(uid uint32) error,
	dial func(path string, trust func(uid uint32) error) error,
) error {
	fd, err := unix.Open(s.Path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return vss.E("Connect", vss.ErrUnexpected, err).On(s.Path)
	}
	file := os.NewFile(uintptr(fd), s.Path)
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Dev != s.dev || st.Ino != s.ino {
		return vss.E("Connect", vss.ErrUnexpected,
			errors.Join(err, errors.New("the socket was replaced by another file"))).
			On(s.Path)
	}
	err = dial(fmt.Sprintf("/proc/self/fd/%d", fd), func(uid uint32) error {
		if s.uid >= 0 && int64(uid) != s.uid {
			return fmt.Errorf("the socket belongs to a process of uid %d; want uid %d", uid, s.uid)
		}
		return trust(uid)
	})
	age := time.Since(time.Unix(st.Mtim.Unix()))
	if errors.Is(err, unix.ECONNREFUSED) && (age >= staleAfter || age < 0) { // below 0: the clock was set back since
		return errors.Join(err, s.remove())
	}
	return err
}

// remove deletes a socket without a listener. A process that replaces the socket holds the lock of its folder meanwhile
// (wire.Listen); if the lock is taken, the socket remains until the next attempt.
func (s Socket) remove() error {
	d, err := os.Open(filepath.Dir(s.Path))
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil
	}
	if now, there := find(s.Path, s.uid); !there || now != s {
		return nil
	}
	if err := os.Remove(s.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
