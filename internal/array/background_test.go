package array_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/array/pool/pooltest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func TestPlex(t *testing.T) {
	for _, kind := range []string{"btrfs", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t, kind, 1<<30, 8*mib)
			const size = 96 * mib
			a := w.lun("a", size)
			da := w.attach(a.ID)
			pooltest.Write(t, da, 0, 'a', size)
			w.pausedPlex(a.ID)
			events, err := w.Events(ctx)
			must(t, err)

			resume, err := w.PauseBackground(ctx)
			must(t, err)
			set, copies := w.finish(array.MethodPlex, a.ID)
			id := copies[0].ID
			device := w.attach(id)
			pooltest.Want(t, device, 0, 'a', mib) // usable at once
			time.Sleep(50 * time.Millisecond)
			if p := w.get(id).Percent; p != 0 {
				t.Errorf("paused, and at %v %%", p)
			}
			if _, shared := pooltest.Extents(t, w.data(id)); shared == 0 {
				t.Error("paused, and nothing is shared")
			}
			w.restart() // in the middle, the pause with it
			resume()
			must(t, w.KeepCopies(ctx, set, "here"))
			events2, err := w.Events(ctx)
			must(t, err)
			pooltest.Write(t, device, 5*mib, 'w', mib)
			eventually(t, "hydrated", func() bool { return w.get(id).Percent == 100 })
			if _, open := <-events; open {
				t.Error("events of a closed controller go on")
			}
			select {
			case e := <-events2:
				if e.What != "hydrated" || e.LUN.ID != id {
					t.Errorf("event %+v", e)
				}
			case <-time.After(5 * time.Second):
				t.Error("no event")
			}
			if all, shared := pooltest.Extents(t, w.data(id)); shared != 0 {
				t.Errorf("%d of %d extents are shared", shared, all)
			}
			pooltest.Want(t, device, 0, 'a', 5*mib)
			pooltest.Want(t, device, 5*mib, 'w', mib)
			pooltest.Want(t, device, 6*mib, 'a', size-6*mib)
			w.restart()
			if l := w.get(id); l.Percent != 100 || !l.Final {
				t.Errorf("after a restart %+v", l)
			}
			must(t, w.Initiator.Detach(ctx, da))
			_, err = w.Unmap(ctx, a.ID, "here")
			must(t, err)
			must(t, w.Delete(ctx, a.ID, false)) // nothing depends on it
			pooltest.Want(t, device, 0, 'a', 5*mib)
		})
	}
}

// pausedPlex makes a plex while background work is paused: its hydration has begun, waits, and goes on after the pause.
func (w *world) pausedPlex(origin vss.LUNID) {
	w.t.Helper()
	events, err := w.Events(ctx)
	must(w.t, err)
	resume, err := w.PauseBackground(ctx)
	must(w.t, err)
	set, copies := w.finish(array.MethodPlex, origin)
	time.Sleep(50 * time.Millisecond)
	if p := w.get(copies[0].ID).Percent; p != 0 {
		w.t.Errorf("paused, and at %v %%", p)
	}
	resume()
	select {
	case e := <-events:
		if e.What != "hydrated" || e.LUN.ID != copies[0].ID {
			w.t.Errorf("event %+v", e)
		}
	case <-time.After(20 * time.Second):
		w.t.Fatal("hydration did not go on after the pause")
	}
	must(w.t, w.AbortCopies(ctx, set, "here"))
}

