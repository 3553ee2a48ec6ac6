package fault

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/fault/faulttest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func enable(t *testing.T, text string) {
	t.Helper()
	if err := Enable(text); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { active.Store(nil) })
}

func TestInert(t *testing.T) {
	if err := At("any", "thing", "before"); err != nil {
		t.Error(err)
	}
}

func TestFailNth(t *testing.T) {
	enable(t, "create/hold/before#2 fail 0x80042306")
	for i, want := range []bool{false, true, false} {
		_ = At("create", "hold", "after")
		if err := At("create", "hold", "before"); errors.Is(err, vss.ErrProviderVeto) != want {
			t.Errorf("time %d: %v", i+1, err)
		}
	}
}

func TestPause(t *testing.T) {
	g := faulttest.NewGate(t)
	enable(t, g.At("s/p/after"))
	done := make(chan error)
	go func() { done <- At("s", "p", "after") }()
	if !g.Reached(10 * time.Second) {
		t.Fatal("not hit")
	}
	select {
	case <-done:
		t.Fatal("it went on by itself")
	case <-time.After(20 * time.Millisecond):
	}
	g.Open(t)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestList(t *testing.T) {
	file := filepath.Join(t.TempDir(), "points")
	enable(t, "list "+file)
	_, _ = At("a", "b", "before"), At("c", "d", "after")
	b, err := os.ReadFile(file)
	if err != nil || string(b) != "a/b/before\nc/d/after\n" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestBadPlans(t *testing.T) {
	for _, text := range []string{"x", "x explode", "x#0 kill", "x#y kill", "x delay", "x kill now", "list"} {
		if err := Enable(text); !errors.Is(err, vss.ErrInvalidArg) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
