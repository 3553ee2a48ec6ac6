package service

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/stats"
)

// activity counts the calls under way, so that a service that was started on demand knows when nobody needs it.
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

// idleLook is how often it is looked whether somebody needs the service.
const idleLook = 250 * time.Millisecond

// untilIdle returns when nothing was under way for as long as limit, or ctx ends.
func (a *activity) untilIdle(ctx context.Context, limit time.Duration, idle func() bool) {
	since := time.Now()
	tick := time.NewTicker(idleLook)
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
