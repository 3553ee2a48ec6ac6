package hold

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	retry = 50 * time.Millisecond // interval of attempts to thaw what isn't settled
	// after an alarm until a stopped freezer is killed; also the interval of further attempts
	killAfter   = 500 * time.Millisecond
	readyWithin = 5 * time.Second // for both guards to be set up
	awakeWithin = time.Second     // for the sentinel to answer when the hold begins
	goneWithin  = time.Second     // for a guard to end when asked to
)

// alarm is a signal that is given once.
type alarm struct {
	once sync.Once
	rung chan struct{}
}

func newAlarm() *alarm { return &alarm{rung: make(chan struct{})} }

func (a *alarm) ring() { a.once.Do(func() { close(a.rung) }) }

// line is the second line of thawing: the sentinel and the coordinator have one each. Its threads exist from the
// beginning and wait for the alarm.
type line struct {
	*alarm
	b       *board
	gone    atomic.Bool // the freezer is dead
	settled chan struct{}
}

// newLine makes a line with descriptors of the board's file systems, in their order.
func newLine(b *board, fds []int) *line {
	l := &line{alarm: newAlarm(), b: b, settled: make(chan struct{})}
	var left atomic.Int32
	left.Store(int32(len(fds)))
	var threads sync.WaitGroup
	threads.Add(len(fds))
	for i, fd := range fds {
		go func() {
			runtime.LockOSThread() // a FITHAW that waits for a flush must not take a thread from other goroutines
			threads.Done()
			l.thaw(i, fd)
			if left.Add(-1) == 0 {
				close(l.settled)
			}
		}()
	}
	threads.Wait()
	return l
}

// thaw waits for the alarm and then thaws file system i until it is settled.
func (l *line) thaw(i, fd int) {
	<-l.rung
	for doubt := false; !l.b.settled(i); doubt = true { // a living freezer gets one round to record whose freeze it is
		gone := l.gone.Load()
		if l.b.thaw(i, fd, doubt, gone); !l.b.settled(i) {
			time.Sleep(retry)
		}
	}
}
