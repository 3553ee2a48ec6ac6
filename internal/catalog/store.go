package catalog

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/vss"
)

var (
	bucketMeta      = []byte("meta")
	bucketSets      = []byte("sets")
	bucketSnapshots = []byte("snapshots")
	bucketMembers   = []byte("members")
	bucketCreations = []byte("creations")
	bucketBreaks    = []byte("breaks")
	bucketEvents    = []byte("events")

	keyFormat     = []byte("format")
	keyNextDevice = []byte("next-device")
)

// Store is the open catalogue. It is safe for concurrent use.
type Store struct {
	db     *bolt.DB
	known  memory
	damage string
}

// Open opens the catalogue, creates it if it doesn't exist, and migrates one of an older format. Errors:
// VSS_E_NOT_SUPPORTED for a file of a newer format and VSS_E_UNEXPECTED for a damaged file, both of which are left
// unchanged; VSS_E_BAD_STATE if another service has it open; VSS_E_UNEXPECTED for any other failure.
func Open(path string) (*Store, error) {
	const op = "OpenCatalog"
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, vss.E(op, vss.ErrUnexpected, err).On(path)
	}
	damage, err := check(path)
	if err != nil {
		return nil, openError(op, path, err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: lockWait})
	if err != nil {
		return nil, openError(op, path, err)
	}
	s := &Store{db: db, damage: damage}
	if err := db.Update(func(tx *bolt.Tx) error {
		for _, b := range [][]byte{bucketMeta, bucketSets, bucketSnapshots, bucketMembers, bucketCreations,
			bucketBreaks, bucketEvents} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		if err := migrate(tx); err != nil {
			return err
		}
		return reindex(tx)
	}); err != nil {
		db.Close()
		return nil, vss.E(op, vss.ErrUnexpected, err).On(path).Advise(fullHint)
	}
	return s, nil
}

// lockWait is how long Open waits for another service that is ending.
const lockWait = 2 * time.Second

const (
	fullHint   = "is the file system of the state directory full?"
	damageHint = "the catalogue can't be read; move it away to start with an empty one, `vss doctor` then lists what " +
		"it misses"
)

func openError(op, path string, err error) error {
	switch {
	case errors.Is(err, vss.ErrNotSupported):
		return err
	case errors.Is(err, bolterrors.ErrTimeout):
		return vss.E(op, vss.ErrBadState,
			err).On(path).Advise("another vssd uses this state directory; stop it or give --state")
	}
	return vss.E(op, vss.ErrUnexpected, err).On(path).Advise(damageHint)
}

// Damage names the file if one of its two heads was damaged when it was opened: it is then as it was before its last
// change, or the change before. A power cut while a head is written does the same. Otherwise it is "".
func (s *Store) Damage() string { return s.damage }

// Close closes the file.
func (s *Store) Close() error { return s.db.Close() }

// View runs f on one consistent state. Update runs f and makes all it did durable at once, or none of it if f fails.
func (s *Store) View(f func(*Tx) error) error {
	return s.db.View(func(tx *bolt.Tx) error { return f(&Tx{tx, &s.known}) })
}

// Update runs f in a transaction that is durable when Update returns nil.
func (s *Store) Update(f func(*Tx) error) error {
	err := fault.Around("catalog", "update", func() error {
		return s.db.Update(func(tx *bolt.Tx) error { return f(&Tx{tx, &s.known}) })
	})
	if err != nil && vss.CodeOf(err) == vss.ErrUnexpected {
		return vss.E("UpdateCatalog", vss.ErrUnexpected, err).On(s.db.Path()).Advise(fullHint)
	}
	return err
}

// Tx is one transaction; what it returns may be kept.
type Tx struct {
	tx    *bolt.Tx
	known *memory
}

// record is what a bucket holds under its own id.
type record interface{ key() vss.GUID }

func (v Set) key() vss.GUID      { return v.ID.GUID }
func (v Snapshot) key() vss.GUID { return v.ID.GUID }
func (v Creation) key() vss.GUID { return v.Set.GUID }
func (v Break) key() vss.GUID    { return v.Set.GUID }

func decode[T record](bucket, key, b []byte) (v T, err error) {
	if err = json.Unmarshal(b, &v); err == nil && v.key().Plain() != string(key) {
		err = errors.New("it is the record of " + v.key().Plain())
	}
	if err != nil {
		return v, damaged(bucket, string(key), err)
	}
	return v, nil
}

func damaged(bucket []byte, key string, err error) error {
	return vss.E("ReadCatalog", vss.ErrUnexpected, err).On(string(bucket) + "/" + key).Advise(damageHint)
}

func get[T record](t *Tx, bucket []byte, id vss.GUID) (v T, ok bool, err error) {
	key := []byte(id.Plain())
	b := t.tx.Bucket(bucket).Get(key)
	if b == nil {
		return v, false, nil
	}
	v, err = decode[T](bucket, key, b)
	return v, err == nil, err
}

