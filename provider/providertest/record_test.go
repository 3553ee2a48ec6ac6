package providertest

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestRecordTwo runs sets at two recorded providers with one log: each has its own calls, in order.
func TestRecordTwo(t *testing.T) {
	log := &Log{}
	a, luns := NewArray(1)
	m := NewMemory(a)
	m.ID = vss.ProviderID{GUID: vss.NewGUID()}
	hw := RecordHardware(m, log)
	h, volumes := NewHost(1)
	sw := RecordSoftware(NewMemorySoftware(h), log)
	set, id := vss.SnapshotSetID{GUID: vss.NewGUID()}, vss.SnapshotID{GUID: vss.NewGUID()}
	ctx := t.Context()
	must(t, "begin", hw.BeginPrepareSnapshot(ctx, set, id, vss.ContextBackup, []string{"/dev/x"}, luns))
	must(t, "begin", sw.BeginPrepareSnapshot(ctx, set, id, volumes[0], vss.ContextBackup))
	must(t, "end", hw.EndPrepareSnapshots(ctx, set))
	failed := errors.New("no")
	log.Before(func(_ context.Context, c Call) error {
		if c.Method == "EndPrepareSnapshots" {
			return failed
		}
		return nil
	})
	if err := sw.EndPrepareSnapshots(ctx, set); !errors.Is(err, failed) {
		t.Errorf("the hook's error: %v", err)
	}
	must(t, "abort", sw.AbortSnapshots(ctx, set))
	if got := log.Methods(m.ID); !cmp.Equal(got, []string{"BeginPrepareSnapshot", "EndPrepareSnapshots"}) {
		t.Errorf("hardware: %v", got)
	}
	if got := log.Methods(MemorySoftwareID); !cmp.Equal(
		got,
		[]string{"BeginPrepareSnapshot", "EndPrepareSnapshots", "AbortSnapshots"},
	) {
		t.Errorf("software: %v", got)
	}
	if c := log.Calls()[1]; c.Set != set || !cmp.Equal(c.Snapshots, []vss.SnapshotID{id}) ||
		c.Volume != volumes[0].Name {
		t.Errorf("recorded %+v", c)
	}
}
