package coordinator

import (
	"context"
	"errors"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Break turns a set's copies into ordinary volumes and forgets the set. The value of its Async is a []copies.Broken.
// Errors, at once: E_INVALIDARG, VSS_E_BAD_STATE; through the Async: VSS_E_OBJECT_NOT_FOUND, VSS_E_PROVIDER_VETO for
// a set with a copy that can't be broken, VSS_E_BREAK_REVERT_ID_FAILED (the set is intact then), VSS_E_VOLUME_IN_USE.
// Source: BreakSnapshotSetEx.
func (s *Session) Break(set vss.SnapshotSetID, flags vss.BreakFlags) (*Async, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("BreakSnapshotSetEx", true, initialized...); err != nil {
		return nil, err
	}
	if err := vss.CheckBreakFlags(flags); err != nil {
		return nil, err
	}
	return s.async(func(ctx context.Context, a *Async) (vss.Code, error) {
		out, err := s.k.breakSet(ctx, set, flags, a.Progress)
		s.k.Events.Failed(events.BreakFailed, set, "", err)
		a.SetValue(out)
		return vss.OK, err
	}), nil
}

// BreakResult returns what a finished break did.
func BreakResult(a *Async) []copies.Broken {
	out, _ := a.Value().([]copies.Broken)
	return out
}

func (k *Coordinator) breakSet(
	ctx context.Context, set vss.SnapshotSetID, flags vss.BreakFlags, progress func(string, float64),
) ([]copies.Broken, error) {
	unlock, err := k.lockSet("BreakSnapshotSetEx", set)
	if err != nil {
		return nil, err
	}
	defer unlock()
	progress("check", 0)
	breaks, err := k.checkBreak(ctx, set, flags)
	if err != nil {
		return nil, err
	}
	readWrite, mask := flags&vss.BreakMakeReadWrite != 0, flags&vss.BreakMaskLUNs != 0
	record := catalog.Break{Set: set, ReadWrite: readWrite, MaskLUNs: mask}
	for _, b := range breaks {
		record.Before = append(record.Before, b.Before()...)
	}
	if err := k.putBreak(record); err != nil {
		return nil, err
	}
	progress("change", 25)
	point := "change"
	if record.MaskLUNs {
		point = "mask"
	}
	err = fault.Around("break", point, func() error {
		return eachBreak(breaks, func(b copies.Break) error { return b.Apply(ctx) })
	})
	if err != nil {
		k.rollBack(context.WithoutCancel(ctx), record, breaks)
		return nil, err
	}
	progress("forget", 75)
	err = fault.Around("break", "forget", func() error {
		record.Forgetting = true // from here on there is no way back, and recovery goes on
		if err := k.putBreak(record); err != nil {
			return err
		}
		return k.finishBreak(context.WithoutCancel(ctx), set, breaks)
	})
	if err != nil {
		return nil, err
	}
	var out []copies.Broken
	for _, b := range breaks {
		out = append(out, b.Result(ctx)...)
	}
	return out, nil
}

// checkBreak prepares the breaks of all kinds in a set and changes nothing. Errors: those of Break.
func (k *Coordinator) checkBreak(
	ctx context.Context, set vss.SnapshotSetID, flags vss.BreakFlags,
) ([]copies.Break, error) {
	const op = "BreakSnapshotSetEx"
	records, err := k.recordsOf(set)
	if err != nil {
		return nil, err
	}
	unfinished := func(r *catalog.Snapshot) bool { return r.State != vss.StateCreated }
	if len(records) == 0 || slices.ContainsFunc(records, unfinished) {
		return nil, vss.E(op, vss.ErrObjectNotFound, nil).On(set.String()).
			Advise("`vss list shadows` shows which sets exist")
	}
	parts, err := k.parts(records)
	if err != nil {
		return nil, err
	}
	for _, p := range parts {
		if _, ok := p.kind.(copies.Breaker); !ok {
			why := errors.New("copies of " + p.kind.Properties().Name + " can't be broken")
			return nil, vss.E(op, vss.ErrProviderVeto, why).On(set.String()).
				Advise("only sets whose copies are all of hardware providers can be broken")
		}
	}
	var out []copies.Break
	for _, p := range parts {
		b, err := p.kind.(copies.Breaker).CheckBreak(ctx, p.records, flags)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

func (k *Coordinator) putBreak(record catalog.Break) error {
	return k.Catalog.Update(func(tx *catalog.Tx) error { return tx.PutBreak(record) })
}

// eachBreak calls f for one break after the other until one fails.
func eachBreak(breaks []copies.Break, f func(copies.Break) error) error {
	for _, b := range breaks {
		if err := f(b); err != nil {
			return err
		}
	}
	return nil
}

// rollBack makes the set what it was. What it can't undo now the next start undoes.
func (k *Coordinator) rollBack(ctx context.Context, record catalog.Break, breaks []copies.Break) {
	if err := k.undoBreak(ctx, record.Set, breaks); err != nil {
		k.report(events.BreakNotUndone, record.Set, err, "the next start of the service tries again")
	}
}

func (k *Coordinator) undoBreak(ctx context.Context, set vss.SnapshotSetID, breaks []copies.Break) error {
	var errs []error
	for _, b := range slices.Backward(breaks) {
		errs = append(errs, b.Undo(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return k.Catalog.Update(func(tx *catalog.Tx) error { return tx.RemoveBreak(set) })
}

// finishBreak ends the break at the providers and forgets the set.
func (k *Coordinator) finishBreak(ctx context.Context, set vss.SnapshotSetID, breaks []copies.Break) error {
	if err := eachBreak(breaks, func(b copies.Break) error { return b.Finish(ctx) }); err != nil {
		return err
	}
	return k.Catalog.Update(func(tx *catalog.Tx) error {
		if err := tx.RemoveSet(set); err != nil {
			return err
		}
		return tx.RemoveBreak(set)
	})
}

// recoverBreak finishes a break that had begun to forget its set, goes on with one that masks, and undoes any other.
func (k *Coordinator) recoverBreak(ctx context.Context, record catalog.Break) error {
	records, err := k.recordsOf(record.Set)
	if err != nil {
		return err
	}
	parts, err := k.parts(records)
	if err != nil {
		return err
	}
	var breaks []copies.Break
	for _, p := range parts {
		if b, ok := p.kind.(copies.Breaker); ok {
			breaks = append(breaks, b.ResumeBreak(p.records, record))
		}
	}
	if record.MaskLUNs && !record.Forgetting {
		if err := eachBreak(breaks, func(b copies.Break) error { return b.Apply(ctx) }); err != nil {
			return err
		}
	}
	if record.MaskLUNs || record.Forgetting {
		return k.finishBreak(ctx, record.Set, breaks)
	}
	return k.undoBreak(ctx, record.Set, breaks)
}
