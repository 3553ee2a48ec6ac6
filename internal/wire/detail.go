package wire

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/protobuf/proto"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Limits of an error that is sent. Details are sent in HTTP/2 headers, whose size other implementations of gRPC limit.
const (
	maxDepth  = 16      // causes of causes
	maxCauses = 64      // causes in all
	maxText   = 1 << 10 // bytes of one text
	maxDetail = 4 << 10 // bytes of a detail; deep causes are omitted until it fits
)

// Detail returns err in the form in which it is sent, nil for nil. The outermost error always has a code and an
// operation: op is used if err has none.
func Detail(op string, err error) *vssv1.ErrorDetail {
	if err == nil {
		return nil
	}
	e := native(op, err)
	for depth := maxDepth; ; depth /= 2 {
		left := maxCauses
		d := detail(e, depth, &left)
		if depth == 0 || proto.Size(d) <= maxDetail {
			return d
		}
	}
}

// MarshalError returns Detail as bytes, for messages that contain an error as a value (AsyncStatus,
// DeleteSnapshotsReply). For nil it returns nil.
func MarshalError(err error) []byte {
	if err == nil {
		return nil
	}
	b, merr := proto.Marshal(Detail("", err))
	if merr != nil { // can't happen, as all text is valid; send the code at least
		b, _ = proto.Marshal(&vssv1.ErrorDetail{Hresult: vss.ErrUnexpected.HRESULT()})
	}
	return b
}

// UnmarshalError decodes the result of MarshalError. Invalid bytes yield VSS_E_UNEXPECTED.
func UnmarshalError(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	var d vssv1.ErrorDetail
	if err := proto.Unmarshal(b, &d); err != nil {
		return vss.E("", vss.ErrUnexpected, errors.New("can't decode the error of the other side"))
	}
	return FromDetail(&d)
}

// FromDetail converts a detail to an error, nil to nil. A detail with a success code is VSS_E_UNEXPECTED, since a
// failed call must never appear successful.
func FromDetail(d *vssv1.ErrorDetail) error {
	if d == nil {
		return nil
	}
	left := maxCauses
	err := cause(d, maxDepth, &left)
	var e *vss.Error
	switch t := err.(type) {
	case *vss.Error:
		e = t
	default:
		e = vss.E("", vss.CodeOf(err), err)
	}
	if e.Code == vss.OK {
		e.Code = vss.ErrUnexpected
	}
	return e
}

// native converts err to a *vss.Error with the same content.
func native(op string, err error) *vss.Error {
	switch e := err.(type) {
	case *vss.Error:
		if e == nil {
			return vss.E(op, vss.ErrUnexpected, errors.New("an error without content"))
		}
		if e.Op != "" && e.Code != vss.OK {
			return e
		}
		c := *e
		if c.Op == "" {
			c.Op = op
		}
		if c.Code == vss.OK {
			c.Code = vss.ErrUnexpected
		}
		return &c
	case vss.Code:
		if e == vss.OK {
			e = vss.ErrUnexpected
		}
		return vss.E(op, e, nil)
	}
	code := vss.CodeOf(err)
	if code == vss.OK {
		code = vss.ErrUnexpected
	}
	return vss.E(op, code, err)
}

func detail(err error, depth int, left *int) *vssv1.ErrorDetail {
	switch e := err.(type) {
	case *vss.Error:
		d := &vssv1.ErrorDetail{
			Op: clean(e.Op), Hresult: e.Code.HRESULT(), Facility: e.Code.Facility(), Object: clean(e.Object),
			Hint: clean(e.Hint),
		}
		if e.Err != nil && depth > 0 && *left > 0 {
			*left--
			d.Causes = []*vssv1.ErrorDetail{detail(e.Err, depth-1, left)}
		}
		return d
	case vss.Code:
		return &vssv1.ErrorDetail{CodeOnly: true, Hresult: e.HRESULT(), Facility: e.Facility()}
	}
	d := &vssv1.ErrorDetail{Text: clean(err.Error())}
	if depth == 0 {
		return d
	}
	for _, c := range unwrap(err) {
		if *left > 0 && testable(c) {
			*left--
			d.Causes = append(d.Causes, detail(c, depth-1, left))
		}
	}
	return d
}

func unwrap(err error) []error {
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		if c := u.Unwrap(); c != nil {
			return []error{c}
		}
	case interface{ Unwrap() []error }:
		return u.Unwrap()
	}
	return nil
}

// testable reports whether err contains something that a caller can test for; its text is part of its parent's text.
func testable(err error) bool {
	var e *vss.Error
	var c vss.Code
	return errors.As(err, &e) || errors.As(err, &c) || errors.Is(err, context.Canceled) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrServiceGone)
}

// cause decodes one error of a chain. Errors beyond the limits of depth and number are dropped.
func cause(d *vssv1.ErrorDetail, depth int, left *int) error {
	var causes []error
	for _, c := range d.GetCauses() {
		if depth == 0 || *left == 0 {
			break
		}
		if c == nil {
			continue
		}
		*left--
		causes = append(causes, cause(c, depth-1, left))
	}
	switch {
	case d.GetCodeOnly():
		return vss.MakeCode(d.GetHresult(), d.GetFacility())
	case d.GetHresult() != 0 || d.GetText() == "":
		e := vss.E(clean(d.GetOp()), vss.MakeCode(d.GetHresult(), d.GetFacility()), nil).
			On(clean(d.GetObject())).
			Advise(clean(d.GetHint()))
		if len(causes) > 0 {
			e.Err = errors.Join(causes...)
		}
		if len(causes) == 1 {
			e.Err = causes[0]
		}
		return e
	}
	if len(causes) == 0 {
		for _, known := range []error{context.Canceled, context.DeadlineExceeded, ErrServiceGone} {
			if d.GetText() == known.Error() {
				return known
			}
		}
	}
	return &remote{text: clean(d.GetText()), causes: causes}
}

// remote is an error of the other side without a code.
type remote struct {
	text   string
	causes []error
}

func (r *remote) Error() string   { return r.text }
func (r *remote) Unwrap() []error { return r.causes }

// clean makes a text valid for a message: valid UTF-8, which protobuf requires and file names need not be, and short.
func clean(s string) string {
	if len(s) > maxText {
		s = s[:maxText-3] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
