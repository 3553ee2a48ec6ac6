package provider

import (
	"context"
	"errors"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Base implements the calls of Provider that many providers answer alike, in the order that its Machine enforces. Embed
// it and override the calls that have something to do.
type Base struct{ Machine *Machine }

// nothing is the work of a step without any.
func nothing(context.Context) error { return nil }

// OnLoad undoes a set that a former connection left unfinished.
func (b Base) OnLoad(ctx context.Context) error { return b.OnUnload(ctx, true) }

// OnUnload undoes an unfinished set if force is set, and otherwise refuses to leave one.
func (b Base) OnUnload(ctx context.Context, force bool) error {
	if !b.Machine.Pending() {
		return nil
	}
	if !force {
		return vss.False
	}
	set, _ := b.Machine.Now()
	return b.Machine.Abort(ctx, set)
}

// EndPrepareSnapshots has nothing to wait for.
func (b Base) EndPrepareSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return b.Machine.Step(ctx, CallEndPrepare, set, nothing)
}

// PreCommitSnapshots has nothing to arm.
func (b Base) PreCommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return b.Machine.Step(ctx, CallPreCommit, set, nothing)
}

// PostCommitSnapshots has nothing to finish.
func (b Base) PostCommitSnapshots(ctx context.Context, set vss.SnapshotSetID, _ int) error {
	return b.Machine.Step(ctx, CallPostCommit, set, nothing)
}

// PreFinalCommitSnapshots has nothing to reserve.
func (b Base) PreFinalCommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return b.Machine.Step(ctx, CallPreFinalCommit, set, nothing)
}

// AbortSnapshots undoes the set, if this process has begun it.
func (b Base) AbortSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return b.Machine.Abort(ctx, set)
}

// SoftwareBase is Base for a Software, without revert and without events.
type SoftwareBase struct{ Base }

// RevertToSnapshot returns E_NOTIMPL: such a provider must not claim CanRevert.
func (SoftwareBase) RevertToSnapshot(_ context.Context, r Ref) error {
	return vss.E("RevertToSnapshot", vss.ErrNotImpl, errors.New("the provider can't revert volumes")).On(r.ID.String())
}

// QueryRevertStatus returns VSS_E_OBJECT_NOT_FOUND.
func (SoftwareBase) QueryRevertStatus(_ context.Context, v Volume) (RevertStatus, error) {
	err := vss.E("QueryRevertStatus", vss.ErrObjectNotFound, errors.New("no revert is under way")).On(v.Name)
	return RevertStatus{}, err
}

// Events sends nothing.
func (SoftwareBase) Events(ctx context.Context) (<-chan Event, error) {
	out := make(chan Event)
	context.AfterFunc(ctx, func() { close(out) })
	return out, nil
}
