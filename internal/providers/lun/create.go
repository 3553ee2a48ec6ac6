package lun

import (
	"context"
	"errors"
	"fmt"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// step makes one step of the set.
func (p *Provider) step(
	ctx context.Context,
	e provider.Call,
	set vss.SnapshotSetID,
	run func(context.Context) error,
) error {
	return p.answer(e.String(), set.String(), p.machine.Step(ctx, e, set, run))
}

// onArrays makes one step at all arrays of the set at once.
func (p *Provider) onArrays(e provider.Call, set vss.SnapshotSetID, do func(part) error) error {
	return each(p.recorded(set), func(x part) error { return lost(e.String(), set, do(x)) })
}

// EndPrepareSnapshots implements provider.Provider. When the set is aborted it returns at once; drop waits for the
// arrays.
func (p *Provider) EndPrepareSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	const e = provider.CallEndPrepare
	return p.step(ctx, e, set, func(ctx context.Context) error {
		prepared, ok := p.close(set)
		if !ok {
			return vss.E(e.String(), vss.ErrProviderVeto, errors.New("its first copy is still being begun")).
				On(set.String()).Advise("the calls came out of order; create the set again")
		}
		var err error
		go func() {
			defer close(prepared)
			err = p.onArrays(e, set, func(x part) error {
				_, err := x.array.PrepareCopies(ctx, set, p.cfg.Host, x.requests)
				return err
			})
		}()
		select {
		case <-prepared:
			return err
		case <-ctx.Done():
			return vss.E(e.String(), vss.ErrProviderVeto,
				fmt.Errorf("it was given up while the arrays prepared: %w", ctx.Err())).
				On(set.String()).Advise("create the set again")
		}
	})
}

// close fixes the parts of the set; prepared must be closed when the arrays have ended preparing it.
func (p *Provider) close(set vss.SnapshotSetID) (prepared chan struct{}, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.creation == nil || p.creation.id != set || p.creation.dropped {
		return nil, false
	}
	p.creation.prepared = make(chan struct{})
	return p.creation.prepared, true
}

// PreCommitSnapshots implements provider.Provider. Everything is ready since EndPrepareSnapshots.
func (p *Provider) PreCommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return p.step(ctx, provider.CallPreCommit, set, nothing)
}

func nothing(context.Context) error { return nil }

// CommitSnapshots implements provider.Provider: the arrays take the copies. Errors are logged later.
func (p *Provider) CommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	const e = provider.CallCommit
	err := p.machine.Step(ctx, e, set, func(ctx context.Context) error {
		return p.onArrays(e, set, func(x part) error {
			_, err := x.array.CommitCopies(ctx, set, p.cfg.Host)
			return err
		})
	})
	if err = legal(e.String(), set.String(), err); vss.CodeOf(err) == vss.ErrProviderVeto {
		p.mu.Lock()
		p.deferredErrors = append(p.deferredErrors, err)
		p.mu.Unlock()
	}
	return err
}

// PostCommitSnapshots implements provider.Provider.
func (p *Provider) PostCommitSnapshots(ctx context.Context, set vss.SnapshotSetID, _ int) error {
	const e = provider.CallPostCommit
	p.flushDeferredErrors()
	return p.step(ctx, e, set, func(ctx context.Context) error {
		return p.onArrays(e, set, func(x part) error {
			_, err := x.array.FinishCopies(ctx, set, p.cfg.Host)
			return err
		})
	})
}

// PreFinalCommitSnapshots implements provider.Provider. The arrays reserve space for writes to copies at all times.
func (p *Provider) PreFinalCommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return p.step(ctx, provider.CallPreFinalCommit, set, nothing)
}

// PostFinalCommitSnapshots implements provider.Provider.
func (p *Provider) PostFinalCommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	const e = provider.CallPostFinalCommit
	return p.step(ctx, e, set, func(ctx context.Context) error {
		return p.onArrays(e, set, func(x part) error { return x.array.KeepCopies(ctx, set, p.cfg.Host) })
	})
}

// GetTargetLUNs implements provider.Hardware. The copies are found in the records of the arrays.
func (p *Provider) GetTargetLUNs(
	ctx context.Context,
	set vss.SnapshotSetID,
	_ []string,
	sources []vss.LUNInformation,
) ([]vss.LUNInformation, error) {
	const op = "GetTargetLuns"
	v := p.inventory(ctx)
	var out []vss.LUNInformation
	for i := range sources {
		l, err := p.target(v, op, set, &sources[i])
		if err != nil {
			return nil, p.answer(op, set.String(), err)
		}
		out = append(out, l)
	}
	return out, nil
}

// target returns the description of the copy of one original.
func (p *Provider) target(
	v *inventory,
	op string,
	set vss.SnapshotSetID,
	source *vss.LUNInformation,
) (vss.LUNInformation, error) {
	origin, err := v.find(op, source)
	if err != nil {
		return vss.LUNInformation{}, err
	}
	for _, f := range v.luns {
		if f.array == origin.array && f.lun.Origin == origin.lun.ID && p.made(f.lun, set) {
			return f.info, nil
		}
	}
	if now, state := p.machine.Now(); now == set && state != vss.StateAborted && state != vss.StateCreated {
		return vss.LUNInformation{}, vss.E(op, vss.ErrBadState,
			fmt.Errorf("the set is %s and has no copy of it", state)).
			On(origin.lun.Name).Advise("ask after PostCommitSnapshots for LUNs that are in the set")
	}
	return vss.LUNInformation{}, vss.E(op, vss.ErrObjectNotFound, fmt.Errorf("set %s has no copy of it", set)).
		On(origin.lun.Name)
}

// made reports whether a LUN is a copy of a set of this host.
func (p *Provider) made(l array.LUN, set vss.SnapshotSetID) bool {
	return l.Kind == array.KindShadowCopy && l.Set == set && l.Host == p.cfg.Host
}
