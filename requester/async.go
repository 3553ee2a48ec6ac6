package requester

import (
	"context"
	"errors"
	"time"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// waitSlice is how often Wait tells of progress.
const waitSlice = 200 * time.Millisecond

// Async is an operation under way (IVssAsync). The verdict comes from Wait or QueryStatus, not from the call that began it.
type Async struct {
	b  *BackupComponents
	id string
}

// Status is how far an operation is.
type Status struct {
	Result  vss.Code // pending, finished, cancelled, another success code, or the failure's
	Err     error    // the failure; nil for success codes
	Step    string   // what it is doing
	Percent float64
}

// Progress is told of each step while an operation runs. It must not block.
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

// QueryStatus tells how the operation is, at once. The error is that of asking.
func (a *Async) QueryStatus(ctx context.Context) (Status, error) {
	return status(a.b.c.AsyncQueryStatus(ctx, a.request(0)))
}

// Wait waits for the end and returns the operation's success code or failure; VSS_S_ASYNC_CANCELLED is a failure with a
// cancelled context as cause. Progress may be nil. When ctx ends the operation goes on: Cancel stops it.
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

// Cancel stops the operation. The code is S_OK (cancelled now), VSS_S_ASYNC_CANCELLED or VSS_S_ASYNC_FINISHED; an operation
// that had failed gives its failure.
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

// wait runs an operation that was just begun to its end; when ctx ends it is cancelled.
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
