package service

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/stats"
)

// activity counts the calls in progress, so that a service that was started on demand can end when it isn't used.
type activity struct{ calls atomic.Int64 }

func (*activity) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (*activity) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*activity) HandleConn(context.Context, stats.ConnStats)                       {}

func (a *activity) HandleRPC(_ context.Context, s stats.RPCStats) {
	switch s.(type) {
	case *stats.Begin:
		a.calls.Add(1)
	case *stats.End:
		a.calls.Add(-1)
	}
}

// idlePollInterval is how often untilIdle checks for activity.
const idlePollInterval = 250 * time.Millisecond

// untilIdle returns when nothing was in progress for limit, or ctx ends.
func (a *activity) untilIdle(ctx context.Context, limit time.Duration, idle func() bool) {
	since := time.Now()
	tick := time.NewTicker(idlePollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if a.calls.Load() > 0 || !idle() {
			since = time.Now()
		} else if time.Since(since) >= limit {
			return
		}
	}
}
