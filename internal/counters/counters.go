// Package counters verifies that copies are of one instant. A load writes increasing numbers, each with fsync to a
// file on every volume in turn. At any instant a volume has the same number as the volume before it or one less, and
// the last has at most one less than the first. Copies that violate this are of several instants, or have lost an
// acknowledged write.
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

// Name is the name of the file in the root of each volume.
const Name = "counter"

const size = 8 // bytes, a little-endian number

// Load writes until it is ended or a write fails.
type Load struct {
	files   []*os.File
	written atomic.Uint64
	stop    atomic.Bool
	done    chan struct{}
	err     error // valid once done is closed

	mu      sync.Mutex
	longest time.Duration // between two numbers, since the start of StoodStill
	last    time.Time     // when a number last became durable
}

// Start begins to write to volumes with the given roots. The first number is 1. Errors: those of opening the files.
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
			if p := recover(); p != nil { // otherwise nothing would be cleaned up
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

// Written returns the last number that is durable on all volumes.
func (l *Load) Written() uint64 { return l.written.Load() }

// StoodStill returns the longest time in which no number became durable on all volumes while f ran. Calls must not
// overlap.
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

// wrote records the end of a time without writes. The writing goroutine itself reads the clock: another one would miss
// what happens while it waits for a processor.
func (l *Load) wrote() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	l.longest, l.last = max(l.longest, now.Sub(l.last)), now
}

// Done returns a channel that is closed when writing has ended.
func (l *Load) Done() <-chan struct{} { return l.done }

// End ends the load and returns the error that ended it earlier, if any. It may be called repeatedly.
func (l *Load) End() error {
	l.stop.Store(true)
	<-l.done
	return l.err
}

// Read returns the numbers on volumes or their copies, with the given roots.
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

// OneInstant reports whether numbers, in the order in which the volumes are written, can be of one instant.
func OneInstant(numbers []uint64) bool {
	for i := 1; i < len(numbers); i++ {
		if numbers[i] > numbers[i-1] || numbers[0]-numbers[i] > 1 {
			return false
		}
	}
	return true
}
