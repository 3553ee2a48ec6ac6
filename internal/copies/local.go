package copies

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// localKind is the copies of a software provider or the system provider: devices or folders of this host, known to us
// by their payloads. They can't be broken or transported.
type localKind struct {
	*base
	sw provider.Software
}

var (
	_ Kind    = (*localKind)(nil)
	_ Watcher = (*localKind)(nil)
)

// Supports implements Kind.
func (k *localKind) Supports(ctx context.Context, v *volume.Volume, c vss.Context) (bool, error) {
	if k.props.Allows(c) != nil {
		return false, nil
	}
	return call(ctx, k.caller, callSupported, noSet, func(ctx context.Context) (bool, error) {
		return k.sw.IsVolumeSupported(ctx, v.Identity(), c)
	})
}

// Consider implements Kind.
func (k *localKind) Consider(ctx context.Context, v *volume.Volume, c vss.Context) (Offer, error) {
	if err := k.props.Allows(c); err != nil {
		return Offer{}, &Obstacle{err}
	}
	var obstacle error
	offer, err := call(ctx, k.caller, callConsider, noSet, func(ctx context.Context) (provider.Offer, error) {
		o, err := k.sw.Consider(ctx, v.Identity(), c)
		if errors.Is(err, vss.ErrVolumeNotSupportedByProvider) { // an answer, not a failure
			obstacle, err = err, nil
		}
		return o, err
	})
	if err == nil && obstacle != nil {
		err = &Obstacle{obstacle}
	}
	return Offer{Offer: offer}, err
}

type snapshotted struct {
	yes     bool
	disable vss.SnapshotCompatibility
}

// Snapshotted implements Kind.
func (k *localKind) Snapshotted(ctx context.Context, v *volume.Volume) (bool, vss.SnapshotCompatibility, error) {
	s, err := call(ctx, k.caller, callSnapshotted, noSet, func(ctx context.Context) (s snapshotted, err error) {
		s.yes, s.disable, err = k.sw.IsVolumeSnapshotted(ctx, v.Identity())
		return s, err
	})
	return s.yes, s.disable, err
}

// WritePaths implements Kind: they depend on the set.
func (k *localKind) WritePaths(context.Context) ([]string, error) { return nil, nil }

// Join implements Kind.
func (k *localKind) Join(set vss.SnapshotSetID, c vss.Context) Member {
	return &localMember{sequence: sequence{k.base, set, c}, k: k}
}

// Open implements Kind.
func (k *localKind) Open(r *catalog.Snapshot) Copy { return &localCopy{k: k, r: r} }

// Surface implements Kind.
func (k *localKind) Surface(
	ctx context.Context,
	_ vss.SnapshotSetID,
	records []*catalog.Snapshot,
	_ bool,
) (here []Copy, missing []error, err error) {
	for _, r := range records {
		c := k.Open(r)
		_, err := c.Source(ctx)
		switch {
		case errors.Is(err, vss.ErrObjectNotFound):
			missing = append(missing, vss.E("SurfaceSnapshot", vss.ErrMissingVolume, err).On(r.ID.String()))
		case err != nil:
			return here, missing, err
		default:
			here = append(here, c)
		}
	}
	return here, missing, nil
}

// DropRemains implements Kind. What the provider holds for created is deleted by its payload, the rest is aborted.
func (k *localKind) DropRemains(ctx context.Context, set vss.SnapshotSetID, records []*catalog.Snapshot) error {
	for _, r := range records {
		k.host.unlink(r)
		if r.Local == nil {
			continue
		}
		c := &localCopy{k: k, r: r}
		if err := c.withdraw(ctx, true); err != nil && !errors.Is(err, vss.ErrObjectNotFound) {
			return err
		}
	}
	if err := k.abort(ctx, set); err != nil {
		return err
	}
	for _, r := range records {
		if r.Local == nil {
			continue
		}
		if err := k.delete(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// delete deletes one copy; a missing copy isn't an error.
func (k *localKind) delete(ctx context.Context, r *catalog.Snapshot) error {
	err := k.plain(ctx, callDelete, func(ctx context.Context) error {
		_, _, err := k.sw.DeleteSnapshots(ctx, []provider.Ref{ref(r)}, true)
		return err
	})
	if errors.Is(err, vss.ErrObjectNotFound) {
		return nil
	}
	return err
}

// Inspect implements Kind: the provider has exactly the copies that are recorded of it. A copy without a record may be
// another host's, or of a catalogue that was put back: it is reported only.
func (k *localKind) Inspect(ctx context.Context, known Known) ([]Finding, error) {
	var out findings
	has, err := call(ctx, k.caller, callQuery, noSet, k.sw.Query)
	if err != nil {
		out.add("error", fmt.Sprintf("provider %s doesn't list its copies: %v", k.props.Name, err),
			"`vss list providers`", nil)
		return out, nil
	}
	for _, p := range has {
		if _, ok := known.copy(p.ID); !ok && !known.Busy[p.SetID] {
			out.add("warning",
				fmt.Sprintf("provider %s has copy %s of set %s that is not recorded here", k.props.Name, p.ID, p.SetID),
				"if it is not needed, remove it with the provider's own tools", nil)
		}
	}
	for i := range known.Copies {
		r := &known.Copies[i]
		if r.ProviderID != k.props.ID || r.State != vss.StateCreated || known.Busy[r.SetID] {
			continue
		}
		if !slices.ContainsFunc(has, func(p provider.SnapshotProperties) bool { return p.ID == r.ID }) {
			out.lost(r, "provider "+k.props.Name+" doesn't have it")
		}
	}
	return out, nil
}

// Watch implements Watcher.
func (k *localKind) Watch(ctx context.Context) (<-chan provider.Event, error) {
	c, err := k.sw.Events(ctx)
	return c, k.translate(ctx, callEvents, noSet, err)
}

// ref names a copy to its provider.
func ref(r *catalog.Snapshot) provider.Ref {
	out := provider.Ref{ID: r.ID}
	if r.Local != nil {
		out.Payload = r.Local.Data
	}
	return out
}
