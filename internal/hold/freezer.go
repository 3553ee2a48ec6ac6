package hold

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// freezer is the process that freezes file systems.
type freezer struct {
	guard
	*alarm
	begin *alarm
	flush atomic.Int32 // file systems whose FIFREEZE hasn't returned
	left  atomic.Int32 // file systems not settled
	done  chan struct{}
}

func newFreezer(g guard) *freezer {
	f := &freezer{guard: g, alarm: newAlarm(), begin: newAlarm(), done: make(chan struct{})}
	f.flush.Store(int32(len(g.fds)))
	f.left.Store(int32(len(g.fds)))
	var threads sync.WaitGroup
	threads.Add(len(g.fds))
	for i := range g.fds {
		go func() {
			runtime.LockOSThread()
			threads.Done()
			f.hold(i)
		}()
	}
	threads.Wait()
	return f
}

// run executes the coordinator's commands until it sends quit or dies and no file system is frozen by us.
func (f *freezer) run() {
	coordinator, sentinel, done := f.coordinator.in, f.peer.in, f.done
	deadline := time.NewTimer(time.Hour)
	deadline.Stop()
	begun, quit := false, false
	f.coordinator.send(msgReady)
	for {
		select {
		case what, ok := <-coordinator:
			switch {
			case !ok:
				coordinator, quit = nil, true
				f.giveUp(peerDied)
			case what == msgHold:
				begun = true
				now := clock()
				f.b.start.Store(now)
				f.b.deadline.Store(now + f.b.limit.Load())
				deadline.Reset(time.Duration(f.b.limit.Load()))
				f.begin.ring()
			case what == msgRelease:
				f.giveUp(released)
			case what == msgQuit:
				quit = true
				f.giveUp(closed)
			}
		case _, ok := <-sentinel:
			if !ok {
				sentinel = nil
				f.giveUp(peerDied)
			}
		case <-deadline.C:
			f.giveUp(overrun)
		case <-done:
			done = nil
		}
		if quit && (done == nil || !begun) {
			break
		}
	}
	if coordinator == nil {
		_ = os.Remove(f.record)
	}
}

func (f *freezer) giveUp(why uint32) {
	f.b.end(why)
	f.ring()
}

// hold is the thread of one file system.
func (f *freezer) hold(i int) {
	m, fd := &f.b.marks[i], f.fds[i]
	<-f.begin.rung
	m.state.Store(freezing)
	if f.b.over.Load() != notOver {
		m.state.Store(idle)
	} else {
		m.begun.Store(clock())
		err := freezeSuper(fd)
		m.froze.Store(clock())
		switch err {
		case nil:
			m.state.Store(frozen)
		case syscall.EBUSY:
			m.state.Store(foreign)
		default:
			if errno, ok := err.(syscall.Errno); ok {
				m.errno.Store(uint32(errno))
			}
			m.state.Store(failed)
		}
		if err != nil {
			f.giveUp(refused)
		}
	}
	if f.flush.Add(-1) == 0 && f.b.over.Load() == notOver {
		f.coordinator.send(msgFrozen)
	}
	<-f.rung
	for !f.b.settled(i) {
		if f.b.thaw(i, fd, false, false); !f.b.settled(i) {
			time.Sleep(retry)
		}
	}
	if f.left.Add(-1) == 0 {
		f.coordinator.send(msgThawed)
		close(f.done)
	}
}
