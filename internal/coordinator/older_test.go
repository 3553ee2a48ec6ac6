package coordinator

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestOlderCatalogue: a catalogue of any moment of a creation, put back after the set was created, deletes no copy of
// it at the next start or the one after: what the arrays call final is reported (trust 9).
func TestOlderCatalogue(t *testing.T) {
	for i := range len(steps) {
		w := newWorld(t)
		path := filepath.Join(w.dir, "catalog.db")
		var older []byte
		w.table = slices.Clone(steps)
		do := w.table[i].do
		w.table[i].do = func(c *creation, ctx context.Context) error {
			err := do(c, ctx)
			if err == nil {
				older, err = os.ReadFile(path)
			}
			return err
		}
		s := w.create(vss.ContextAppRollback, "/a", "/b", "/c")
		s.Close()
		if n := w.copiesMade(); n != 3 {
			t.Fatalf("%d copies", n)
		}
		for range 2 {
			must(t, w.store.Close(), os.WriteFile(path, older, 0o600))
			var err error
			w.store, err = catalog.Open(path)
			must(t, err)
			w.restart()
			if n := w.copiesMade(); n != 3 {
				t.Fatalf("after %s: %d copies are left of 3: %v", steps[i].name, n, w.eventKinds())
			}
			found, err := w.Check(t.Context(), true)
			must(t, err)
			if n := w.copiesMade(); n != 3 {
				t.Errorf("after %s: %d copies are left of 3 after a repair", steps[i].name, n)
			}
			if kinds := w.eventKinds(); len(found) == 0 && !slices.Contains(kinds, "creation-finished") &&
				steps[i].name != "created" {
				t.Errorf("after %s: doctor finds nothing; events %v", steps[i].name, kinds)
			}
		}
	}
}
