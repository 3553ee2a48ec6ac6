package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stillpoint-vss/stillpoint/internal/background"
	"github.com/stillpoint-vss/stillpoint/internal/recovery"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// harm is a way in which a step goes wrong.
type harm struct {
	name string
	do   func(m *mishap) error
	want func(t *testing.T, s background.Status, step string, held bool)
}

var errHarm = vss.E("Test", vss.ErrInsufficientStorage, errors.New("harm"))

var harms = []harm{
	{"error", func(*mishap) error { return errHarm }, func(t *testing.T, s background.Status, _ string, _ bool) {
		if !errors.Is(s.Err, vss.ErrInsufficientStorage) {
			t.Errorf("%+v", s)
		}
	}},
	{
		"hang",
		func(m *mishap) error { <-m.release; return nil },
		func(t *testing.T, s background.Status, step string, held bool) {
			want := vss.ErrUnexpected
			if held {
				want = vss.ErrHoldWritesTimeout
			}
			if s.Result != want || !strings.Contains(s.Err.Error(), "step "+step) {
				t.Errorf("%+v, want %v of step %s", s, want, step)
			}
		},
	},
	{"panic", func(*mishap) error { panic("harm") }, func(t *testing.T, s background.Status, step string, _ bool) {
		if s.Result != vss.ErrUnexpected || !strings.Contains(s.Err.Error(), step) ||
			!strings.Contains(s.Err.Error(), "harm") {
			t.Errorf("%+v, want VSS_E_UNEXPECTED of step %s", s, step)
		}
	}},
	{
		"cancelled",
		func(m *mishap) error { m.cancel(); return nil },
		func(t *testing.T, s background.Status, _ string, _ bool) {
			if s.Result != vss.SuccessAsyncCancelled {
				t.Errorf("%+v", s)
			}
		},
	},
}

// mishap lets one step of a creation go wrong, and notes which steps were begun and undone.
type mishap struct {
	release chan struct{} // lets a step that hangs return
	cancel  func()

	mu            sync.Mutex
	begun, undone []string
	held          bool // when it went wrong
}

func (m *mishap) note(to *[]string, name string) {
	m.mu.Lock()
	*to = append(*to, name)
	m.mu.Unlock()
}

// table is the table of steps with a mishap at step i, before its work or after it.
func (m *mishap) table(i int, h *harm, after bool) []step {
	out := slices.Clone(steps)
	for n := range out {
		s := out[n]
		harmful := n == i
		out[n].do = func(c *creation, ctx context.Context) error {
			m.note(&m.begun, s.name)
			if after || !harmful {
				if err := s.do(c, ctx); err != nil {
					return err
				}
			}
			if !harmful {
				return nil
			}
			c.change(func() { m.held = c.holding })
			if err := h.do(m); err != nil || after || h.name != "cancelled" {
				return err
			}
			return s.do(c, ctx)
		}
		if s.undo != nil {
			out[n].undo = func(c *creation, ctx context.Context) {
				m.note(&m.undone, s.name)
				s.undo(c, ctx)
			}
		}
	}
	return out
}

// wantUndone are the undos that are due, in order: those of the steps that were begun, last first.
func (m *mishap) wantUndone() []string {
	var out []string
	for _, s := range slices.Backward(steps) {
		if s.undo != nil && slices.Contains(m.begun, s.name) {
			out = append(out, s.name)
		}
	}
	return out
}

// TestMatrix lets every step go wrong in every way, before and after its work: the steps that were begun are undone,
// last first, nothing is held, locked, marked or left over, and the next set can be created.
func TestMatrix(t *testing.T) {
	for i, s := range steps {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for _, h := range harms {
				for _, after := range []bool{false, true} {
					name := h.name + " before"
					if after {
						name = h.name + " after"
					}
					t.Run(name, func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { goWrong(t, i, &h, after) })
					})
				}
			}
		})
	}
}

func goWrong(t *testing.T, i int, h *harm, after bool) {
	w := newWorld(t)
	defer w.Shutdown()
	m := &mishap{release: make(chan struct{})}
	w.table = m.table(i, h, after)
	s := w.session(vss.ContextAppRollback, fourVolumes...)
	defer s.Close()
	stop := make(chan struct{})
	m.cancel = func() { close(stop); synctest.Wait() }
	w.calls.Before(func(_ context.Context, c providertest.Call) error { checkAbort(t, w, m, c); return nil })
	a, err := s.DoSnapshotSet(0)
	must(t, err)
	go func() {
		select {
		case <-stop:
			a.Cancel()
		case <-a.Done():
		}
	}()
	<-a.Done()
	close(m.release)
	synctest.Wait()
	w.calls.Before(nil)
	status := a.QueryStatus()
	if i == len(steps)-1 && h.name == "cancelled" && status.Result == vss.SuccessAsyncFinished {
		t.Fatal("a set that was cancelled is there")
	}
	h.want(t, status, steps[i].name, m.held)
	if want := m.wantUndone(); !slices.Equal(m.undone, want) {
		t.Errorf("undone %v, want %v", m.undone, want)
	}
	when := fmt.Sprintf("%s at %s", h.name, steps[i].name)
	w.clean(when)
	wantAborted(t, w, s, m)
	w.table = steps
	if again := w.create(vss.ContextAppRollback, fourVolumes...); w.copiesMade() != 4 {
		t.Errorf("%s: the next set has %d copies", when, w.copiesMade())
	} else {
		again.Close()
	}
	w.atRest("after the next set")
}

// checkAbort checks what must be undone before a provider deletes its copies: writes are released, by the undo of the
// hold and not by that of the guards, copies aren't accessible, and recovery wouldn't finish the set.
func checkAbort(t *testing.T, w *world, m *mishap, c providertest.Call) {
	if c.Method != "AbortSnapshots" {
		return
	}
	if held, _ := w.holder.state(); held || w.holder.closedHeld() || w.quiet.count() != 0 {
		t.Errorf("AbortSnapshots of %v: writes, or the log, were not released first", c.Provider)
	}
	m.mu.Lock()
	surfaced := slices.Contains(m.begun, "pre-recovery")
	m.mu.Unlock()
	if surfaced && c.Provider == localID && !slices.Contains(w.calls.Methods(localID), "Withdraw") {
		t.Error("AbortSnapshots comes before the copies are withdrawn")
	}
	r, err := recovery.Read(w.store)
	if err != nil {
		t.Error(err)
		return
	}
	for id, s := range r.Sets {
		if s.Finishing {
			t.Errorf("AbortSnapshots of set %v, which recovery would finish", id)
		}
	}
}

// wantAborted: providers and writers were told to abort if they were told anything before.
func wantAborted(t *testing.T, w *world, s *Session, m *mishap) {
	t.Helper()
	w.wantAllAborted(t, "")
	heard := w.writer.Names(s.ID)
	if prepared := slices.Contains(m.begun, "prepare-snapshot"); prepared && slices.Contains(heard, "Freeze") &&
		!slices.Contains(heard, "PostSnapshot") &&
		!slices.Contains(heard, "Abort") {
		t.Errorf("the writer heard %v", heard)
	}
	if w.writer.Frozen() {
		t.Error("the writer is frozen")
	}
}
