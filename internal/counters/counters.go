// Package counters proves that copies are of one instant: a load writes one number after another, each with fsync to a file on
// every one of some volumes in turn. At any instant a volume has the number of the volume before it or one less, and the last
// has at most one less than the first. Copies of which that isn't true are of several instants, or have lost a write that was
// acknowledged.
package counters

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// Name is that of the file, in the root of each volume.
const Name = "counter"

const size = 8 // bytes, a little-endian number

// Load writes until it is ended or a write fails.
type Load struct {
	files   []*os.File
	written atomic.Uint64
	stop    atomic.Bool
	done    chan struct{}
	err     error // once done

	mu      sync.Mutex
	longest time.Duration // between two numbers, since StoodStill asked
	last    time.Time     // a number became durable
}

// Start begins to write to volumes, by their roots. The first number is 1. Errors: what opening the files gives.
func Start(roots ...string) (*Load, error) {
	l := &Load{done: make(chan struct{})}
	for _, root := range roots {
		f, err := os.OpenFile(filepath.Join(root, Name), os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			l.close()
			return nil, err
		}
		l.files = append(l.files, f)
	}
	go func() {
		defer close(l.done)
		defer l.close()
		defer func() {
			if p := recover(); p != nil { // else nobody would clean up
				l.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		l.err = l.run()
	}()
	return l, nil
}

func (l *Load) run() error {
	var b [size]byte
	for n := uint64(1); !l.stop.Load(); n++ {
		binary.LittleEndian.PutUint64(b[:], n)
		for _, f := range l.files {
			if _, err := f.WriteAt(b[:], 0); err != nil {
				return err
			}
			if err := f.Sync(); err != nil {
				return err
			}
		}
		l.written.Store(n)
		l.wrote()
	}
	return nil
}

func (l *Load) close() {
	for _, f := range l.files {
		_ = f.Close()
	}
}

// Written is the last number that is durable on all volumes.
func (l *Load) Written() uint64 { return l.written.Load() }

// StoodStill gives the longest time in which no number became durable on all volumes while f ran. One may be asked for at a
// time.
func (l *Load) StoodStill(f func()) time.Duration {
	l.mu.Lock()
	l.longest, l.last = 0, time.Now()
	l.mu.Unlock()
	f()
	l.wrote()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.longest
}

// wrote ends a time in which nothing was written. It is the writer itself that looks at the clock: another goroutine would
// miss what passes while it waits for a processor.
func (l *Load) wrote() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.longest, l.last = max(l.longest, now.Sub(l.last)), now
}

// Done is closed when nothing is written any more.
func (l *Load) Done() <-chan struct{} { return l.done }

// End ends the load and gives the error that ended it before, if one did. It may be repeated.
func (l *Load) End() error {
	l.stop.Store(true)
	<-l.done
	return l.err
}

// Read gives the numbers on volumes or copies of them, by their roots.
func Read(roots ...string) ([]uint64, error) {
	var out []uint64
	for _, root := range roots {
		path := filepath.Join(root, Name)
		b, err := os.ReadFile(path)
		if err == nil && len(b) != size {
			err = fmt.Errorf("%s has %d bytes, not %d", path, len(b), size)
		}
		if err != nil {
			return nil, err
		}
		out = append(out, binary.LittleEndian.Uint64(b))
	}
	return out, nil
}

// OneInstant says whether numbers, in the order in which the volumes are written to, can be of one instant.
func OneInstant(numbers []uint64) bool {
	for i := 1; i < len(numbers); i++ {
		if numbers[i] > numbers[i-1] || numbers[0]-numbers[i] > 1 {
			return false
		}
	}
	return true
}
