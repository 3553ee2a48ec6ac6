package providertest

import (
	"context"
	"errors"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/conformance"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// orderCases are the cases that treat all providers alike: they are about the order of calls.
var orderCases = []worldCase[*subject]{
	{"Properties", properties},
	{"Repeated", repeated},
	{"OutOfOrder", outOfOrder},
	{"AbortAfterEveryStep", abortAfterEveryStep},
	{"AbortInEndPrepare", abortInEndPrepare},
	{"NewSetDropsTheOld", newSetDropsTheOld},
	{"UnknownSet", unknownSet},
	{"CancelledContext", cancelledContext},
	{"TooEarly", tooEarly},
	{"Restart", restart},
	{"Unload", unloaded},
}

func properties(t conformance.T, s *subject) {
	p, err := s.provider.Properties(t.Context())
	must(t, "Properties", err)
	if err := p.Validate(); err != nil {
		t.Error(err)
	}
	if p.Type != s.kind {
		t.Errorf("type %s, want %s", p.Type, s.kind)
	}
	if s.restart == nil {
		return
	}
	again, err := s.newProcess(t).Properties(t.Context())
	must(t, "Properties", err)
	if d := cmp.Diff(p, again); d != "" {
		t.Errorf("the properties differ after a restart:\n%s", d)
	}
}

// repeated makes each step twice: the second time it is out of order.
func repeated(t conformance.T, s *subject) {
	for n := 1; n <= final; n++ {
		c := s.creation()
		c.reach(t, n)
		wants(t, "second "+stepName(n), steps[n-1].do(t.Context(), c), vss.ErrProviderVeto)
		if n == final {
			c.left(t, "repeated on a created set", 2)
			return
		}
		for _, x := range steps {
			wants(t, x.name+" of the set that was given up", x.do(t.Context(), c), vss.ErrObjectNotFound)
		}
		c.abort(t, "after a second "+stepName(n))
	}
}

// outOfOrder makes in every state every step except the one that is due.
func outOfOrder(t conformance.T, s *subject) {
	for n := range final {
		for k, x := range steps {
			if k == n {
				continue
			}
			c := s.creation()
			c.reach(t, n)
			wants(t, x.name+" after "+stepName(n), x.do(t.Context(), c), vss.ErrProviderVeto)
			c.abort(t, "after "+stepName(n)+" and "+x.name)
		}
		if n > 0 {
			c := s.creation()
			c.reach(t, n)
			wants(t, "a further copy after "+stepName(n), begin.do(t.Context(), c), vss.ErrProviderVeto)
			c.abort(t, "after a further copy after "+stepName(n))
		}
	}
}

// abortAfterEveryStep aborts twice and continues with another set. A created set is kept.
func abortAfterEveryStep(t conformance.T, s *subject) {
	for n := range final {
		c := s.creation()
		c.reach(t, n)
		wants(t, "AbortSnapshots after "+stepName(n), c.p.AbortSnapshots(t.Context(), c.set), vss.OK)
		c.left(t, "aborted after "+stepName(n), 0)
		wants(t, "second AbortSnapshots", c.p.AbortSnapshots(t.Context(), c.set), vss.OK)
		for _, x := range steps {
			wants(t, x.name+" of an aborted set", x.do(t.Context(), c), vss.ErrObjectNotFound)
		}
		if n == final-1 {
			wants(t, "the aborted set begun again", begin.do(t.Context(), c), vss.OK)
			c.abort(t, "begun again")
		}
	}
	c := s.creation()
	c.reach(t, final)
	wants(t, "AbortSnapshots of a created set", c.p.AbortSnapshots(t.Context(), c.set), vss.OK)
	c.left(t, "aborted when created", 2)
}

// abortInEndPrepare aborts while EndPrepareSnapshots waits: that returns at once, with an error.
func abortInEndPrepare(t conformance.T, s *subject) {
	c := s.creation()
	must(t, begin.name, begin.do(t.Context(), c))
	if s.Slow != nil {
		release := s.Slow()
		defer release()
	}
	ended := make(chan error, 1)
	go func() { ended <- c.p.EndPrepareSnapshots(context.Background(), c.set) }()
	if s.Slow != nil {
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
	if s.Slow != nil {
		wants(t, "the waiting EndPrepareSnapshots", err, vss.ErrProviderVeto)
	} else { // it may have ended before the abort came, or begun after it
		wants(t, "EndPrepareSnapshots beside AbortSnapshots", err, vss.OK, vss.ErrProviderVeto, vss.ErrObjectNotFound)
	}
	c.left(t, "aborted in EndPrepareSnapshots", 0)
}

// newSetDropsTheOld begins another set after every step: the old one is given up, unless it was created.
func newSetDropsTheOld(t conformance.T, s *subject) {
	for n := range final {
		old := s.creation()
		old.reach(t, n)
		c := s.creation()
		c.reach(t, 1)
		c.left(t, "a new set after "+stepName(n), 2)
		for _, x := range steps {
			wants(t, x.name+" of the old set", x.do(t.Context(), old), vss.ErrObjectNotFound)
		}
		wants(
			t,
			"AbortSnapshots of the old set",
			old.p.AbortSnapshots(t.Context(), old.set),
			vss.OK,
			vss.ErrObjectNotFound,
		)
		c.left(t, "the old set aborted", 2)
		c.abort(t, "after the old set")
	}
	old := s.creation()
	old.reach(t, final)
	c := s.creation()
	c.reach(t, final)
	c.left(t, "two created sets", 4)
}

// unknownSet makes every call with an unknown id: the set under way is not affected.
func unknownSet(t conformance.T, s *subject) {
	unknown := s.creation()
	ask := func() {
		for _, x := range steps {
			wants(t, x.name, x.do(t.Context(), unknown), vss.ErrObjectNotFound)
		}
		wants(t, "AbortSnapshots", unknown.p.AbortSnapshots(t.Context(), unknown.set), vss.ErrObjectNotFound)
		wants(t, "describing copies", s.describe(t.Context(), s.provider, unknown), vss.ErrObjectNotFound)
	}
	ask()
	c := s.creation()
	must(t, begin.name, begin.do(t.Context(), c))
	for _, x := range steps {
		ask()
		must(t, x.name, x.do(t.Context(), c))
	}
	ask()
	c.left(t, "created", 2)
}

// cancelledContext makes each step with a context that has ended: the step may succeed or fail, and the set can be
// aborted.
func cancelledContext(t conformance.T, s *subject) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for n := range final - 1 { // the last one may have finished the set
		c := s.creation()
		c.reach(t, n)
		_ = steps[n].do(ctx, c)
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			// The call may still be under way at a provider in another process.
			err := c.p.AbortSnapshots(t.Context(), c.set)
			if err == nil || time.Now().After(end) {
				wants(t, "AbortSnapshots after a cancelled "+steps[n].name, err, vss.OK)
				break
			}
		}
		c.left(t, "aborted after a cancelled "+steps[n].name, 0)
	}
	c := s.creation()
	c.reach(t, final)
	c.left(t, "a set after cancelled ones", 2)
}

