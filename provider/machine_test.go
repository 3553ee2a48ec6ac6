package provider

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

var (
	thisSet  = vss.SnapshotSetID{GUID: vss.MustGUID("11111111-0000-4000-8000-000000000000")}
	otherSet = vss.SnapshotSetID{GUID: vss.MustGUID("22222222-0000-4000-8000-000000000000")}
)

// bench is a machine whose steps can be made to wait and whose drops are recorded.
type bench struct {
	*Machine
	drops   []vss.SnapshotSetID
	release chan struct{} // closed: the step that reach left under way may end
	ended   chan error    // what that step returned
}

func newBench() *bench {
	b := &bench{release: make(chan struct{}), ended: make(chan error, 1)}
	b.Machine = NewMachine(func(_ context.Context, set vss.SnapshotSetID) error {
		b.drops = append(b.drops, set)
		return nil
	})
	return b
}

var order = []Call{CallEndPrepare, CallPreCommit, CallCommit, CallPostCommit, CallPreFinalCommit, CallPostFinalCommit}

// reach brings thisSet to a state; in a processing state a step is under way until release is closed.
func (b *bench) reach(t *testing.T, to vss.SnapshotState) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if to == vss.StateUnknown {
		return
	}
	must(b.Begin(t.Context(), thisSet, nothing))
	if to == vss.StateAborted {
		must(b.Abort(t.Context(), thisSet))
		b.drops = nil
		return
	}
	for _, e := range order {
		if _, now := b.Now(); now == to {
			return
		}
		if steps[e].during != to {
			must(b.Step(t.Context(), e, thisSet, nothing))
			continue
		}
		began := make(chan struct{})
		go func() {
			b.ended <- b.Step(context.Background(), e, thisSet, func(ctx context.Context) error {
				close(began)
				if e == CallEndPrepare { // only this one is cancelled
					select {
					case <-ctx.Done():
						return ctx.Err()
					case <-b.release:
						return nil
					}
				}
				<-b.release
				return nil
			})
		}()
		<-began
		return
	}
	if _, now := b.Now(); now != to {
		t.Fatalf("reached %s, not %s", now, to)
	}
}

func (b *bench) call(ctx context.Context, e Call) error {
	switch e {
	case CallBegin:
		return b.Begin(ctx, thisSet, nothing)
	case CallBeginOther:
		return b.Begin(ctx, otherSet, nothing)
	case CallAbort:
		return b.Abort(ctx, thisSet)
	}
	return b.Step(ctx, e, thisSet, nothing)
}

// TestMachineEveryCell checks each call in each state against the table of the specification, written down here once
// more and in other words: what the caller hears, where the set is afterwards, and whether its work was undone.
func TestMachineEveryCell(t *testing.T) {
	const (
		ok    = vss.OK
		veto  = vss.ErrProviderVeto
		none  = vss.ErrObjectNotFound
		other = -1 // the machine knows otherSet now, which is preparing
	)
	type cell struct {
		code  vss.Code
		after vss.SnapshotState
		drop  bool // this set's work was undone when the call returned
	}
	processing := map[vss.SnapshotState]bool{
		vss.StateProcessingPrepare:         true,
		vss.StateProcessingPreCommit:       true,
		vss.StateProcessingCommit:          true,
		vss.StateProcessingPostCommit:      true,
		vss.StateProcessingPreFinalCommit:  true,
		vss.StateProcessingPostFinalCommit: true,
	}
	next := map[vss.SnapshotState]struct {
		e  Call
		to vss.SnapshotState
	}{
		vss.StatePreparing:         {CallEndPrepare, vss.StatePrepared},
		vss.StatePrepared:          {CallPreCommit, vss.StatePreCommitted},
		vss.StatePreCommitted:      {CallCommit, vss.StateCommitted},
		vss.StateCommitted:         {CallPostCommit, vss.StatePostCommitted},
		vss.StatePostCommitted:     {CallPreFinalCommit, vss.StatePreFinalCommitted},
		vss.StatePreFinalCommitted: {CallPostFinalCommit, vss.StateCreated},
	}
	// Where volumes may be held, or a step that isn't cancelled is under way, undoing waits for the Abort.
	late := map[vss.SnapshotState]bool{
		vss.StateProcessingPreCommit:      true,
		vss.StatePreCommitted:             true,
		vss.StateProcessingCommit:         true,
		vss.StateCommitted:                true,
		vss.StateProcessingPostCommit:     true,
		vss.StateProcessingPreFinalCommit: true,
	}
	want := func(s vss.SnapshotState, e Call) cell {
		finished := s == vss.StateCreated || s == vss.StateProcessingPostFinalCommit
		idle := s == vss.StateUnknown || s == vss.StateAborted
		n, hasNext := next[s]
		switch {
		case e == CallBeginOther:
			return cell{ok, other, !idle && !finished}
		case e == CallBegin && (idle || s == vss.StatePreparing):
			return cell{ok, vss.StatePreparing, false}
		case e == CallAbort && s == vss.StateUnknown:
			return cell{none, s, false}
		case e == CallAbort && s == vss.StateProcessingPostFinalCommit:
			return cell{ok, vss.StateCreated, false}
		case e == CallAbort && (s == vss.StateCreated || s == vss.StateAborted):
			return cell{ok, s, false}
		case e == CallAbort:
			return cell{ok, vss.StateAborted, true}
		case idle:
			return cell{none, s, false}
		case finished:
			return cell{veto, s, false}
		case hasNext && n.e == e:
			return cell{ok, n.to, false}
		}
		return cell{veto, vss.StateAborted, !late[s]}
	}
	cells := 0
	for s := range table {
		for e := range callCount {
			cells++
			t.Run(fmt.Sprintf("%s/%d-%s", s, e, e), func(t *testing.T) {
				b := newBench()
				b.reach(t, s)
				w := want(s, e)
				waits := processing[s] && s != vss.StateProcessingPrepare && (e == CallAbort || e == CallBeginOther)
				got := make(chan error, 1)
				go func() { got <- b.call(context.Background(), e) }()
				if waits {
					select {
					case err := <-got:
						t.Fatalf("it didn't wait for the step under way: %v", err)
					case <-time.After(5 * time.Millisecond):
					}
					close(b.release)
				}
				err := <-got
				if vss.CodeOf(err) != w.code {
					t.Errorf("it said %v, want %s", err, w.code.Name())
				}
				set, now := b.Now()
				if w.after == other {
					if set != otherSet || now != vss.StatePreparing {
						t.Errorf("now %s is %s, want the other set preparing", set, now)
					}
				} else if now != w.after {
					t.Errorf("now it is %s, want %s", now, w.after)
				}
				if len(b.drops) > 1 || (len(b.drops) == 1) != w.drop || len(b.drops) == 1 && b.drops[0] != thisSet {
					t.Errorf("undone: %v, want %v", b.drops, w.drop)
				}
				if processing[s] {
					if !waits {
						close(b.release)
					}
					step := <-b.ended
					// A step that was given up must not read as done; one that ended before the abort was.
					if given := w.after == vss.StateAborted && !waits ||
						s == vss.StateProcessingPrepare; given != (step != nil) {
						t.Errorf("the step under way returned %v", step)
					}
				}
				if w.code == veto && w.after == vss.StateAborted { // wherever the veto fell, the abort leaves nothing
					if err := b.Abort(t.Context(), thisSet); err != nil || len(b.drops) != 1 {
						t.Errorf("abort after the veto: %v, undone %v", err, b.drops)
					}
				}
			})
		}
	}
	if cells != 15*9 {
		t.Errorf("%d cells", cells)
	}
}

