package lun

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// LocateLUNs implements provider.Hardware. The copies are unmasked first, which can be undone, and then marked as
// imported, which can't. Marking goes from array to array in the order of their names, so that of two hosts that
// import a set at the same time the second fails at the first array. After an error, no copy is left unmasked that
// was masked before.
func (p *Provider) LocateLUNs(ctx context.Context, luns []vss.LUNInformation) error {
	const op = "LocateLuns"
	all, err := p.copies(ctx, op, luns)
	if err != nil {
		return p.answer(op, "", err)
	}
	all = distinct(all)
	for _, f := range all {
		if f.lun.Imported {
			return vss.E(op, vss.ErrBadState, errors.New("the copy was imported before; a set is imported once")).
				On(f.lun.Name).Advise("delete it where it was imported, or break it")
		}
	}
	slices.SortStableFunc(all, func(a, b found) int { return cmp.Compare(a.lun.Array, b.lun.Array) })
	var unmasked []found
	for _, f := range all {
		if !slices.Contains(f.lun.MappedTo, p.cfg.Host) {
			unmasked = append(unmasked, f)
		}
	}
	err = byArray(all, func(first found, ids []vss.LUNID) error {
		return first.array.MapAll(ctx, p.cfg.Host, ids)
	})
	if err == nil {
		err = p.mark(ctx, op, all)
	}
	if err == nil {
		return nil
	}
	for _, f := range unmasked {
		_, undo := f.array.Unmap(context.WithoutCancel(ctx), f.lun.ID, p.cfg.Host)
		err = errors.Join(err, undo)
	}
	return p.answer(op, "", err)
}

// mark marks the copies as imported at each array.
func (p *Provider) mark(ctx context.Context, op string, all []found) error {
	marked := false
	return byArray(all, func(first found, ids []vss.LUNID) error {
		err := first.array.MarkImported(ctx, p.cfg.Host, ids)
		if err != nil && marked {
			return vss.E(op, vss.ErrProviderVeto, err).On(first.lun.Array).
				Advise("the copies on the other arrays count as imported now: delete the set and create it anew")
		}
		marked = true
		return err
	})
}

// byArray calls f for each array, with its first LUN and the ids of all, until it fails. The LUNs of one array follow
// each other in all.
func byArray(all []found, f func(first found, ids []vss.LUNID) error) error {
	for from := 0; from < len(all); {
		var ids []vss.LUNID
		to := from
		for ; to < len(all) && all[to].array == all[from].array; to++ {
			ids = append(ids, all[to].lun.ID)
		}
		if err := f(all[from], ids); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// FillInLUNInfo implements provider.Hardware.
func (p *Provider) FillInLUNInfo(ctx context.Context, device string, info *vss.LUNInformation) (bool, error) {
	const op = "FillInLunInfo"
	f, err := p.inventory(ctx).find(op, info)
	if errors.Is(err, vss.ErrObjectNotFound) {
		return false, nil
	}
	if err != nil {
		return false, p.answer(op, device, err)
	}
	complete(info, f)
	info.DiskSignature = vss.GUID{} // it changes during the life of a copy, and the array doesn't know it
	return true, nil
}

// OnLUNEmpty implements provider.Hardware.
func (p *Provider) OnLUNEmpty(ctx context.Context, _ string, info *vss.LUNInformation) error {
	const op = "OnLunEmpty"
	all, err := p.copies(ctx, op, []vss.LUNInformation{*info})
	if err != nil {
		return p.answer(op, label(info), err)
	}
	return p.answer(op, all[0].lun.Name, p.reclaim(ctx, op, all[0].array, all[0].lun))
}

// OnLUNStateChange implements provider.Hardware. Notifications need no action: the array always maps its LUNs
// read/write.
func (p *Provider) OnLUNStateChange(
	ctx context.Context,
	snapshots, originals []vss.LUNInformation,
	change vss.LUNStateChange,
) error {
	const op = "OnLunStateChange"
	if len(snapshots) != len(originals) {
		return vss.E(op, vss.ErrInvalidArg, errors.New("the lists differ in length")).
			Advise("name one original for each copy")
	}
	if change&vss.DoMaskLUNs == 0 {
		return nil
	}
	all, err := p.copies(ctx, op, snapshots)
	if err != nil {
		return p.answer(op, "", err)
	}
	var errs []error
	for _, f := range distinct(all) {
		_, err := f.array.Unmap(ctx, f.lun.ID, p.cfg.Host)
		errs = append(errs, err)
	}
	return p.answer(op, "", errors.Join(errs...))
}

// ResyncLUNs implements provider.Hardware. The arrays replace a target's data, so no host may see it. All
// pairs are checked before the first target is overwritten.
func (p *Provider) ResyncLUNs(
	ctx context.Context,
	sources, targets []vss.LUNInformation,
	progress func(percent float64),
) error {
	const op = "ResyncLuns"
	if len(sources) != len(targets) || len(sources) == 0 {
		return vss.E(op, vss.ErrInvalidArg, errors.New("there must be as many targets as sources, at least one")).
			Advise("name one target for each copy")
	}
	from, err := p.copies(ctx, op, sources)
	if err != nil {
		return p.answer(op, "", err)
	}
	v := p.inventory(ctx)
	var to []found
	for i := range targets {
		f, err := v.find(op, &targets[i])
		if err == nil {
			err = canReplace(op, from[i], f)
		}
		if err != nil {
			return p.answer(op, "", err)
		}
		to = append(to, f)
	}
	if len(distinct(to)) != len(to) {
		return vss.E(op, vss.ErrInvalidArg, errors.New("a target is named twice")).
			Advise("name one target for each copy")
	}
	if progress == nil {
		progress = func(float64) {}
	}
	n := float64(len(to))
	for i, t := range to {
		if err := ctx.Err(); err != nil {
			return p.answer(op, t.lun.Name, err)
		}
		err := t.array.Resync(
			ctx,
			from[i].lun.ID,
			t.lun.ID,
			func(percent float64) { progress((100*float64(i) + percent) / n) },
		)
		if err != nil {
			return p.answer(op, t.lun.Name, err)
		}
		progress(100 * float64(i+1) / n)
	}
	return nil
}

// canReplace returns VSS_E_PROVIDER_VETO for a target that the array can't or must not overwrite.
func canReplace(op string, source, target found) error {
	veto := func(why, hint string) error {
		return vss.E(op, vss.ErrProviderVeto, errors.New(why)).On(target.lun.Name).Advise(hint)
	}
	switch {
	case target.lun.Kind != array.KindPlain:
		return veto("the target is a shadow copy itself", "choose an ordinary LUN as target, or break the copy first")
	case target.array != source.array:
		return veto(
			"the copy is on array "+source.lun.Array+" and the target on "+target.lun.Array,
			"choose a target on the array of the copy",
		)
	case len(target.lun.MappedTo) > 0:
		return veto("the target is mapped to hosts", "mask it from its hosts first: vss lun mask")
	}
	return nil
}
