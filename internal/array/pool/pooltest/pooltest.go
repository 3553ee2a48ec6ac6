// Package pooltest is the conformance suite of pools. The tests of every implementation of array.Pool run it.
package pooltest

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const mib = 1 << 20

// Run proves a pool. Open makes a new, empty one with room for 300 MiB at least; reopen opens a closed pool again, or
// tries to open one that is open.
func Run(t *testing.T, open func(t *testing.T) (p array.Pool, reopen func() (array.Pool, error))) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s *suite)
	}{
		{"create, extend, delete", testLife},
		{"a copy is its origin at the cut", testCopy},
		{"32 copies in one cut", testMany},
		{"copies survive their origin", testOriginGone},
		{"prepared and not cut leaves nothing", testNotCut},
		{"hydrate while the copy is written", testHydrate},
		{"hydrate is stopped and goes on", testHydrateStopped},
		{"replace", testReplace},
		{"one owner, and all is there after it", testReopen},
		{"space comes back", testSpace},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &suite{t: t}
			s.Pool, s.reopen = open(t)
			t.Cleanup(func() { must(t, s.Close()) })
			c.run(t, s)
		})
	}
}

type suite struct {
	t *testing.T
	array.Pool
	reopen func() (array.Pool, error)
}

func newID() vss.LUNID { return vss.LUNID{GUID: vss.NewGUID()} }

// lun makes a LUN and writes into its first MiB.
func (s *suite) lun(size int64, fill byte) vss.LUNID {
	s.t.Helper()
	id := newID()
	must(s.t, s.Room(size))
	must(s.t, s.Create(id, size))
	Write(s.t, s.path(id), 0, fill, mib)
	s.t.Cleanup(func() { must(s.t, s.Delete(id)) })
	return id
}

func (s *suite) path(id vss.LUNID) string { return s.Backing(id).Path }

// cut copies LUNs.
func (s *suite) cut(origins ...vss.LUNID) (copies []vss.LUNID, took time.Duration) {
	s.t.Helper()
	var cuts []array.Cut
	for _, o := range origins {
		id := newID()
		copies = append(copies, id)
		cuts = append(cuts, array.Cut{Origin: o, Copy: id})
		s.t.Cleanup(func() { must(s.t, s.Delete(id)) })
	}
	c, err := s.Prepare(cuts)
	must(s.t, err)
	start := time.Now()
	first, last, err := c.Cut()
	took = time.Since(start)
	must(s.t, err)
	if first.Before(start) || last.Before(first) {
		s.t.Errorf("cuts from %v to %v, started %v", first, last, start)
	}
	must(s.t, c.Close())
	return copies, took
}

func testLife(t *testing.T, s *suite) {
	id := s.lun(8*mib, 'a')
	stored, err := s.Stored()
	must(t, err)
	if len(stored) != 1 || stored[id] != 8*mib {
		t.Errorf("stored %v", stored)
	}
	if n, err := s.Allocated(id); err != nil || n < mib || n > 2*mib {
		t.Errorf("allocated %d, %v; want about what was written", n, err)
	}
	Want(t, s.path(id), 4*mib, 0, mib)
	must(t, s.Extend(id, 16*mib))
	Want(t, s.path(id), 0, 'a', mib)
	Want(t, s.path(id), 15*mib, 0, mib)
	must(t, s.Delete(id))
	must(t, s.Delete(id))
	must(t, s.Delete(newID()))
	if stored, _ := s.Stored(); len(stored) != 0 {
		t.Errorf("stored after delete: %v", stored)
	}
	if _, err := os.Stat(s.path(id)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data is still there: %v", err)
	}
	if n, err := s.Allocated(id); n != 0 || err != nil {
		t.Errorf("allocated of nothing: %d, %v", n, err)
	}
}

