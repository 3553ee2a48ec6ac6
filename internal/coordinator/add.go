package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// add puts a volume into the open set. Candidates are the kinds that may copy it; named says that the requester chose
// one.
func (c *creation) add(
	ctx context.Context, name string, candidates []copies.Kind, named bool,
) (id vss.SnapshotID, err error) {
	v, err := c.Volumes.Find(ctx, name)
	if err != nil {
		return id, err
	}
	if err := c.admit(ctx, name, v, candidates); err != nil {
		return id, err
	}
	kind, offer, err := choose(ctx, "AddToSnapshotSet", v, c.context, candidates, named)
	if err != nil {
		return id, err
	}
	if err := c.checkHold(v, offer); err != nil {
		return id, err
	}
	if err := c.recordPlan(kind, offer); err != nil {
		return id, err
	}
	m := c.member(kind)
	s := &shadow{id: vss.SnapshotID{GUID: vss.NewGUID()}, vol: v, member: m, mode: offer.Hold}
	if err := m.Begin(ctx, s.id, v, offer); err != nil {
		return id, err
	}
	c.change(func() {
		if !slices.Contains(c.members, m) {
			c.members = append(c.members, m)
		}
		c.copies = append(c.copies, s)
	})
	return s.id, nil
}

// admit refuses a volume that can't be in this set with a copy of any kind.
func (c *creation) admit(ctx context.Context, name string, v *volume.Volume, candidates []copies.Kind) error {
	const op = "AddToSnapshotSet"
	for _, s := range c.copies {
		if s.vol.Key == v.Key {
			return vss.E(op, vss.ErrObjectAlreadyExists, nil).On(name).
				Advise("the volume is in the set already, as " + s.vol.Name)
		}
	}
	if len(c.copies) == vss.MaxVolumes {
		return vss.E(op, vss.ErrMaximumNumberOfVolumesReached, nil).On(name).
			Advise("create a second set for the other volumes")
	}
	if v.DeviceReadOnly {
		return vss.E(op, vss.ErrVolumeNotSupported, errors.New("its device is read-only")).On(name).
			Advise("shadow copy flags must be written to it; make it read/write, or back it up as it is")
	}
	if len(v.Outside) > 0 {
		return vss.E(op, vss.ErrVolumeNotSupported, fmt.Errorf("it needs %s, which a copy of it would share",
			strings.Join(v.Outside, ", "))).On(name).
			Advise("move journal, log and data of the file system to the volume itself")
	}
	writes, err := writePaths(ctx, candidates)
	if err != nil {
		return err
	}
	return c.Volumes.CheckAdded(ctx, c.volumes(), v, writes)
}

// choose returns the first kind, in the order of candidates, that can copy the volume now, with its offer. An
// obstacle sends the choice on to the next one; any other error ends it: there is no silent fallback. Errors:
// VSS_E_VOLUME_NOT_SUPPORTED, or VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER for a provider that was named.
func choose(
	ctx context.Context, op string, v *volume.Volume, c vss.Context, candidates []copies.Kind, named bool,
) (copies.Kind, copies.Offer, error) {
	var why []string
	for _, kind := range candidates {
		offer, err := kind.Consider(ctx, v, c)
		if err == nil {
			return kind, offer, nil
		}
		var obstacle *copies.Obstacle
		if !errors.As(err, &obstacle) {
			return nil, offer, err
		}
		why = append(why, obstacle.Error())
	}
	code := vss.ErrVolumeNotSupported
	if named {
		code = vss.ErrVolumeNotSupportedByProvider
	}
	if len(why) == 0 {
		why = []string{"no provider is registered"}
	}
	return nil, copies.Offer{}, vss.E(op, code, errors.New(strings.Join(why, "; "))).On(v.Name).
		Advise("`vss list volumes` shows which volumes are supported, `vss list providers` what each provider can do")
}

// checkHold refuses an offer that can't be held, and one that holds a super block in another mode than a volume of
// the set: a file system that is frozen hangs its own snapshot.
func (c *creation) checkHold(v *volume.Volume, offer copies.Offer) error {
	const op = "AddToSnapshotSet"
	if (offer.Hold == provider.HoldSuspend || len(offer.Suspends) > 0) && !c.Holder.CanSuspend() {
		why := errors.New("its copy needs a device suspended during the hold, and this service can't suspend devices")
		return vss.E(op, vss.ErrVolumeNotSupported, why).On(v.Name).Advise("choose another provider with --provider")
	}
	for _, s := range c.copies {
		if s.vol.SuperKey == v.SuperKey && v.SuperKey != "" && s.mode != offer.Hold {
			const held = "it is on one file system with %s, held in mode %v, not %v"
			why := fmt.Errorf(held, s.vol.Name, s.mode, offer.Hold)
			return vss.E(op, vss.ErrVolumeNotSupported, why).On(v.Name).
				Advise("choose one provider for both volumes, or create a set for each")
		}
	}
	return nil
}

// recordPlan makes durable that the kind's provider may have copies of the set, and which devices it suspends.
func (c *creation) recordPlan(kind copies.Kind, offer copies.Offer) error {
	added := false
	if id := kind.Properties().ID; !slices.Contains(c.record.Providers, id) {
		c.record.Providers, added = append(c.record.Providers, id), true
	}
	for _, d := range offer.Suspends {
		if !slices.Contains(c.record.Suspended, d) {
			c.record.Suspended, added = append(c.record.Suspended, d), true
		}
	}
	if !added {
		return nil
	}
	return c.store()
}

// member returns the set's member of a kind; a new one joins with its first copy.
func (c *creation) member(kind copies.Kind) copies.Member {
	for _, m := range c.members {
		if m.Kind() == kind {
			return m
		}
	}
	return kind.Join(c.id, c.context)
}

// IsVolumeSupported reports whether a copy of the volume is possible in principle. A present shortage doesn't count.
// Errors: VSS_E_OBJECT_NOT_FOUND, VSS_E_BAD_STATE, VSS_E_PROVIDER_NOT_REGISTERED.
func (s *Session) IsVolumeSupported(ctx context.Context, name, providerName string) (bool, error) {
	const op = "IsVolumeSupported"
	c, err := s.look(op, initialized)
	if err != nil {
		return false, err
	}
	candidates, err := s.k.named(ctx, op, providerName)
	if err != nil {
		return false, err
	}
	v, err := s.k.Volumes.Find(ctx, name)
	if errors.Is(err, vss.ErrVolumeNotSupported) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return len(supporting(ctx, v, candidates, c)) > 0, nil
}

// supporting names the providers that can copy the volume in principle.
func supporting(ctx context.Context, v *volume.Volume, candidates []copies.Kind, c vss.Context) []string {
	out := []string{}
	if v.DeviceReadOnly || len(v.Outside) > 0 {
		return out
	}
	for _, kind := range candidates {
		if yes, err := kind.Supports(ctx, v, c); err == nil && yes {
			out = append(out, kind.Properties().Name)
		}
	}
	return out
}
