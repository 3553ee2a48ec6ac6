package requester

import (
	"context"
	"errors"
	"time"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// waitSlice is the interval at which Wait reports progress.
const waitSlice = 200 * time.Millisecond

// Async is an asynchronous operation (IVssAsync). Wait and QueryStatus return its result; the call that started it only
// returns errors of starting it.
type Async struct {
	b  *BackupComponents
	id string
}

// Status is the state of an operation.
type Status struct {
	Result  vss.Code // VSS_S_ASYNC_PENDING, _FINISHED, _CANCELLED, another success code, or that of Err
	Err     error    // nil if Result is a success code
	Step    string   // the step that is running
	Percent float64
}

// Progress is called while an operation runs, with its current step. It must not block.
type Progress func(step string, percent float64)

func (b *BackupComponents) async(a *vssv1.Async, err error) (*Async, error) {
	if err != nil {
		return nil, err
	}
	return &Async{b: b, id: a.GetId()}, nil
}

func (a *Async) request(timeout time.Duration) *vssv1.AsyncRequest {
	return &vssv1.AsyncRequest{Session: a.b.token, Async: a.id, TimeoutMs: timeout.Milliseconds()}
}

// QueryStatus returns the state of the operation without waiting. The error is that of the query; that of the operation
// is in Status.
func (a *Async) QueryStatus(ctx context.Context) (Status, error) {
	return status(a.b.c.AsyncQueryStatus(ctx, a.request(0)))
}

// Wait waits until the operation has ended and returns its success code, or its error. The error of a cancelled
// operation has the code VSS_S_ASYNC_CANCELLED and wraps context.Canceled. Progress may be nil. If ctx is done, Wait
// returns but the operation continues; use Cancel to stop it.
func (a *Async) Wait(ctx context.Context, progress Progress) (vss.Code, error) {
	for {
		s, err := status(a.b.c.AsyncWait(ctx, a.request(waitSlice)))
		switch {
		case err != nil:
			return 0, err
		case s.Err != nil:
			return s.Result, s.Err
		case s.Result == vss.SuccessAsyncCancelled:
			return s.Result, vss.E("AsyncWait", vss.SuccessAsyncCancelled, context.Canceled)
		case s.Result != vss.SuccessAsyncPending:
			return s.Result, nil
		}
		if progress != nil {
			progress(s.Step, s.Percent)
		}
	}
}

// Cancel stops the operation. It returns S_OK if this call cancelled it, VSS_S_ASYNC_CANCELLED or VSS_S_ASYNC_FINISHED
// if it had ended before, and the operation's error if it had failed.
func (a *Async) Cancel(ctx context.Context) (vss.Code, error) {
	s, err := status(a.b.c.AsyncCancel(ctx, a.request(0)))
	if err != nil {
		return 0, err
	}
	return s.Result, s.Err
}

func status(r *vssv1.AsyncStatus, err error) (Status, error) {
	if err != nil {
		return Status{}, err
	}
	s := Status{Result: vss.Code(r.GetResult()), Step: r.GetStep(), Percent: r.GetPercent()}
	if s.Err = wire.UnmarshalError(r.GetError()); s.Err == nil && s.Result.Failed() {
		s.Err = vss.E("Async", s.Result, nil)
	}
	if s.Err != nil {
		s.Result = vss.CodeOf(s.Err)
	}
	return s, nil
}

// wait waits for an operation that was just started. If ctx is done, it cancels the operation.
func wait(ctx context.Context, progress Progress, a *Async, err error) (vss.Code, error) {
	if err != nil {
		return 0, err
	}
	code, err := a.Wait(ctx, progress)
	if ctx.Err() != nil && err != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialLimit)
		defer cancel()
		_, cerr := a.Cancel(stop)
		return code, errors.Join(err, cerr)
	}
	return code, err
}
