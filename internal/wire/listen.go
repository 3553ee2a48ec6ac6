package wire

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// maxPath is the longest path of a unix socket, with ".new" while it is being made.
const maxPath = len(unix.RawSockaddrUnix{}.Path) - 1 - len(".new")

// Listen opens a unix socket at path, making its folder (0755). The socket has mode and, where such a group exists and we
// may, belongs to group ("" leaves it). It is there with its rights from the first moment on. A socket at which nobody
// answers is replaced; closing removes ours.
// Errors: VSS_E_OBJECT_ALREADY_EXISTS (somebody answers there), E_INVALIDARG (path too long, or something else than a
// socket is there), E_ACCESSDENIED, VSS_E_UNEXPECTED.
func Listen(path string, mode os.FileMode, group string) (net.Listener, error) {
	const op = "Listen"
	fail := func(err error) error {
		code := vss.ErrUnexpected
		if errors.Is(err, fs.ErrPermission) {
			code = vss.ErrAccessDenied
		}
		return vss.E(op, code, err).On(path)
	}
	if len(path) > maxPath {
		return nil, vss.E(op, vss.ErrInvalidArg, nil).On(path).Advise("a socket's path has at most " + strconv.Itoa(maxPath) + " bytes; choose a shorter --run")
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fail(err)
	}
	// Two that start at once must not take each other's fresh socket for a stale one.
	lock, err := os.Open(dir)
	if err != nil {
		return nil, fail(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fail(err)
	}
	if err := stale(op, path); err != nil {
		return nil, err
	}
	made := path + ".new"
	if err := os.Remove(made); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fail(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
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

// stale returns nil when path is free or has a socket without anybody behind it.
func stale(op, path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return nil
	}
	if info.Mode().Type() != fs.ModeSocket {
		return vss.E(op, vss.ErrInvalidArg, errors.New("something else than a socket is there")).On(path)
	}
	c, err := net.Dial("unix", path)
	switch {
	case err == nil:
		_ = c.Close()
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOENT):
		return nil
	}
	// Any other failure (a full backlog, no right to connect) means that somebody may well be there.
	return vss.E(op, vss.ErrObjectAlreadyExists, err).On(path).Advise("another service answers there; stop it, or choose another --run")
}

func publish(made, path string, mode os.FileMode, group string) error {
	if g, err := user.LookupGroup(group); group != "" && err == nil {
		if gid, err := strconv.Atoi(g.Gid); err == nil {
			_ = os.Chown(made, -1, gid) // without it only the owner gets in, which is safe
		}
	}
	if err := os.Chmod(made, mode); err != nil {
		return err
	}
	return os.Rename(made, path)
}

// listener removes its socket at Close, unless another one has taken the place.
type listener struct {
	*net.UnixListener
	path string
	made uint64
}

// Addr is where clients find it.
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