// TestMachineAfterFailures checks what the table can't say: steps and starts that fail.
func TestMachineAfterFailures(t *testing.T) {
	broken := errors.New("broken")
	fail := func(context.Context) error { return broken }
	t.Run("every step", func(t *testing.T) {
		for _, e := range order {
			b := newBench()
			if err := b.Begin(t.Context(), thisSet, nothing); err != nil {
				t.Fatal(err)
			}
			for _, earlier := range order {
				if earlier == e {
					break
				}
				if err := b.Step(t.Context(), earlier, thisSet, nothing); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.Step(t.Context(), e, thisSet, fail); !errors.Is(err, broken) {
				t.Errorf("%s said %v", e, err)
			}
			if len(b.drops) != 0 || !b.Pending() {
				t.Errorf("%s: undone before the abort: %v", e, b.drops)
			}
			if err := b.Abort(t.Context(), thisSet); err != nil || len(b.drops) != 1 || b.Pending() {
				t.Errorf("%s: abort %v, undone %v", e, err, b.drops)
			}
		}
	})
	t.Run("first copy", func(t *testing.T) {
		b := newBench()
		if err := b.Begin(t.Context(), thisSet, fail); !errors.Is(err, broken) {
			t.Error(err)
		}
		if _, now := b.Now(); now != vss.StateAborted || len(b.drops) != 1 {
			t.Errorf("%s, undone %v", now, b.drops)
		}
	})
	t.Run("second copy", func(t *testing.T) {
		b := newBench()
		if err := b.Begin(t.Context(), thisSet, nothing); err != nil {
			t.Fatal(err)
		}
		if err := b.Begin(t.Context(), thisSet, fail); !errors.Is(err, broken) {
			t.Error(err)
		}
		if _, now := b.Now(); now != vss.StatePreparing || len(b.drops) != 0 {
			t.Errorf("the first copy is lost: %s, undone %v", now, b.drops)
		}
	})
	t.Run("drop is tried again", func(t *testing.T) {
		tries := 0
		m := NewMachine(func(context.Context, vss.SnapshotSetID) error {
			tries++
			if tries == 1 {
				return broken
			}
			return nil
		})
		if err := m.Begin(t.Context(), thisSet, nothing); err != nil {
			t.Fatal(err)
		}
		if err := m.Abort(t.Context(), thisSet); !errors.Is(err, broken) || !m.Pending() {
			t.Errorf("first abort: %v", err)
		}
		if err := m.Abort(t.Context(), thisSet); err != nil || tries != 2 || m.Pending() {
			t.Errorf("second abort: %v after %d tries", err, tries)
		}
		if err := m.Abort(t.Context(), thisSet); err != nil || tries != 2 {
			t.Errorf("third abort: %v after %d tries", err, tries)
		}
	})
	t.Run("caller goes away", func(t *testing.T) {
		b := newBench()
		b.reach(t, vss.StateProcessingCommit)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.Abort(ctx, thisSet); !errors.Is(err, context.Canceled) {
			t.Errorf("abort said %v", err)
		}
		close(b.release)
		if err := <-b.ended; err != nil {
			t.Error(err)
		}
	})
}

// TestMachineTableIsWhole makes sure that a new state or a row forgotten is noticed: the zero action refuses.
func TestMachineTableIsWhole(t *testing.T) {
	for s := vss.StateUnknown; s <= vss.StatePostCommitted; s++ {
		if _, ok := table[s]; !ok && s != vss.StateDeleted {
			t.Errorf("no row for %s", s)
		}
	}
}
