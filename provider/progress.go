package provider

import "context"

type reporterKey struct{}

// WithReport returns a context for EndPrepareSnapshots that delivers the provider's progress, in percent, to report.
func WithReport(ctx context.Context, report func(percent float64)) context.Context {
	return context.WithValue(ctx, reporterKey{}, report)
}

// Report reports the progress of a call, in percent, to the caller that made the context with WithReport; without such
// a context it does nothing. A provider calls it in EndPrepareSnapshots at least once a minute: the service gives up a
// call that reports nothing for five minutes.
func Report(ctx context.Context, percent float64) {
	if report, ok := ctx.Value(reporterKey{}).(func(float64)); ok {
		report(percent)
	}
}
