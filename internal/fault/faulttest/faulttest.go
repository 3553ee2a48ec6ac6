// Package faulttest controls pauses at fault points from a test.
package faulttest

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Gate holds a process at a fault point until it is opened.
type Gate struct{ dir string }

// NewGate returns a gate that lasts as long as the test.
func NewGate(t testing.TB) Gate { return Gate{t.TempDir()} }

// At returns the value of fault.Variable that makes a process wait at a point.
func (g Gate) At(point string) string { return point + " pause " + g.dir }

// Reached waits until a process waits at the gate, and reports whether that happened within a time.
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

// Open lets the process continue. It may be called repeatedly.
func (g Gate) Open(t testing.TB) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(g.dir, "go"), nil, 0o600); err != nil {
		t.Error(err)
	}
}
