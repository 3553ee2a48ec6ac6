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

// found is a LUN and the array that has it.
type found struct {
	array array.Array
	lun   array.LUN
	info  vss.LUNInformation
}

// inventory is what the arrays had when they were asked. A LUN that isn't in it is only gone if no array was silent.
type inventory struct {
	luns   []found
	silent []error
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
			v.silent = append(v.silent, err)
			return nil
		}
		for _, l := range luns {
			v.luns = append(v.luns, found{a, l, l.Information()})
		}
		return nil
	})
	return &v
}

// find gives the LUN that a description is of. Errors: VSS_E_OBJECT_NOT_FOUND when it is certain that no array has it;
// VSS_E_PROVIDER_VETO when an array doesn't answer, or when two have it (a pool that was copied with its files).
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
			On(label(info)).Advise("one of the two pools is a copy of the other: take it out of its array")
	case len(v.silent) > 0:
		return found{}, vss.E(
			op,
			vss.ErrProviderVeto,
			fmt.Errorf("an array that may have the LUN doesn't answer: %w", errors.Join(v.silent...)),
		).On(
			label(info),
		).
			Advise(
				"`vss array list` shows which arrays answer; try again when all do",
			)
	}
	return found{}, vss.E(
		op,
		vss.ErrObjectNotFound,
		errors.New("no array that this host speaks to has this LUN"),
	).On(
		label(info),
	).
		Advise(
			"`vss lun list` shows which LUNs exist, `vss array list` which arrays",
		)
}

// copies gives the LUNs of shadow copies, in their order: all, or an error that names every one that is missing. A copy
// that another host is just making is not for us.
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
			err = vss.E(
				op,
				vss.ErrObjectNotFound,
				errors.New("it is an ordinary LUN, not a shadow copy's"),
			).On(
				f.lun.Name,
			).Advise(
				"`vss lun list` shows which LUNs are shadow copies",
			)
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

// distinct leaves out LUNs that were named before.
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

// label names a LUN that no record names: by its page 0x83, else by its serial.
func label(l *vss.LUNInformation) string {
	for _, d := range l.DeviceIDs {
		if d.Type.Unique() {
			return "LUN " + hex.EncodeToString(d.ID)
		}
	}
	return "LUN with serial " + l.SerialNumber
}

// complete makes a description say what the array knows; it keeps what only the host knows.
func complete(info *vss.LUNInformation, f found) {
	known := f.info
	known.DiskSignature, known.Interconnects = info.DiskSignature, info.Interconnects
	if info.BusType != vss.BusUnknown {
		known.BusType = info.BusType
	}
	*info = known
}
