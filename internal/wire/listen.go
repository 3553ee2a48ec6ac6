package wire

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// maxPath is the maximum length of a socket's path, with ".new" while it is being created.
const maxPath = len(unix.RawSockaddrUnix{}.Path) - 1 - len(".new")

// Listen opens a unix socket at path, and creates its folder with mode 0755. The socket has mode and belongs to group
// if that exists and the process may set it; "" keeps the group. It has these permissions as soon as it is visible. A
// socket without a listener is replaced. Close removes the socket.
// Errors: VSS_E_OBJECT_ALREADY_EXISTS (another process listens), E_INVALIDARG (path too long, or not a socket),
// E_ACCESSDENIED, VSS_E_UNEXPECTED.
func Listen(path string, mode os.FileMode, group string) (net.Listener, error) {
	return listen("unix", path, mode, group)
}

// ListenPackets is Listen for a socket that keeps the limits of messages (SOCK_SEQPACKET).
func ListenPackets(path string, mode os.FileMode, group string) (net.Listener, error) {
	return listen("unixpacket", path, mode, group)
}

func listen(network, path string, mode os.FileMode, group string) (net.Listener, error) {
	const op = "Listen"
	fail := func(err error) error {
		code := vss.ErrUnexpected
		if errors.Is(err, fs.ErrPermission) {
			code = vss.ErrAccessDenied
		}
		return vss.E(op, code, err).On(path)
	}
	if len(path) > maxPath {
		return nil, vss.E(op, vss.ErrInvalidArg, nil).
			On(path).
			Advise("the path of a socket can have at most " + strconv.Itoa(maxPath) + " bytes; choose a shorter --run")
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fail(err)
	}
	// Two processes that start at once must not treat each other's new socket as stale.
	unlock, err := lockSocket(path)
	if err != nil {
		return nil, fail(err)
	}
	defer unlock()
	if err := stale(op, network, path); err != nil {
		return nil, err
	}
	made := path + ".new"
	if err := os.Remove(made); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fail(err)
	}
	l, err := net.ListenUnix(network, &net.UnixAddr{Name: made, Net: network})
	if err != nil {
		return nil, fail(err)
	}
	l.SetUnlinkOnClose(false)
	if err := publish(made, path, mode, group); err != nil {
		_ = l.Close()
		_ = os.Remove(made)
		return nil, fail(err)
	}
	return &listener{UnixListener: l, path: path, made: inode(path)}, nil
}

const (
	lockLimit = 5 * time.Second // for another process that makes the same socket
	lockPause = 10 * time.Millisecond
)

// lockSocket locks a file beside the socket, which only its owner can open: the lock of a folder that others can read
// could be taken by any of them. Unlock removes the file.
func lockSocket(path string) (unlock func(), err error) {
	name := path + ".lock"
	end := time.Now().Add(lockLimit)
	for {
		lock, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && sameFile(lock, name) {
			return func() {
				_ = os.Remove(name) // while it is locked
				_ = lock.Close()
			}, nil
		}
		_ = lock.Close()
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Now().After(end) {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		<-time.After(lockPause)
	}
}

// sameFile reports whether an open file is still the one of its name.
func sameFile(f *os.File, name string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(name)
	return err == nil && os.SameFile(opened, named)
}

// stale returns nil if path is free or is a socket without a listener.
func stale(op, network, path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return nil
	}
	if info.Mode().Type() != fs.ModeSocket {
		return vss.E(op, vss.ErrInvalidArg, errors.New("the file isn't a socket")).On(path)
	}
	c, err := net.Dial(network, path)
	switch {
	case err == nil:
		_ = c.Close()
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOENT):
		return nil
	}
	// Other failures (a full backlog, no permission to connect) mean that a process may be listening.
	return vss.E(op, vss.ErrObjectAlreadyExists, err).
		On(path).
		Advise("another service is running there; stop it, or choose another --run")
}

func publish(made, path string, mode os.FileMode, group string) error {
	if g, err := user.LookupGroup(group); group != "" && err == nil {
		if gid, err := strconv.Atoi(g.Gid); err == nil {
			_ = os.Chown(made, -1, gid) // on failure only the owner has access, which is safe
		}
	}
	if err := os.Chmod(made, mode); err != nil {
		return err
	}
	return os.Rename(made, path)
}

// listener removes its socket in Close, unless another socket has replaced it.
type listener struct {
	*net.UnixListener
	path string
	made uint64
}

// Addr returns the address for clients.
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close stops listening and removes the socket.
func (l *listener) Close() error {
	if n := inode(l.path); n != 0 && n == l.made {
		_ = os.Remove(l.path)
	}
	return l.UnixListener.Close()
}

func inode(path string) uint64 {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return 0
	}
	return st.Ino
}
