package vss

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestCheckContext(t *testing.T) {
	contexts := []Context{0x00, 0x10, 0x19, 0x09, 0x1d, 0x0d}
	// Every mix of the four low bits that only a context may bring: the six named contexts pass, the ten others don't.
	for n := range Context(16) {
		c := n&1 | n&2<<1 | n&4<<1 | n&8<<1 // bits 0x1, 0x4, 0x8, 0x10
		err := CheckContext(c)
		if named := slices.Contains(contexts, c); named != (err == nil) {
			t.Errorf("%#x: %v", uint32(c), err)
		} else if !named && (!errors.Is(err, ErrInvalidArg) || Hint(err) == "") {
			t.Errorf("%#x: %v", uint32(c), err)
		}
	}
	for _, c := range contexts {
		accessible := c&AttrClientAccessible != 0
		for bit := Attributes(1); bit != 0; bit <<= 1 {
			if c&bit != 0 || bit&(AttrPersistent|AttrClientAccessible|AttrNoAutoRelease|AttrNoWriters) != 0 {
				continue // above
			}
			var ok bool
			switch bit {
			case AttrNoAutoRecovery, AttrNotTransacted, AttrRollbackRecovery, AttrTxFRecovery:
				ok = true
			case AttrTransportable, AttrDifferential, AttrPlex:
				ok = !accessible
			}
			if err := CheckContext(c | bit); ok != (err == nil) || !ok && !errors.Is(err, ErrInvalidArg) {
				t.Errorf("%#x with %#x: %v", uint32(c), uint32(bit), err)
			}
		}
		if err := CheckContext(c | AttrDifferential | AttrPlex); !errors.Is(err, ErrInvalidArg) {
			t.Errorf("%#x both differential and plex: %v", uint32(c), err)
		}
		if err := CheckContext(c | AttrTransportable | AttrPlex | AttrNoAutoRecovery); accessible != (err != nil) {
			t.Errorf("%#x with three bits: %v", uint32(c), err)
		}
	}
	if err := CheckContext(ContextAll); err != nil {
		t.Errorf("ALL is for administration and passes here: %v", err)
	}
	if err := CheckContext(0x7fffffff); !errors.Is(err, ErrInvalidArg) {
		t.Errorf("nearly ALL: %v", err)
	}
}

func TestContextNames(t *testing.T) {
	for name, want := range map[string]Context{
		"backup": 0, "file-share-backup": 0x10, "nas-rollback": 0x19, "app-rollback": 9, "client-accessible": 0x1d,
		"client-accessible-writers": 0xd,
	} {
		for _, n := range []string{name, strings.ToUpper(name)} {
			if c, err := ContextByName(n); err != nil || c != want {
				t.Errorf("%s: %#x, %v", n, uint32(c), err)
			}
		}
		if got := (want | AttrPlex | AttrImported | AttrNotSurfaced).ContextName(); got != name {
			t.Errorf("%#x with other bits: %q", uint32(want), got)
		}
	}
	if _, err := ContextByName("backups"); !errors.Is(err, ErrInvalidArg) ||
		!strings.Contains(Hint(err), "app-rollback, backup, client-accessible,") {
		t.Errorf("%v, %s", err, Hint(err))
	}
	if got := Context(0x8).ContextName(); got != "" {
		t.Errorf("no context has a name: %q", got)
	}
}

func TestAttributeNames(t *testing.T) {
	if got := Attributes(0).Names(); got == nil || len(got) != 0 {
		t.Errorf("no bits: %#v", got) // a JSON list, not null
	}
	got := (AttrFileShare | AttrPersistent | AttrAutoRecover | AttrNotSurfaced | AttrExposedLocally).Names()
	if want := []string{"persistent", "not-surfaced", "exposed-locally", "auto-recovered", "file-share"}; !slices.Equal(
		got,
		want,
	) {
		t.Errorf("got %q, want %q", got, want)
	}
	if all := Attributes(0x07ff00ff).Names(); len(all) != 19 {
		t.Errorf("%d of 19 names: %q", len(all), all)
	}
	if a := AttrPersistent | AttrPlex; !a.Has(AttrPersistent) || !a.Has(a) || a.Has(AttrPersistent|AttrImported) {
		t.Error("Has wants all of the bits")
	}
}

// The sixteen mixes of a requester's flags, as the table of the provider chapter has them, and bits that aren't a
// requester's.
func TestCheckBreakFlags(t *testing.T) {
	legal := map[BreakFlags]bool{0x0: true, 0x1: true, 0x2: true, 0x4: true, 0x6: true, 0x8: true, 0xa: true}
	for f := range BreakFlags(16) {
		if err := CheckBreakFlags(f); legal[f] != (err == nil) ||
			!legal[f] && (!errors.Is(err, ErrInvalidArg) || Hint(err) == "") {
			t.Errorf("%#x: %v", uint32(f), err)
		}
	}
	for bit := BreakFlags(0x10); bit != 0; bit <<= 1 {
		for f := range legal {
			if err := CheckBreakFlags(f | bit); !errors.Is(err, ErrInvalidArg) {
				t.Errorf("%#x with the foreign bit %#x: %v", uint32(f), uint32(bit), err)
			}
		}
	}
}
