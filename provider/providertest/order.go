package providertest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

type testCase struct {
	name string
	run  func(*testing.T, *HardwareWorld)
}

var hardwareCases = []testCase{
	{"Properties", properties},
	{"HappyPath", happyPath},
	{"Repeated", repeated},
	{"OutOfOrder", outOfOrder},
	{"AbortAfterEveryStep", abortAfterEveryStep},
	{"AbortInEndPrepare", abortInEndPrepare},
	{"NewSetDropsTheOld", newSetDropsTheOld},
	{"UnknownSet", unknownSet},
	{"Restart", restart},
	{"Unload", unloaded},
	{"Attributes", attributes},
	{"Stranger", stranger},
	{"TargetsTooEarly", targetsTooEarly},
	{"SecondImport", secondImport},
	{"Mask", mask},
	{"OriginalsAreSafe", originalsAreSafe},
	{"Resync", resync},
}

// final is how many calls make a set created.
var final = len(calls)

// repeated calls each step twice: the second time it is out of order.
func repeated(t *testing.T, w *HardwareWorld) {
	for n := 1; n <= len(calls); n++ {
		c := w.creation()
		c.reach(t, n)
		wants(t, "second "+calls[n-1].name, calls[n-1].do(t.Context(), c), vss.ErrProviderVeto)
		if n == final {
			c.left(t, "repeated on a created set", 2)
			return
		}
		for _, s := range calls {
			wants(t, s.name+" of the set that was given up", s.do(t.Context(), c), vss.ErrObjectNotFound)
		}
		c.abort(t, "after a second "+calls[n-1].name)
	}
}

// outOfOrder calls in every state every step but the one that is due.
func outOfOrder(t *testing.T, w *HardwareWorld) {
	for n := range final {
		for k, s := range calls {
			if k == n {
				continue
			}
			c := w.creation()
			c.reach(t, n)
			wants(t, s.name+" after "+stepName(n), s.do(t.Context(), c), vss.ErrProviderVeto)
			c.abort(t, "after "+stepName(n)+" and "+s.name)
		}
		if n > 0 {
			c := w.creation()
			c.reach(t, n)
			wants(t, "a further copy after "+stepName(n), begin.do(t.Context(), c), vss.ErrProviderVeto)
			c.abort(t, "after a further copy after "+stepName(n))
		}
	}
}

// abortAfterEveryStep aborts twice, and goes on with another set, whose copies are whole. A created set stays.
func abortAfterEveryStep(t *testing.T, w *HardwareWorld) {
	for n := range final {
		c := w.creation()
		c.reach(t, n)
		wants(t, "AbortSnapshots after "+stepName(n), c.p.AbortSnapshots(t.Context(), c.set), vss.OK)
		c.left(t, "aborted after "+stepName(n), 0)
		wants(t, "second AbortSnapshots", c.p.AbortSnapshots(t.Context(), c.set), vss.OK)
		for _, s := range calls {
			wants(t, s.name+" of an aborted set", s.do(t.Context(), c), vss.ErrObjectNotFound)
		}
		if n == final-1 {
			wants(t, "the aborted set begun anew", begin.do(t.Context(), c), vss.OK)
			c.abort(t, "anew")
		}
	}
	c := w.creation()
	c.reach(t, final)
	wants(t, "AbortSnapshots of a created set", c.p.AbortSnapshots(t.Context(), c.set), vss.OK)
	c.left(t, "aborted when created", 2)
}

// abortInEndPrepare aborts while EndPrepareSnapshots waits: it returns at once, with an error.
func abortInEndPrepare(t *testing.T, w *HardwareWorld) {
	c := w.creation()
	must(t, begin.name, begin.do(t.Context(), c))
	if w.Slow != nil {
		release := w.Slow()
		defer release()
	}
	ended := make(chan error, 1)
	go func() { ended <- c.p.EndPrepareSnapshots(context.Background(), c.set) }()
	if w.Slow != nil {
		time.Sleep(20 * time.Millisecond)
	}
	aborted := make(chan error, 1)
	go func() { aborted <- c.p.AbortSnapshots(context.Background(), c.set) }()
	var err error
	for range 2 {
		select {
		case e := <-aborted:
			wants(t, "AbortSnapshots", e, vss.OK)
		case err = <-ended:
		case <-time.After(10 * time.Second):
			t.Fatal("EndPrepareSnapshots doesn't end when AbortSnapshots comes")
		}
	}
	if w.Slow != nil {
		wants(t, "the waiting EndPrepareSnapshots", err, vss.ErrProviderVeto)
	} else { // it may have ended before the abort came, or begun after it
		wants(t, "EndPrepareSnapshots beside AbortSnapshots", err, vss.OK, vss.ErrProviderVeto, vss.ErrObjectNotFound)
	}
	c.left(t, "aborted in EndPrepareSnapshots", 0)
}

