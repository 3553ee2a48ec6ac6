package hold

import (
	"os"

	"golang.org/x/sys/unix"
)

// Messages between the coordinator and its guards.
const (
	msgHold    = 'H' // to the sentinel: begin to watch, answered by msgReady; to the freezer: freeze
	msgRelease = 'R' // to the freezer
	msgQuit    = 'Q'
	msgReady   = 'r'
	msgFrozen  = 'f' // from the freezer: all are frozen
	msgThawed  = 't' // from the freezer: nothing is frozen by us
)

// link is one end of the socket between two of the three processes.
type link struct {
	fd int
	in chan byte // closed when the other process is dead
}

// joined returns the two ends of a link, as files to pass to a child.
func joined() (here, there *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "link"), os.NewFile(uintptr(fds[1]), "link"), nil
}

// listen reads from a link in a goroutine until the other process dies or cut is called.
func listen(fd int) *link {
	l := &link{fd: fd, in: make(chan byte, 16)}
	go func() {
		defer close(l.in)
		buf := make([]byte, 1)
		for {
			n, err := unix.Read(fd, buf)
			if err == unix.EINTR {
				continue
			}
			if n < 1 {
				return
			}
			l.in <- buf[0]
		}
	}()
	return l
}

// send sends one byte. A dead process at the other end shows in listen.
func (l *link) send(b byte) {
	for {
		if _, err := unix.Write(l.fd, []byte{b}); err != unix.EINTR {
			return
		}
	}
}

// cut ends the link for both sides.
func (l *link) cut() { _ = unix.Shutdown(l.fd, unix.SHUT_RDWR) }
