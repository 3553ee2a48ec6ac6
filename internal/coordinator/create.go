package coordinator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/internal/hold"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// creation is one shadow copy set from StartSnapshotSet until it exists or was aborted.
type creation struct {
	k       *Coordinator
	s       *Session
	id      vss.SnapshotSetID
	context vss.Context
	state   vss.SnapshotState
	began   time.Time
	limit   time.Duration
	copies  []*shadow
	inUse   map[vss.LUNID]bool // the originals' LUNs; guarded by k.mu, since the disk manager asks
	record  catalog.Creation

	guard    *hold.Guard
	holding  bool // from just before the first freeze until the last thaw
	deadline time.Time
	awake    []func()
	roots    []*os.File
	disks    []*original
	locks    []func() // give back the copies' disks, while writers recover their data in them
	marked   bool     // flags were, or may have been, set
	timeline []catalog.Step
	held     hold.Result
	frozenAt time.Time // first Freeze sent
	thawedAt time.Time // last Thaw answered
	recovery bool      // a writer recovers in PostSnapshot
}

// shadow is one copy of the set.
type shadow struct {
	id         vss.SnapshotID
	vol        *volume.Volume
	provider   boundProvider
	hw         provider.Hardware
	sources    []vss.LUNInformation
	identities []disk.Identity
	held       bool
	record     catalog.Snapshot
}

// providers are those that the set uses, each once.
func (c *creation) providers() []boundProvider {
	var out []boundProvider
	for _, s := range c.copies {
		if !slices.ContainsFunc(out, func(p boundProvider) bool { return p.props.ID == s.provider.props.ID }) {
			out = append(out, s.provider)
		}
	}
	return out
}

// each calls f for all of the set's providers at once and returns the first failure.
func (c *creation) each(method string, f func(boundProvider) error) error {
	used := c.providers()
	errs := make([]error, len(used))
	var wg sync.WaitGroup
	for i, p := range used {
		wg.Go(func() { errs[i] = fault.Around("provider", method, func() error { return f(p) }) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return c.k.said(used[i].props, method, c.id, err)
		}
	}
	return nil
}

func (c *creation) endPrepare(ctx context.Context) error {
	return c.each("EndPrepareSnapshots", func(p boundProvider) error { return p.EndPrepareSnapshots(ctx, c.id) })
}

func (c *creation) abortProviders(ctx context.Context) {
	for _, p := range c.providers() {
		if err := p.AbortSnapshots(ctx, c.id); err != nil && !errors.Is(err, vss.ErrObjectNotFound) {
			c.k.events.add(catalog.Event{Severity: "error", What: "abort-failed", Provider: p.props.Name, SetID: c.id, Code: vss.CodeOf(err), Message: err.Error(), Hint: "run `vss doctor`"})
		}
	}
}

// openVolumes opens each file system once and starts the guards over them. A file system that isn't mounted is copied
// without a hold.
func (c *creation) openVolumes(ctx context.Context) error {
	var vols []hold.Volume
	seen := map[string]bool{}
	for _, s := range c.copies {
		if !s.vol.Mounted {
			continue
		}
		s.held = true
		if seen[s.vol.SuperKey] {
			continue
		}
		seen[s.vol.SuperKey] = true
		f, err := c.k.Volumes.Open(s.vol)
		if err != nil {
			return err
		}
		c.roots = append(c.roots, f)
		vols = append(vols, hold.Volume{Name: s.vol.Name, Root: f})
	}
	if len(vols) == 0 {
		return nil
	}
	g, err := hold.Start(ctx, hold.Config{RunDir: c.k.RunDir, Limit: c.limit, Exe: c.k.GuardExe, Logger: c.k.Logger}, vols)
	c.guard = g
	return err
}

func (c *creation) closeVolumes(context.Context) {
	if c.guard != nil {
		if err := c.guard.Close(); err != nil {
			c.k.events.add(catalog.Event{Severity: "error", What: "guard-failed", SetID: c.id, Code: vss.CodeOf(err), Message: err.Error(), Hint: "run `vssd thaw`, then `vss doctor`"})
		}
		c.guard = nil
	}
	for _, f := range c.roots {
		f.Close()
	}
	c.roots = nil
}

func (c *creation) preflush(ctx context.Context) error {
	if c.guard == nil {
		return nil
	}
	return c.guard.Preflush(ctx)
}

// preCommit arms the providers. From here until the release nothing of ours works in the background.
func (c *creation) preCommit(ctx context.Context) error {
	for _, a := range c.k.Disks.Arrays() {
		resume, err := a.PauseBackground(ctx)
		if err != nil {
			return c.k.said(provider.Properties{Name: "array"}, "PauseBackground", c.id, err)
		}
		c.awake = append(c.awake, resume)
	}
	return c.each("PreCommitSnapshots", func(p boundProvider) error { return p.PreCommitSnapshots(ctx, c.id) })
}

// wake lets what preCommit paused go on.
func (c *creation) wake(context.Context) {
	for _, resume := range c.awake {
		resume()
	}
	c.awake = nil
}

func (c *creation) flush(ctx context.Context) error {
	if c.guard == nil {
		return nil
	}
	return c.guard.Flush(ctx)
}

// hold stops all writes to the set. From here to release nothing of ours is written anywhere.
func (c *creation) hold(ctx context.Context) error {
	c.holding = true
	c.deadline = time.Now().Add(c.limit)
	c.k.events.hold()
	c.k.Quiet.Hold()
	if c.guard == nil {
		return nil
	}
	return c.guard.Hold(ctx)
}

// commit has all providers take the point in time at once. A provider that isn't back at the deadline has failed, whatever
// it says later.
func (c *creation) commit(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- c.each("CommitSnapshots", func(p boundProvider) error { return p.CommitSnapshots(ctx, c.id) })
	}()
	late := time.NewTimer(time.Until(c.deadline))
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		return vss.E("CommitSnapshots", vss.ErrHoldWritesTimeout, fmt.Errorf("a provider was not done after %v", c.limit)).Advise("wait ten minutes and try again, at most three times")
	}
}

