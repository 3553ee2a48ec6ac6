package lun

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// creation holds what is copied for one set.
type creation struct {
	id       vss.SnapshotSetID
	parts    []part        // fixed when EndPrepareSnapshots begins
	prepared chan struct{} // closed when every array has ended preparing; nil before EndPrepareSnapshots
	dropped  bool
}

// part holds what one array copies, in one call.
type part struct {
	array    array.Array
	requests []array.CopyRequest
}

// methodOf returns the method for a context, differential unless it asks for another. Errors:
// VSS_E_UNSUPPORTED_CONTEXT.
func methodOf(op string, c vss.Context) (array.Method, error) {
	refuse := func(why string) (array.Method, error) {
		return "", vss.E(op, vss.ErrUnsupportedContext, errors.New(why)).
			Advise("`vss list providers` shows what each provider can do")
	}
	switch {
	case c.Has(vss.AttrClientAccessible):
		return refuse("client-accessible copies need a software provider")
	case c.Has(vss.AttrFileShare):
		return refuse("file shares are not supported")
	case c.Has(vss.AttrDifferential | vss.AttrPlex):
		return refuse("the context asks for a differential and a plex copy")
	case c.Has(vss.AttrPlex):
		return array.MethodPlex, nil
	}
	return array.MethodDifferential, nil
}

// plan returns the parts of a set with a volume's LUNs added; a LUN that is in them already is copied once. It doesn't
// change parts. Errors: VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER, VSS_E_UNSUPPORTED_CONTEXT.
func (v *inventory) plan(op string, parts []part, m array.Method, luns []vss.LUNInformation) ([]part, error) {
	out := slices.Clone(parts)
	for i := range luns {
		f, err := v.find(op, &luns[i])
		switch {
		case err != nil:
			return nil, vss.E(op, vss.ErrVolumeNotSupportedByProvider, err).On(label(&luns[i])).Advise(vss.Hint(err))
		case f.lun.Kind != array.KindPlain:
			return nil, vss.E(op, vss.ErrVolumeNotSupportedByProvider, errors.New("the LUN is a shadow copy")).
				On(f.lun.Name).Advise("break its set first: vss break")
		case f.lun.State != array.StateReady:
			return nil, vss.E(op, vss.ErrVolumeNotSupportedByProvider, fmt.Errorf("the LUN is %s", f.lun.State)).
				On(f.lun.Name).Advise("try again when the LUN is ready")
		}
		at := slices.IndexFunc(out, func(p part) bool { return p.array == f.array })
		if at < 0 {
			at = len(out)
			out = append(out, part{array: f.array})
		}
		had := slices.IndexFunc(out[at].requests, func(r array.CopyRequest) bool { return r.Origin == f.lun.ID })
		switch {
		case had < 0:
			out[at].requests = append(slices.Clip(out[at].requests), array.CopyRequest{Origin: f.lun.ID, Method: m})
		case out[at].requests[had].Method != m:
			return nil, vss.E(op, vss.ErrUnsupportedContext,
				errors.New("the set already copies the LUN by the other method")).
				On(f.lun.Name).Advise("use one method for all copies in a set")
		}
	}
	return out, nil
}

// fits returns an error if the arrays can't make the copies now: VSS_E_INSUFFICIENT_STORAGE.
func fits(ctx context.Context, op string, parts []part) error {
	return each(parts, func(p part) error {
		ok, err := p.array.CanCopy(ctx, p.requests)
		if err == nil && !ok {
			err = vss.E(op, vss.ErrInsufficientStorage, errors.New("the array can't make these copies now")).
				Advise("delete old shadow copies: vss delete --oldest VOLUME; or give the pool more space: vss array " +
					"list")
		}
		return err
	})
}

// AreLUNsSupported implements provider.Hardware. LUNs of an array that doesn't answer are not supported.
func (p *Provider) AreLUNsSupported(
	ctx context.Context,
	c vss.Context,
	_ []string,
	luns []vss.LUNInformation,
) (bool, []vss.LUNInformation, error) {
	const op = "AreLunsSupported"
	if len(luns) == 0 {
		return false, luns, nil
	}
	v := p.inventory(ctx)
	m, err := methodOf(op, c)
	var parts []part
	if err == nil {
		parts, err = v.plan(op, nil, m, luns)
	}
	if err == nil {
		err = fits(ctx, op, parts)
	}
	switch vss.CodeOf(err) {
	case vss.OK:
	case vss.ErrVolumeNotSupportedByProvider, vss.ErrUnsupportedContext, vss.ErrInsufficientStorage:
		p.cfg.Logger.Info("a volume's LUNs are not copied", "provider", Name, "reason", err, "hint", vss.Hint(err))
		return false, luns, nil
	default:
		return false, luns, p.answer(op, "", err)
	}
	out := slices.Clone(luns)
	for i := range out {
		f, err := v.find(op, &out[i])
		if err != nil {
			return false, luns, p.answer(op, "", err)
		}
		complete(&out[i], f)
	}
	return true, out, nil
}

// BeginPrepareSnapshot implements provider.Hardware. It only records the LUNs: EndPrepareSnapshots prepares all
// copies of a set at once.
func (p *Provider) BeginPrepareSnapshot(
	ctx context.Context,
	set vss.SnapshotSetID,
	_ vss.SnapshotID,
	c vss.Context,
	_ []string,
	luns []vss.LUNInformation,
) error {
	const op = "BeginPrepareSnapshot"
	p.flushDeferredErrors()
	return p.answer(op, set.String(), p.machine.Begin(ctx, set, func(ctx context.Context) error {
		if len(luns) == 0 {
			return vss.E(op, vss.ErrInvalidArg, errors.New("the volume has no LUN")).On(set.String()).
				Advise("pass the LUNs that the volume lies on")
		}
		m, err := methodOf(op, c)
		if err != nil {
			return err
		}
		parts, err := p.inventory(ctx).plan(op, p.recorded(set), m, luns)
		if err != nil {
			return err
		}
		if err := fits(ctx, op, parts); err != nil {
			return err
		}
		p.record(set, parts)
		return nil
	}))
}

// recorded returns the parts of a set so far.
func (p *Provider) recorded(set vss.SnapshotSetID) []part {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.creation; c != nil && c.id == set && !c.dropped {
		return c.parts
	}
	return nil
}

// record replaces the parts of a set.
func (p *Provider) record(set vss.SnapshotSetID, parts []part) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.creation = &creation{id: set, parts: parts}
}
