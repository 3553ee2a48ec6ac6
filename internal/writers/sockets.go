package writers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// scan lists the sockets in the folders, at most maxSockets in each. Other files are ignored.
func (r *Registry) scan() map[socket]folder {
	seen := map[socket]folder{}
	for _, f := range r.folders {
		d, err := os.Open(f.path)
		if err != nil {
			r.log.Warn("can't read a folder for writers", "folder", f.path, "error", err)
			continue
		}
		names, _ := d.Readdirnames(4 * maxSockets) // an error after some names is ignored
		_ = d.Close()
		n := 0
		for _, name := range names {
			s, ok := find(filepath.Join(f.path, name))
			if ok && strings.HasSuffix(name, ".sock") && n < maxSockets {
				seen[s] = f
				n++
			}
		}
	}
	return seen
}

// find identifies the socket at path; false for any other file, including symbolic links.
func find(path string) (socket, bool) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return socket{}, false
	}
	return socket{path, st.Dev, st.Ino}, true
}

// connect connects to the writer behind the socket s, and fails if another file has replaced it. Errors: those of
// writer.Connect.
func (r *Registry) connect(ctx context.Context, s socket, f folder) (writer.Remote, error) {
	fd, err := unix.Open(s.path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, vss.E("Connect", vss.ErrUnexpected, err).On(s.path)
	}
	file := os.NewFile(uintptr(fd), s.path)
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Dev != s.dev || st.Ino != s.ino {
		return nil, vss.E("Connect", vss.ErrUnexpected, errors.Join(err, errors.New("the socket was replaced by another file"))).
			On(s.path)
	}
	c, err := writer.Connect(ctx, fmt.Sprintf("/proc/self/fd/%d", fd), func(uid uint32) error {
		if f.uid >= 0 && int64(uid) != f.uid {
			return fmt.Errorf("the socket belongs to a process of uid %d; want uid %d", uid, f.uid)
		}
		return r.trust(uid)
	})
	age := time.Since(time.Unix(st.Mtim.Unix()))
	if errors.Is(err, unix.ECONNREFUSED) && (age >= retryAfter || age < 0) { // below 0: the clock was set back since
		return nil, errors.Join(err, remove(s))
	}
	return c, err
}

// remove deletes a socket without a listener. A process that replaces the socket holds the lock of its folder
// meanwhile (wire.Listen); if the lock is taken, the socket remains until the next attempt.
func remove(s socket) error {
	d, err := os.Open(filepath.Dir(s.path))
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil
	}
	if now, there := find(s.path); !there || now != s {
		return nil
	}
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