// release thaws; a hold that was not ours all the time fails the set.
func (c *creation) release(context.Context) error {
	if c.guard == nil {
		c.loud()
		return nil
	}
	var err error
	c.held, err = c.guard.Release()
	c.loud()
	return err
}

func (c *creation) undoHold(context.Context) {
	if !c.holding {
		return
	}
	if c.guard != nil {
		c.held, _ = c.guard.Release() // the set has failed already; Close, next, reports what it can't thaw
	}
	c.loud()
}

// loud ends the silence that hold began.
func (c *creation) loud() {
	c.holding = false
	c.k.Quiet.Release()
	c.k.events.release()
	c.wake(context.Background())
}

func (c *creation) postCommit(ctx context.Context) error {
	return c.each("PostCommitSnapshots", func(p boundProvider) error { return p.PostCommitSnapshots(ctx, c.id, len(c.copies)) })
}

// targetLUNs asks the providers what they made and makes it durable: from here recovery finds the copies by their LUNs.
func (c *creation) targetLUNs(ctx context.Context) error {
	for i, s := range c.copies {
		targets, err := s.hw.GetTargetLUNs(ctx, c.id, s.vol.Disks, s.sources)
		if err == nil && len(targets) != len(s.sources) {
			err = vss.E("GetTargetLuns", vss.ErrUnexpectedProviderError, fmt.Errorf("%d LUNs for %d", len(targets), len(s.sources)))
		}
		if err != nil {
			return c.k.said(s.provider.props, "GetTargetLuns", c.id, err)
		}
		s.record = c.describe(s)
		s.record.Order = i
		for n, t := range targets {
			l := catalog.LUN{Original: s.sources[n], OriginalIdentity: s.identities[n], Copy: t}
			if d, ok := c.k.Disks.ByInformation(ctx, &t); ok {
				l.LUNID = d.LUN.ID
			}
			s.record.LUNs = append(s.record.LUNs, l)
		}
	}
	return c.k.Catalog.Update(func(tx *catalog.Tx) error {
		for _, s := range c.copies {
			if err := tx.PutSnapshot(s.record); err != nil {
				return err
			}
		}
		return tx.PutSet(catalog.Set{ID: c.id, Context: c.context, Created: c.began, Count: len(c.copies)})
	})
}

// describe is what is known of a copy once it is committed.
func (c *creation) describe(s *shadow) catalog.Snapshot {
	attrs := c.context | vss.AttrHardwareAssisted | vss.AttrNotSurfaced
	if !attrs.Has(vss.AttrPlex) {
		attrs |= vss.AttrDifferential
	}
	uuid := s.vol.UUID
	at := c.held.Frozen
	if at.IsZero() {
		at = time.Now()
	}
	return catalog.Snapshot{
		ID: s.id, SetID: c.id, Kind: catalog.KindLUN, Count: len(c.copies), State: c.state, OriginalVolume: s.vol.Name, FileSystem: s.vol.FileSystem, FileSystemUUID: uuid,
		Subvolume: s.vol.Subvolume, ProviderID: s.provider.props.ID, ProviderName: s.provider.props.Name, Attributes: attrs,
		Created: at, OriginatingMachine: c.k.Host, ServiceMachine: c.k.Host, Extents: s.vol.Extents,
	}
}

func (c *creation) transportable() bool { return c.context.Has(vss.AttrTransportable) }