// A plex that is deleted while it is hydrated is gone at once, and its work with it.
func TestPlexDeleted(t *testing.T) {
	w := newWorld(t, "xfs", 1<<30, 8*mib)
	a := w.lun("a", 128*mib)
	pooltest.Write(t, w.data(a.ID), 0, 'a', 128*mib)
	set, copies := w.finish(array.MethodPlex, a.ID)
	must(t, w.AbortCopies(ctx, set, "here"))
	w.noData(copies[0].ID)
	if left, _ := os.ReadDir(w.dir + "/work"); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

// The originals of a pool that runs full are written on; copies go, the oldest first, and it is told.
func TestFullPool(t *testing.T) {
	for kind, pool := range map[string]int64{"btrfs": 600 * mib, "xfs": 600 * mib, "self-made": 2300 * mib} {
		t.Run(kind, func(t *testing.T) {
			const size = 192 * mib
			w := newWorld(t, kind, pool, 0)
			a := w.lun("a", size)
			device := w.attach(a.ID)
			f, err := os.OpenFile(device, os.O_RDWR, 0)
			must(t, err)
			defer f.Close()
			events, err := w.Events(ctx)
			must(t, err)
			round := func() {
				t.Helper()
				buf := make([]byte, mib)
				_, _ = rand.Read(buf)
				for at := int64(0); at < size; at += mib {
					if _, err := f.WriteAt(buf, at); err != nil {
						t.Fatalf("the original failed at %d: %v", at, err)
					}
				}
				if err := f.Sync(); err != nil {
					t.Fatalf("the original failed: %v", err)
				}
			}
			round()
			var dropped []vss.LUNID
			var made []vss.LUNID
			for range 10 {
				set := newSet()
				copies, err := w.PrepareCopies(ctx, set, "here", []array.CopyRequest{{Origin: a.ID}})
				if errors.Is(err, vss.ErrInsufficientStorage) {
					t.Logf("refused with %d copies: %v", len(w.names())-1, err)
				} else {
					must(t, err)
					_, err = w.CommitCopies(ctx, set, "here")
					must(t, err)
					_, err = w.FinishCopies(ctx, set, "here")
					must(t, err)
					if err := w.KeepCopies(ctx, set, "here"); err != nil {
						wantCode(t, err, vss.ErrInsufficientStorage) // dropped in between
					}
					made = append(made, copies[0].ID)
				}
				start := time.Now()
				round()
				t.Logf("a round: %v", time.Since(start).Round(time.Millisecond))
			}
			eventually(t, "a copy dropped", func() bool {
				for {
					select {
					case e := <-events:
						if e.What == "dropped" {
							if e.Text == "" || e.Hint == "" {
								t.Errorf("event %+v", e)
							}
							dropped = append(dropped, e.LUN.ID)
						}
					default:
						return len(dropped) > 0
					}
				}
			})
			for i, id := range dropped {
				if id != made[i] {
					t.Errorf("dropped %d was %v, made were %v", i, id, made)
				}
			}
			w.noData(dropped...)
			w.get(a.ID)
			t.Logf("%d made, %d dropped", len(made), len(dropped))
		})
	}
}

// A copy that is dropped while it is attached gives errors, and never somebody else's blocks.
func TestDroppedWhileAttached(t *testing.T) {
	const size = 128 * mib
	w := newWorld(t, "btrfs", 400*mib, 0)
	a := w.lun("a", size)
	pooltest.Write(t, w.data(a.ID), 0, 'a', size)
	_, copies := w.keep("", a.ID)
	device := w.attach(copies[0].ID)
	pooltest.Want(t, device, 0, 'a', mib)
	for i := byte('b'); i < 'f'; i++ {
		pooltest.Write(t, w.data(a.ID), 0, i, size)
		time.Sleep(300 * time.Millisecond)
	}
	eventually(t, "dropped", func() bool { _, err := w.LUN(ctx, copies[0].ID); return err != nil })
	f, err := os.OpenFile(device, os.O_RDONLY|odirect, 0)
	must(t, err)
	defer f.Close()
	if n, err := f.ReadAt(aligned(mib), 16*mib); err == nil {
		t.Errorf("%d bytes read of a copy that is gone", n)
	}
}

func TestPause(t *testing.T) {
	w := newWorld(t, "xfs", 512*mib, 8*mib)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				resume, err := w.PauseBackground(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				resume()
				resume()
			}
		})
	}
	all.Wait()
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if resume, err := w.PauseBackground(gone); err == nil { // nothing runs: nothing to wait for
		resume()
	}
}
