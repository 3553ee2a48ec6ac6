package copies

import (
	"context"
	"fmt"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// localMember is a software provider's part in one set. There are no originals to be flagged: a local copy is never
// seen by another host.
type localMember struct {
	sequence
	k        *localKind
	copies   []vss.SnapshotID
	suspends []string
}

// Kind implements Member.
func (m *localMember) Kind() Kind { return m.k }

// Begin implements Member.
func (m *localMember) Begin(ctx context.Context, id vss.SnapshotID, v *volume.Volume, o Offer) error {
	err := m.k.do(ctx, callBegin, m.set, func(ctx context.Context) error {
		return m.k.sw.BeginPrepareSnapshot(ctx, m.set, id, v.Identity(), m.context)
	})
	if err != nil {
		return err
	}
	m.copies = append(m.copies, id)
	for _, d := range o.Suspends {
		if !slices.Contains(m.suspends, d) {
			m.suspends = append(m.suspends, d)
		}
	}
	return nil
}

// Uses implements Member.
func (m *localMember) Uses(vss.LUNID) bool { return false }

// EndPrepare implements Member.
func (m *localMember) EndPrepare(ctx context.Context, progress func(percent float64)) (writes []string, err error) {
	if err := m.endPrepare(ctx, progress); err != nil {
		return nil, err
	}
	return call(ctx, m.caller, callWritePaths, m.set, func(ctx context.Context) ([]string, error) {
		return m.k.sw.WritePaths(ctx, m.set)
	})
}

// Intent implements Member.
func (m *localMember) Intent(_ context.Context, rec *catalog.Creation) error {
	rec.Suspended = append(rec.Suspended, m.suspends...)
	return nil
}

// Mark implements Member.
func (m *localMember) Mark(context.Context) error { return nil }

// Unmark implements Member.
func (m *localMember) Unmark(context.Context) error { return nil }

// Verify implements Member.
func (m *localMember) Verify(context.Context) error { return nil }

// Release implements Member.
func (m *localMember) Release() {}

// Pause implements Member.
func (m *localMember) Pause(context.Context) (resume func(), err error) { return func() {}, nil }

// Collect implements Member.
func (m *localMember) Collect(ctx context.Context, records []*catalog.Snapshot) error {
	for _, r := range records {
		if !slices.Contains(m.copies, r.ID) {
			return errNotBegun(r.ID)
		}
		c, err := call(ctx, m.caller, callDescribe, m.set, func(ctx context.Context) (provider.Copy, error) {
			c, err := m.k.sw.Describe(ctx, m.set, r.ID)
			if err == nil {
				err = checkCopy(c)
			}
			return c, err
		})
		if err != nil {
			return err
		}
		r.Kind, r.ProviderID, r.ProviderName = catalog.KindLocal, m.k.props.ID, m.k.props.Name
		r.Attributes |= c.Attributes & (vss.AttrDifferential | vss.AttrPlex)
		r.Local = &catalog.Local{Version: c.Version, Data: c.Payload}
		r.FirstCut, r.LastCut = c.FirstCut, c.LastCut
	}
	return nil
}

// BeginRecovery implements Member.
func (m *localMember) BeginRecovery(ctx context.Context, here []Copy) error {
	return readOnly(ctx, here, false)
}

// EndRecovery implements Member.
func (m *localMember) EndRecovery(ctx context.Context, here []Copy) error {
	return readOnly(ctx, here, true)
}

// readOnly makes copies refuse writes, or take them.
func readOnly(ctx context.Context, here []Copy, on bool) error {
	for _, c := range here {
		if err := c.ReadOnly(ctx, on); err != nil {
			return err
		}
	}
	return nil
}

// checkCopy returns an error for a description that can't be recorded.
func checkCopy(c provider.Copy) error {
	bad := func(format string, args ...any) error {
		return vss.E("Describe", vss.ErrUnexpectedProviderError, fmt.Errorf(format, args...))
	}
	switch {
	case len(c.Payload) > provider.MaxPayload:
		return bad("a payload of %d bytes; %d are allowed", len(c.Payload), provider.MaxPayload)
	case c.LastCut.Before(c.FirstCut):
		return bad("the last cut (%v) is before the first (%v)", c.LastCut, c.FirstCut)
	}
	return nil
}
