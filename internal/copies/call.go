package copies

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// How long a provider may take for one call.
const (
	// shortLimit is for questions and for calls that only start something.
	shortLimit = 30 * time.Second
	// windowLimit is for calls between the writers' Freeze and Thaw, which have 60 s in all.
	// Source: shadow-copy-creation-for-providers.
	windowLimit = 60 * time.Second
	// holdLimit is the longest hold; the context has what is left of it.
	holdLimit = 10 * time.Second
	// longLimit is for calls that move or free data, and nobody waits for with a clock.
	longLimit = 5 * time.Minute
	// progressLimit is how long EndPrepareSnapshots may go without reporting progress.
	progressLimit = 5 * time.Minute
	// grace is how long a call whose time is over may take to notice it. After that it is left behind.
	grace = time.Second
)

// general are the codes that every method may return beyond S_OK. Source: error-handling-in-shadow-copy-providers.
var general = []vss.Code{
	vss.ErrOutOfMemory, vss.ErrInvalidArg, vss.ErrAccessDenied, vss.ErrBadState, vss.ErrObjectNotFound,
	vss.ErrInsufficientStorage, vss.ErrVolumeNotSupported, vss.ErrVolumeNotSupportedByProvider,
	vss.ErrMaximumNumberOfSnapshotsReached, vss.ErrProviderVeto, vss.ErrCannotRevertDiskID,
}

// method is one method of a provider: its name in the specification, its time limit, and the codes that its page adds
// to the general ones. VSS_E_UNEXPECTED, which some pages of software providers add, is left out: it is also the code
// of an error without one, such as a broken connection.
type method struct {
	name     string
	limit    time.Duration
	codes    []vss.Code
	progress bool // the limit is for the time without progress
	point    bool // there are fault points before and after the call
}

var (
	callProperties  = method{name: "Properties", limit: shortLimit}
	callOnLoad      = method{name: "OnLoad", limit: shortLimit}
	callOnUnload    = method{name: "OnUnload", limit: shortLimit}
	callEvents      = method{name: "Events", limit: shortLimit}
	callSnapshotted = method{
		name:  "IsVolumeSnapshotted",
		limit: shortLimit,
		codes: []vss.Code{vss.ErrNestedVolumeLimit},
	}
	callSupported = method{name: "IsVolumeSupported", limit: shortLimit, codes: []vss.Code{vss.ErrNestedVolumeLimit}}
	callConsider  = method{
		name:  "Consider",
		limit: shortLimit,
		codes: []vss.Code{vss.ErrNestedVolumeLimit, vss.ErrUnsupportedContext},
	}
	callAreLUNs = method{name: "AreLunsSupported", limit: shortLimit}
	callFillIn  = method{name: "FillInLunInfo", limit: shortLimit}
	callBegin   = method{name: "BeginPrepareSnapshot", limit: shortLimit, codes: []vss.Code{
		vss.ErrMaximumNumberOfVolumesReached, vss.ErrNestedVolumeLimit, vss.ErrUnsupportedContext,
		vss.ErrRebootRequired,
	}}
	callEndPrepare      = method{name: "EndPrepareSnapshots", limit: progressLimit, progress: true, point: true}
	callWritePaths      = method{name: "WritePaths", limit: shortLimit}
	callPreCommit       = method{name: "PreCommitSnapshots", limit: windowLimit, point: true}
	callCommit          = method{name: "CommitSnapshots", limit: holdLimit, point: true}
	callPostCommit      = method{name: "PostCommitSnapshots", limit: windowLimit, point: true}
	callGetTargets      = method{name: "GetTargetLuns", limit: windowLimit}
	callDescribe        = method{name: "Describe", limit: windowLimit}
	callLocate          = method{name: "LocateLuns", limit: longLimit}
	callSurface         = method{name: "Surface", limit: longLimit}
	callSetWritable     = method{name: "SetWritable", limit: windowLimit, codes: []vss.Code{vss.ErrVolumeInUse}}
	callWithdraw        = method{name: "Withdraw", limit: windowLimit, codes: []vss.Code{vss.ErrVolumeInUse}}
	callStateChange     = method{name: "OnLunStateChange", limit: longLimit}
	callRecovery        = method{name: "OnLunStateChange", limit: longLimit, point: true}
	callPreFinalCommit  = method{name: "PreFinalCommitSnapshots", limit: longLimit, point: true}
	callPostFinalCommit = method{name: "PostFinalCommitSnapshots", limit: longLimit, point: true}
	callAbort           = method{name: "AbortSnapshots", limit: windowLimit}
	callOnLUNEmpty      = method{name: "OnLunEmpty", limit: longLimit}
	callDelete          = method{name: "DeleteSnapshots", limit: longLimit, codes: []vss.Code{vss.ErrVolumeInUse}}
	callQuery           = method{name: "Query", limit: windowLimit}
)

