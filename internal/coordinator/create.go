package coordinator

import (
	"context"
	"errors"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/writerset"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// The steps of a creation, in the order of the table in steps.go, each with its undo.

// endPrepare waits until the slow work is done at all providers. What a commit writes to may be known only now, so
// the set is checked again.
func (c *creation) endPrepare(ctx context.Context) error {
	writes := make([][]string, len(c.members))
	err := c.each("end-prepare", func(m copies.Member) error {
		w, err := m.EndPrepare(ctx, c.progress)
		for i := range c.members {
			if c.members[i] == m {
				writes[i] = w
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	var kinds []copies.Kind
	for _, m := range c.members {
		kinds = append(kinds, m.Kind())
	}
	all, err := writePaths(ctx, kinds)
	if err != nil {
		return err
	}
	for _, w := range writes {
		all = append(all, w...)
	}
	return c.Volumes.CheckNesting(ctx, c.volumes(), all)
}

func (c *creation) abortProviders(ctx context.Context) {
	_ = c.each("end-prepare", func(m copies.Member) error {
		if err := notFound(m.Abort(ctx)); err != nil {
			c.Events.Add(events.AbortFailed, events.Error, catalog.Event{
				Provider: m.Kind().Properties().Name, SetID: c.id, Code: vss.CodeOf(err), Message: err.Error(),
				Hint: "run `vss doctor`",
			})
		}
		return nil
	})
}

// openVolumes opens each file system once and starts the guards over them. A file system that isn't mounted is copied
// without a hold.
func (c *creation) openVolumes(ctx context.Context) error {
	var vols []HeldVolume
	seen := map[string]bool{}
	for _, s := range c.copies {
		if !s.vol.Mounted || seen[s.vol.SuperKey] {
			continue
		}
		seen[s.vol.SuperKey] = true
		f, err := c.Volumes.Open(s.vol)
		if err != nil {
			return err
		}
		c.change(func() { c.roots = append(c.roots, f) })
		vols = append(vols, HeldVolume{s.vol.Name, f, s.mode})
	}
	if len(vols)+len(c.record.Suspended) == 0 {
		return nil
	}
	g, err := c.Holder.Start(ctx, c.limit, vols, c.record.Suspended)
	if err == nil {
		c.change(func() { c.guard = g })
	}
	return err
}

func (c *creation) closeVolumes(context.Context) {
	if err := c.theGuard().Close(); err != nil {
		c.report(events.GuardFailed, c.id, err, "run `vssd thaw`, then `vss doctor`")
	}
	c.change(func() {
		for _, f := range c.roots {
			f.Close()
		}
		c.guard, c.roots = nil, nil
	})
}

// recordIntent opens the originals and makes durable what a crash from here on would have to put back.
func (c *creation) recordIntent(ctx context.Context) error {
	record := c.record
	for _, m := range c.members {
		if err := m.Intent(ctx, &record); err != nil {
			return err
		}
	}
	c.change(func() { c.record = record })
	return c.store()
}

func (c *creation) releaseOriginals(context.Context) {
	for _, m := range c.members {
		m.Release()
	}
}

// setFlags marks the originals, so that the copies are born with the flags of shadow copies.
func (c *creation) setFlags(ctx context.Context) error {
	c.change(func() { c.marked = true })
	return c.each("set-flags", func(m copies.Member) error { return m.Mark(ctx) })
}

func (c *creation) restoreFlags(ctx context.Context, step string) error {
	err := c.each(step, func(m copies.Member) error { return m.Unmark(ctx) })
	if err == nil {
		c.change(func() { c.marked = false })
	}
	return err
}

func (c *creation) undoFlags(ctx context.Context) {
	if !c.isMarked() {
		return
	}
	if err := c.restoreFlags(ctx, "set-flags"); err != nil {
		c.report(events.FlagsLeft, c.id, err, "run `vss doctor --repair`: an original still carries shadow copy flags")
	}
}

// prepareSnapshot has the writers do what is slow. It is durable first that they may have to be aborted.
func (c *creation) prepareSnapshot(ctx context.Context) error {
	if !c.context.Has(vss.AttrNoWriters) {
		c.record.Writers = true
		if err := c.store(); err != nil {
			return err
		}
	}
	return c.writers.PrepareSnapshot(ctx, c.target())
}

// abortWriters sends Abort to all writers, to those that are frozen in the order of Thaw.
func (c *creation) abortWriters(ctx context.Context) { c.writers.Abort(ctx, c.target()) }

// preflush writes out what is dirty. Nothing is held yet.
func (c *creation) preflush(ctx context.Context) error { return c.theGuard().Preflush(ctx) }

// freeze freezes the writers, level after level.
func (c *creation) freeze(ctx context.Context) error { return c.writers.Freeze(ctx, c.target()) }

// preCommit arms the providers. From here until the release there is no background work.
func (c *creation) preCommit(ctx context.Context) error {
	for _, m := range c.members {
		resume, err := m.Pause(ctx)
		if err != nil {
			return err
		}
		c.change(func() { c.resume = append(c.resume, resume) })
	}
	return c.each("pre-commit", func(m copies.Member) error { return m.PreCommit(ctx) })
}

// resumeBackground ends what preCommit paused.
func (c *creation) resumeBackground(context.Context) {
	var resume []func()
	c.change(func() { resume, c.resume = c.resume, nil })
	for _, f := range resume {
		f()
	}
}

func (c *creation) flush(ctx context.Context) error { return c.theGuard().Flush(ctx) }

// hold stops all writes to the set. From here to the release the service writes nothing.
func (c *creation) hold(ctx context.Context) error {
	c.change(func() { c.holding, c.deadline = true, time.Now().Add(c.limit) })
	c.Events.Hold()
	c.Quiet.Hold()
	return c.theGuard().Hold(ctx)
}

func (c *creation) undoHold(context.Context) {
	if !c.isHolding() {
		return
	}
	held, _ := c.theGuard().Release() // the set has failed already; Close, next, reports what can't be thawed
	c.change(func() { c.held = held })
	c.resumeIO()
}

// resumeIO lets the log, events and background work go on after a hold.
func (c *creation) resumeIO() {
	c.change(func() { c.holding = false })
	c.Quiet.Release()
	c.Events.Release()
	c.resumeBackground(context.Background())
}

// commit has all providers take the point in time at once, until the hold ends. It can't be cancelled.
func (c *creation) commit(ctx context.Context) error {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), c.deadline)
	defer cancel()
	return c.each("commit", func(m copies.Member) error { return m.Commit(ctx) })
}

// release thaws. If the volumes were not held without interruption until now, the set fails.
func (c *creation) release(context.Context) error {
	held, err := c.theGuard().Release()
	c.change(func() { c.held = held })
	c.resumeIO()
	return err
}

func (c *creation) clearFlags(ctx context.Context) error {
	c.closeVolumes(ctx)
	return c.restoreFlags(ctx, "clear-flags")
}

func (c *creation) postCommit(ctx context.Context) error {
	return c.each("post-commit", func(m copies.Member) error { return m.PostCommit(ctx, len(c.copies)) })
}

// verifyFlags reads the originals again: what was cleared must be clear. Then they are let go.
func (c *creation) verifyFlags(ctx context.Context) error {
	if err := c.each("verify-flags", func(m copies.Member) error { return m.Verify(ctx) }); err != nil {
		return err
	}
	c.releaseOriginals(ctx)
	return nil
}

// thaw lets the writers go on, in reverse order. It can't be cancelled.
func (c *creation) thaw(ctx context.Context) error {
	return c.writers.Thaw(context.WithoutCancel(ctx), c.target())
}

// collect asks the providers what they made and makes it durable: from here on recovery finds the copies by their
// records.
func (c *creation) collect(ctx context.Context) error {
	for i, s := range c.copies {
		s.record = c.describe(i, s)
	}
	err := c.each("collect", func(m copies.Member) error { return m.Collect(ctx, c.recordsOf(m)) })
	if err != nil {
		return err
	}
	c.complete = catalog.Set{ID: c.id, Context: c.context, Created: c.began, Count: len(c.copies)}
	return c.Catalog.Update(func(tx *catalog.Tx) error {
		if err := c.putRecords(tx); err != nil {
			return err
		}
		return tx.PutSet(c.complete)
	})
}

// surface brings the copies to this host; a transportable set is left for another.
func (c *creation) surface(ctx context.Context) error {
	if c.transportable() || len(c.copies) == 0 {
		return nil
	}
	for _, m := range c.members {
		here, missing, err := m.Kind().Surface(ctx, c.id, c.recordsOf(m), false)
		c.change(func() { c.here = append(c.here, here...) })
		if err != nil {
			return err
		}
		if len(missing) > 0 {
			return vss.E("ImportSnapshots", vss.ErrSomeSnapshotsNotImported, missing[0]).
				Advise("the copy was made but did not arrive on this host; run `vss doctor`")
		}
	}
	if err := c.Host.Place(ctx, c.here); err != nil {
		return err
	}
	return c.Catalog.Update(c.putRecords)
}

func (c *creation) unsurface(ctx context.Context) {
	for _, m := range c.members {
		for _, r := range c.recordsOf(m) {
			c.Host.Withdraw(ctx, m.Kind().Open(r))
		}
	}
}

// preRecovery makes the copies writable for a while where a writer recovers its data in them.
func (c *creation) preRecovery(ctx context.Context) error {
	c.recovery = !c.transportable() && !c.context.Has(vss.AttrNoAutoRecovery) && c.writers.WantsRecovery(c.target())
	if !c.recovery {
		return nil
	}
	for _, s := range c.copies {
		s.record.Attributes |= vss.AttrAutoRecover
	}
	return c.each("pre-recovery", func(m copies.Member) error { return m.BeginRecovery(ctx, c.hereOf(m)) })
}

func (c *creation) preFinalCommit(ctx context.Context) error {
	return c.each("pre-final-commit", func(m copies.Member) error { return m.PreFinalCommit(ctx) })
}

// postSnapshot lets the writers work on the copies.
func (c *creation) postSnapshot(ctx context.Context) error {
	t := c.target()
	t.Writable, t.Devices = c.recovery, map[string]string{}
	for _, s := range c.copies {
		if d := c.Host.DeviceObject(&s.record); d != "" {
			t.Devices[s.vol.Name] = d
		}
	}
	return c.writers.PostSnapshot(ctx, t)
}

// postRecovery makes the copies read-only for good.
func (c *creation) postRecovery(ctx context.Context) error {
	if !c.recovery {
		return nil
	}
	return c.each("post-recovery", func(m copies.Member) error { return m.EndRecovery(ctx, c.hereOf(m)) })
}

// postFinalCommit ends the creation at the providers. The complete set is durable first: from here on recovery
// finishes it.
func (c *creation) postFinalCommit(ctx context.Context) error {
	var vols []writerset.Volume
	for _, s := range c.copies {
		held := s.vol.Mounted && !s.vol.Unrecovered
		vols = append(vols, writerset.Volume{Name: s.vol.Name, Reach: s.vol.Reach, Held: held})
	}
	labels, label, reason := c.writers.Labels(c.target(), vols)
	for i, s := range c.copies {
		s.record.Consistency = labels[i]
	}
	set := &c.complete
	set.Consistency, set.ConsistencyReason, set.Finishing = label, reason, true
	set.Hold, set.WriterWindow, set.Writers = c.held.End.Sub(c.held.Start), c.writers.Window(), c.writers.Status()
	if err := c.putSet(c.putRecords); err != nil {
		return err
	}
	return c.each("post-final-commit", func(m copies.Member) error { return m.PostFinalCommit(ctx) })
}

// undoFinishing has recovery drop the set again, not finish it.
func (c *creation) undoFinishing(context.Context) {
	c.complete.Finishing = false
	if err := c.putSet(c.putRecords); err != nil {
		c.Logger.Error("a set that failed is still recorded as complete", "set", c.id, "error", err)
	}
}

// created is the one transaction that makes the set exist.
func (c *creation) created(context.Context) error {
	c.complete.Finishing = false
	err := c.putSet(func(tx *catalog.Tx) error {
		for _, s := range c.copies {
			s.record.State = vss.StateCreated
		}
		return errors.Join(c.putRecords(tx), tx.RemoveCreation(c.id))
	})
	if err == nil {
		c.Logger.Info("shadow copy set created", "set", c.id, "copies", len(c.copies), "hold", c.complete.Hold,
			"consistency", c.complete.Consistency)
	}
	return err
}

// forget removes what is recorded of an aborted set, unless recovery still needs it: flags that are set on an original.
func (c *creation) forget(ctx context.Context) {
	if c.isHolding() {
		c.resumeIO() // the undo of the hold did not return; closing the guards has ended the hold
	}
	if c.isMarked() {
		return
	}
	var kinds []copies.Kind
	for _, m := range c.members {
		kinds = append(kinds, m.Kind())
	}
	if err := dropRemains(ctx, c.Catalog, c.id, kinds); err != nil {
		c.report(events.Remains, c.id, err, "the next start of the service, or `vss doctor --repair`, removes them")
	}
}
