package catalog

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"
)

// wantMembers checks that each set has the members that the records of the copies name, and no others.
func wantMembers(t testing.TB, s *Store) {
	t.Helper()
	want, got := map[string]bool{}, map[string]bool{}
	for _, c := range read(t, s, (*Tx).Snapshots) {
		want[c.SetID.Plain()+"/"+c.ID.Plain()] = true
	}
	must(t, s.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketMembers).ForEach(func(k, _ []byte) error {
			got[string(k)] = true
			return nil
		})
	}))
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("members -as the copies say +as listed:\n%s", d)
	}
}

// After any operation members and copies agree, also where a copy comes into another set or a transaction is aborted.
func TestMembersStayInStep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	s := open(t, path)
	s.db.NoSync = true
	random := rand.New(rand.NewPCG(1, 2))
	undo := errors.New("undone")
	for i := range 500 {
		err := s.Update(func(tx *Tx) error {
			for range 1 + random.IntN(4) {
				n, set := random.IntN(30), random.IntN(5)
				switch random.IntN(6) {
				case 0:
					must(t, tx.RemoveSet(setID(set)))
				case 1:
					must(t, tx.RemoveSnapshot(snapshotID(n)))
				default:
					must(t, errors.Join(tx.PutSet(sampleSet(set)), tx.PutSnapshot(sampleSnapshot(n, set))))
				}
				for set := range 5 { // within the transaction too
					if _, err := tx.SnapshotsOf(setID(set)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if i%5 == 0 {
				return undo
			}
			return nil
		})
		if err != nil && i%5 != 0 {
			t.Fatal(err)
		}
		if i%10 == 0 {
			wantMembers(t, s)
		}
	}
	if len(read(t, s, (*Tx).Snapshots)) == 0 {
		t.Error("nothing is left to say anything of")
	}
}

// A catalogue that a program without members has written gets the right ones when it is opened.
func TestMembersAreMadeAnew(t *testing.T) {
	for name, older := range map[string]func(tx *bolt.Tx) error{
		"before there were any": func(tx *bolt.Tx) error { return tx.DeleteBucket(bucketMembers) },
		"a copy made since": func(tx *bolt.Tx) error {
			return put(&Tx{tx: tx}, bucketSnapshots, sampleSnapshot(13, 1))
		},
		"a copy deleted since": func(tx *bolt.Tx) error { return remove(&Tx{tx: tx}, bucketSnapshots, id(11)) },
		"a copy of another set": func(tx *bolt.Tx) error {
			return put(&Tx{tx: tx}, bucketSnapshots, sampleSnapshot(12, 2))
		},
		"as it is": func(tx *bolt.Tx) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			path, _ := filled(t)
			db, err := bolt.Open(path, 0o600, nil)
			must(t, err)
			must(t, db.Update(older))
			must(t, db.Close())
			wantMembers(t, open(t, path))
		})
	}
}

// A copy whose record can't be read keeps nobody from the copies of other sets.
func TestMembersOfDamagedCopies(t *testing.T) {
	path, _ := filled(t)
	s := open(t, path)
	must(t, s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketSnapshots)
		return errors.Join(b.Put([]byte(snapshotID(21).Plain()), []byte("text")),
			b.Put([]byte(snapshotID(22).Plain()), []byte(setName)))
	}))
	must(t, s.Close())
	s = open(t, path)
	got := read(t, s, func(tx *Tx) ([]Snapshot, error) { return tx.SnapshotsOf(setID(1)) })
	if d := cmp.Diff([]Snapshot{sampleSnapshot(12, 1), sampleSnapshot(11, 1)}, got); d != "" {
		t.Error(d)
	}
}
