package remote

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Limits of a request.
const (
	maxName    = 128     // bytes, as array.NameOK has it
	maxList    = 1024    // LUNs or copies in one call: sixteen for each of the 64 volumes of a set
	maxRequest = 1 << 20 // bytes
)

// request is a call being read. It keeps the first thing that is wrong with it; what is read after that means nothing.
type request struct {
	ctx    context.Context
	a      array.Array
	caller Caller
	err    error
}

func (q *request) fail(err error) {
	if q.err == nil {
		q.err = err
	}
}

// clip keeps hostile texts out of messages.
func clip(s string) string { return s[:min(len(s), 64)] }

func (q *request) guid(s string) vss.GUID {
	var g vss.GUID
	if err := g.UnmarshalText([]byte(clip(s))); err != nil || s == "" {
		q.fail(
			vss.E("", vss.ErrInvalidArg, errors.New("no identifier")).
				On(strconv.QuoteToASCII(clip(s))).
				Advise("identifiers are of the form {lower-case-guid}"),
		)
	}
	return g
}

func (q *request) id(s string) vss.LUNID          { return vss.LUNID{GUID: q.guid(s)} }
func (q *request) set(s string) vss.SnapshotSetID { return vss.SnapshotSetID{GUID: q.guid(s)} }

func (q *request) bounded(n int) bool {
	if n > maxList {
		q.fail(
			vss.E("", vss.ErrInvalidArg, fmt.Errorf("a list of %d entries", n)).
				Advise(fmt.Sprintf("a call may name %d LUNs", maxList)),
		)
	}
	return n <= maxList
}

func (q *request) ids(all []string) []vss.LUNID {
	out := []vss.LUNID{}
	if q.bounded(len(all)) {
		for _, s := range all {
			out = append(out, q.id(s))
		}
	}
	return out
}

// name is a name that the array judges; only its length is judged here.
func (q *request) name(s string) string {
	if len(s) > maxName {
		q.fail(
			vss.E("", vss.ErrInvalidArg, fmt.Errorf("a name of %d bytes", len(s))).
				On(strconv.QuoteToASCII(clip(s))).
				Advise("names have up to 128 bytes"),
		)
	}
	return s
}

// host is the host to act for.
func (q *request) host(s string) string {
	if q.err == nil {
		q.err = q.caller.acts(s)
	}
	return s
}

func (q *request) flags(n uint32) vss.DiskFlags {
	if n&^uint32(vss.FlagsShadowCopy) != 0 {
		q.fail(vss.E("", vss.ErrInvalidArg, fmt.Errorf("flags %#x", n)).Advise("there are four flags: 1, 2, 4 and 8"))
		return 0
	}
	return vss.DiskFlags(n)
}

func (q *request) copies(all []*vssv1.ArrayCopy) []array.CopyRequest {
	out := []array.CopyRequest{}
	if q.bounded(len(all)) {
		for _, c := range all {
			out = append(out, array.CopyRequest{
				Origin: q.id(c.GetOrigin()),
				Method: array.Method(q.name(c.GetMethod())),
				Name:   q.name(c.GetName()),
			})
		}
	}
	return out
}

// may finds LUNs and asks whether the caller may do something with each. Errors: VDS_E_OBJECT_NOT_FOUND.
func (q *request) may(right func(*array.LUN) error, ids ...vss.LUNID) {
	for _, id := range ids {
		if q.err != nil {
			return
		}
		l, err := q.find(id)
		if err == nil {
			err = right(&l)
		}
		q.err = err
	}
}

// find returns a LUN that exists for the caller. Errors: VDS_E_OBJECT_NOT_FOUND.
func (q *request) find(id vss.LUNID) (array.LUN, error) {
	l, err := q.a.LUN(q.ctx, id)
	if err == nil && !q.caller.sees(&l) {
		return array.LUN{}, vss.E("GetLun", vss.VDSErrObjectNotFound, nil).
			On(id.String()).
			Advise("`vss lun list` shows which LUNs exist")
	}
	return l, err
}

// visible leaves out what doesn't exist for the caller.
func (q *request) visible(all []array.LUN) []array.LUN {
	var out []array.LUN
	for _, l := range all {
		if q.caller.sees(&l) {
			out = append(out, l)
		}
	}
	return out
}

// lun does a change of one LUN, unless something is wrong already.
func (q *request) lun(change func() (array.LUN, error)) (*vssv1.ArrayLun, error) {
	if q.err != nil {
		return nil, q.err
	}
	l, err := change()
	return lunOut(&l), err
}

// luns does what gives LUNs.
func (q *request) luns(list func() ([]array.LUN, error)) (*vssv1.ArrayLunList, error) {
	if q.err != nil {
		return nil, q.err
	}
	all, err := list()
	return &vssv1.ArrayLunList{Luns: lunsOut(all)}, err
}

// done does what gives nothing.
func (q *request) done(call func() error) (*vssv1.ArrayDone, error) {
	if q.err != nil {
		return nil, q.err
	}
	return &vssv1.ArrayDone{}, call()
}
