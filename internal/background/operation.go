// Package background runs what takes its time: operations that a requester waits for or cancels, and steps that must
// not keep anybody waiting for longer than they may take. A panic in either is an error of it, not the end of the
// process.
package background

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Operation is an operation that runs in the background (IVssAsync). Its methods may be called from many goroutines.
type Operation struct {
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

// Status is the state of an operation.
type Status struct {
	Result  vss.Code // pending, finished, cancelled, another success code, or the failure's
	Err     error
	Step    string
	Percent float64
}

// Start runs f in the background. f reports its progress to the operation and returns a success code or an error. A
// panic in f is its error: E_UNEXPECTED with the name of the step that it was at.
func Start(
	parent context.Context, logger *slog.Logger, f func(ctx context.Context, a *Operation) (vss.Code, error),
) *Operation {
	ctx, cancel := context.WithCancel(parent)
	a := &Operation{ID: vss.NewGUID().Plain(), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer cancel()
		var code vss.Code
		err := Recovered(logger, func() string { return a.QueryStatus().Step }, func() (err error) {
			code, err = f(ctx, a)
			return err
		})
		a.mu.Lock()
		a.result, a.err = code, err
		a.cancelled = err != nil && errors.Is(err, context.Canceled)
		a.percent = 100
		a.mu.Unlock()
		close(a.done)
	}()
	return a
}

// Progress sets what QueryStatus returns of a running operation.
func (a *Operation) Progress(step string, percent float64) {
	a.mu.Lock()
	a.step, a.percent = step, percent
	a.mu.Unlock()
}

// SetValue keeps a result of the operation beyond its code.
func (a *Operation) SetValue(v any) {
	a.mu.Lock()
	a.value = v
	a.mu.Unlock()
}

// Value returns what SetValue was given, nil before.
func (a *Operation) Value() any {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.value
}

// Done is closed when the operation has ended.
func (a *Operation) Done() <-chan struct{} { return a.done }

// Wait returns when the operation has ended, when d is over (0: no limit) or when ctx is done. It doesn't report the
// result.
func (a *Operation) Wait(ctx context.Context, d time.Duration) {
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

// QueryStatus returns the state of the operation.
func (a *Operation) QueryStatus() Status {
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

// Cancel ends the operation and waits for its end. It returns S_OK if it was running, VSS_S_ASYNC_CANCELLED or
// VSS_S_ASYNC_FINISHED if it was cancelled or done before, or the failure that had ended it. Source: IVssAsync::Cancel.
func (a *Operation) Cancel() Status {
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
