package vss

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

const sampleGUID = "{ebd0a0a2-b9e5-4433-87c0-68b6b72699c7}" // GPT's type of a basic data partition

func TestParseGUID(t *testing.T) {
	want := GUID{0xeb, 0xd0, 0xa0, 0xa2, 0xb9, 0xe5, 0x44, 0x33, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7}
	for _, s := range []string{sampleGUID, strings.ToUpper(sampleGUID), strings.Trim(sampleGUID, "{}"),
		"EBD0a0a2-b9e5-4433-87C0-68b6b72699c7"} {
		got, err := ParseGUID(s)
		if err != nil || got != want {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for name, s := range map[string]string{
		"empty": "", "braces only": "{}", "one brace": sampleGUID[:37], "other brace": sampleGUID[1:],
		"two braces": "{" + sampleGUID + "}",
		"no dashes":  "ebd0a0a2b9e5443387c068b6b72699c7", "dash elsewhere": "{ebd0a0a-2b9e5-4433-87c0-68b6b72699c7}",
		"extra dash": "{ebd0a0a2-b9e5-4433-87c0-68b6b726-9c7}", "no hex": "{ebd0a0a2-b9e5-4433-87c0-68b6b72699cg}",
		"blank": " " + sampleGUID,
		"short": "{ebd0a0a2-b9e5-4433-87c0-68b6b72699c}", "long": "{ebd0a0a2-b9e5-4433-87c0-68b6b72699c77}",
		"bracket": "(" + sampleGUID[1:37] + ")",
	} {
		if g, err := ParseGUID(s); !errors.Is(err, ErrInvalidArg) || Hint(err) == "" || !g.IsZero() {
			t.Errorf("%s: %v, %v", name, g, err)
		}
	}
}

func TestGUIDText(t *testing.T) {
	g := MustGUID(strings.ToUpper(sampleGUID))
	if g.String() != sampleGUID || g.Plain() != strings.Trim(sampleGUID, "{}") {
		t.Errorf("%s, %s", g, g.Plain())
	}
	type doc struct {
		ID  SnapshotID `json:"id"`
		Set SnapshotSetID
	}
	b, err := json.Marshal(doc{ID: SnapshotID{g}})
	if err != nil || string(b) != `{"id":"`+sampleGUID+`","Set":"{00000000-0000-0000-0000-000000000000}"}` {
		t.Errorf("%s, %v", b, err)
	}
	var d doc
	if err := json.Unmarshal([]byte(`{"id":"`+strings.Trim(sampleGUID, "{}")+`","Set":""}`), &d); err != nil ||
		d.ID.GUID != g ||
		!d.Set.IsZero() {
		t.Errorf("%v, %v", d, err)
	}
	before := d
	if err := json.Unmarshal([]byte(`{"id":"nonsense"}`), &d); !errors.Is(err, ErrInvalidArg) || d != before {
		t.Errorf("%v, %v", d, err)
	}
	defer func() {
		if recover() == nil {
			t.Error("MustGUID took nonsense")
		}
	}()
	MustGUID("nonsense")
}

func TestMixedEndian(t *testing.T) {
	g := MustGUID(sampleGUID)
	// As a GPT has it on disk.
	want := [16]byte{0xa2, 0xa0, 0xd0, 0xeb, 0xe5, 0xb9, 0x33, 0x44, 0x87, 0xc0, 0x68, 0xb6, 0xb7, 0x26, 0x99, 0xc7}
	if got := g.MixedEndian(); got != want {
		t.Errorf("got % x", got)
	}
	if got := GUIDFromMixedEndian(want); got != g {
		t.Errorf("got %s", got)
	}
}

func TestNewGUID(t *testing.T) {
	seen := map[GUID]bool{}
	for range 1000 {
		g := NewGUID()
		if g[6]>>4 != 4 || g[8]>>6 != 2 {
			t.Fatalf("%s isn't a version 4 GUID", g)
		}
		if seen[g] {
			t.Fatalf("%s twice", g)
		}
		seen[g] = true
	}
}

func FuzzParseGUID(f *testing.F) {
	for _, s := range []string{sampleGUID, strings.Trim(sampleGUID, "{}"), strings.ToUpper(sampleGUID), "{}", "",
		"{ebd0a0a2-b9e5-4433-87c0-68b6b72699c--}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		g, err := ParseGUID(s)
		if err != nil {
			if !errors.Is(err, ErrInvalidArg) || !g.IsZero() {
				t.Fatalf("%q: %v, %v", s, g, err)
			}
			return
		}
		if !strings.EqualFold(g.String(), s) && !strings.EqualFold(g.Plain(), s) {
			t.Fatalf("%q became %s", s, g)
		}
		if again, err := ParseGUID(g.Plain()); err != nil || again != g || GUIDFromMixedEndian(g.MixedEndian()) != g {
			t.Fatalf("%s became %s, %v", g, again, err)
		}
	})
}
