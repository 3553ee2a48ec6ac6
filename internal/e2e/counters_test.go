package e2e

import (
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/counters"
)

// count begins to write counters to volumes, until the test ends or ended is called.
func count(t testing.TB, volumes ...string) *counters.Load {
	t.Helper()
	l, err := counters.Start(volumes...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ended(t, l) })
	return l
}

// ended ends a load; the originals must not have failed. It may be repeated.
func ended(t testing.TB, l *counters.Load) {
	t.Helper()
	if err := l.End(); err != nil {
		t.Errorf("the load on the originals failed: %v", err)
	}
}

// oneInstant checks the counters of copies in the order of the volumes; it gives the number of the first.
func oneInstant(t testing.TB, roots []string) uint64 {
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
