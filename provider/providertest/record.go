package providertest

import (
	"context"
	"slices"
	"sync"

	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Call is one call that a provider received. Fields that the method doesn't have are zero.
type Call struct {
	Provider  vss.ProviderID
	Method    string // its VSS name, such as "CommitSnapshots" or "GetTargetLuns"
	Set       vss.SnapshotSetID
	Snapshots []vss.SnapshotID
	Volume    string // its name
	LUNs      []vss.LUNInformation
	Change    vss.LUNStateChange
	Force     bool
	On        bool // of SetWritable
}

// Log keeps the calls of providers that RecordHardware or RecordSoftware wrapped, in the order in which they came.
// One log may serve several providers. Properties, which may be called at any time, isn't recorded.
type Log struct {
	mu     sync.Mutex
	calls  []Call
	before func(context.Context, Call) error
}

// Before sets a function that runs before each call reaches its provider: it may return an error, which becomes the
// call's result, wait, or panic. Nil removes it.
func (l *Log) Before(f func(context.Context, Call) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.before = f
}

// Calls returns all calls so far.
func (l *Log) Calls() []Call {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.calls)
}

// Of returns the calls to one provider.
func (l *Log) Of(id vss.ProviderID) []Call {
	return slices.DeleteFunc(l.Calls(), func(c Call) bool { return c.Provider != id })
}

// Methods returns the methods that were called at one provider.
func (l *Log) Methods(id vss.ProviderID) []string {
	var out []string
	for _, c := range l.Of(id) {
		out = append(out, c.Method)
	}
	return out
}

// Reset forgets all calls so far.
func (l *Log) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = nil
}

func (l *Log) add(ctx context.Context, c Call) error {
	l.mu.Lock()
	l.calls = append(l.calls, c)
	before := l.before
	l.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(ctx, c)
}

// recorded has the calls of every kind of provider.
type recorded struct {
	provider.Provider
	log *Log
}

// call records a call and makes it.
func (r *recorded) call(ctx context.Context, c Call, do func() error) error {
	p, err := r.Provider.Properties(ctx)
	if err != nil {
		return err
	}
	c.Provider = p.ID
	if err := r.log.add(ctx, c); err != nil {
		return err
	}
	return do()
}

func (r *recorded) OnLoad(ctx context.Context) error {
	return r.call(ctx, Call{Method: "OnLoad"}, func() error { return r.Provider.OnLoad(ctx) })
}

func (r *recorded) OnUnload(ctx context.Context, force bool) error {
	return r.call(ctx, Call{Method: "OnUnload", Force: force}, func() error { return r.Provider.OnUnload(ctx, force) })
}

func (r *recorded) EndPrepareSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return r.call(
		ctx,
		Call{Method: "EndPrepareSnapshots", Set: set},
		func() error { return r.Provider.EndPrepareSnapshots(ctx, set) },
	)
}

func (r *recorded) PreCommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return r.call(
		ctx,
		Call{Method: "PreCommitSnapshots", Set: set},
		func() error { return r.Provider.PreCommitSnapshots(ctx, set) },
	)
}

func (r *recorded) CommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return r.call(
		ctx,
		Call{Method: "CommitSnapshots", Set: set},
		func() error { return r.Provider.CommitSnapshots(ctx, set) },
	)
}

func (r *recorded) PostCommitSnapshots(ctx context.Context, set vss.SnapshotSetID, count int) error {
	return r.call(ctx, Call{Method: "PostCommitSnapshots", Set: set}, func() error {
		return r.Provider.PostCommitSnapshots(ctx, set, count)
	})
}

func (r *recorded) PreFinalCommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return r.call(ctx, Call{Method: "PreFinalCommitSnapshots", Set: set}, func() error {
		return r.Provider.PreFinalCommitSnapshots(ctx, set)
	})
}

func (r *recorded) PostFinalCommitSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return r.call(ctx, Call{Method: "PostFinalCommitSnapshots", Set: set}, func() error {
		return r.Provider.PostFinalCommitSnapshots(ctx, set)
	})
}

func (r *recorded) AbortSnapshots(ctx context.Context, set vss.SnapshotSetID) error {
	return r.call(
		ctx,
		Call{Method: "AbortSnapshots", Set: set},
		func() error { return r.Provider.AbortSnapshots(ctx, set) },
	)
}
