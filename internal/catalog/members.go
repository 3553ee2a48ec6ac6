package catalog

import (
	"bytes"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// The bucket of members says nothing that the copies' records don't say: it spares reading thousands of them for the
// few of one set. A transaction that changes the one changes the other, so that a crash leaves them in step; Open
// makes it anew for a catalogue that was written by a program which didn't have it.

// setName stands before the set's id in a copy's record.
const setName = `"set_id":"`

// setOf is the set that a copy's record names. The rest isn't read: Open does this for every copy. False for a damaged
// record.
func setOf(record []byte) (set vss.SnapshotSetID, ok bool) {
	_, rest, _ := bytes.Cut(record, []byte(setName))
	name, _, _ := bytes.Cut(rest, []byte(`"`))
	g, err := vss.ParseGUID(string(name))
	return vss.SnapshotSetID{GUID: g}, err == nil
}

// members is where those of a set begin: their keys lie side by side.
func members(set vss.SnapshotSetID) string { return set.Plain() + "/" }

// reindex makes the bucket of members what the records of the copies say. It writes nothing if it is that already.
func reindex(tx *bolt.Tx) error {
	var want, have [][]byte
	err := tx.Bucket(bucketSnapshots).ForEach(func(k, record []byte) error {
		if set, ok := setOf(record); ok {
			want = append(want, append([]byte(members(set)), k...))
		}
		return nil
	})
	if err == nil {
		err = tx.Bucket(bucketMembers).ForEach(func(k, _ []byte) error {
			have = append(have, k)
			return nil
		})
	}
	slices.SortFunc(want, bytes.Compare)
	if err != nil || slices.EqualFunc(want, have, bytes.Equal) {
		return err
	}
	if err := tx.DeleteBucket(bucketMembers); err != nil {
		return err
	}
	b, err := tx.CreateBucket(bucketMembers)
	if err != nil {
		return err
	}
	for _, k := range want {
		if err := b.Put(k, nil); err != nil {
			return err
		}
	}
	return nil
}

// membersOf are the keys of a set's copies.
func (t *Tx) membersOf(set vss.SnapshotSetID) []string {
	var out []string
	prefix := []byte(members(set))
	c := t.tx.Bucket(bucketMembers).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		out = append(out, string(k[len(prefix):]))
	}
	return out
}

// leave takes a copy out of a set's members.
func (t *Tx) leave(set vss.SnapshotSetID, copy string) error {
	return t.tx.Bucket(bucketMembers).Delete([]byte(members(set) + copy))
}

// RemoveSet forgets a set and all of its copies.
func (t *Tx) RemoveSet(id vss.SnapshotSetID) error {
	for _, copy := range t.membersOf(id) {
		if err := t.tx.Bucket(bucketSnapshots).Delete([]byte(copy)); err != nil {
			return err
		}
		if err := t.leave(id, copy); err != nil {
			return err
		}
	}
	return remove(t, bucketSets, id.GUID)
}

// SnapshotsOf lists the copies of one set, in their order. No others are read: a catalogue may have thousands.
func (t *Tx) SnapshotsOf(set vss.SnapshotSetID) ([]Snapshot, error) {
	var out []Snapshot
	for _, copy := range t.membersOf(set) {
		c, err := decode[Snapshot](bucketSnapshots, []byte(copy), t.tx.Bucket(bucketSnapshots).Get([]byte(copy)))
		if err == nil && c.SetID != set {
			err = damaged(bucketMembers, members(set)+copy, fmt.Errorf("it is a copy of %v", c.SetID))
		}
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	slices.SortStableFunc(out, func(a, b Snapshot) int { return a.Order - b.Order })
	return out, nil
}

// PutSnapshot stores a copy.
func (t *Tx) PutSnapshot(v Snapshot) error {
	key := v.ID.Plain()
	before, ok := setOf(t.tx.Bucket(bucketSnapshots).Get([]byte(key)))
	if ok && before == v.SetID {
		return put(t, bucketSnapshots, v)
	}
	if ok {
		if err := t.leave(before, key); err != nil {
			return err
		}
	}
	if err := t.tx.Bucket(bucketMembers).Put([]byte(members(v.SetID)+key), nil); err != nil {
		return err
	}
	return put(t, bucketSnapshots, v)
}

// RemoveSnapshot forgets a copy, and its set with the last one.
func (t *Tx) RemoveSnapshot(id vss.SnapshotID) error {
	c, ok, err := t.Snapshot(id)
	if err != nil || !ok {
		return err
	}
	if err := remove(t, bucketSnapshots, id.GUID); err != nil {
		return err
	}
	if err := t.leave(c.SetID, id.Plain()); err != nil {
		return err
	}
	if len(t.membersOf(c.SetID)) > 0 {
		return nil
	}
	return remove(t, bucketSets, c.SetID.GUID)
}
