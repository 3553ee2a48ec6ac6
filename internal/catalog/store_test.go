package catalog

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bolt "go.etcd.io/bbolt"

	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, err error, want vss.Code) {
	t.Helper()
	if got := vss.CodeOf(err); got != want {
		t.Fatalf("error %v has code %s, want %s", err, got.Name(), want.Name())
	}
	if err != nil && vss.Hint(err) == "" {
		t.Errorf("error %v doesn't say what to do next", err)
	}
}

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func fresh(t testing.TB) *Store {
	t.Helper()
	return open(t, filepath.Join(t.TempDir(), "state", "catalog.db"))
}

func read[T any](t testing.TB, s *Store, f func(*Tx) (T, error)) (v T) {
	t.Helper()
	must(t, s.View(func(tx *Tx) (err error) {
		v, err = f(tx)
		return err
	}))
	return v
}

func sets(tx *Tx) ([]Set, error) { return list(tx, bucketSets, decode[Set]) }

// id is a GUID that a test can name.
func id(n int) vss.GUID { return vss.MustGUID(fmt.Sprintf("%08x-1111-4222-8333-444455556666", n)) }

func setID(n int) vss.SnapshotSetID { return vss.SnapshotSetID{GUID: id(n)} }

func snapshotID(n int) vss.SnapshotID { return vss.SnapshotID{GUID: id(n)} }

var when = time.Date(2024, 2, 29, 23, 59, 59, 123456789, time.UTC)

// The samples have a value in every field, so that a field which isn't stored shows.
func sampleSet(n int) Set {
	return Set{
		ID: setID(n), Context: vss.Context(0x5), Created: when, Count: 3, Hold: 12345678, WriterWindow: 3 * time.Second,
		Consistency: vss.ConsistencyFileSystem, ConsistencyReason: "writer \"x\" failed",
		Timeline: []Step{{"freeze", 5, 17}},
		Writers: []Writer{{
			ID: vss.WriterID{GUID: id(7)}, InstanceID: vss.WriterInstanceID{GUID: id(8)}, Name: "PostgreSQL",
			State:   vss.WriterFailedAtFreeze,
			Failure: vss.ErrWriterErrorOutOfResources, Message: "too slow", Application: 7, Level: vss.LevelSystem,
			Frozen: time.Second, Components: 2,
		}},
		Finishing: true,
	}
}

func sampleLUN(n int, serial string) vss.LUNInformation {
	return vss.LUNInformation{
		Version: 1, DeviceType: 2, DeviceTypeModifier: 3, CommandQueueing: true, BusType: vss.BusISCSI,
		VendorID: "STILLPNT", ProductID: "LUN",
		ProductRevision: "1", SerialNumber: serial, DiskSignature: id(n),
		DeviceIDs: []vss.StorageIdentifier{{CodeSet: vss.CodeSetBinary, Type: vss.IdentifierNAA,
			ID: []byte{0x60, 0, 0xff, byte(n)}}},
		Interconnects: []vss.Interconnect{{Type: vss.InterconnectSCSI, Port: []byte{1}, Address: []byte{2, 3}}},
	}
}

func sampleIdentity(n int) disk.Identity {
	return disk.Identity{Style: disk.StyleGPT, Disk: id(n),
		Partitions: []disk.PartitionID{{Number: 1, ID: id(n + 1)}, {Number: 128, ID: id(n + 2)}}}
}

func sampleSnapshot(n, set int) Snapshot {
	return Snapshot{
		ID: snapshotID(n), SetID: setID(set), Order: 100 - n, Count: 2, State: vss.StateCreated,
		OriginalVolume: "/srv/data base", FileSystem: "btrfs", FileSystemUUID: "u",
		CopyUUID: "v", Subvolume: "/@", SubvolumeID: "257", NoExec: true, DeviceNumber: n,
		ProviderID: vss.ProviderID{GUID: id(9)}, ProviderName: "lun",
		Attributes: vss.AttrPersistent,
		Created:    when, ExposedAt: "/mnt/x", OriginatingMachine: "a", ServiceMachine: "b",
		Consistency: vss.ConsistencyApplication,
		LUNs:        []LUN{{sampleLUN(1, "s1"), sampleIdentity(20), sampleLUN(2, "s2"), vss.LUNID{GUID: id(30)}}},
		Extents:     []vss.Extent{{LUN: 1, Start: 1 << 20, Length: 1 << 40}}, Imported: true,
		Kind: KindLUN, Local: &Local{Version: 3, Data: []byte("where it is")}, FirstCut: when,
		LastCut: when.Add(time.Millisecond),
	}
}

