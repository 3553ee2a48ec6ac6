package background

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Recovered calls f and turns a panic into E_UNEXPECTED with the name of the step that was running, as at returns it.
// The log gets the stack.
func Recovered(logger *slog.Logger, at func() string, f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			step := at()
			logger.Error("panic", "step", step, "panic", p, "stack", string(debug.Stack()))
			err = vss.E(step, vss.ErrUnexpected, fmt.Errorf("panic: %v", p)).
				Advise("this is a defect of the service or of a provider in it; its log has the stack")
		}
	}()
	return f()
}

// ErrLate is the cause of the error of a step that did not return in time.
var ErrLate = errors.New("it did not return in time")

// patience is how long a step that is out of time is still waited for.
const patience = 200 * time.Millisecond

// Step is something that must end in a limited time.
type Step struct {
	Name   string
	Limit  time.Duration
	Renew  <-chan struct{} // the limit begins anew with each value; nil: never
	Logger *slog.Logger
}

// Attempt calls f in a goroutine of its own and returns its error. The context of f ends when the limit is over; if f
// doesn't return then, Attempt returns without it. Errors: those of f; E_UNEXPECTED for a panic, and with the cause
// ErrLate.
func (s *Step) Attempt(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- Recovered(s.Logger, func() string { return s.Name }, func() error { return f(ctx) })
	}()
	late := time.NewTimer(s.Limit)
	defer late.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-s.Renew:
			late.Reset(s.Limit)
			continue
		case <-late.C:
		}
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				return err
			}
		case <-time.After(patience):
		}
		return vss.E(s.Name, vss.ErrUnexpected, fmt.Errorf("step %s, after %v: %w", s.Name, s.Limit, ErrLate)).
			Advise("the log of the service shows what the step waits for; `vss doctor` shows what is left")
	}
}
