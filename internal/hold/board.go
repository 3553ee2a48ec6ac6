package hold

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// States of a file system on the board.
const (
	idle     uint32 = iota
	freezing        // FIFREEZE is about to be issued, in progress or has just returned: it may be frozen
	frozen          // frozen by us
	thawing         // one of our processes is about to thaw it, or has just done so
	thawed
	lost    // another program thawed it while we held it
	foreign // another program has frozen it
	failed  // FIFREEZE failed
)

// Reasons for the end of a hold. The first one is kept.
const (
	notOver uint32 = iota
	released
	overrun
	peerDied
	refused // FIFREEZE failed for a file system
	cancelled
	closed
)

// claimPatience is how long the processes wait for the one that took over thawing a file system. After that any may.
const claimPatience = 300 * time.Millisecond

// mark is the state of one file system on the board. Times are of CLOCK_MONOTONIC, in ns.
type mark struct {
	state   atomic.Uint32
	errno   atomic.Uint32 // of the last ioctl that failed
	begun   atomic.Int64  // FIFREEZE issued
	froze   atomic.Int64  // FIFREEZE returned
	claimed atomic.Int64  // a process took over thawing
	ended   atomic.Int64  // FITHAW returned
	_       [24]byte      // a cache line of its own
}

type head struct {
	over     atomic.Uint32
	_        uint32
	limit    atomic.Int64 // ns
	start    atomic.Int64 // immediately before the first FIFREEZE
	deadline atomic.Int64 // 0 if nothing is held
	_        [32]byte
}

// board is the memory that the three processes share.
type board struct {
	*head
	marks []mark
	mem   []byte
}

func boardSize(n int) int { return int(unsafe.Sizeof(head{})) + n*int(unsafe.Sizeof(mark{})) }

// newBoard returns a board for n file systems, and the descriptor by which the other processes map it.
func newBoard(n int) (*board, *os.File, error) {
	fd, err := unix.MemfdCreate("vss-hold", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "vss-hold")
	if err := f.Truncate(int64(boardSize(n))); err != nil {
		f.Close()
		return nil, nil, err
	}
	b, err := mapBoard(fd, n)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return b, f, nil
}

func mapBoard(fd, n int) (*board, error) {
	mem, err := unix.Mmap(fd, 0, boardSize(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	_ = unix.Mlock(mem) // best effort: the guards lock all their memory
	h := (*head)(unsafe.Pointer(unsafe.SliceData(mem)))
	first := (*mark)(unsafe.Add(unsafe.Pointer(h), unsafe.Sizeof(head{})))
	return &board{head: h, marks: unsafe.Slice(first, n), mem: mem}, nil
}

// end records the reason for the end of the hold, unless there is one.
func (b *board) end(why uint32) { b.over.CompareAndSwap(notOver, why) }

// late reports whether the deadline has passed.
func (b *board) late() bool {
	d := b.deadline.Load()
	return d != 0 && clock() >= d
}

// settled reports whether file system i isn't frozen by us and won't be. It may be called only after the end of the
// hold: the freezer checks for that between recording freezing and FIFREEZE.
func (b *board) settled(i int) bool {
	switch b.marks[i].state.Load() {
	case freezing, frozen, thawing:
		return false
	}
	return true
}

// left returns the time until the deadline.
func (b *board) left() time.Duration { return time.Duration(b.deadline.Load() - clock()) }

func (b *board) allSettled() bool {
	for i := range b.marks {
		if !b.settled(i) {
			return false
		}
	}
	return true
}

// thaw tries once to end our freeze of file system i with descriptor fd. With doubt it thaws even a freeze that may
// not be ours, as nobody can determine that any more. With gone the freezer is dead, so that a file system that isn't
// frozen stays so.
func (b *board) thaw(i, fd int, doubt, gone bool) {
	m := &b.marks[i]
	switch m.state.Load() {
	case frozen:
		m.claimed.Store(clock())
		if m.state.CompareAndSwap(frozen, thawing) {
			m.finish(thawSuper(fd), lost)
		}
	case thawing:
		// the process that took over was stopped or killed, or is slow; in the last case our FITHAW waits for it
		if clock()-m.claimed.Load() > int64(claimPatience) {
			m.finish(thawSuper(fd), thawed)
		}
	case freezing:
		if !doubt && !gone {
			return
		}
		err := thawSuper(fd)
		for gone && err == nil {
			err = thawSuper(fd)
		}
		if gone && err == syscall.EINVAL && m.state.CompareAndSwap(freezing, thawed) {
			m.ended.Store(clock())
		}
	}
}

// finish records the result of FITHAW for a file system in state thawing; absent is the state if it wasn't frozen.
func (m *mark) finish(err error, absent uint32) {
	now := clock()
	next := thawed
	switch err {
	case nil:
	case syscall.EINVAL:
		next = absent
	default: // still frozen: try again
		if errno, ok := err.(syscall.Errno); ok {
			m.errno.Store(uint32(errno))
		}
		next = frozen
	}
	if next != frozen {
		m.ended.CompareAndSwap(0, now)
	}
	m.state.CompareAndSwap(thawing, next)
}

// mayKill reports whether the freezer is stopped and none of its threads can be thawing. stat is its open
// /proc/PID/stat.
func (b *board) mayKill(stat int) bool {
	for i := range b.marks {
		if b.marks[i].state.Load() == thawing {
			return false
		}
	}
	buf := make([]byte, 512)
	n, err := unix.Pread(stat, buf, 0)
	return err == nil && stopped(buf[:n])
}

func (b *board) close() error { return unix.Munmap(b.mem) }
