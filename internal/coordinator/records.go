package coordinator

import (
	"errors"
	"fmt"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// find returns the record of a finished copy. Errors: VSS_E_OBJECT_NOT_FOUND.
func (k *Coordinator) find(op string, id vss.SnapshotID) (r catalog.Snapshot, err error) {
	err = k.Catalog.View(func(tx *catalog.Tx) error {
		var ok bool
		r, ok, err = tx.Snapshot(id)
		if err == nil && (!ok || r.State != vss.StateCreated) {
			return vss.E(op, vss.ErrObjectNotFound, nil).On(id.String()).
				Advise("`vss list shadows` shows which copies exist")
		}
		return err
	})
	return r, err
}

// recordsOf returns the records of a set's copies, finished or not, in their order.
func (k *Coordinator) recordsOf(set vss.SnapshotSetID) (out []*catalog.Snapshot, err error) {
	err = k.Catalog.View(func(tx *catalog.Tx) error {
		all, err := tx.SnapshotsOf(set)
		for i := range all {
			out = append(out, &all[i])
		}
		return err
	})
	return out, err
}

// recordsWhere returns the records of all copies for which keep is true.
func (k *Coordinator) recordsWhere(keep func(*catalog.Snapshot) bool) (out []catalog.Snapshot, err error) {
	err = k.Catalog.View(func(tx *catalog.Tx) (err error) {
		out, err = tx.Snapshots()
		return err
	})
	return slices.DeleteFunc(out, func(r catalog.Snapshot) bool { return !keep(&r) }), err
}

func notImported(op string, object fmt.Stringer) error {
	return vss.E(op, vss.ErrObjectNotFound, errors.New("not imported on this host")).On(object.String()).
		Advise("import it first: `vss import --bc FILE`")
}
