package catalog

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
)

// TestListRemembers: a list from memory equals the catalogue after any writes, and after callers have modified the
// results.
func TestListRemembers(t *testing.T) {
	s := fresh(t)
	want := []Snapshot{sampleSnapshot(1, 1), sampleSnapshot(2, 1)}
	must(t, s.Update(func(tx *Tx) error {
		must(t, tx.PutSnapshot(want[0]))
		return tx.PutSnapshot(want[1])
	}))
	check := func(what string) {
		t.Helper()
		for range 2 { // the second one from memory
			got := read(t, s, (*Tx).Snapshots)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("%s: %s", what, d)
			}
			for i := range got {
				got[i].LUNs[0].Copy.SerialNumber, got[i].Extents[0].Length, got[i].Local.Data[0] = "spoiled", 1, 0
				got[i].Local.Version = 0
			}
		}
	}
	check("new")
	want[1].LUNs[0].Copy.SerialNumber = "other"
	must(t, s.Update(func(tx *Tx) error {
		must(t, tx.PutSnapshot(want[1]))
		all, err := tx.Snapshots()
		if d := cmp.Diff(want, all); d != "" {
			t.Errorf("within the transaction: %s", d)
		}
		return err
	}))
	check("changed")
	must(t, s.Update(func(tx *Tx) error { return tx.RemoveSnapshot(want[0].ID) }))
	want = want[1:]
	check("removed")

	// the bytes of one copy under another's key are damage, remembered or not
	must(t, s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketSnapshots)
		return b.Put([]byte(snapshotID(3).Plain()), b.Get([]byte(want[0].ID.Plain())))
	}))
	if err := s.View(func(tx *Tx) error { _, err := tx.Snapshots(); return err }); err == nil {
		t.Error("a record under another's key was taken")
	}
}

// TestMemoryIsBounded: what was removed from the catalogue is removed from memory, too.
func TestMemoryIsBounded(t *testing.T) {
	s := fresh(t)
	v := sampleSnapshot(1, 1)
	for n := range 500 {
		v.Order = n
		must(t, s.Update(func(tx *Tx) error { return tx.PutSnapshot(v) }))
		if got := read(t, s, (*Tx).Snapshots); len(got) != 1 || got[0].Order != n {
			t.Fatalf("%+v", got)
		}
	}
	if n := len(s.known.copies); n > 150 {
		t.Errorf("%d records are remembered of a catalogue with one", n)
	}
}