// list reads a whole bucket, on all processors: thousands of copies are listed while somebody waits.
func list[T record](t *Tx, bucket []byte, read func(bucket, key, b []byte) (T, error)) ([]T, error) {
	var keys, values [][]byte
	if err := t.tx.Bucket(bucket).ForEach(func(k, b []byte) error {
		keys, values = append(keys, k), append(values, b)
		return nil
	}); err != nil || len(keys) == 0 {
		return nil, err
	}
	out := make([]T, len(keys))
	part := len(keys)/runtime.GOMAXPROCS(0) + 1
	errs := make([]error, len(keys)/part+1)
	var readers sync.WaitGroup
	for from := 0; from < len(keys); from += part {
		readers.Go(func() {
			for i := from; i < min(from+part, len(keys)) && errs[from/part] == nil; i++ {
				out[i], errs[from/part] = read(bucket, keys[i], values[i])
			}
		})
	}
	readers.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func put(t *Tx, bucket []byte, v record) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return t.tx.Bucket(bucket).Put([]byte(v.key().Plain()), b)
}

func remove(t *Tx, bucket []byte, id vss.GUID) error {
	return t.tx.Bucket(bucket).Delete([]byte(id.Plain()))
}

// Set finds a set.
func (t *Tx) Set(id vss.SnapshotSetID) (Set, bool, error) { return get[Set](t, bucketSets, id.GUID) }

// PutSet stores a set.
func (t *Tx) PutSet(v Set) error { return put(t, bucketSets, v) }

// Snapshot finds a copy.
func (t *Tx) Snapshot(id vss.SnapshotID) (Snapshot, bool, error) {
	return get[Snapshot](t, bucketSnapshots, id.GUID)
}

// Snapshots lists all copies, finished or not.
func (t *Tx) Snapshots() ([]Snapshot, error) {
	out, err := list(t, bucketSnapshots, t.known.decode)
	t.known.trim(len(out))
	return out, err
}

// Creation finds the record of a set that is being made.
func (t *Tx) Creation(id vss.SnapshotSetID) (Creation, bool, error) {
	return get[Creation](t, bucketCreations, id.GUID)
}

// Creations lists the sets that are being made.
func (t *Tx) Creations() ([]Creation, error) { return list(t, bucketCreations, decode[Creation]) }

// PutCreation stores the record of a set that is being made.
func (t *Tx) PutCreation(v Creation) error { return put(t, bucketCreations, v) }

// RemoveCreation ends it.
func (t *Tx) RemoveCreation(id vss.SnapshotSetID) error { return remove(t, bucketCreations, id.GUID) }

// Breaks lists the breaks under way.
func (t *Tx) Breaks() ([]Break, error) { return list(t, bucketBreaks, decode[Break]) }

// PutBreak stores a break under way.
func (t *Tx) PutBreak(v Break) error { return put(t, bucketBreaks, v) }

// RemoveBreak ends it.
func (t *Tx) RemoveBreak(id vss.SnapshotSetID) error { return remove(t, bucketBreaks, id.GUID) }

// NextDevice hands out the number of a device object; each number once for ever.
func (t *Tx) NextDevice() (int, error) {
	b, n := t.tx.Bucket(bucketMeta), 1
	if v := b.Get(keyNextDevice); v != nil {
		var err error
		if n, err = strconv.Atoi(string(v)); err != nil || n < 1 {
			return 0, damaged(bucketMeta, string(keyNextDevice), fmt.Errorf("it is %q, no device number", v))
		}
	}
	return n, b.Put(keyNextDevice, []byte(strconv.Itoa(n+1)))
}

// AddEvents appends to the event log and drops what is beyond MaxEvents.
func (t *Tx) AddEvents(events []Event) error {
	b := t.tx.Bucket(bucketEvents)
	for _, e := range events {
		n, err := b.NextSequence()
		if err != nil {
			return err
		}
		v, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if err := b.Put(binary.BigEndian.AppendUint64(nil, n), v); err != nil {
			return err
		}
		if n > MaxEvents {
			if err := b.Delete(binary.BigEndian.AppendUint64(nil, n-MaxEvents)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Events lists the events since a time, in the order in which they were added: from the first one of that time on, all
// that were added after it. A clock that was set back hides none.
func (t *Tx) Events(since time.Time) ([]Event, error) {
	var out []Event
	err := t.tx.Bucket(bucketEvents).ForEach(func(k, b []byte) error {
		var e Event
		if err := json.Unmarshal(b, &e); err != nil {
			return damaged(bucketEvents, fmt.Sprintf("%x", k), err)
		}
		if len(out) > 0 || !e.Time.Before(since) {
			out = append(out, e)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