// caller is the one way to a provider's methods.
type caller struct {
	props  provider.Properties
	events *events.Log
	logger *slog.Logger
}

// noSet is for calls that aren't about a set.
var noSet vss.SnapshotSetID

// call calls a method of the provider and returns its result, or an error that the requester may see: a code that is
// legal for the method, or VSS_E_UNEXPECTED_PROVIDER_ERROR. Failures are recorded as events that name provider and
// method. A provider that doesn't return in time has failed; its call is left behind. A call that is given up because
// ctx was cancelled returns the cancellation.
func call[T any](
	ctx context.Context,
	c *caller,
	m method,
	set vss.SnapshotSetID,
	f func(context.Context) (T, error),
) (T, error) {
	out, err := c.await(ctx, m, func(ctx context.Context) (any, error) { return f(ctx) })
	v, _ := out.(T)
	return v, c.translate(ctx, m, set, err)
}

// do is call for a method that returns nothing else.
func (c *caller) do(ctx context.Context, m method, set vss.SnapshotSetID, f func(context.Context) error) error {
	return c.translate(ctx, m, set, c.plain(ctx, m, f))
}

// plain calls a method in its limit and returns its error as it is.
func (c *caller) plain(ctx context.Context, m method, f func(context.Context) error) error {
	_, err := c.await(ctx, m, func(ctx context.Context) (any, error) { return nil, f(ctx) })
	return err
}

type result struct {
	value any
	err   error
}

// errLate is the cause of a call that was given up.
type errLate struct {
	m method
}

func (e *errLate) Error() string {
	if e.m.progress {
		return fmt.Sprintf("no progress for %v", e.m.limit)
	}
	return fmt.Sprintf("no answer after %v", e.m.limit)
}

// await runs f until it returns or its time is over. What f returns after that is dropped.
func (c *caller) await(ctx context.Context, m method, f func(context.Context) (any, error)) (any, error) {
	limited, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(m.limit, func() { cancel(&errLate{m: m}) })
	defer watch.Stop()
	if m.progress {
		limited = provider.WithReport(limited, func(percent float64) {
			watch.Reset(m.limit)
			provider.Report(ctx, percent)
		})
	}
	done := make(chan result, 1)
	go func() {
		value, err := c.guarded(m, func() (any, error) { return f(limited) })
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-limited.Done():
	}
	if m.name != callCommit.name { // nothing waits while writes are held
		select {
		case r := <-done:
			if r.err == nil {
				return r.value, nil
			}
		case <-time.After(grace):
		}
	}
	return nil, context.Cause(limited)
}

// guarded runs one call of a provider, which may run in this process and panic.
func (c *caller) guarded(m method, f func() (any, error)) (value any, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.logger.Error("a provider panicked", "provider", c.props.Name, "method", m.name,
				"panic", p, "stack", string(debug.Stack()))
			value, err = nil, vss.E(m.name, vss.ErrUnexpectedProviderError, fmt.Errorf("the provider panicked: %v", p))
		}
	}()
	if !m.point {
		return f()
	}
	err = fault.Around("provider", m.name, func() (err error) {
		value, err = f()
		return err
	})
	return value, err
}

// translate turns a provider's error into one that the requester may see, and records it.
func (c *caller) translate(ctx context.Context, m method, set vss.SnapshotSetID, err error) error {
	if err == nil {
		return nil
	}
	var late *errLate
	deadline := errors.As(err, &late) || errors.Is(err, context.DeadlineExceeded)
	if errors.Is(err, context.Canceled) && !deadline {
		return err
	}
	object := ""
	var e *vss.Error
	if errors.As(err, &e) {
		object = e.Object
	}
	code, hint := vss.CodeOf(err), vss.Hint(err)
	switch {
	case deadline && m.name == callCommit.name:
		code, hint = vss.ErrHoldWritesTimeout, retryHint
		if left, ok := ctx.Deadline(); ok && time.Now().After(left) {
			err = errors.New("the provider was not done at the end of the hold")
		}
	case !slices.Contains(general, code) && !slices.Contains(m.codes, code):
		code, hint = vss.ErrUnexpectedProviderError, retryHint+"; the event log names the provider's own error"
	}
	failed := vss.E(m.name, code, events.Recorded(err)).On(c.props.Name).Advise(hint)
	c.events.Add(events.ProviderFailed, events.Error, catalog.Event{
		Provider: c.props.Name, SetID: set, Object: object, Code: code, Message: failed.Error(), Hint: hint,
	})
	return failed
}

// retryHint is the advice after errors that may pass. Source: DoSnapshotSet.
const retryHint = "wait ten minutes and try again, at most three times"
