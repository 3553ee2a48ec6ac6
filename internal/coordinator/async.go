package coordinator

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Async is an operation under way (IVssAsync).
type Async struct {
	ID     string
	cancel context.CancelFunc
	done   chan struct{}

	mu        sync.Mutex
	step      string
	percent   float64
	result    vss.Code // of the finished operation, success codes included
	err       error
	cancelled bool
	value     any
}

// Status is what QueryStatus tells.
type Status struct {
	Result  vss.Code // pending, finished, cancelled, another success code, or the failure's
	Err     error
	Step    string
	Percent float64
}

// start runs f in the background. f reports how far it is through progress and returns a success code or an error.
func start(parent context.Context, f func(ctx context.Context, a *Async) (vss.Code, error)) *Async {
	ctx, cancel := context.WithCancel(parent)
	a := &Async{ID: vss.NewGUID().Plain(), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer cancel()
		code, err := f(ctx, a)
		a.mu.Lock()
		a.result, a.err = code, err
		a.cancelled = err != nil && errors.Is(err, context.Canceled)
		a.percent = 100
		a.mu.Unlock()
		close(a.done)
	}()
	return a
}

func (a *Async) progress(step string, percent float64) {
	a.mu.Lock()
	a.step, a.percent = step, percent
	a.mu.Unlock()
}

// Done is closed when the operation has ended.
func (a *Async) Done() <-chan struct{} { return a.done }

// Wait returns when the operation has ended, when d has gone (0: never) or ctx is done. It says nothing of success.
func (a *Async) Wait(ctx context.Context, d time.Duration) {
	var timeout <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-a.done:
	case <-ctx.Done():
	case <-timeout:
	}
}

// QueryStatus tells how the operation stands.
func (a *Async) QueryStatus() Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := Status{Step: a.step, Percent: a.percent}
	select {
	case <-a.done:
	default:
		s.Result = vss.SuccessAsyncPending
		return s
	}
	switch {
	case a.cancelled:
		s.Result = vss.SuccessAsyncCancelled
	case a.err != nil:
		s.Result, s.Err = vss.CodeOf(a.err), a.err
	case a.result != vss.OK:
		s.Result = a.result
	default:
		s.Result = vss.SuccessAsyncFinished
	}
	return s
}

// Cancel ends the operation. It returns S_OK if that was now, VSS_S_ASYNC_CANCELLED or VSS_S_ASYNC_FINISHED if it was
// cancelled or done before, or the failure that had ended it. Source: IVssAsync::Cancel.
func (a *Async) Cancel() Status {
	if s := a.QueryStatus(); s.Result != vss.SuccessAsyncPending {
		return s
	}
	a.cancel()
	<-a.done
	s := a.QueryStatus()
	if s.Result == vss.SuccessAsyncCancelled {
		s.Result = vss.OK
	}
	return s
}
