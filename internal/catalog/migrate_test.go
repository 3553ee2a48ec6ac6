package catalog

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// former is what a catalogue of format 1 has, as the program that wrote it listed it.
type former struct {
	Sets       []Set
	Snapshots  []Snapshot
	Creations  []Creation
	Breaks     []Break
	Events     []Event
	NextDevice int `json:"next_device"`
}

// formerCatalog copies the fixture of format 1 into a folder of the test, and returns its path and what it must have
// after the migration.
//
// The program of commit 076ba50 wrote testdata/076ba50.db, and listed it as testdata/076ba50.json. It has sets of one
// and of three volumes (ext4, XFS, btrfs and a subvolume of it), plain and exposed copies, full and differential ones,
// a transportable set and one that was imported, a backup set whose requester has ended, two breaks that were cut off
// before and after their point of no return, a deletion and a creation that were cut off by SIGKILL, and events.
func formerCatalog(t testing.TB) (path string, want former) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "catalog.db")
	must(t, os.WriteFile(path, unzip(t, "testdata/076ba50.db.gz"), 0o600))
	must(t, json.Unmarshal(unzip(t, "testdata/076ba50.json.gz"), &want))
	for i := range want.Snapshots {
		want.Snapshots[i].Kind = KindLUN
	}
	return path, want
}

func unzip(t testing.TB, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	r, err := gzip.NewReader(f)
	must(t, err)
	b, err := io.ReadAll(r)
	must(t, err)
	return b
}

// wantFormer checks that a catalogue has all that the fixture has, and nothing else.
func wantFormer(t testing.TB, s *Store, want former) {
	t.Helper()
	got := former{
		Sets: read(t, s, sets), Snapshots: read(t, s, (*Tx).Snapshots), Creations: read(t, s, (*Tx).Creations),
		Breaks:     read(t, s, (*Tx).Breaks),
		Events:     read(t, s, func(tx *Tx) ([]Event, error) { return tx.Events(time.Time{}) }),
		NextDevice: want.NextDevice,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-former +migrated:\n%s", d)
	}
	undo := errors.New("undo")
	err := s.Update(func(tx *Tx) error {
		if n, err := tx.NextDevice(); n != want.NextDevice || err != nil {
			t.Errorf("the next device number is %d, %v, want %d", n, err, want.NextDevice)
		}
		return undo
	})
	if !errors.Is(err, undo) {
		t.Error(err)
	}
	wantMembers(t, s)
}

// format is the format that a closed catalogue records.
func format(t testing.TB, path string) (f string) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	must(t, err)
	defer db.Close()
	must(t, db.View(func(tx *bolt.Tx) error {
		f = string(tx.Bucket(bucketMeta).Get(keyFormat))
		return nil
	}))
	return f
}

// records are the keys and values of all buckets of a closed catalogue but the format.
func records(t testing.TB, path string) map[string]string {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	must(t, err)
	defer db.Close()
	out := map[string]string{}
	must(t, db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				if !bytes.Equal(k, keyFormat) {
					out[string(name)+"/"+string(k)] = string(v)
				}
				return nil
			})
		})
	}))
	return out
}

// There is a migration, and a test of it, for each format but the first.
func TestMigrations(t *testing.T) {
	tests := []func(*testing.T){testSetKinds}
	if len(migrations) != Format-1 || len(tests) != len(migrations) {
		t.Fatalf("format %d needs %d migrations and tests; there are %d and %d", Format, Format-1, len(migrations),
			len(tests))
	}
	for i, test := range tests {
		t.Run(fmt.Sprintf("to format %d", i+2), test)
	}
}

func testSetKinds(t *testing.T) {
	path, want := formerCatalog(t)
	s := open(t, path)
	wantFormer(t, s, want)
	must(t, s.Close())
	if f := format(t, path); f != "2" {
		t.Errorf("the format is %q after the migration", f)
	}
	once := records(t, path)

	// migrated once more, as a program would that doesn't know it has been done
	db, err := bolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, db.Update(setKinds))
	must(t, db.Close())
	if d := cmp.Diff(once, records(t, path)); d != "" {
		t.Errorf("-once +twice:\n%s", d)
	}
	s = open(t, path)
	wantFormer(t, s, want)

	// a record of the new format goes beside the old ones
	must(t, s.Update(func(tx *Tx) error { return tx.PutSnapshot(sampleSnapshot(1, 1)) }))
	got := read(t, s, func(tx *Tx) ([]Snapshot, error) { return tx.SnapshotsOf(setID(1)) })
	if d := cmp.Diff([]Snapshot{sampleSnapshot(1, 1)}, got); d != "" {
		t.Error(d)
	}
}

// A record that can't be read doesn't keep the others from being migrated; reading it reports the damage, as before.
func TestMigrationKeepsDamage(t *testing.T) {
	path, want := formerCatalog(t)
	bad := want.Snapshots[3]
	db, err := bolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket(bucketSnapshots).Put([]byte(bad.ID.Plain()), []byte(`{"set_id":`))
	}))
	must(t, db.Close())
	s := open(t, path)
	must(t, s.View(func(tx *Tx) error {
		_, _, err := tx.Snapshot(bad.ID)
		wantCode(t, err, vss.ErrUnexpected)
		for i, v := range want.Snapshots {
			if got, _, err := tx.Snapshot(v.ID); i != 3 && (err != nil || !cmp.Equal(got, v)) {
				t.Errorf("copy %d: %v %s", i, err, cmp.Diff(v, got))
			}
		}
		return nil
	}))
}

// A migration that fails or whose process dies leaves the file as it was; the next one does it all.
func TestMigrationIsOneTransaction(t *testing.T) {
	for _, point := range []string{"migrate/2/before", "migrate/2/after"} {
		for _, action := range []string{"fail 0x8000ffff", "kill"} {
			t.Run(strings.ReplaceAll(point, "/", " ")+" "+action, func(t *testing.T) {
				path, want := formerCatalog(t)
				before, pages := records(t, path), unzip(t, "testdata/076ba50.db.gz")
				c := child(t, "open", path)
				c.Env = append(c.Env, fault.Variable+"="+point+" "+action)
				if out, err := c.CombinedOutput(); err == nil ||
					(action == "kill") != strings.Contains(err.Error(), "killed") {
					t.Fatalf("the child ended with %v: %s", err, out)
				}
				if now, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(now, pages) {
					t.Errorf("a migration that wasn't finished changed the file: %v", err)
				}
				if f := format(t, path); f != "1" {
					t.Errorf("the format is %q", f)
				}
				if d := cmp.Diff(before, records(t, path)); d != "" {
					t.Error(d)
				}
				wantFormer(t, open(t, path), want)
			})
		}
	}
}

// Whenever the process dies, the catalogue is of the one format or of the other, with everything in it.
func TestMigrationKilled(t *testing.T) {
	formats := map[string]int{}
	for range lane.Soak(100) {
		path, want := formerCatalog(t)
		c := child(t, "open", path)
		must(t, c.Start())
		time.Sleep(time.Duration(rand.IntN(12_000)) * time.Microsecond)
		_ = c.Process.Kill()
		_ = c.Wait()
		f := format(t, path)
		if !slices.Contains([]string{"1", "2"}, f) {
			t.Fatalf("the format is %q", f)
		}
		formats[f]++
		s := open(t, path)
		wantFormer(t, s, want)
		must(t, s.Close())
	}
	t.Logf("killed before and after the migration: %v", formats)
}
