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
	freezing        // FIFREEZE is about to be issued, under way or just back: it may be frozen
	frozen          // by us
	thawing         // one of us is about to thaw it, or just has
	thawed
	lost    // somebody else thawed it while it was ours
	foreign // another program holds a freeze of it
	failed  // FIFREEZE said no
)

// Why a hold is over. The first one stays.
const (
	notOver uint32 = iota
	released
	overrun
	peerDied
	refused // a FIFREEZE failed
	cancelled
	closed
)

// Patience with another process that took it on itself to thaw a file system and isn't done: after it anybody may.
const claimPatience = 300 * time.Millisecond

// mark is what the board says of one file system. Times are of CLOCK_MONOTONIC, in ns.
type mark struct {
	state   atomic.Uint32
	errno   atomic.Uint32 // of the last ioctl that failed
	begun   atomic.Int64  // FIFREEZE issued
	froze   atomic.Int64  // FIFREEZE returned
	claimed atomic.Int64  // somebody went to thaw it
	ended   atomic.Int64  // FITHAW returned
	_       [24]byte      // a cache line of its own
}

type head struct {
	over     atomic.Uint32
	_        uint32
	limit    atomic.Int64 // ns
	start    atomic.Int64 // just before the first FIFREEZE
	deadline atomic.Int64 // 0: nothing is held
	_        [32]byte
}

// board is the memory that the three processes share.
type board struct {
	*head
	marks []mark
	mem   []byte
}

func boardSize(n int) int { return int(unsafe.Sizeof(head{})) + n*int(unsafe.Sizeof(mark{})) }

// newBoard makes a board for n file systems, and the descriptor by which others map it.
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
	_ = unix.Mlock(mem) // best effort: the guards lock all they have
	h := (*head)(unsafe.Pointer(unsafe.SliceData(mem)))
	first := (*mark)(unsafe.Add(unsafe.Pointer(h), unsafe.Sizeof(head{})))
	return &board{head: h, marks: unsafe.Slice(first, n), mem: mem}, nil
}

// end says why the hold is over, if nobody said so before.
func (b *board) end(why uint32) { b.over.CompareAndSwap(notOver, why) }

// late says whether the deadline is over.
func (b *board) late() bool {
	d := b.deadline.Load()
	return d != 0 && clock() >= d
}

// settled says that file system i isn't frozen by us and won't be. To be asked only when the hold is over: the freezer
// looks at that between saying freezing and doing it.
func (b *board) settled(i int) bool {
	switch b.marks[i].state.Load() {
	case freezing, frozen, thawing:
		return false
	}
	return true
}

// left is the time until the deadline.
func (b *board) left() time.Duration { return time.Duration(b.deadline.Load() - clock()) }

func (b *board) allSettled() bool {
	for i := range b.marks {
		if !b.settled(i) {
			return false
		}
	}
	return true
}

// thaw makes one try to end our freeze of file system i by the descriptor fd. doubt: thaw even what may be not ours, as
// nobody can say any more; gone: the freezer is dead, so what is not frozen now won't be.
func (b *board) thaw(i, fd int, doubt, gone bool) {
	m := &b.marks[i]
	switch m.state.Load() {
	case frozen:
		m.claimed.Store(clock())
		if m.state.CompareAndSwap(frozen, thawing) {
			m.finish(thawSuper(fd), lost)
		}
	case thawing:
		if clock()-m.claimed.Load() > int64(claimPatience) { // its thawer was stopped or killed, or is slow: then ours waits for it
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

// finish notes what FITHAW said of a file system that was thawing; absent is the state to note if it wasn't frozen.
func (m *mark) finish(err error, absent uint32) {
	now := clock()
	next := thawed
	switch err {
	case nil:
	case syscall.EINVAL:
		next = absent
	default: // it is frozen still: try again
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

// mayKill says whether the freezer is stopped and no thread of it can be thawing. stat is its /proc/PID/stat, open.
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
