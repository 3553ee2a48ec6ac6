package demo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
)

// counters write one number to a file on each of two volumes in turn, with fsync: first to the first. At any instant the
// first volume has the number of the second, or one more.
type counters struct {
	files []*os.File
	last  atomic.Uint64 // written to both
	stop  atomic.Bool
	done  chan struct{}
	err   error // once done
}

const counterName = "counter"

func startCounters(roots ...string) (*counters, error) {
	c := &counters{done: make(chan struct{})}
	for _, root := range roots {
		f, err := os.OpenFile(filepath.Join(root, counterName), os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			c.close()
			return nil, err
		}
		c.files = append(c.files, f)
	}
	go func() {
		defer close(c.done)
		defer c.close()
		defer func() {
			if p := recover(); p != nil { // else nobody would clean up
				c.err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		c.err = c.run()
	}()
	return c, nil
}

func (c *counters) run() error {
	var b [8]byte
	for n := uint64(1); !c.stop.Load(); n++ {
		binary.LittleEndian.PutUint64(b[:], n)
		for _, f := range c.files {
			if _, err := f.WriteAt(b[:], 0); err != nil {
				return err
			}
			if err := f.Sync(); err != nil {
				return err
			}
		}
		c.last.Store(n)
	}
	return nil
}

// end stops writing and says whether it went well. It may be repeated.
func (c *counters) end() error {
	c.stop.Store(true)
	<-c.done
	return c.err
}

func (c *counters) close() {
	for _, f := range c.files {
		_ = f.Close()
	}
}

// readCounters reads what two copies have.
func readCounters(roots ...string) (out [2]uint64, err error) {
	for i, root := range roots {
		b, err := os.ReadFile(filepath.Join(root, counterName))
		if err == nil && len(b) != 8 {
			err = errors.New("the counter has not 8 bytes")
		}
		if err != nil {
			return out, err
		}
		out[i] = binary.LittleEndian.Uint64(b)
	}
	return out, nil
}
