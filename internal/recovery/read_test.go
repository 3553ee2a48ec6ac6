package recovery

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestRead: the catalogue is read with the sets of unfinished copies, and can be narrowed to one provider.
func TestRead(t *testing.T) {
	store, err := catalog.Open(filepath.Join(t.TempDir(), "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	one, two := vss.ProviderID{GUID: vss.NewGUID()}, vss.ProviderID{GUID: vss.NewGUID()}
	done, open := vss.SnapshotSetID{GUID: vss.NewGUID()}, vss.SnapshotSetID{GUID: vss.NewGUID()}
	snapshot := func(set vss.SnapshotSetID, p vss.ProviderID, s vss.SnapshotState) catalog.Snapshot {
		return catalog.Snapshot{ID: vss.SnapshotID{GUID: vss.NewGUID()}, SetID: set, ProviderID: p, State: s}
	}
	err = store.Update(func(tx *catalog.Tx) error {
		return errors.Join(tx.PutSet(catalog.Set{ID: done}), tx.PutSet(catalog.Set{ID: open, Finishing: true}),
			tx.PutSnapshot(snapshot(done, one, vss.StateCreated)),
			tx.PutSnapshot(snapshot(open, two, vss.StatePostCommitted)),
			tx.PutCreation(catalog.Creation{Set: open, Providers: []vss.ProviderID{two}}),
			tx.PutBreak(catalog.Break{Set: done}))
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Read(store)
	if err != nil || len(r.Copies) != 2 || len(r.Creations) != 1 || len(r.Breaks) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, ok := r.Sets[done]; ok || !r.Sets[open].Finishing {
		t.Errorf("sets %+v", r.Sets)
	}
	r.Only(two)
	if len(r.Copies) != 1 || r.Copies[0].SetID != open || len(r.Creations) != 1 || len(r.Breaks) != 0 {
		t.Errorf("of one provider: %+v", r)
	}
	r.Only(one)
	if len(r.Copies)+len(r.Creations) != 0 {
		t.Errorf("of a provider without copies: %+v", r)
	}
}