// tooEarly asks for the copies before they are taken.
func tooEarly(t conformance.T, s *subject) {
	for n := range taken - 1 {
		c := s.creation()
		c.reach(t, n)
		wants(
			t,
			"describing copies after "+stepName(n),
			s.describe(t.Context(), c.p, c),
			vss.ErrBadState,
			vss.ErrProviderVeto,
			vss.ErrObjectNotFound,
		)
		c.abort(t, "after describing copies too early")
	}
}

// restart ends the provider's process after every step. The next process doesn't know the set and can still undo it.
func restart(t conformance.T, s *subject) {
	for n := range final {
		c := s.creation()
		c.reach(t, n)
		c.p = s.newProcess(t)
		for _, x := range steps {
			wants(t, x.name+" at the next process", x.do(t.Context(), c), vss.ErrObjectNotFound)
		}
		c.abort(t, "by the next process after "+stepName(n))
	}
	c := s.creation()
	c.reach(t, final)
	c.p = s.newProcess(t)
	wants(t, "AbortSnapshots of a created set", c.p.AbortSnapshots(t.Context(), c.set), vss.OK, vss.ErrObjectNotFound)
	c.left(t, "a created set aborted by the next process", 2)
}

// unloaded calls OnUnload: it is refused while work is pending, or gives it up; with force it gives it up and keeps
// what is created.
func unloaded(t conformance.T, s *subject) {
	must(t, "OnUnload when idle", s.provider.OnUnload(t.Context(), false))
	must(t, "OnLoad", s.provider.OnLoad(t.Context()))
	c := s.creation()
	c.reach(t, 1)
	err := c.p.OnUnload(t.Context(), false)
	if err != nil && !errors.Is(err, vss.False) {
		t.Errorf("OnUnload: %v", err)
	}
	must(t, "OnUnload with force", c.p.OnUnload(t.Context(), true))
	c.left(t, "unloaded", 0)
	must(t, "OnLoad", c.p.OnLoad(t.Context()))
	c = s.creation()
	c.reach(t, final)
	must(t, "OnUnload with force", c.p.OnUnload(t.Context(), true))
	c.left(t, "unloaded with a created set", 2)
}
