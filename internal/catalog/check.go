package catalog

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	bolt "go.etcd.io/bbolt"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// check reads a file from end to end, without writing to it, before it is used: bbolt trusts its pages, and the
// service would panic at a damaged one during a creation. A file of which one of two heads is damaged is not refused:
// damage then names it.
func check(path string) (damage string, err error) {
	st, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && st.Size() == 0 { // empty: its maker died before the first write
		return "", nil
	}
	if err != nil {
		return "", err
	}
	var file *os.File
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		ReadOnly: true, Timeout: lockWait,
		OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
			f, err := os.OpenFile(name, flag, mode)
			file = f
			return f, err
		},
	})
	if err != nil {
		return "", err
	}
	defer db.Close()
	heads, err := checkPages(file, db.Info().PageSize)
	if err != nil {
		return "", fmt.Errorf("the file is damaged: %w", err)
	}
	if heads < 2 {
		damage = path
	}
	return damage, db.View(func(tx *bolt.Tx) error { return checkFormat(path, tx) })
}

// checkFormat refuses a file of a newer format, and one that is some other program's.
func checkFormat(path string, tx *bolt.Tx) error {
	var format []byte
	if b := tx.Bucket(bucketMeta); b != nil {
		format = b.Get(keyFormat)
	}
	if format == nil {
		if k, _ := tx.Cursor().First(); k != nil {
			return errors.New("the file isn't a catalogue: it has buckets but no format")
		}
		return nil
	}
	n, err := strconv.Atoi(string(format))
	if err != nil || n < 1 || n > Format {
		return vss.E("OpenCatalog", vss.ErrNotSupported,
			fmt.Errorf("the catalogue has format %q, this program knows up to %d", format, Format)).
			On(path).Advise("use the newer program that wrote it; nothing was changed")
	}
	return nil
}
