package lun

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// found is a LUN and its array.
type found struct {
	array array.Array
	lun   array.LUN
	info  vss.LUNInformation
}

// inventory is the LUNs of all arrays. If arrays did not answer, a LUN that isn't in it may still exist.
type inventory struct {
	luns   []found
	failed []error // of arrays that did not answer
}

func (p *Provider) inventory(ctx context.Context) *inventory {
	var (
		mu sync.Mutex
		v  inventory
	)
	_ = each(p.cfg.Arrays(), func(a array.Array) error {
		luns, err := a.LUNs(ctx)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			v.failed = append(v.failed, err)
			return nil
		}
		for _, l := range luns {
			v.luns = append(v.luns, found{a, l, l.Information()})
		}
		return nil
	})
	return &v
}

// find returns the LUN with a description. Errors: VSS_E_OBJECT_NOT_FOUND if no array has it; VSS_E_PROVIDER_VETO if an
// array that may have it doesn't answer, or if two have it (a pool whose files were copied).
func (v *inventory) find(op string, info *vss.LUNInformation) (found, error) {
	var hits []found
	for _, f := range v.luns {
		if f.info.SameLUN(info) {
			hits = append(hits, f)
		}
	}
	switch {
	case len(hits) == 1:
		return hits[0], nil
	case len(hits) > 1:
		return found{}, vss.E(op, vss.ErrProviderVeto,
			fmt.Errorf("LUNs with this page 0x83 are on the arrays %s and %s", hits[0].lun.Array, hits[1].lun.Array)).
			On(label(info)).Advise("one of the two pools is a copy of the other; remove it from its array")
	case len(v.failed) > 0:
		return found{}, vss.E(op, vss.ErrProviderVeto,
			fmt.Errorf("an array that may have the LUN doesn't answer: %w", errors.Join(v.failed...))).
			On(label(info)).Advise("`vss array list` shows which arrays answer; try again when all do")
	}
	return found{}, vss.E(op, vss.ErrObjectNotFound, errors.New("no array that this host speaks to has this LUN")).
		On(label(info)).Advise("`vss lun list` shows which LUNs exist, `vss array list` which arrays")
}

// copies returns the LUNs of shadow copies, in their order, or an error that names every missing one. Copies that
// another host is creating are refused.
func (p *Provider) copies(ctx context.Context, op string, luns []vss.LUNInformation) ([]found, error) {
	v := p.inventory(ctx)
	var (
		out  []found
		errs []error
	)
	for i := range luns {
		f, err := v.find(op, &luns[i])
		switch {
		case err != nil:
		case f.lun.Kind != array.KindShadowCopy:
			err = vss.E(op, vss.ErrObjectNotFound, errors.New("the LUN is not a shadow copy")).On(f.lun.Name).
				Advise("`vss lun list` shows which LUNs are shadow copies")
		case !f.lun.Final && f.lun.Host != p.cfg.Host:
			err = vss.E(op, vss.ErrProviderVeto, fmt.Errorf("host %s is creating its set", f.lun.Host)).On(f.lun.Name).
				Advise("wait until the set is created there")
		}
		if err != nil {
			errs = append(errs, err)
		}
		out = append(out, f)
	}
	return out, errors.Join(errs...)
}

// distinct removes repeated LUNs.
func distinct(all []found) []found {
	seen := map[vss.LUNID]bool{}
	var out []found
	for _, f := range all {
		if !seen[f.lun.ID] {
			seen[f.lun.ID] = true
			out = append(out, f)
		}
	}
	return out
}

// label returns a name for a LUN without a record: its page 0x83, or its serial.
func label(l *vss.LUNInformation) string {
	for _, d := range l.DeviceIDs {
		if d.Type.Unique() {
			return "LUN " + hex.EncodeToString(d.ID)
		}
	}
	return "LUN with serial " + l.SerialNumber
}

// complete fills in a description from the array's record; it keeps what only the host knows.
func complete(info *vss.LUNInformation, f found) {
	known := f.info
	known.DiskSignature, known.Interconnects = info.DiskSignature, info.Interconnects
	if info.BusType != vss.BusUnknown {
		known.BusType = info.BusType
	}
	*info = known
}
