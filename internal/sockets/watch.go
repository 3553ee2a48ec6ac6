package sockets

import (
	"context"
	"os"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Watch calls changed after each change of the folders' entries, until ctx ends. It returns when it is watching; done
// is closed when it has ended. Errors: VSS_E_UNEXPECTED.
func (f *Folders) Watch(ctx context.Context, changed func()) (done <-chan struct{}, err error) {
	fail := func(err error) error { return vss.E("WatchSockets", vss.ErrUnexpected, err).On(f.list[0].path) }
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fail(err)
	}
	file := os.NewFile(uintptr(fd), "inotify")
	for _, sub := range f.list {
		mask := uint32(unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_ONLYDIR)
		if _, err := unix.InotifyAddWatch(fd, sub.path, mask); err != nil {
			_ = file.Close()
			return nil, fail(err)
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = file.Close() })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer stop()
		events := make([]byte, 4096)
		for {
			if _, err := file.Read(events); err != nil {
				return
			}
			changed()
		}
	}()
	return ended, nil
}
