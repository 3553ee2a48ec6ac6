package catalog

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Any value of a key is read as a record that can be stored and read again unchanged, or as an error, without a panic.
func FuzzRecord(f *testing.F) {
	for _, v := range []any{sampleSet(1), sampleSnapshot(1, 1), sampleCreation(1), sampleBreak(1), sampleEvent(1)} {
		b, err := json.Marshal(v)
		must(f, err)
		f.Add(b)
	}
	for _, s := range []string{
		"", "null", "[]", "0", `"x"`, "{}", `{"id":null}`, `{"id":"` + id(1).String() + `"}`, `{"set":"` +
			id(1).String() + `"}`, `{"id":5}`, `{"id":"x"}`,
		`{"id":"` + id(1).String() +
			`","state":-5,"consistency":99,"provider_id":"","luns":[{"original_identity":{"style":77}}]}`,
		`{"id":"` + id(1).String() + `","timeline":[null],"writers":[{"state":4294967295}]}`, "{\"id\":\"\xff\"}",
		`{"time":"9999-99-99"}`,
	} {
		f.Add([]byte(s))
	}
	s, err := Open(filepath.Join(f.TempDir(), "catalog.db"))
	must(f, err)
	f.Cleanup(func() { s.Close() })
	s.db.NoSync = true
	key := []byte(id(1).Plain())
	f.Fuzz(func(t *testing.T, value []byte) {
		must(t, s.db.Update(func(tx *bolt.Tx) error {
			for _, b := range [][]byte{bucketSets, bucketSnapshots, bucketCreations, bucketBreaks} {
				must(t, tx.Bucket(b).Put(key, value))
			}
			return tx.Bucket(bucketEvents).Put(make([]byte, 8), value)
		}))
		must(t, s.Update(func(tx *Tx) error {
			again(t, tx, sets, (*Tx).PutSet)
			again(t, tx, (*Tx).Snapshots, (*Tx).PutSnapshot)
			again(t, tx, (*Tx).Creations, (*Tx).PutCreation)
			again(t, tx, (*Tx).Breaks, (*Tx).PutBreak)
			if _, err := tx.Events(time.Time{}); err != nil {
				wantCode(t, err, vss.ErrUnexpected)
			}
			return nil
		}))
	})
}

// again reads a bucket, and stores and reads once more what it gave.
func again[T record](t *testing.T, tx *Tx, list func(*Tx) ([]T, error), put func(*Tx, T) error) {
	all, err := list(tx)
	if err != nil {
		wantCode(t, err, vss.ErrUnexpected)
		return
	}
	if len(all) != 1 || all[0].key() != id(1) {
		t.Fatalf("read %+v", all)
	}
	before, err := json.Marshal(all[0])
	if err != nil {
		return // years that JSON can't have, say; storing it fails as well
	}
	must(t, put(tx, all[0]))
	all, err = list(tx)
	must(t, err)
	if after, _ := json.Marshal(all[0]); string(after) != string(before) {
		t.Fatalf("stored %s, read %s", before, after)
	}
}
