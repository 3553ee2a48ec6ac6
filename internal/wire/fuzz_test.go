package wire

import (
	"errors"
	"testing"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	spb "google.golang.org/genproto/googleapis/rpc/status"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Any detail that another side sends is read as an error that is a failure, printable and small.
func FuzzDetail(f *testing.F) {
	f.Add([]byte{}, uint32(13))
	f.Add([]byte("\xff\xff\xff"), uint32(2))
	f.Add(
		MarshalError(
			vss.E("Add", vss.ErrVolumeInUse, errors.Join(vss.ErrFail, errors.New("x"))).On("/srv").Advise("wait"),
		),
		uint32(9),
	)
	f.Add(MarshalError(vss.E("Add", vss.VDSErrDeviceInUse, vss.E("x", vss.ErrProviderVeto, vss.ErrFail))), uint32(0))
	f.Add([]byte{0x40, 0x01}, uint32(1))             // a bare S_OK
	f.Add([]byte{0x3a, 0x02, 0x3a, 0x00}, uint32(1)) // nothing within nothing within nothing
	f.Fuzz(func(t *testing.T, b []byte, code uint32) {
		check(t, UnmarshalError(b), len(b) == 0)
		st := status.FromProto(&spb.Status{
			Code: int32(code), Message: string(b),
			Details: []*anypb.Any{{TypeUrl: "type.googleapis.com/vss.v1.ErrorDetail", Value: b}},
		})
		check(t, FromStatus("Do", st.Err()), codes.Code(code) == codes.OK)
		check(t, FromDetail(&vssv1.ErrorDetail{Causes: []*vssv1.ErrorDetail{nil, {}}, Text: string(b)}), false)
	})
}

func check(t *testing.T, err error, none bool) {
	t.Helper()
	if none {
		if err != nil {
			t.Fatalf("an error from nothing: %v", err)
		}
		return
	}
	var e *vss.Error
	if !errors.As(err, &e) || vss.CodeOf(err) == vss.OK {
		t.Fatalf("no failure: %#v", err)
	}
	if text := err.Error() + vss.Hint(err); !utf8.ValidString(text) || len(text) > 200<<10 {
		t.Fatalf("a text of %d bytes", len(text))
	}
	if again := UnmarshalError(MarshalError(err)); !errors.Is(again, e.Code) {
		t.Fatalf("%v came back as %v", err, again)
	}
}