func sampleCreation(n int) Creation {
	return Creation{
		Set: setID(n), Begun: when, Providers: []vss.ProviderID{{GUID: id(9)}}, Suspended: []string{"/dev/vg/data"},
		Writers: true,
		Flagged: []Flagged{{LUN: sampleLUN(1, "s1"), Disk: vss.FlagHidden,
			Before: map[int]vss.DiskFlags{1: vss.FlagReadOnly, 15: 0}}},
	}
}

func sampleBreak(n int) Break {
	return Break{Set: setID(n), Before: []BreakLUN{{vss.LUNID{GUID: id(30)}, sampleIdentity(40)}}, Forgetting: true,
		ReadWrite: true, MaskLUNs: true}
}

func sampleEvent(n int) Event {
	return Event{Time: when.Add(time.Duration(n) * time.Second), Severity: "warning", What: "hold-overrun",
		Provider: "lun", SetID: setID(n), Object: "/srv",
		Code: vss.ErrHoldWritesTimeout, Message: fmt.Sprint(n), Hint: "try again"}
}

// fill stores one of everything.
func fill(t testing.TB, s *Store) {
	t.Helper()
	must(t, s.Update(func(tx *Tx) error {
		return errors.Join(tx.PutSet(sampleSet(1)), tx.PutSnapshot(sampleSnapshot(11, 1)),
			tx.PutSnapshot(sampleSnapshot(12, 1)),
			tx.PutCreation(sampleCreation(2)), tx.PutBreak(sampleBreak(1)),
			tx.AddEvents([]Event{sampleEvent(1), sampleEvent(2)}))
	}))
}

// wantFilled checks that all of fill is there and nothing else.
func wantFilled(t testing.TB, s *Store) {
	t.Helper()
	for _, d := range []string{
		cmp.Diff([]Set{sampleSet(1)}, read(t, s, sets)),
		cmp.Diff([]Snapshot{sampleSnapshot(11, 1), sampleSnapshot(12, 1)}, read(t, s, (*Tx).Snapshots)),
		cmp.Diff([]Creation{sampleCreation(2)}, read(t, s, (*Tx).Creations)),
		cmp.Diff([]Break{sampleBreak(1)}, read(t, s, (*Tx).Breaks)),
		cmp.Diff([]Event{sampleEvent(1), sampleEvent(2)},
			read(t, s, func(tx *Tx) ([]Event, error) { return tx.Events(time.Time{}) })),
	} {
		if d != "" {
			t.Errorf("-stored +read:\n%s", d)
		}
	}
}

func TestEverythingComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "er", "catalog.db")
	s := open(t, path)
	fill(t, s)
	wantFilled(t, s)
	must(t, s.Close())
	s = open(t, path)
	wantFilled(t, s)

	must(t, s.View(func(tx *Tx) error {
		set, ok, err := tx.Set(setID(1))
		if d := cmp.Diff(sampleSet(1), set); !ok || err != nil || d != "" {
			t.Errorf("Set: %v %v %s", ok, err, d)
		}
		copy, ok, err := tx.Snapshot(snapshotID(12))
		if d := cmp.Diff(sampleSnapshot(12, 1), copy); !ok || err != nil || d != "" {
			t.Errorf("Snapshot: %v %v %s", ok, err, d)
		}
		creation, ok, err := tx.Creation(setID(2))
		if d := cmp.Diff(sampleCreation(2), creation); !ok || err != nil || d != "" {
			t.Errorf("Creation: %v %v %s", ok, err, d)
		}
		_, set99, err1 := tx.Set(setID(99))
		_, copy99, err2 := tx.Snapshot(snapshotID(99))
		_, creation99, err3 := tx.Creation(setID(99))
		if err := errors.Join(err1, err2, err3); set99 || copy99 || creation99 || err != nil {
			t.Errorf("found what isn't there: %v %v %v %v", set99, copy99, creation99, err)
		}
		return nil
	}))

	changed := sampleSnapshot(12, 1)
	changed.ExposedAt, changed.LUNs = "", nil
	must(t, s.Update(func(tx *Tx) error {
		return errors.Join(tx.PutSnapshot(changed), tx.RemoveCreation(setID(2)), tx.RemoveBreak(setID(1)),
			tx.RemoveBreak(setID(99)))
	}))
	if d := cmp.Diff([]Snapshot{sampleSnapshot(11, 1), changed}, read(t, s, (*Tx).Snapshots)); d != "" {
		t.Error(d)
	}
	if n := len(read(t, s, (*Tx).Creations)) + len(read(t, s, (*Tx).Breaks)); n != 0 {
		t.Errorf("%d records after their removal", n)
	}
}

