package coordinator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/background"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// step is one step of a creation. During and after are the states of the set's copies while it runs and once it is
// done; zero leaves the state as it is. Undo runs when the step was begun and it or a later one failed. Limit returns
// how long the step may take; nil is stepLimit.
type step struct {
	name          string
	during, after vss.SnapshotState
	do            func(*creation, context.Context) error
	undo          func(*creation, context.Context)
	limit         func(*creation) time.Duration
}

// steps are a creation from DoSnapshotSet on, in order. Source: the shadow copy creation process, with its diagram.
var steps = []step{
	{"end-prepare", vss.StateProcessingPrepare, vss.StatePrepared,
		(*creation).endPrepare, (*creation).abortProviders, nil},
	{"open-volumes", 0, 0, (*creation).openVolumes, (*creation).closeVolumes, nil},
	{"record-intent", 0, 0, (*creation).recordIntent, (*creation).releaseOriginals, (*creation).disksLimit},
	{"set-flags", 0, 0, (*creation).setFlags, (*creation).undoFlags, nil},
	{"prepare-snapshot", 0, 0, (*creation).prepareSnapshot, (*creation).abortWriters, (*creation).prepareLimit},
	{"preflush", 0, 0, (*creation).preflush, nil, nil},
	{"freeze", 0, 0, (*creation).freeze, nil, nil},
	{"pre-commit", vss.StateProcessingPreCommit, vss.StatePreCommitted,
		(*creation).preCommit, (*creation).resumeBackground, nil},
	{"flush", 0, 0, (*creation).flush, nil, nil},
	{"hold", 0, 0, (*creation).hold, (*creation).undoHold, (*creation).holdLimit},
	{"commit", vss.StateProcessingCommit, vss.StateCommitted, (*creation).commit, nil, (*creation).holdLeft},
	{"release", 0, 0, (*creation).release, nil, (*creation).releaseLimit},
	{"clear-flags", 0, 0, (*creation).clearFlags, nil, nil},
	{"post-commit", vss.StateProcessingPostCommit, vss.StatePostCommitted, (*creation).postCommit, nil, nil},
	{"verify-flags", 0, 0, (*creation).verifyFlags, nil, nil},
	{"thaw", 0, 0, (*creation).thaw, nil, nil},
	{"collect", 0, 0, (*creation).collect, nil, nil},
	{"import", 0, 0, (*creation).surface, (*creation).unsurface, (*creation).disksLimit},
	{"pre-recovery", 0, 0, (*creation).preRecovery, (*creation).releaseOriginals, nil},
	{"pre-final-commit", vss.StateProcessingPreFinalCommit, vss.StatePreFinalCommitted,
		(*creation).preFinalCommit, nil, nil},
	{"post-snapshot", 0, 0, (*creation).postSnapshot, nil, (*creation).workLimit},
	{"post-recovery", 0, 0, (*creation).postRecovery, nil, nil},
	{"post-final-commit", vss.StateProcessingPostFinalCommit, 0,
		(*creation).postFinalCommit, (*creation).undoFinishing, nil},
	{"created", 0, vss.StateCreated, (*creation).created, nil, nil},
}

const (
	stepLimit = 6 * time.Minute // of a step that names no other, or without any progress
	undoLimit = 2 * time.Minute // of the undo of one step
)

// The limits of steps that wait for writers are a little over those of the writers themselves.
func (c *creation) prepareLimit() time.Duration {
	return cmp.Or(c.WriterLimits.PrepareSnapshot, 10*time.Minute) + time.Minute
}

func (c *creation) workLimit() time.Duration {
	return cmp.Or(c.WriterLimits.Work, 15*time.Minute) + time.Minute
}

// disksLimit is for steps that work on one disk after another, up to 64 of them.
func (c *creation) disksLimit() time.Duration { return 30 * time.Minute }

// holdLimit leaves the guards time to start the hold.
func (c *creation) holdLimit() time.Duration { return c.limit + 5*time.Second }

func (c *creation) holdLeft() time.Duration { return max(time.Until(c.deadline), 0) }

func (c *creation) releaseLimit() time.Duration { return c.holdLeft() + 5*time.Second }

// run takes the set through all steps. When one fails it undoes those that were begun, last first, and returns the
// one error that the requester gets.
func (c *creation) run(ctx context.Context, table []step, progress func(step string, percent float64)) error {
	c.timeline = make([]catalog.Step, 0, len(table)) // nothing is allocated for it later, during the hold
	for i, s := range table {
		at := 100 * float64(i) / float64(len(table))
		if !c.isHolding() { // progress stays in memory, but it may wake a goroutine that writes
			progress(s.name, at)
		}
		if s.during != 0 {
			c.state = s.during
		}
		begun := time.Since(c.began)
		err := c.perform(ctx, &s, func(percent float64) { progress(s.name, at+percent/float64(len(table))) })
		c.timeline = append(c.timeline, catalog.Step{Name: s.name, Start: begun, End: time.Since(c.began)})
		if err == nil && !c.isHolding() {
			err = ctx.Err()
		}
		if err != nil {
			c.undo(table[:i+1])
			return err
		}
		if s.after != 0 {
			c.state = s.after
		}
	}
	return nil
}

// perform does one step, between its two fault points. A step that doesn't return in time is left behind.
func (c *creation) perform(ctx context.Context, s *step, progress func(percent float64)) error {
	limit := stepLimit
	if s.limit != nil {
		limit = s.limit(c)
	}
	renew := make(chan struct{}, 1)
	c.progress = func(percent float64) {
		progress(percent)
		select {
		case renew <- struct{}{}:
		default:
		}
	}
	timed := background.Step{Name: s.name, Limit: limit, Renew: renew, Logger: c.Logger}
	err := timed.Attempt(ctx, func(ctx context.Context) error {
		return fault.Around("create", s.name, func() error { return s.do(c, ctx) })
	})
	if errors.Is(err, background.ErrLate) && c.isHolding() {
		why := fmt.Errorf("step %s did not return within the hold limit of %v", s.name, c.limit)
		return vss.E("DoSnapshotSet", vss.ErrHoldWritesTimeout, why).On(c.id.String()).
			Advise("wait ten minutes and try again, at most three times")
	}
	return err
}

// undo runs the undo of steps that were begun, last first, under a context of its own: the requester's may be
// cancelled.
func (c *creation) undo(begun []step) {
	for i := len(begun) - 1; i >= 0; i-- {
		if s := &begun[i]; s.undo != nil {
			c.repair(s.name, func(ctx context.Context) {
				_ = fault.At("abort", s.name, "before") // undo can't fail; this fault point supports only kill
				s.undo(c, ctx)
				_ = fault.At("abort", s.name, "after")
			})
		}
	}
	c.state = vss.StateAborted
	c.repair("forget", c.forget)
}

// repair runs one undo. One that panics or doesn't return is logged, and the others go on.
func (c *creation) repair(name string, undo func(context.Context)) {
	timed := background.Step{Name: name, Limit: undoLimit, Logger: c.Logger}
	err := timed.Attempt(context.Background(), func(ctx context.Context) error {
		undo(ctx)
		return nil
	})
	if err != nil {
		c.Logger.Error("step not undone", "set", c.id, "step", name, "error", err)
	}
}
