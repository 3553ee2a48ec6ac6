package copies

import (
	"context"
	"fmt"
	"sync"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// lunMember is a hardware provider's part in one set.
type lunMember struct {
	sequence
	k      *lunKind
	copies []*lunPart
	disks  []*original
	marked bool // flags were, or may have been, set
	locked map[vss.LUNID]LockedDisk

	mu   sync.Mutex
	uses map[vss.LUNID]bool
}

// lunPart is one copy of the set.
type lunPart struct {
	id         vss.SnapshotID
	volume     *volume.Volume
	sources    []vss.LUNInformation
	identities []disk.Identity // of the originals
}

// Kind implements Member.
func (m *lunMember) Kind() Kind { return m.k }

// Begin implements Member.
func (m *lunMember) Begin(ctx context.Context, id vss.SnapshotID, v *volume.Volume, o Offer) error {
	err := m.k.do(ctx, callBegin, m.set, func(ctx context.Context) error {
		return m.k.hw.BeginPrepareSnapshot(ctx, m.set, id, m.context, v.Disks, o.sources)
	})
	if err != nil {
		return err
	}
	m.copies = append(m.copies, &lunPart{id: id, volume: v, sources: o.sources})
	luns := m.k.host.LUNs(ctx, v)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range luns {
		m.uses[l] = true
	}
	return nil
}

// Uses implements Member.
func (m *lunMember) Uses(id vss.LUNID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.uses[id]
}

// EndPrepare implements Member.
func (m *lunMember) EndPrepare(ctx context.Context, progress func(percent float64)) (writes []string, err error) {
	if err := m.endPrepare(ctx, progress); err != nil {
		return nil, err
	}
	return m.k.WritePaths(ctx)
}

// Pause implements Member.
func (m *lunMember) Pause(ctx context.Context) (resume func(), err error) {
	return m.k.disks().Pause(ctx)
}

// Collect implements Member. From here on recovery finds the copies by their LUNs.
func (m *lunMember) Collect(ctx context.Context, records []*catalog.Snapshot) error {
	for _, r := range records {
		p := m.part(r.ID)
		if p == nil {
			return errNotBegun(r.ID)
		}
		targets, err := call(
			ctx,
			m.k.caller,
			callGetTargets,
			m.set,
			func(ctx context.Context) ([]vss.LUNInformation, error) {
				targets, err := m.k.hw.GetTargetLUNs(ctx, m.set, p.volume.Disks, p.sources)
				if err == nil && len(targets) != len(p.sources) {
					err = vss.E(
						"GetTargetLuns",
						vss.ErrUnexpectedProviderError,
						fmt.Errorf("%d LUNs for %d", len(targets), len(p.sources)),
					)
				}
				return targets, err
			},
		)
		if err != nil {
			return err
		}
		r.Kind, r.ProviderID, r.ProviderName = catalog.KindLUN, m.k.props.ID, m.k.props.Name
		r.Attributes |= vss.AttrHardwareAssisted
		if !r.Attributes.Has(vss.AttrPlex) {
			r.Attributes |= vss.AttrDifferential
		}
		for n, t := range targets {
			r.LUNs = append(r.LUNs, catalog.LUN{Original: p.sources[n], OriginalIdentity: p.identities[n], Copy: t})
		}
	}
	luns := lunsOf(records)
	for i, d := range m.k.find(ctx, luns) {
		for _, r := range records {
			for n := range r.LUNs {
				if d.Exists() && r.LUNs[n].Copy.SameLUN(&luns[i].Copy) {
					r.LUNs[n].LUNID = d.LUN.ID
				}
			}
		}
	}
	return nil
}

func (m *lunMember) part(id vss.SnapshotID) *lunPart {
	for _, p := range m.copies {
		if p.id == id {
			return p
		}
	}
	return nil
}

func records(here []Copy) []*catalog.Snapshot {
	out := make([]*catalog.Snapshot, len(here))
	for i, c := range here {
		out[i] = c.Record()
	}
	return out
}

// BeginRecovery implements Member. The disks are locked until EndRecovery or Release: udev, still busy with a copy that
// has just come, would make it read-only again.
func (m *lunMember) BeginRecovery(ctx context.Context, here []Copy) error {
	if err := m.k.stateChange(ctx, callRecovery, m.set, lunsOf(records(here)), vss.NotifyLUNPreRecovery); err != nil {
		return err
	}
	for _, c := range here {
		if err := m.lock(ctx, c.(*lunCopy)); err != nil {
			return err
		}
		if err := c.ReadOnly(ctx, false); err != nil {
			return err
		}
	}
	return nil
}

// lock takes the locks of a copy's disks.
func (m *lunMember) lock(ctx context.Context, c *lunCopy) error {
	disks, err := c.find(ctx)
	if err != nil {
		return err
	}
	if m.locked == nil {
		m.locked = map[vss.LUNID]LockedDisk{}
	}
	return lockAll(ctx, m.k.disks(), disks, m.locked)
}

// lockAll locks the disks that aren't in locked yet and adds them.
func lockAll(ctx context.Context, by Disks, disks []vds.Disk, locked map[vss.LUNID]LockedDisk) error {
	for _, d := range disks {
		if locked[d.LUN.ID] != nil {
			continue
		}
		l, err := by.Lock(ctx, d)
		if err != nil {
			return err
		}
		locked[d.LUN.ID] = l
	}
	return nil
}

func unlockAll(locked map[vss.LUNID]LockedDisk) {
	for id, l := range locked {
		l.Unlock()
		delete(locked, id)
	}
}

// EndRecovery implements Member.
func (m *lunMember) EndRecovery(ctx context.Context, here []Copy) error {
	defer unlockAll(m.locked)
	if err := readOnly(ctx, here, true); err != nil {
		return err
	}
	return m.k.stateChange(ctx, callRecovery, m.set, lunsOf(records(here)), vss.NotifyLUNPostRecovery)
}
