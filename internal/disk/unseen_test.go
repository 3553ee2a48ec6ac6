package disk

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// What udev watches of a disk's node: a live disk's flags change without it, another's with. The lock is one that
// udev and everybody else meets, either way, and what is written is on the disk.
func TestUnseen(t *testing.T) {
	d := device(t, 8*mib, 512)
	_, err := Create(d, StyleGPT, "")
	must(t, err)
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	must(t, err)
	t.Cleanup(func() { unix.Close(watch) })
	_, err = unix.InotifyAddWatch(watch, d, unix.IN_CLOSE_WRITE)
	must(t, err)
	for _, c := range []struct {
		name string
		open func() (*Editor, error)
		seen bool
	}{
		{"live", func() (*Editor, error) { return OpenLive(t.Context(), d) }, false},
		{"other", func() (*Editor, error) { return Open(t.Context(), d) }, true},
	} {
		for _, flags := range []vss.DiskFlags{vss.FlagsShadowCopy, 0} {
			e, err := c.open()
			must(t, err)
			other, err := os.Open(d)
			must(t, err)
			if err := unix.Flock(int(other.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
				t.Errorf("%s: another lock while it is edited: %v", c.name, err)
			}
			must(t, e.SetFlags(flags, vss.FlagsShadowCopy&^flags))
			must(t, e.Close())
			if got := table(t, d).Partitions[0].Flags; got != flags {
				t.Errorf("%s: the flags on the disk are %v, not %v", c.name, got, flags)
			}
			if err := unix.Flock(int(other.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
				t.Errorf("%s: a lock afterwards: %v", c.name, err)
			}
			other.Close()
			b := make([]byte, 4096)
			if n, err := unix.Read(watch, b); (n > 0) != c.seen || n <= 0 && !errors.Is(err, unix.EAGAIN) {
				t.Errorf("%s: a watcher of the node reads %d bytes, %v; expected an event: %v", c.name, n, err, c.seen)
			}
		}
	}
}

// Others wait for a disk's lock until it is released, while its holder edits the disk.
func TestLock(t *testing.T) {
	d := device(t, 8*mib, 512)
	_, err := Create(d, StyleGPT, "")
	must(t, err)
	l, err := Lock(t.Context(), d)
	must(t, err)
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	must(t, l.Edit(func(e *Editor) error { return e.SetFlags(vss.FlagHidden, 0) }))
	for _, open := range []func(context.Context, string) (*Editor, error){Open, OpenLive} {
		_, err = open(soon(), d)
		wantCode(t, err, vss.ErrVolumeInUse)
	}
	_, err = Lock(soon(), d)
	wantCode(t, err, vss.ErrVolumeInUse)
	stop := errors.New("stop")
	if err := l.Edit(func(*Editor) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("edit: %v", err)
	}
	l.Release()
	edit(t, d, func(e *Editor) { must(t, e.SetFlags(vss.FlagsShadowCopy, 0)) })
}
