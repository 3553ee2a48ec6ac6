// Package counterstest is the load of internal/counters for tests: it ends with the test, and its failures fail the
// test.
package counterstest

import (
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/counters"
)

// Start begins to write counters to volumes, until the test ends or End is called.
func Start(t testing.TB, volumes ...string) *counters.Load {
	t.Helper()
	l, err := counters.Start(volumes...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { End(t, l) })
	return l
}

// End ends a load, which must not have failed. It may be called repeatedly.
func End(t testing.TB, l *counters.Load) {
	t.Helper()
	if err := l.End(); err != nil {
		t.Errorf("the load on the originals failed: %v", err)
	}
}

// Flows reports whether all volumes of a load accept writes within a time. A write in progress at the beginning
// doesn't count.
func Flows(l *counters.Load, within time.Duration) bool {
	often := time.NewTicker(time.Millisecond)
	defer often.Stop()
	end := time.After(within)
	for before := l.Written(); l.Written() < before+2; {
		select {
		case <-often.C:
		case <-end:
			return false
		}
	}
	return true
}

// OneInstant checks the counters of copies, with their roots in the order of the volumes, and returns the number of
// the first.
func OneInstant(t testing.TB, roots []string) uint64 {
	t.Helper()
	got, err := counters.Read(roots...)
	if err != nil {
		t.Fatal(err)
	}
	if !counters.OneInstant(got) {
		t.Errorf("not one instant: the counters are %v", got)
	}
	return got[0]
}
