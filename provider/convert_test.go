package provider

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func fullLUN() vss.LUNInformation {
	return vss.LUNInformation{
		Version:            1,
		DeviceType:         5,
		DeviceTypeModifier: 255,
		CommandQueueing:    true,
		BusType:            vss.BusFibre,
		VendorID:           "v",
		ProductID:          "p",
		ProductRevision:    "r",
		SerialNumber:       "s",
		DiskSignature:      vss.NewGUID(),
		DeviceIDs: []vss.StorageIdentifier{
			{CodeSet: vss.CodeSetBinary, Type: vss.IdentifierNAA, ID: []byte{0x60, 0, 255}},
		},
		Interconnects: []vss.Interconnect{{Type: vss.InterconnectSCSI, Port: []byte{1}, Address: []byte{2}}},
	}
}

func TestLUNRoundTrip(t *testing.T) {
	want := fullLUN()
	var p parser
	if got := p.lun(lunOut(&want)); p.err != nil || !cmp.Equal(got, want) {
		t.Errorf("%v\n%s", p.err, cmp.Diff(want, got))
	}
}

func TestBadMessages(t *testing.T) {
	for name, m := range map[string]*vssv1.LunInformation{
		"none":      nil,
		"type":      {DeviceType: 256},
		"modifier":  {DeviceTypeModifier: 1 << 20},
		"signature": {DiskSignature: "{no}"},
	} {
		var p parser
		p.lun(m)
		if vss.CodeOf(p.err) != vss.ErrInvalidArg {
			t.Errorf("%s: %v", name, p.err)
		}
	}
}

// FuzzLUN decodes any description of a LUN: an accepted one is unchanged by encoding and decoding.
func FuzzLUN(f *testing.F) {
	full := fullLUN()
	for _, m := range []*vssv1.LunInformation{lunOut(&full), {}, {DeviceType: 256, DiskSignature: "x"}} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m vssv1.LunInformation
		if proto.Unmarshal(b, &m) != nil {
			return
		}
		var p parser
		l := p.lun(&m)
		if p.err != nil {
			return
		}
		var again parser
		if got := again.lun(lunOut(&l)); again.err != nil || !got.Matches(&l) || got.DiskSignature != l.DiskSignature {
			t.Errorf("%v\n%s", again.err, cmp.Diff(l, got))
		}
	})
}
