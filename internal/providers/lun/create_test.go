package lun_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// A commit that fails at one array fails at all: after the abort no array has anything of the set. Nothing is logged
// while writes may be held.
func TestCommitFailsAtOneArray(t *testing.T) {
	w := newWorld(t, 3, folders(t, "xfs", "btrfs")...)
	for i, a := range w.arrays {
		set := w.reach(w.Provider, vss.ContextBackup, preCommitted)
		w.log.Reset()
		a.hook = broken("CommitCopies", errBroken)
		err := w.CommitSnapshots(ctx, set)
		wantCode(t, "CommitSnapshots", err, vss.ErrProviderVeto)
		if vss.Hint(err) == "" || !strings.Contains(err.Error(), "the line is dead") {
			t.Errorf("array %d: %v (%s)", i, err, vss.Hint(err))
		}
		if w.log.Len() > 0 {
			t.Errorf("array %d: logged in the hold: %s", i, w.log)
		}
		a.hook = nil
		must(t, w.AbortSnapshots(ctx, set))
		if n := strings.Count(w.log.String(), "the line is dead"); n != 1 {
			t.Errorf("array %d: the log has the reason of the failed commit %d times: %s", i, n, w.log)
		}
		w.wantCopies("aborted", 0)
		w.create(vss.ContextBackup)
		w.wantCopies("the next set", 3)
		for _, l := range w.targets(w.lastSet()) {
			must(t, w.OnLUNEmpty(ctx, "", &l))
		}
	}
}

// lastSet is the set that the first array's newest copy is of.
func (w *world) lastSet() (set vss.SnapshotSetID) {
	w.t.Helper()
	all, err := w.arrays[0].Array.LUNs(ctx)
	must(w.t, err)
	for _, l := range all {
		if !l.Set.IsZero() {
			set = l.Set
		}
	}
	return set
}

// Copies that one array has kept and another hasn't are of no created set: they go, whether this process aborts it or
// the next one, and also when the array had kept them and couldn't say so.
func TestKeepFailsAtOneArray(t *testing.T) {
	dirs := folders(t, "xfs", "xfs")
	after := func(_ context.Context, method string, call func() error) error {
		if err := call(); err != nil || method != "KeepCopies" {
			return err
		}
		return errBroken
	}
	for _, x := range []struct {
		name string
		hook func(context.Context, string, func() error) error
		next bool
	}{
		{"refused", broken("KeepCopies", errBroken), false},
		{"kept, but no answer", after, false},
		{"refused, and the process died", broken("KeepCopies", errBroken), true},
	} {
		t.Run(x.name, func(t *testing.T) {
			w := newWorld(t, 2, dirs...)
			set := w.reach(w.Provider, vss.ContextBackup, created-1)
			must(t, w.LocateLUNs(ctx, w.targets(set)))
			w.arrays[1].hook = x.hook
			wantCode(t, "PostFinalCommitSnapshots", w.PostFinalCommitSnapshots(ctx, set), vss.ErrProviderVeto)
			w.wantCopies("before the abort", 2)
			w.arrays[1].hook = nil
			p := w.Provider
			if x.next {
				p = w.provider(host)
			}
			must(t, p.AbortSnapshots(ctx, set))
			w.wantCopies("aborted", 0)
		})
	}
}

// An abort that an array doesn't hear fails, is not taken for "unknown set", and can be repeated.
func TestAbortIsRepeated(t *testing.T) {
	dirs := folders(t, "xfs", "xfs")
	for _, next := range []bool{false, true} {
		w := newWorld(t, 2, dirs...)
		set := w.reach(w.Provider, vss.ContextBackup, postCommit)
		p := w.Provider
		if next {
			p = w.provider(host)
		}
		w.arrays[0].hook = broken("AbortCopies", errBroken)
		wantCode(t, "AbortSnapshots", p.AbortSnapshots(ctx, set), vss.ErrProviderVeto)
		w.wantCopies("at the array that didn't hear", 1)
		w.arrays[0].hook = nil
		must(t, p.AbortSnapshots(ctx, set))
		w.wantCopies("aborted again", 0)
	}
}

// The arrays' controllers die after every step. Up to the cut that ends the set; from PostCommitSnapshots on it can
// go on. Either way it can be aborted, by this process or the next, and nothing is left.
func TestArraysRestart(t *testing.T) {
	dirs := folders(t, "xfs", "btrfs")
	restart := func(w *world) {
		for _, a := range w.arrays {
			a.restart()
		}
	}
	for n := range created {
		name := "BeginPrepareSnapshot"
		if n > 0 {
			name = steps[n-1].name
		}
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 2, dirs...)
			for _, next := range []bool{false, true} {
				set := w.reach(w.Provider, vss.ContextBackup, n)
				restart(w)
				p := w.Provider
				if next {
					p = w.provider(host)
				}
				if err := p.AbortSnapshots(ctx, set); err != nil && (!next || !errors.Is(err, vss.ErrObjectNotFound)) {
					t.Errorf("next process %v: %v", next, err)
				}
				w.wantCopies("aborted", 0)
			}
			set := w.reach(w.Provider, vss.ContextBackup, n)
			restart(w)
			var err error
			for _, s := range steps[n:] {
				if err = s.do(w.Provider, set); err != nil {
					break
				}
			}
			if n == 0 || n >= postCommit {
				must(t, err)
				w.wantCopies("gone on", 2)
				return
			}
			wantCode(t, "the next step", err, vss.ErrProviderVeto)
			must(t, w.AbortSnapshots(ctx, set))
			w.wantCopies("given up", 0)
		})
	}
}

// Two hosts make sets of one LUN at the same time; neither touches what is the other's, also when told its id.
func TestTwoHosts(t *testing.T) {
	w := newWorld(t, 2, folders(t, "xfs", "xfs")...)
	there := w.provider("there")
	var sets [2]vss.SnapshotSetID
	var wg sync.WaitGroup
	wg.Go(func() { sets[0] = w.reach(w.Provider, vss.ContextBackup, postCommit) })
	wg.Go(func() { sets[1] = w.reach(there, vss.ContextBackup, postCommit) })
	wg.Wait()
	w.wantCopies("two sets", 4)
	if t.Failed() {
		return
	}
	mine := w.targets(sets[0])
	wantCode(t, "abort of another host's set", there.AbortSnapshots(ctx, sets[0]), vss.ErrObjectNotFound)
	wantCode(t, "import of a set in creation", w.provider("there").LocateLUNs(ctx, mine), vss.ErrProviderVeto)
	wantCode(t, "deletion of a set in creation", w.provider("there").OnLUNEmpty(ctx, "", &mine[0]), vss.ErrProviderVeto)
	_, err := there.GetTargetLUNs(ctx, sets[0], []string{""}, w.sources()[:1])
	wantCode(t, "copies of another host's set", err, vss.ErrObjectNotFound)
	w.wantCopies("two sets still", 4)
	must(t, there.AbortSnapshots(ctx, sets[1]))
	w.wantCopies("one set", 2)
	for _, s := range steps[postCommit:] {
		must(t, s.do(w.Provider, sets[0]))
	}
	w.wantCopies("created", 2)
}