func testCopy(t *testing.T, s *suite) {
	o := s.lun(8*mib, 'a')
	copies, _ := s.cut(o)
	Write(t, s.path(o), 0, 'b', mib/2)
	Write(t, s.path(copies[0]), mib/2, 'c', mib/2)
	Want(t, s.path(copies[0]), 0, 'a', mib/2)
	Want(t, s.path(copies[0]), mib/2, 'c', mib/2)
	Want(t, s.path(o), 0, 'b', mib/2)
	Want(t, s.path(o), mib/2, 'a', mib/2)
	again, _ := s.cut(copies[0], o)
	Want(t, s.path(again[0]), mib/2, 'c', mib/2)
	Want(t, s.path(again[1]), 0, 'b', mib/2)
}

func testMany(t *testing.T, s *suite) {
	const n = 32
	origins := make([]vss.LUNID, n)
	for i := range origins {
		origins[i] = s.lun(4*mib, byte(i))
	}
	copies, took := s.cut(origins...)
	for i, c := range copies {
		Write(t, s.path(origins[i]), 0, 0xff, mib)
		Want(t, s.path(c), 0, byte(i), mib)
	}
	t.Logf("%d copies cut in %v", n, took.Round(100*time.Microsecond))
}

func testOriginGone(t *testing.T, s *suite) {
	o := s.lun(8*mib, 'a')
	copies, _ := s.cut(o)
	must(t, s.Delete(o))
	Want(t, s.path(copies[0]), 0, 'a', mib)
}

func testNotCut(t *testing.T, s *suite) {
	o, id := s.lun(8*mib, 'a'), newID()
	c, err := s.Prepare([]array.Cut{{Origin: o, Copy: id}})
	must(t, err)
	must(t, c.Close())
	must(t, s.Delete(id))
	stored, err := s.Stored()
	must(t, err)
	if len(stored) != 1 {
		t.Errorf("stored %v", stored)
	}
	if _, err := s.Prepare([]array.Cut{{Origin: newID(), Copy: id}}); err == nil {
		t.Error("a copy of nothing was prepared")
	}
	must(t, s.Delete(id))
}

// fill writes a LUN in pieces of 64 KiB in random order, so that it has many extents.
func fill(t *testing.T, path string, size int64) {
	t.Helper()
	const piece = 64 << 10
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	buf := make([]byte, piece)
	for i, n := range rand.Perm(int(size / piece)) {
		for j := range buf {
			buf[j] = byte(n)
		}
		_, err := f.WriteAt(buf, int64(n)*piece)
		must(t, err)
		if i%16 == 0 {
			must(t, f.Sync())
		}
	}
	must(t, f.Sync())
}

func testHydrate(t *testing.T, s *suite) {
	const size = 32 * mib
	o := s.lun(size, 'a')
	fill(t, s.path(o), size)
	copies, _ := s.cut(o)
	image := s.path(copies[0])
	if _, shared := Extents(t, image); shared == 0 {
		t.Fatal("nothing is shared before; the test can't tell")
	}
	// Blocks that are written while the copy is hydrated: the last value written must be there afterwards.
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	stop := make(chan struct{})
	last := map[int64]byte{}
	var writer sync.WaitGroup
	writer.Go(func() {
		buf := make([]byte, 4096)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			at, v := rand.Int64N(size/4096)*4096, byte(i)
			for j := range buf {
				buf[j] = v
			}
			if _, err := f.WriteAt(buf, at); err != nil {
				t.Error(err)
				return
			}
			last[at] = v
			time.Sleep(100 * time.Microsecond)
		}
	})
	start, pieces, percent := time.Now(), 0, -1.0
	err = s.Hydrate(context.Background(), copies[0], func(p float64, piece func() error) error {
		if p < 0 || p > 100 {
			t.Errorf("percent %v", p)
		}
		pieces, percent = pieces+1, p
		return piece()
	})
	close(stop)
	writer.Wait()
	must(t, err)
	t.Logf(
		"%d MiB hydrated in %d pieces, %v, last at %.0f %%, %d blocks written meanwhile",
		size/mib,
		pieces,
		time.Since(start).Round(time.Millisecond),
		percent,
		len(last),
	)
	must(t, f.Sync())
	if all, shared := Extents(t, image); shared != 0 {
		t.Errorf("%d of %d extents are shared still", shared, all)
	}
	if all, shared := Extents(t, s.path(o)); shared != 0 {
		t.Errorf("%d of %d extents of the origin are shared still", shared, all)
	}
	got := make([]byte, size)
	_, err = f.ReadAt(got, 0)
	must(t, err)
	for at := int64(0); at < size; at += 4096 {
		want, written := last[at]
		if !written {
			want = byte(at / (64 << 10))
		}
		for _, b := range got[at : at+4096] {
			if b != want {
				t.Fatalf("block at %d has %#x, want %#x (written: %v)", at, b, want, written)
			}
		}
	}
}