func TestSetGoesWithItsLastCopy(t *testing.T) {
	s := fresh(t)
	must(t, s.Update(func(tx *Tx) error {
		return errors.Join(tx.PutSet(sampleSet(1)), tx.PutSet(sampleSet(2)), tx.PutSnapshot(sampleSnapshot(11, 1)),
			tx.PutSnapshot(sampleSnapshot(12, 1)),
			tx.PutSnapshot(sampleSnapshot(21, 2)), tx.PutSnapshot(sampleSnapshot(22, 2)))
	}))
	state := func() string {
		var out []string
		for _, v := range read(t, s, sets) {
			out = append(out, fmt.Sprintf("set %x", v.ID.GUID[3]))
		}
		for _, v := range read(t, s, (*Tx).Snapshots) {
			out = append(out, fmt.Sprintf("%x", v.ID.GUID[3]))
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct {
		name string
		do   func(*Tx) error
		want string
	}{
		{"one of two", func(tx *Tx) error { return tx.RemoveSnapshot(snapshotID(0x0b)) }, "set 1 set 2 c 15 16"},
		{"the same again", func(tx *Tx) error { return tx.RemoveSnapshot(snapshotID(0x0b)) }, "set 1 set 2 c 15 16"},
		{"the last", func(tx *Tx) error { return tx.RemoveSnapshot(snapshotID(0x0c)) }, "set 2 15 16"},
		{"a set that isn't there", func(tx *Tx) error { return tx.RemoveSet(setID(1)) }, "set 2 15 16"},
		{"a whole set", func(tx *Tx) error { return tx.RemoveSet(setID(2)) }, ""},
	} {
		must(t, s.Update(c.do))
		if got := state(); got != c.want {
			t.Errorf("%s: left %q, want %q", c.name, got, c.want)
		}
	}
}

// A set's copies are found without its record, and come in the order in which its volumes were added.
func TestSnapshotsOf(t *testing.T) {
	s := fresh(t)
	must(t, s.Update(func(tx *Tx) error {
		return errors.Join(tx.PutSnapshot(sampleSnapshot(11, 1)), tx.PutSnapshot(sampleSnapshot(21, 2)),
			tx.PutSnapshot(sampleSnapshot(12, 1)))
	}))
	for set, want := range map[int][]Snapshot{1: {sampleSnapshot(12, 1), sampleSnapshot(11, 1)},
		2: {sampleSnapshot(21, 2)}, 3: nil} {
		got := read(t, s, func(tx *Tx) ([]Snapshot, error) { return tx.SnapshotsOf(setID(set)) })
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("set %d: %s", set, d)
		}
	}
}

func TestNextDeviceNeverRepeats(t *testing.T) {
	path := filepath.Join(t.TempDir(), "catalog.db")
	var last int
	for range 3 {
		s := open(t, path)
		for range 5 {
			must(t, s.Update(func(tx *Tx) error {
				for range 2 { // two in one transaction differ as well
					n, err := tx.NextDevice()
					if err == nil && n != last+1 {
						t.Errorf("number %d after %d", n, last)
					}
					if last = n; err != nil {
						return err
					}
				}
				return nil
			}))
		}
		must(t, s.Close())
	}
	s := open(t, path)
	for _, damage := range []string{"", "x", "0", "-1", "99999999999999999999"} {
		must(t, s.db.Update(func(tx *bolt.Tx) error {
			return tx.Bucket(bucketMeta).Put(keyNextDevice,
				[]byte(damage))
		}))
		err := s.Update(func(tx *Tx) error {
			_, err := tx.NextDevice()
			return err
		})
		wantCode(t, err, vss.ErrUnexpected)
	}
}

func TestAbortedTransactionLeavesNothing(t *testing.T) {
	s := fresh(t)
	fill(t, s)
	err := s.Update(func(tx *Tx) error {
		_, err := tx.NextDevice()
		must(t, errors.Join(err, tx.RemoveSet(setID(1)), tx.PutSet(sampleSet(3)), tx.RemoveCreation(setID(2)),
			tx.RemoveBreak(setID(1)), tx.AddEvents([]Event{sampleEvent(3)})))
		return vss.E("Break", vss.ErrProviderVeto, nil)
	})
	if !errors.Is(err, vss.ErrProviderVeto) {
		t.Errorf("the cause of the abort became %v", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("a panic was swallowed")
			}
		}()
		_ = s.Update(func(tx *Tx) error {
			must(t, tx.RemoveSet(setID(1)))
			panic("in the middle")
		})
	}()
	wantFilled(t, s)
	must(t, s.Update(func(tx *Tx) error {
		if n, err := tx.NextDevice(); n != 1 || err != nil {
			t.Errorf("device number %d, %v: an aborted transaction used one up", n, err)
		}
		return nil
	}))
}

