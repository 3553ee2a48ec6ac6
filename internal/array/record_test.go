package array

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/vss"
)

func sample() LUN {
	serial, naa := newIdentity()
	return LUN{
		Format:   Format,
		ID:       vss.LUNID{GUID: vss.NewGUID()},
		Name:     "data",
		Size:     64 << 20,
		Serial:   serial,
		NAA:      naa,
		Kind:     KindShadowCopy,
		State:    StateReady,
		Origin:   vss.LUNID{GUID: vss.NewGUID()},
		Method:   MethodPlex,
		Percent:  12.5,
		MappedTo: []string{"a", "b"},
		Flags:    vss.FlagHidden,
		Imported: true,
		Importer: "b",
		Set:      vss.SnapshotSetID{GUID: vss.NewGUID()},
		Host:     "a",
		Final:    true,
		Created:  time.Unix(1700000000, 5).UTC(),
		Order:    3,
		Skew:     time.Millisecond,
	}
}

func TestRecordRoundTrip(t *testing.T) {
	dir := t.TempDir()
	want := sample()
	if err := writeRecord(dir, &want); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x.json.new"), []byte("half a rec"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readRecords(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]LUN{want}, got); d != "" {
		t.Errorf("-wrote +read:\n%s", d)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.new")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if err := removeRecord(dir, want.ID); err != nil {
		t.Fatal(err)
	}
	if err := removeRecord(dir, want.ID); err != nil {
		t.Errorf("removed twice: %v", err)
	}
}

func TestRecordRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*LUN)
		want   vss.Code
	}{
		{"newer format", func(l *LUN) { l.Format = Format + 1 }, vss.ErrNotSupported},
		{"newer format that we don't understand at all", func(l *LUN) { *l = LUN{Format: 99} }, vss.ErrNotSupported},
		{"no format", func(l *LUN) { l.Format = 0 }, vss.VDSErrProviderCacheCorrupt},
		{"no id", func(l *LUN) { l.ID = vss.LUNID{} }, vss.VDSErrProviderCacheCorrupt},
		{"another LUN's record", func(l *LUN) { l.ID.GUID = vss.NewGUID() }, vss.VDSErrProviderCacheCorrupt},
		{"name with a slash", func(l *LUN) { l.Name = "../x" }, vss.VDSErrProviderCacheCorrupt},
		{"no size", func(l *LUN) { l.Size = 0 }, vss.VDSErrProviderCacheCorrupt},
		{"size out of bounds", func(l *LUN) { l.Size = 1 << 60 }, vss.VDSErrProviderCacheCorrupt},
		{"no NAA", func(l *LUN) { l.NAA = "" }, vss.VDSErrProviderCacheCorrupt},
		{"NAA of another kind", func(l *LUN) { l.NAA = "5" + l.NAA[1:] }, vss.VDSErrProviderCacheCorrupt},
		{"NAA not hexadecimal", func(l *LUN) { l.NAA = "6zz" + l.NAA[3:] }, vss.VDSErrProviderCacheCorrupt},
		{"unknown state", func(l *LUN) { l.State = "resting" }, vss.VDSErrProviderCacheCorrupt},
		{"unknown kind", func(l *LUN) { l.Kind = "tape" }, vss.VDSErrProviderCacheCorrupt},
		{"unknown method", func(l *LUN) { l.Method = "magic" }, vss.VDSErrProviderCacheCorrupt},
		{"more than done", func(l *LUN) { l.Percent = 101 }, vss.VDSErrProviderCacheCorrupt},
		{"unknown flags", func(l *LUN) { l.Flags = 0x80 }, vss.VDSErrProviderCacheCorrupt},
		{"maker that is not a host", func(l *LUN) { l.Host = "a\n" }, vss.VDSErrProviderCacheCorrupt},
		{"importer that is not a host", func(l *LUN) { l.Importer = "a/b" }, vss.VDSErrProviderCacheCorrupt},
		{"host without a name", func(l *LUN) { l.MappedTo = []string{""} }, vss.VDSErrProviderCacheCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, l := t.TempDir(), sample()
			path := recordPath(dir, l.ID)
			c.change(&l)
			b, err := json.Marshal(l)
			if err != nil {
				t.Fatal(err)
			}
			half := filepath.Join(dir, "half.new")
			for p, content := range map[string][]byte{path: b, half: b} {
				if err := os.WriteFile(p, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := readRecords(dir); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %s", err, c.want.Name())
			}
			if _, err := os.Stat(half); err != nil {
				t.Errorf("a folder that was refused was changed: %v", err)
			}
		})
	}
}

func TestIdentity(t *testing.T) {
	l := sample()
	info := l.Information()
	if info.SerialNumber != l.Serial || len(info.DeviceIDs) != 1 {
		t.Fatalf("information %+v", info)
	}
	id := info.DeviceIDs[0]
	if id.Type != vss.IdentifierNAA || id.CodeSet != vss.CodeSetBinary || len(id.ID) != 16 || id.ID[0]>>4 != 6 {
		t.Errorf("page 0x83 %+v", id)
	}
	if l.NAA != "6001405"+l.Serial[:25] {
		t.Errorf("NAA %s isn't what LIO makes of serial %s", l.NAA, l.Serial)
	}
	o := sample()
	if other := o.Information(); info.SameLUN(&other) || !info.SameLUN(&info) {
		t.Error("identifiers don't tell LUNs apart")
	}
}

func FuzzParseRecord(f *testing.F) {
	l := sample()
	b, _ := json.Marshal(l)
	f.Add(b)
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":1,"id":"{}","mapped_to":null}`))
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := parseRecord(b)
		if err != nil {
			return
		}
		_ = l.Information()
		dir := t.TempDir() // what is accepted can be written and is accepted again
		if err := writeRecord(dir, &l); err != nil {
			t.Fatal(err)
		}
		again, err := readRecords(dir)
		if err != nil || len(again) != 1 {
			t.Fatalf("%v, %d records", err, len(again))
		}
		if d := cmp.Diff(l, again[0]); d != "" {
			t.Error(d)
		}
	})
}