// newSetDropsTheOld begins another set at every moment: the old one is dead, unless it was created.
func newSetDropsTheOld(t *testing.T, w *HardwareWorld) {
	for n := range final {
		old := w.creation()
		old.reach(t, n)
		c := w.creation()
		c.reach(t, 1)
		c.left(t, "a new set after "+stepName(n), 2)
		for _, s := range calls {
			wants(t, s.name+" of the old set", s.do(t.Context(), old), vss.ErrObjectNotFound)
		}
		wants(t, "AbortSnapshots of the old set", old.p.AbortSnapshots(t.Context(), old.set), vss.OK, vss.ErrObjectNotFound)
		c.left(t, "the old set aborted", 2)
		c.abort(t, "after the old set")
	}
	old := w.creation()
	old.reach(t, final)
	c := w.creation()
	c.reach(t, final)
	c.left(t, "two created sets", 4)
}

// unknownSet calls everything with an id that nobody knows: the set under way doesn't mind.
func unknownSet(t *testing.T, w *HardwareWorld) {
	nobody := w.creation()
	ask := func() {
		for _, s := range calls {
			wants(t, s.name, s.do(t.Context(), nobody), vss.ErrObjectNotFound)
		}
		wants(t, "AbortSnapshots", nobody.p.AbortSnapshots(t.Context(), nobody.set), vss.ErrObjectNotFound)
		_, err := nobody.p.GetTargetLUNs(t.Context(), nobody.set, devices(w.Originals), w.Originals)
		wants(t, "GetTargetLuns", err, vss.ErrObjectNotFound)
	}
	ask()
	c := w.creation()
	must(t, begin.name, begin.do(t.Context(), c))
	for _, s := range calls {
		ask()
		must(t, s.name, s.do(t.Context(), c))
	}
	ask()
	c.left(t, "created", 2)
}

// restart lets the provider's process die after every step. The next one doesn't know the set, and can still undo it; of
// a created set it knows all from the LUNs' descriptions.
func restart(t *testing.T, w *HardwareWorld) {
	for n := range final {
		c := w.creation()
		c.reach(t, n)
		c.p = w.Restart(t)
		for _, s := range calls {
			wants(t, s.name+" at the next process", s.do(t.Context(), c), vss.ErrObjectNotFound)
		}
		c.abort(t, "by the next process after "+stepName(n))
		w.Provider = c.p
	}
	c := w.creation()
	c.reach(t, final)
	targets := c.targets(t, w.Originals[:2])
	c.p = w.Restart(t)
	wants(t, "AbortSnapshots of a created set", c.p.AbortSnapshots(t.Context(), c.set), vss.OK, vss.ErrObjectNotFound)
	c.left(t, "a created set aborted by the next process", 2)
	for i := range targets {
		info := targets[i]
		ok, err := c.p.FillInLUNInfo(t.Context(), "/dev/test", &info)
		if err != nil || !ok || !info.Matches(&targets[i]) {
			t.Errorf("FillInLunInfo at the next process: %v %v", ok, err)
		}
	}
	must(t, "LocateLuns at the next process", c.p.LocateLUNs(t.Context(), targets))
	for i := range targets {
		must(t, "OnLunEmpty at the next process", c.p.OnLUNEmpty(t.Context(), "", &targets[i]))
	}
	c.left(t, "emptied by the next process", 0)
}

// unloaded: OnUnload is refused while work is pending, or drops it; with force it drops it, and keeps what is finished.
func unloaded(t *testing.T, w *HardwareWorld) {
	must(t, "OnUnload when idle", w.Provider.OnUnload(t.Context(), false))
	must(t, "OnLoad", w.Provider.OnLoad(t.Context()))
	c := w.creation()
	c.reach(t, 1)
	err := c.p.OnUnload(t.Context(), false)
	if err != nil && !errors.Is(err, vss.False) {
		t.Errorf("OnUnload: %v", err)
	}
	must(t, "OnUnload with force", c.p.OnUnload(t.Context(), true))
	c.left(t, "unloaded", 0)
	must(t, "OnLoad", c.p.OnLoad(t.Context()))
	c = w.creation()
	c.reach(t, final)
	must(t, "OnUnload with force", c.p.OnUnload(t.Context(), true))
	c.left(t, "unloaded with a created set", 2)
}
