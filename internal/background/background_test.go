package background_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/background"
	"github.com/stillpoint-vss/stillpoint/vss"
)

var errHarm = vss.E("Test", vss.ErrInsufficientStorage, errors.New("harm"))

// TestOperation: how an operation ends, by itself, cancelled, or in a panic.
func TestOperation(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	run := func(f func(context.Context, *background.Operation) (vss.Code, error)) *background.Operation {
		return background.Start(t.Context(), logger, f)
	}
	for _, c := range []struct {
		name string
		f    func(ctx context.Context, a *background.Operation) (vss.Code, error)
		want vss.Code
	}{
		{
			"well", func(context.Context, *background.Operation) (vss.Code, error) { return vss.OK, nil },
			vss.SuccessAsyncFinished,
		},
		{"with another success", func(context.Context, *background.Operation) (vss.Code, error) {
			return vss.SuccessSomeSnapshotsNotImported, nil
		}, vss.SuccessSomeSnapshotsNotImported},
		{
			"badly", func(context.Context, *background.Operation) (vss.Code, error) { return 0, errHarm },
			vss.ErrInsufficientStorage,
		},
		{"in a panic", func(_ context.Context, a *background.Operation) (vss.Code, error) {
			a.Progress("jump", 1)
			panic("harm")
		}, vss.ErrUnexpected},
	} {
		a := run(c.f)
		a.Wait(t.Context(), 0)
		s := a.QueryStatus()
		if s.Result != c.want || s.Percent != 100 ||
			c.name == "in a panic" && !strings.Contains(s.Err.Error(), "jump") {
			t.Errorf("%s: %+v", c.name, s)
		}
		if again := a.Cancel(); again.Result != c.want {
			t.Errorf("%s: Cancel afterwards: %+v", c.name, again)
		}
	}
	a := run(func(ctx context.Context, a *background.Operation) (vss.Code, error) {
		<-ctx.Done()
		return 0, ctx.Err()
	})
	a.Wait(t.Context(), time.Millisecond)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	a.Wait(gone, 0)
	if s := a.QueryStatus(); s.Result != vss.SuccessAsyncPending {
		t.Errorf("%+v", s)
	}
	if s := a.Cancel(); s.Result != vss.OK {
		t.Errorf("Cancel: %+v", s)
	}
	if s := a.Cancel(); s.Result != vss.SuccessAsyncCancelled {
		t.Errorf("a second Cancel: %+v", s)
	}
}

// TestAttempt: a step ends by itself, in a panic, or out of time, whether it heeds its context or not; progress
// renews its time.
func TestAttempt(t *testing.T) {
	renew := make(chan struct{})
	release := make(chan struct{})
	for _, c := range []struct {
		name string
		f    func(context.Context) error
		want vss.Code
		late bool
		took time.Duration
	}{
		{"well", func(context.Context) error { return nil }, vss.OK, false, 0},
		{"badly", func(context.Context) error { return errHarm }, vss.ErrInsufficientStorage, false, 0},
		{"in a panic", func(context.Context) error { panic("harm") }, vss.ErrUnexpected, false, 0},
		{
			"out of time", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, vss.ErrUnexpected,
			true, time.Minute,
		},
		{
			"out of time, with a reason", func(ctx context.Context) error { <-ctx.Done(); return errHarm },
			vss.ErrInsufficientStorage, false, time.Minute,
		},
		{
			"never", func(context.Context) error { <-release; return nil }, vss.ErrUnexpected, true,
			time.Minute + 200*time.Millisecond,
		},
		{"slowly, with progress", func(context.Context) error {
			for range 3 {
				time.Sleep(50 * time.Second)
				renew <- struct{}{}
			}
			return nil
		}, vss.OK, false, 150 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			release, renew = make(chan struct{}), make(chan struct{})
			s := background.Step{Name: "leap", Limit: time.Minute, Renew: renew, Logger: slog.New(slog.DiscardHandler)}
			begun := time.Now()
			err := s.Attempt(t.Context(), c.f)
			if vss.CodeOf(err) != c.want || errors.Is(err, background.ErrLate) != c.late ||
				time.Since(begun) != c.took {
				t.Errorf("%s: %v after %v", c.name, err, time.Since(begun))
			}
			if c.want == vss.ErrUnexpected && !strings.Contains(err.Error(), "leap") {
				t.Errorf("%s: %v doesn't name the step", c.name, err)
			}
			close(release)
		})
	}
}
