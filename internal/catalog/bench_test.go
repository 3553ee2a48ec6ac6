package catalog

import (
	"errors"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// large stores n copies, two a set.
func large(b *testing.B, n int) *Store {
	s := fresh(b)
	must(b, s.Update(func(tx *Tx) error {
		for i := range n {
			must(b, tx.PutSnapshot(sampleSnapshot(i, i/2)))
			must(b, tx.PutSet(sampleSet(i/2)))
		}
		return nil
	}))
	return s
}

// What `list shadows` reads of a catalogue with 10,000 copies.
func BenchmarkList10000(b *testing.B) {
	s := large(b, 10_000)
	for b.Loop() {
		if n := len(read(b, s, (*Tx).Snapshots)); n != 10_000 {
			b.Fatalf("%d copies", n)
		}
	}
}

// One copy of 10,000 is found, and the copies of one set.
func BenchmarkFind10000(b *testing.B) {
	s := large(b, 10_000)
	for b.Loop() {
		_ = read(b, s, func(tx *Tx) (Snapshot, error) {
			v, _, err := tx.Snapshot(snapshotID(7777))
			return v, err
		})
		if n := len(read(b, s, func(tx *Tx) ([]Snapshot, error) { return tx.SnapshotsOf(setID(3888)) })); n != 2 {
			b.Fatalf("%d copies in the set", n)
		}
	}
}

// The removal of one set among 10,000 copies, undone each time.
func BenchmarkRemoveSet10000(b *testing.B) {
	s := large(b, 10_000)
	undo := vss.E("RemoveSet", vss.ErrBadState, nil)
	for b.Loop() {
		err := s.Update(func(tx *Tx) error {
			must(b, tx.RemoveSet(setID(3888)))
			return undo
		})
		if !errors.Is(err, undo) {
			b.Fatal(err)
		}
	}
}

// One durable update among 10,000 copies, as each step of a creation needs.
func BenchmarkUpdate(b *testing.B) {
	s := large(b, 10_000)
	for b.Loop() {
		must(b, s.Update(func(tx *Tx) error { return tx.PutSnapshot(sampleSnapshot(5000, 2500)) }))
	}
}

// Opening a large catalogue, with the check of all of its pages.
func BenchmarkOpen(b *testing.B) {
	s := large(b, 10_000)
	path := s.db.Path()
	must(b, s.Close())
	for b.Loop() {
		s, err := Open(path)
		must(b, err)
		must(b, s.Close())
	}
}

// The whole event log.
func BenchmarkEvents(b *testing.B) {
	s := fresh(b)
	must(b, s.Update(func(tx *Tx) error {
		events := make([]Event, MaxEvents)
		for i := range events {
			events[i] = sampleEvent(i)
		}
		return tx.AddEvents(events)
	}))
	for b.Loop() {
		_ = read(b, s, func(tx *Tx) ([]Event, error) { return tx.Events(time.Time{}) })
	}
}