// importCopies surfaces the copies on this host; a transportable set is left for another.
func (c *creation) importCopies(ctx context.Context) error {
	if c.transportable() || len(c.copies) == 0 {
		return nil
	}
	records := make([]*catalog.Snapshot, len(c.copies))
	for i, s := range c.copies {
		records[i] = &s.record
	}
	missing, err := c.k.surface(ctx, c.id, records, false)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return vss.E("ImportSnapshots", vss.ErrSomeSnapshotsNotImported, missing[0]).Advise("the array made the copy but this host doesn't see it; run `vss doctor`")
	}
	return c.k.Catalog.Update(func(tx *catalog.Tx) error {
		for _, s := range c.copies {
			if err := tx.PutSnapshot(s.record); err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *creation) unsurface(ctx context.Context) {
	for _, s := range c.copies {
		c.k.withdraw(ctx, &s.record)
	}
}

func (c *creation) luns() (copies, originals []vss.LUNInformation) {
	for _, s := range c.copies {
		for _, l := range s.record.LUNs {
			copies, originals = append(copies, l.Copy), append(originals, l.Original)
		}
	}
	return copies, originals
}

// stateChange tells all hardware providers of a change of the copies' LUNs.
func (c *creation) stateChange(ctx context.Context, change vss.LUNStateChange) error {
	copies, originals := c.luns()
	return c.each("OnLunStateChange", func(p boundProvider) error {
		return p.Provider.(provider.Hardware).OnLUNStateChange(ctx, copies, originals, change)
	})
}

// preRecovery makes the copies writable for a while where a writer recovers its data in them.
func (c *creation) preRecovery(ctx context.Context) error {
	c.recovery = !c.transportable() && !c.context.Has(vss.AttrNoAutoRecovery) && c.s.wantsRecovery(c)
	if !c.recovery {
		return nil
	}
	if err := c.stateChange(ctx, vss.NotifyLUNPreRecovery); err != nil {
		return err
	}
	for _, s := range c.copies {
		s.record.Attributes |= vss.AttrAutoRecover
		if err := c.lockCopy(ctx, s); err != nil {
			return err
		}
		if err := c.k.blockReadOnly(ctx, &s.record, false); err != nil {
			return err
		}
	}
	return nil
}

// lockCopy takes the locks of a copy's disks until postRecovery: udev, still busy with a copy that has just come, would make
// it read-only again.
func (c *creation) lockCopy(ctx context.Context, s *shadow) error {
	for i := range s.record.LUNs {
		d, err := c.k.lunDisk(ctx, &s.record.LUNs[i])
		if err != nil {
			return err
		}
		l, err := c.k.Disks.Lock(ctx, d)
		if err != nil {
			return err
		}
		c.locks = append(c.locks, l.Unlock)
	}
	return nil
}

func (c *creation) unlockCopies(context.Context) {
	for _, release := range c.locks {
		release()
	}
	c.locks = nil
}

func (c *creation) preFinalCommit(ctx context.Context) error {
	return c.each("PreFinalCommitSnapshots", func(p boundProvider) error { return p.PreFinalCommitSnapshots(ctx, c.id) })
}

func (c *creation) postRecovery(ctx context.Context) error {
	if !c.recovery {
		return nil
	}
	defer c.unlockCopies(ctx)
	for _, s := range c.copies {
		if err := c.k.blockReadOnly(ctx, &s.record, true); err != nil {
			return err
		}
	}
	return c.stateChange(ctx, vss.NotifyLUNPostRecovery)
}

func (c *creation) postFinalCommit(ctx context.Context) error {
	return c.each("PostFinalCommitSnapshots", func(p boundProvider) error { return p.PostFinalCommitSnapshots(ctx, c.id) })
}

// created is the one transaction that makes the set exist.
func (c *creation) created(context.Context) error {
	set := catalog.Set{ID: c.id, Context: c.context, Created: c.began, Count: len(c.copies), Timeline: c.timeline,
		Hold: c.held.End.Sub(c.held.Start), Writers: c.s.writerRecords()}
	if !c.frozenAt.IsZero() {
		set.WriterWindow = c.thawedAt.Sub(c.frozenAt)
	}
	labels, label, reason := c.s.consistency(c)
	set.Consistency, set.ConsistencyReason = label, reason
	err := c.k.Catalog.Update(func(tx *catalog.Tx) error {
		for i, s := range c.copies {
			s.record.State = vss.StateCreated
			s.record.Consistency = labels[i]
			if err := tx.PutSnapshot(s.record); err != nil {
				return err
			}
		}
		if len(c.copies) > 0 {
			if err := tx.PutSet(set); err != nil {
				return err
			}
		}
		return tx.RemoveCreation(c.id)
	})
	if err == nil {
		c.k.Logger.Info("shadow copy set created", "set", c.id, "copies", len(c.copies), "hold", set.Hold, "consistency", set.Consistency)
	}
	return err
}

// forget removes what is recorded of an aborted set, unless something of it is left for recovery to mend.
func (c *creation) forget() {
	if c.marked {
		return // the flags are still on an original: the record says which
	}
	if err := c.k.dropRemains(context.Background(), c.record); err != nil {
		c.k.events.add(catalog.Event{Severity: "error", What: "remains", SetID: c.id, Code: vss.CodeOf(err), Message: err.Error(), Hint: "the next start of the service, or `vss doctor --repair`, removes them"})
	}
}
