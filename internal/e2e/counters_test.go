package e2e

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// counters are the load that proves one instant: a number that is written, with fsync, to a file on each volume in turn. At
// any instant each volume has the number of the one before it, or one less; the first has at most one more than the last.
type counters struct {
	files []*os.File
	stop  atomic.Bool
	ended sync.WaitGroup
	last  atomic.Uint64 // written to all volumes
	err   error
}

const counterName = "counter"

// count begins to write, until the test ends or end is called.
func count(t testing.TB, volumes ...string) *counters {
	t.Helper()
	c := &counters{}
	for _, v := range volumes {
		f, err := os.OpenFile(filepath.Join(v, counterName), os.O_CREATE|os.O_RDWR, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		c.files = append(c.files, f)
	}
	c.ended.Go(c.run)
	t.Cleanup(func() { c.end(t) })
	return c
}

func (c *counters) run() {
	var b [8]byte
	for n := uint64(1); !c.stop.Load(); n++ {
		binary.LittleEndian.PutUint64(b[:], n)
		for _, f := range c.files {
			if _, err := f.WriteAt(b[:], 0); err != nil {
				c.err = err
				return
			}
			if err := f.Sync(); err != nil {
				c.err = err
				return
			}
		}
		c.last.Store(n)
	}
}

// end stops writing; the originals must not have failed. It may be repeated.
func (c *counters) end(t testing.TB) {
	t.Helper()
	c.stop.Store(true)
	c.ended.Wait()
	for _, f := range c.files {
		f.Close()
	}
	c.files = nil
	if c.err != nil {
		t.Errorf("the load on the originals failed: %v", c.err)
	}
}

// readCounter reads what a copy, mounted at root, has.
func readCounter(root string) (uint64, error) {
	b, err := os.ReadFile(filepath.Join(root, counterName))
	if err != nil {
		return 0, err
	}
	if len(b) != 8 {
		return 0, fmt.Errorf("%d bytes in %s", len(b), root)
	}
	return binary.LittleEndian.Uint64(b), nil
}

// oneInstant checks the counters of copies in the order of the volumes; it gives the number of the first.
func oneInstant(t testing.TB, roots []string) uint64 {
	t.Helper()
	var got []uint64
	for _, r := range roots {
		n, err := readCounter(r)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, n)
	}
	for i := 1; i < len(got); i++ {
		if got[i] > got[i-1] || got[0]-got[i] > 1 {
			t.Errorf("not one instant: the counters are %v", got)
			break
		}
	}
	return got[0]
}
