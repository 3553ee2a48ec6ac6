package catalog

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
)

func TestMain(m *testing.M) {
	switch path := os.Getenv("CATALOG"); os.Getenv("CATALOG_CHILD") {
	case "":
		os.Exit(m.Run())
	case "open":
		err := fault.Enable(os.Getenv(fault.Variable))
		var s *Store
		if err == nil {
			s, err = Open(path)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		s.Close()
	case "work":
		work(path)
	}
}

// work makes and removes sets for ever, and says which of it is durable: "+N" for set N with its device number, "-N"
// when it is gone.
func work(path string) {
	s, err := Open(path)
	if err != nil {
		panic(err)
	}
	for err == nil {
		n := 0
		err = s.Update(func(tx *Tx) error {
			var err error
			if n, err = tx.NextDevice(); err != nil {
				return err
			}
			if err := tx.PutSet(sampleSet(n)); err != nil {
				return err
			}
			return tx.AddEvents([]Event{sampleEvent(n)})
		})
		if err == nil {
			err = s.Update(func(tx *Tx) error { return tx.PutSnapshot(sampleSnapshot(n, n)) })
		}
		fmt.Printf("+%d\n", n)
		if err == nil && n%3 == 0 {
			err = s.Update(func(tx *Tx) error { return tx.RemoveSnapshot(snapshotID(n)) })
			fmt.Printf("-%d\n", n)
		}
	}
	panic(err)
}

// A killed service loses nothing that it acknowledged and leaves no half of anything.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	there, gone := map[int]bool{}, map[int]bool{}
	last := 0
	for range lane.Soak(100) {
		c := child(t, "work", path)
		out, err := c.StdoutPipe()
		must(t, err)
		c.Stderr = os.Stderr
		must(t, c.Start())
		lines := bufio.NewScanner(out)
		first := true
		for lines.Scan() {
			if first { // it has begun: it ends somewhere in the next updates
				time.AfterFunc(time.Duration(rand.IntN(30_000))*time.Microsecond, func() { _ = c.Process.Kill() })
				first = false
			}
			var sign rune
			var n int
			if _, err := fmt.Sscanf(lines.Text(), "%c%d", &sign, &n); err != nil {
				t.Fatalf("line %q: %v", lines.Text(), err)
			}
			if sign == '-' {
				delete(there, n)
				gone[n] = true
				continue
			}
			if n <= last {
				t.Errorf("device number %d after %d", n, last)
			}
			there[n], last = true, n
		}
		if err := c.Wait(); err == nil || !strings.Contains(err.Error(), "killed") || first {
			t.Fatalf("the child wasn't killed at work: %v", err)
		}
		inspect(t, path, there, gone, &last)
	}
	if len(there) == 0 || len(gone) == 0 {
		t.Errorf("%d sets made, %d removed: too few to say anything", len(there), len(gone))
	}
}

func inspect(t *testing.T, path string, there, gone map[int]bool, last *int) {
	t.Helper()
	s, err := Open(path)
	must(t, err)
	defer s.Close()
	wantMembers(t, s)
	must(t, s.View(func(tx *Tx) error {
		for n := range there {
			set, ok, err := tx.Set(setID(n))
			if !ok || err != nil {
				// its removal may have been durable before anybody heard of it
				if _, copy, _ := tx.Snapshot(snapshotID(n)); copy || n != *last || n%3 != 0 {
					t.Errorf("set %d was acknowledged and is lost: %v", n, err)
				}
				continue
			}
			copy, ok, err := tx.Snapshot(snapshotID(n))
			if d := cmp.Diff(sampleSet(n), set) + cmp.Diff(sampleSnapshot(n, n), copy); !ok || err != nil || d != "" {
				t.Errorf("set %d: %v %v %s", n, ok, err, d)
			}
		}
		for n := range gone {
			if _, ok, _ := tx.Set(setID(n)); ok {
				t.Errorf("set %d came back", n)
			}
		}
		copies, err := tx.Snapshots()
		for _, c := range copies {
			if _, ok, _ := tx.Set(c.SetID); !ok {
				t.Errorf("copy %v without its set", c.ID)
			}
		}
		return err
	}))
	// what was durable but not acknowledged counts too
	must(t, s.Update(func(tx *Tx) error {
		n, err := tx.NextDevice()
		if err == nil && n <= *last {
			t.Errorf("device number %d after %d", n, *last)
		}
		*last = n
		return err
	}))
	for n := range there {
		if len(read(t, s, func(tx *Tx) ([]Snapshot, error) { return tx.SnapshotsOf(setID(n)) })) == 0 {
			delete(there, n)
		}
	}
}