func testHydrateStopped(t *testing.T, s *suite) {
	const size = 16 * mib
	o := s.lun(size, 'a')
	fill(t, s.path(o), size)
	copies, _ := s.cut(o)
	ctx, cancel := context.WithCancel(context.Background())
	err := s.Hydrate(ctx, copies[0], func(_ float64, piece func() error) error {
		cancel()
		return piece()
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("a stopped hydration says %v", err)
	}
	if _, shared := Extents(t, s.path(copies[0])); shared == 0 {
		t.Fatal("it was not stopped")
	}
	must(t, s.Hydrate(context.Background(), copies[0], func(_ float64, piece func() error) error { return piece() }))
	if _, shared := Extents(t, s.path(copies[0])); shared != 0 {
		t.Errorf("%d extents are shared still", shared)
	}
}

func testReplace(t *testing.T, s *suite) {
	from, to := s.lun(8*mib, 'a'), s.lun(4*mib, 'b')
	copies, _ := s.cut(to)
	must(t, s.Replace(from, to))
	Want(t, s.path(to), 0, 'a', mib)
	if stored, _ := s.Stored(); stored[to] != 8*mib {
		t.Errorf("the size is %d", stored[to])
	}
	Write(t, s.path(to), 0, 'c', mib)
	Want(t, s.path(from), 0, 'a', mib)
	Want(t, s.path(copies[0]), 0, 'b', mib)
	if err := s.Replace(newID(), to); err == nil {
		t.Error("replaced by nothing")
	}
	Want(t, s.path(to), 0, 'c', mib)
}

func testReopen(t *testing.T, s *suite) {
	o := s.lun(8*mib, 'a')
	copies, _ := s.cut(o)
	if _, err := s.reopen(); !errors.Is(err, vss.VDSErrDeviceInUse) {
		t.Fatalf("a second owner got %v", err)
	}
	Want(t, s.path(o), 0, 'a', mib)
	must(t, s.Close())
	must(t, s.Close())
	p, err := s.reopen()
	must(t, err)
	s.Pool = p
	stored, err := s.Stored()
	must(t, err)
	if len(stored) != 2 {
		t.Errorf("stored %v", stored)
	}
	Want(t, s.path(copies[0]), 0, 'a', mib)
}

func testSpace(t *testing.T, s *suite) {
	const size = 128 * mib
	before, err := s.Space()
	must(t, err)
	if err := s.Room(before.Free + before.Growth + 1<<40); !errors.Is(err, vss.VDSErrNotEnoughSpace) {
		t.Errorf("room for more than there is: %v", err)
	}
	id := s.lun(size, 'a')
	before, err = s.Space()
	must(t, err)
	Write(t, s.path(id), 0, 'b', size)
	full, err := s.Space()
	must(t, err)
	if used := before.Free - full.Free; used < size*9/10 {
		t.Errorf("%d MiB used after %d MiB were written", used/mib, size/mib)
	}
	must(t, s.Delete(id))
	after, err := s.Space()
	must(t, err)
	if lost := before.Free - after.Free; lost > 8*mib {
		t.Errorf("%d MiB are missing right after the delete", lost/mib)
	}
}
