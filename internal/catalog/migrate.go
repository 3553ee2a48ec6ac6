package catalog

import (
	"encoding/json"
	"fmt"
	"strconv"

	bolt "go.etcd.io/bbolt"

	"github.com/stillpoint-vss/stillpoint/internal/fault"
)

// migrations turns a catalogue of an older format into one of Format: migrations[i] takes format i+1 to format i+2. A
// migration works on the stored JSON, not on the types of this package, which later formats change. It keeps every
// field that it doesn't know, leaves a record that can't be read as it is, for the reader to report, and changes
// nothing when it runs a second time.
var migrations = []func(*bolt.Tx) error{
	setKinds,
}

// migrate takes a catalogue from its format to Format and records that. Open runs it within one transaction: after a
// crash the catalogue has its former format and contents, and the next Open migrates it anew. A catalogue without a
// format is a new one.
func migrate(tx *bolt.Tx) error {
	meta := tx.Bucket(bucketMeta)
	format := Format
	if v := meta.Get(keyFormat); v != nil {
		n, err := strconv.Atoi(string(v))
		if err != nil || n < 1 || n > Format {
			return fmt.Errorf("unexpected format %q", v) // checkFormat has refused it before
		}
		format = n
	}
	for ; format < Format; format++ {
		step := strconv.Itoa(format + 1)
		if err := fault.Around("migrate", step, func() error { return migrations[format-1](tx) }); err != nil {
			return fmt.Errorf("migration to format %s: %w", step, err)
		}
	}
	return meta.Put(keyFormat, []byte(strconv.Itoa(Format)))
}

// setKinds takes format 1 to format 2: in format 1 every shadow copy consists of LUNs, and its record doesn't say so.
func setKinds(tx *bolt.Tx) error {
	return rewrite(tx.Bucket(bucketSnapshots), func(record map[string]json.RawMessage) bool {
		if _, ok := record["kind"]; ok {
			return false
		}
		record["kind"] = json.RawMessage(`"lun"`)
		return true
	})
}

// rewrite calls edit for each record of a bucket that is a JSON object, and stores those for which edit returns true.
func rewrite(b *bolt.Bucket, edit func(record map[string]json.RawMessage) bool) error {
	changed := map[string][]byte{} // a bucket must not be written to while it is iterated over
	err := b.ForEach(func(k, v []byte) error {
		var record map[string]json.RawMessage
		if json.Unmarshal(v, &record) != nil || record == nil || !edit(record) {
			return nil
		}
		encoded, err := json.Marshal(record)
		changed[string(k)] = encoded
		return err
	})
	if err != nil {
		return err
	}
	for k, v := range changed {
		if err := b.Put([]byte(k), v); err != nil {
			return err
		}
	}
	return nil
}
