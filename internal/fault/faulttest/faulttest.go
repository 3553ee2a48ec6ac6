// Package faulttest is a test's side of a pause at a fault point.
package faulttest

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Gate is where a process stands still until it is opened.
type Gate struct{ dir string }

// NewGate makes a gate that lasts as long as the test.
func NewGate(t testing.TB) Gate { return Gate{t.TempDir()} }

// At tells a process, by fault.Variable, to stand still at a point.
func (g Gate) At(point string) string { return point + " pause " + g.dir }

// Reached waits until a process stands there, and says whether one came within a time.
func (g Gate) Reached(within time.Duration) bool {
	often := time.NewTicker(time.Millisecond)
	defer often.Stop()
	end := time.After(within)
	for {
		if _, err := os.Stat(filepath.Join(g.dir, "hit")); err == nil {
			return true
		}
		select {
		case <-often.C:
		case <-end:
			return false
		}
	}
}

// Open lets it go on. It may be repeated.
func (g Gate) Open(t testing.TB) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, "go"), nil, 0o600); err != nil {
		t.Error(err)
	}
}
