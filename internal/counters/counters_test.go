package counters

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func started(t *testing.T, roots ...string) *Load {
	t.Helper()
	l, err := Start(roots...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.End() })
	for end := time.Now().Add(time.Minute); l.Written() < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nothing is written")
		}
	}
	return l
}

func TestLoad(t *testing.T) {
	roots := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	l := started(t, roots...)
	select {
	case <-l.Done():
		t.Fatal("it is done before it is ended")
	default:
	}
	for range 2 {
		if err := l.End(); err != nil {
			t.Fatal(err)
		}
	}
	<-l.Done()
	n := l.Written()
	got, err := Read(roots...)
	if err != nil || !slices.Equal(got, []uint64{n, n, n}) {
		t.Errorf("%v, %v; want three times %d", got, err, n)
	}
	if err := os.WriteFile(filepath.Join(roots[1], Name), []byte("torn"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(roots...); err == nil {
		t.Errorf("a torn number is read: %v", got)
	}
}

// What keeps it from writing is told at the end, and its end is seen without asking.
func TestLoadFails(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	if _, err := Start(a, filepath.Join(b, "missing")); err == nil {
		t.Error("it starts in a folder that isn't there")
	}
	if err := os.Symlink("/dev/full", filepath.Join(b, Name)); err != nil {
		t.Fatal(err)
	}
	l, err := Start(a, b)
	if err != nil {
		t.Fatal(err)
	}
	<-l.Done()
	if err := l.End(); err == nil || l.Written() != 0 {
		t.Errorf("a full device: %v, %d written", err, l.Written())
	}
	if _, err := Read(a, filepath.Join(b, "missing")); err == nil {
		t.Error("a number is read where there is none")
	}
}

func TestOneInstant(t *testing.T) {
	for _, c := range []struct {
		numbers []uint64
		want    bool
	}{
		{[]uint64{5}, true},
		{[]uint64{5, 5}, true},
		{[]uint64{6, 5}, true},
		{[]uint64{6, 6, 5, 5}, true},
		{[]uint64{7, 5}, false},    // the second is older
		{[]uint64{5, 6}, false},    // the first is older
		{[]uint64{6, 5, 6}, false}, // the middle is older
		{[]uint64{7, 6, 5}, false}, // each a little later than the next
		{[]uint64{0, 1}, false},
	} {
		if got := OneInstant(c.numbers); got != c.want {
			t.Errorf("%v: %v", c.numbers, got)
		}
	}
}

// A volume that stands still for a while is what StoodStill finds.
func TestStoodStill(t *testing.T) {
	l := started(t, t.TempDir())
	if d := l.StoodStill(func() { time.Sleep(50 * time.Millisecond) }); d <= 0 || d > time.Minute {
		t.Errorf("a load that goes on stood still for %v", d)
	}
	if err := l.End(); err != nil {
		t.Fatal(err)
	}
	if d := l.StoodStill(func() { time.Sleep(50 * time.Millisecond) }); d < 40*time.Millisecond {
		t.Errorf("one that has ended stood still for %v", d)
	}
}
