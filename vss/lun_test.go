package vss

import (
	"errors"
	"slices"
	"testing"
)

func sampleLUN() *LUNInformation {
	return &LUNInformation{
		Version: 1, DeviceType: 0, BusType: BusISCSI, VendorID: "STILLPNT", ProductID: "VSS LUN", ProductRevision: "1",
		SerialNumber: "0042",
		DeviceIDs: []StorageIdentifier{
			{CodeSetASCII, IdentifierVendorSpecific, []byte("pool0")},
			{CodeSetBinary, IdentifierNAA, []byte{0x60, 1, 2, 3}},
		},
		Interconnects: []Interconnect{{InterconnectSCSI, []byte{1}, []byte{2}}},
	}
}

func TestMatches(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*LUNInformation)
		want   bool
	}{
		{"nothing", func(*LUNInformation) {}, true},
		{"bus type", func(l *LUNInformation) { l.BusType = BusFibre }, true},
		{"disk signature", func(l *LUNInformation) { l.DiskSignature = NewGUID() }, true},
		{"interconnects", func(l *LUNInformation) { l.Interconnects = nil }, true},
		{"version", func(l *LUNInformation) { l.Version = 2 }, false},
		{"device type", func(l *LUNInformation) { l.DeviceType = 5 }, false},
		{"device type modifier", func(l *LUNInformation) { l.DeviceTypeModifier = 1 }, false},
		{"command queueing", func(l *LUNInformation) { l.CommandQueueing = true }, false},
		{"vendor", func(l *LUNInformation) { l.VendorID = "x" }, false},
		{"product", func(l *LUNInformation) { l.ProductID = "x" }, false},
		{"revision", func(l *LUNInformation) { l.ProductRevision = "2" }, false},
		{"serial number", func(l *LUNInformation) { l.SerialNumber = "0043" }, false},
		{"an identifier's bytes", func(l *LUNInformation) { l.DeviceIDs[1].ID[3]++ }, false},
		{"an identifier's code set", func(l *LUNInformation) { l.DeviceIDs[1].CodeSet = CodeSetASCII }, false},
		{"an identifier's type", func(l *LUNInformation) { l.DeviceIDs[1].Type = IdentifierEUI64 }, false},
		{"an identifier less", func(l *LUNInformation) { l.DeviceIDs = l.DeviceIDs[1:] }, false},
	} {
		a, b := sampleLUN(), sampleLUN()
		tc.change(b)
		if a.Matches(b) != tc.want || b.Matches(a) != tc.want {
			t.Errorf("%s differs: want %v", tc.name, tc.want)
		}
	}
}

func TestSameLUN(t *testing.T) {
	id := func(typ IdentifierType, b ...byte) *LUNInformation {
		return &LUNInformation{
			DeviceIDs: []StorageIdentifier{
				{CodeSetBinary, IdentifierVendorSpecific, []byte{9}},
				{CodeSetBinary, typ, b},
			},
		}
	}
	for typ := range IdentifierType(10) {
		want := typ == 1 || typ == 2 || typ == 3 || typ == 8
		if typ.Unique() != want {
			t.Errorf("type %d: Unique is %v", typ, !want)
		}
		if got := id(typ, 1).SameLUN(id(typ, 1)); got != want {
			t.Errorf("type %d, equal bytes: %v", typ, got)
		}
		if id(typ, 1).SameLUN(id(typ, 2)) {
			t.Errorf("type %d, other bytes: same", typ)
		}
	}
	if id(IdentifierNAA, 1).SameLUN(id(IdentifierEUI64, 1)) {
		t.Error("the same bytes in designators of two types are not the same")
	}
	if (&LUNInformation{}).SameLUN(&LUNInformation{}) {
		t.Error("two LUNs without designators are not known to be one")
	}
	changed := sampleLUN()
	changed.ProductRevision, changed.SerialNumber = "2", "x"
	slices.Reverse(changed.DeviceIDs)
	if !sampleLUN().SameLUN(changed) {
		t.Error("after a firmware update it is still the same LUN")
	}
	if (&LUNInformation{DeviceIDs: []StorageIdentifier{{Type: IdentifierNAA}}}).SameLUN(
		&LUNInformation{DeviceIDs: []StorageIdentifier{{Type: IdentifierNAA}}},
	) {
		t.Error("empty designators name nothing")
	}
}

func TestDiskFlags(t *testing.T) {
	if got := DiskFlags(0).Names(); got == nil || len(got) != 0 {
		t.Errorf("no flags: %#v", got)
	}
	if got, want := FlagsShadowCopy.Names(), []string{"read-only", "hidden", "no-auto-mount",
		"shadow-copy"}; !slices.Equal(
		got,
		want,
	) {
		t.Errorf("got %q, want %q", got, want)
	}
	for name, want := range map[string]DiskFlags{"read-only": 1, "shadow-copy": 2, "hidden": 4, "no-auto-mount": 8} {
		if f, err := DiskFlagByName(name); err != nil || f != want {
			t.Errorf("%s: %d, %v", name, f, err)
		}
	}
	if _, err := DiskFlagByName("readonly"); !errors.Is(err, ErrInvalidArg) || Hint(err) == "" {
		t.Error(err)
	}
}
