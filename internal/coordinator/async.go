package coordinator

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Async is an operation that runs in the background (IVssAsync).
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

// Status is the state of an operation.
type Status struct {
	Result  vss.Code // pending, finished, cancelled, another success code, or the failure's
	Err     error
	Step    string
	Percent float64
}

// start runs f in the background. f reports its progress to the Async and returns a success code or an error. A panic in f
// is its error: E_UNEXPECTED with the name of the step that it was at.
func start(parent context.Context, logger *slog.Logger, f func(ctx context.Context, a *Async) (vss.Code, error)) *Async {
	ctx, cancel := context.WithCancel(parent)
	a := &Async{ID: vss.NewGUID().Plain(), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer cancel()
		var code vss.Code
		err := recovered(logger, a.QueryStatus, func() (err error) {
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

// recovered calls f and turns a panic into E_UNEXPECTED with the name of the step that was running.
func recovered(logger *slog.Logger, at func() Status, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(logger, at().Step, p)
		}
	}()
	return f()
}

// panicked logs a panic with its stack and returns it as an error that names the step.
func panicked(logger *slog.Logger, step string, p any) error {
	logger.Error("panic", "step", step, "panic", p, "stack", string(debug.Stack()))
	return vss.E(step, vss.ErrUnexpected, fmt.Errorf("panic: %v", p)).Advise("this is a defect of the service or of a provider in it; its log has the stack")
}

func (a *Async) progress(step string, percent float64) {
	a.mu.Lock()
	a.step, a.percent = step, percent
	a.mu.Unlock()
}

// Done is closed when the operation has ended.
func (a *Async) Done() <-chan struct{} { return a.done }

// Wait returns when the operation has ended, when d is over (0: no limit) or when ctx is done. It doesn't report the result.
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

// QueryStatus returns the state of the operation.
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

// Cancel ends the operation and waits for its end. It returns S_OK if it was running, VSS_S_ASYNC_CANCELLED or
// VSS_S_ASYNC_FINISHED if it was cancelled or done before, or the failure that had ended it. Source: IVssAsync::Cancel.
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
