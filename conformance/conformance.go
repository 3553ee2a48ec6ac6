// Package conformance is what the suites in writertest and providertest have in common: the T that their cases report
// to, which a *testing.T is, and Run, which runs cases without go test and returns a verdict on each.
package conformance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"time"
)

// T is what a case needs of a test. Its methods are those of testing.T.
type T interface {
	Context() context.Context
	Helper()
	Cleanup(f func())
	TempDir() string
	Logf(format string, args ...any)
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// LogWriter returns a writer whose lines go to the test's log.
func LogWriter(t T) io.Writer { return logWriter{t} }

type logWriter struct{ t T }

func (w logWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(b))
	return len(b), nil
}

// Case is one case of a suite.
type Case struct {
	Name string
	Run  func(T)
}

// Outcome is the result of a case.
type Outcome string

// The outcomes.
const (
	Pass Outcome = "pass"
	Fail Outcome = "fail"
	Skip Outcome = "skip"
)

// Verdict is the result of one case.
type Verdict struct {
	Case     string
	Outcome  Outcome
	Messages []string // the failures, or why it was skipped
	Elapsed  time.Duration
}

// Run runs cases one after another, until ctx ends, and calls report after each. A case that panics has failed.
func Run(ctx context.Context, cases []Case, report func(Verdict)) {
	for _, c := range cases {
		if ctx.Err() != nil {
			return
		}
		report(run(ctx, c))
	}
}

func run(ctx context.Context, c Case) Verdict {
	ctx, cancel := context.WithCancel(ctx)
	r := &runner{ctx: ctx, cancel: cancel, outcome: Pass}
	began := time.Now()
	r.protect(func() { c.Run(r) })
	r.cancel() // as testing.T does: the context ends before the clean-up
	for _, f := range slices.Backward(r.cleanups) {
		r.protect(f)
	}
	return Verdict{c.Name, r.outcome, r.messages, time.Since(began)}
}

// runner is the T of one case. A case uses it from one goroutine at a time.
type runner struct {
	ctx      context.Context
	cancel   func()
	cleanups []func()
	outcome  Outcome
	messages []string
}

// protect calls f in a goroutine of its own, which Fatal and Skipf end.
func (r *runner) protect(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				r.Errorf("panic: %v\n%s", p, debug.Stack())
			}
		}()
		f()
	}()
	<-done
}

// Context implements T.
func (r *runner) Context() context.Context { return r.ctx }

// Helper implements T: messages carry no line numbers.
func (r *runner) Helper() {}

// Cleanup implements T.
func (r *runner) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

// TempDir implements T.
func (r *runner) TempDir() string {
	dir, err := os.MkdirTemp("", "vss-conform-")
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			r.Error(err)
		}
	})
	return dir
}

// Logf implements T: what a case logs isn't part of its verdict.
func (r *runner) Logf(string, ...any) {}

// Error implements T.
func (r *runner) Error(args ...any) {
	r.outcome = Fail
	r.messages = append(r.messages, fmt.Sprint(args...))
}

// Errorf implements T.
func (r *runner) Errorf(format string, args ...any) { r.Error(fmt.Sprintf(format, args...)) }

// Fatal implements T.
func (r *runner) Fatal(args ...any) {
	r.Error(args...)
	runtime.Goexit()
}

// Fatalf implements T.
func (r *runner) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }

// Skipf implements T.
func (r *runner) Skipf(format string, args ...any) {
	if r.outcome == Pass {
		r.outcome = Skip
	}
	r.messages = append(r.messages, fmt.Sprintf(format, args...))
	runtime.Goexit()
}
