package coordinator

import (
	"context"
	"errors"
	"fmt"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// add puts a volume into the open set.
func (c *creation) add(ctx context.Context, name, providerName string) (id vss.SnapshotID, err error) {
	const op = "AddToSnapshotSet"
	candidates, err := c.k.providersNamed(op, providerName)
	if err != nil {
		return id, err
	}
	v, err := c.k.Volumes.Find(ctx, name)
	if err != nil {
		return id, err
	}
	for _, s := range c.copies {
		if s.vol.Key == v.Key {
			return id, vss.E(op, vss.ErrObjectAlreadyExists, nil).On(name).Advise("the volume is in the set already, as " + s.vol.Name)
		}
	}
	if len(c.copies) == vss.MaxVolumes {
		return id, vss.E(op, vss.ErrMaximumNumberOfVolumesReached, nil).On(name).Advise("make a second set for the rest")
	}
	if v.DeviceReadOnly {
		return id, vss.E(op, vss.ErrVolumeNotSupported, errors.New("its LUN is read-only")).On(name).Advise("a copy needs its flags written; make the LUN read/write, or back it up as it is")
	}
	if err := c.checkNesting(ctx, v); err != nil {
		return id, err
	}
	s := &shadow{id: vss.SnapshotID{GUID: vss.NewGUID()}, vol: v}
	if err := c.k.choose(ctx, op, s, c.context, candidates, providerName != ""); err != nil {
		return id, err
	}
	for _, dev := range v.Disks {
		if d, ok := c.k.Disks.ByDevice(ctx, dev); ok {
			c.k.mu.Lock()
			c.inUse[d.LUN.ID] = true
			c.k.mu.Unlock()
		}
	}
	used := false
	for _, p := range c.record.Providers {
		used = used || p == s.provider.props.ID
	}
	if !used {
		c.record.Providers = append(c.record.Providers, s.provider.props.ID)
		if err := c.k.Catalog.Update(func(tx *catalog.Tx) error { return tx.PutCreation(c.record) }); err != nil {
			return id, err
		}
	}
	if err := s.hw.BeginPrepareSnapshot(ctx, c.id, s.id, c.context, v.Disks, s.sources); err != nil {
		return id, c.k.said(s.provider.props, "BeginPrepareSnapshot", c.id, err)
	}
	c.copies = append(c.copies, s)
	return s.id, nil
}

// checkNesting refuses a set in which one volume carries another, or what a commit writes to.
func (c *creation) checkNesting(ctx context.Context, v *volume.Volume) error {
	vols := []*volume.Volume{v}
	for _, s := range c.copies {
		vols = append(vols, s.vol)
	}
	writes, err := c.k.writePaths(ctx)
	if err != nil {
		return err
	}
	return c.k.Volumes.CheckNesting(ctx, vols, writes)
}

func (k *Coordinator) writePaths(ctx context.Context) ([]string, error) {
	var out []string
	for _, a := range k.Disks.Arrays() {
		w, err := a.WritePaths(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, w...)
	}
	return out, nil
}

// choose finds the provider of a volume: the first candidate, in the order of kinds, that takes all of the volume's LUNs
// with this context now. A candidate's error ends the choice: there is no silent fallback.
func (k *Coordinator) choose(ctx context.Context, op string, s *shadow, c vss.Context, candidates []boundProvider, named bool) error {
	sources, why := k.sourceLUNs(ctx, s.vol)
	for _, p := range candidates {
		hw, ok := p.Provider.(provider.Hardware)
		if !ok || sources == nil {
			continue
		}
		yes, filled, err := hw.AreLUNsSupported(ctx, c, s.vol.Disks, sources)
		if err != nil {
			return k.said(p.props, "AreLunsSupported", vss.SnapshotSetID{}, err)
		}
		if yes {
			s.provider, s.hw, s.sources = p, hw, filled
			return nil
		}
		why = fmt.Errorf("%s can't copy its LUNs with context %s and attributes %v now", p.props.Name, c.ContextName(), c.Names())
	}
	code := vss.ErrVolumeNotSupported
	if named {
		code = vss.ErrVolumeNotSupportedByProvider
	}
	return vss.E(op, code, why).On(s.vol.Name).Advise("`vss list volumes` shows which volumes are supported, `vss list providers` what each provider can do")
}

// sourceLUNs describes the LUNs that a volume lies on, or says why there are none that a provider could copy.
func (k *Coordinator) sourceLUNs(ctx context.Context, v *volume.Volume) ([]vss.LUNInformation, error) {
	var out []vss.LUNInformation
	for _, dev := range v.Disks {
		info, ok := k.Disks.Inquiry(ctx, dev)
		if !ok {
			return nil, fmt.Errorf("%s is not a LUN of an array that this host knows", dev)
		}
		if d, ok := k.Disks.ByDevice(ctx, dev); ok && d.LUN.Kind == array.KindShadowCopy {
			return nil, fmt.Errorf("%s is a shadow copy itself; break its set first", dev)
		}
		if err := disk.CanFlag(dev); err != nil {
			return nil, err
		}
		out = append(out, *info)
	}
	if len(out) == 0 {
		return nil, errors.New("it lies on no disk of this host")
	}
	return out, nil
}

// isVolumeSupported says what is possible in principle: a present shortage doesn't count.
func (k *Coordinator) isVolumeSupported(ctx context.Context, name, providerName string, c vss.Context) (bool, error) {
	candidates, err := k.providersNamed("IsVolumeSupported", providerName)
	if err != nil {
		return false, err
	}
	v, err := k.Volumes.Find(ctx, name)
	if errors.Is(err, vss.ErrVolumeNotSupported) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return len(k.supportedBy(ctx, v, candidates, c)) > 0, nil
}

// supportedBy names the providers that could copy the volume.
func (k *Coordinator) supportedBy(ctx context.Context, v *volume.Volume, candidates []boundProvider, c vss.Context) []string {
	out := []string{}
	sources, _ := k.sourceLUNs(ctx, v)
	if sources == nil || v.DeviceReadOnly {
		return out
	}
	for _, p := range candidates {
		if hw, ok := p.Provider.(provider.Hardware); ok && !c.Has(vss.AttrClientAccessible) {
			if owned, err := ownsAll(ctx, hw, v.Disks, sources); err == nil && owned {
				out = append(out, p.props.Name)
			}
		}
	}
	return out
}

// ownsAll says whether the provider knows every LUN, whatever it could do with them now.
func ownsAll(ctx context.Context, hw provider.Hardware, devices []string, luns []vss.LUNInformation) (bool, error) {
	for i, l := range luns {
		ok, err := hw.FillInLUNInfo(ctx, devices[i], &l)
		if err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}