func TestEventsAreTrimmedInOrder(t *testing.T) {
	s := fresh(t)
	const extra, batch = 2345, 1000
	for from := 0; from < MaxEvents+extra; from += batch {
		var events []Event
		for n := from; n < min(from+batch, MaxEvents+extra); n++ {
			events = append(events, sampleEvent(n))
		}
		must(t, s.Update(func(tx *Tx) error { return tx.AddEvents(events) }))
	}
	all := read(t, s, func(tx *Tx) ([]Event, error) { return tx.Events(time.Time{}) })
	if len(all) != MaxEvents {
		t.Fatalf("%d events are kept", len(all))
	}
	for i, e := range all {
		if e.Message != fmt.Sprint(extra+i) {
			t.Fatalf("event %d is %s, want %d", i, e.Message, extra+i)
		}
	}
	since := sampleEvent(MaxEvents + extra - 3).Time
	late := read(t, s, func(tx *Tx) ([]Event, error) { return tx.Events(since) })
	if d := cmp.Diff(all[MaxEvents-3:], late); d != "" {
		t.Error(d)
	}

	// A clock that was set back changes nothing about the order, and hides no event from a query by time.
	back := sampleEvent(0)
	back.Message, back.Time = "set back", when.Add(-time.Hour)
	must(t, s.Update(func(tx *Tx) error { return tx.AddEvents([]Event{back}) }))
	all = read(t, s, func(tx *Tx) ([]Event, error) { return tx.Events(time.Time{}) })
	late = read(t, s, func(tx *Tx) ([]Event, error) { return tx.Events(since) })
	if d := cmp.Diff(all[MaxEvents-4:], late); d != "" {
		t.Error(d)
	}
	if len(all) != MaxEvents || !cmp.Equal(all[MaxEvents-1], back) ||
		slices.ContainsFunc(all, func(e Event) bool { return e.Message == fmt.Sprint(extra) }) {
		t.Error("the newest event isn't last, or the oldest wasn't dropped")
	}
}

// A field that is added to a record must be added to its sample here: else nobody knows whether it comes back.
func TestSamplesAreWhole(t *testing.T) {
	for _, v := range []any{sampleSet(1), sampleSnapshot(11, 1), sampleCreation(2), sampleBreak(1), sampleEvent(1)} {
		whole(t, reflect.TypeOf(v).Name(), reflect.ValueOf(v))
	}
}

func whole(t *testing.T, name string, v reflect.Value) {
	if v.IsZero() {
		t.Errorf("the sample has nothing in %s", name)
	}
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			whole(t, name+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Pointer:
		whole(t, name, v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			if v.Index(i).Kind() == reflect.Struct {
				whole(t, fmt.Sprintf("%s[%d]", name, i), v.Index(i))
			}
		}
	}
}
