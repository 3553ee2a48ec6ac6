package coordinator

import (
	"context"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// step is one step of a creation. During and after are the states of the set's copies while it runs and once it is done;
// zero leaves the state as it is. Undo runs when the step was begun and it or a later one failed.
type step struct {
	name          string
	during, after vss.SnapshotState
	do            func(*creation, context.Context) error
	undo          func(*creation, context.Context)
}

// steps are a creation from DoSnapshotSet on, in order. Source: the shadow copy creation process, with its diagram.
var steps = []step{
	{"end-prepare", vss.StateProcessingPrepare, vss.StatePrepared, (*creation).endPrepare, (*creation).abortProviders},
	{"open-volumes", 0, 0, (*creation).openVolumes, (*creation).closeVolumes},
	{"record-intent", 0, 0, (*creation).recordIntent, (*creation).closeDisks},
	{"set-flags", 0, 0, (*creation).setFlags, (*creation).undoFlags},
	{"prepare-snapshot", 0, 0, (*creation).prepareSnapshot, (*creation).abortWriters},
	{"preflush", 0, 0, (*creation).preflush, nil},
	{"freeze", 0, 0, (*creation).freeze, nil},
	{"pre-commit", vss.StateProcessingPreCommit, vss.StatePreCommitted, (*creation).preCommit, (*creation).wake},
	{"flush", 0, 0, (*creation).flush, nil},
	{"hold", 0, 0, (*creation).hold, (*creation).undoHold},
	{"commit", vss.StateProcessingCommit, vss.StateCommitted, (*creation).commit, nil},
	{"release", 0, 0, (*creation).release, nil},
	{"clear-flags", 0, 0, (*creation).clearFlags, nil},
	{"post-commit", vss.StateProcessingPostCommit, vss.StatePostCommitted, (*creation).postCommit, nil},
	{"verify-flags", 0, 0, (*creation).verifyFlags, nil},
	{"thaw", 0, 0, (*creation).thaw, nil},
	{"target-luns", 0, 0, (*creation).targetLUNs, nil},
	{"import", 0, 0, (*creation).importCopies, (*creation).unsurface},
	{"pre-recovery", 0, 0, (*creation).preRecovery, (*creation).unlockCopies},
	{"pre-final-commit", vss.StateProcessingPreFinalCommit, vss.StatePreFinalCommitted, (*creation).preFinalCommit, nil},
	{"post-snapshot", 0, 0, (*creation).postSnapshot, nil},
	{"post-recovery", 0, 0, (*creation).postRecovery, nil},
	{"post-final-commit", vss.StateProcessingPostFinalCommit, 0, (*creation).postFinalCommit, nil},
	{"created", 0, vss.StateCreated, (*creation).created, nil},
}

// run takes the set through all steps. On a failure it undoes what was begun, last first, and returns the one result that
// the requester gets.
func (c *creation) run(ctx context.Context, progress func(step string, percent float64)) error {
	c.timeline = make([]catalog.Step, 0, len(steps)) // nothing is allocated for it later, during the hold
	for i, s := range steps {
		if !c.holding { // whoever waits is told through memory only, but it may wake a goroutine that writes
			progress(s.name, 100*float64(i)/float64(len(steps)))
		}
		if s.during != 0 {
			c.state = s.during
		}
		begun := time.Since(c.began)
		err := c.perform(ctx, &s)
		c.timeline = append(c.timeline, catalog.Step{Name: s.name, Start: begun, End: time.Since(c.began)})
		if err == nil && !c.holding {
			err = ctx.Err()
		}
		if err != nil {
			c.undo(i)
			return err
		}
		if s.after != 0 {
			c.state = s.after
		}
	}
	return nil
}

// perform does one step, between its two fault points.
func (c *creation) perform(ctx context.Context, s *step) error {
	return fault.Around("create", s.name, func() error { return s.do(c, ctx) })
}

// undo runs the undo of steps 0 to last in reverse, under a context of its own: the caller's may be cancelled.
func (c *creation) undo(last int) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for i := last; i >= 0; i-- {
		if steps[i].undo != nil {
			_ = fault.At("abort", steps[i].name, "before") // an undo has nobody to fail to: it only dies here
			steps[i].undo(c, ctx)
			_ = fault.At("abort", steps[i].name, "after")
		}
	}
	c.state = vss.StateAborted
	c.forget()
}
