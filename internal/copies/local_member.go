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

// localMember is a software provider's part in one set. There are no originals to be flagged: a local copy is never seen by
// another host.
type localMember struct {
	k        *localKind
	set      vss.SnapshotSetID
	context  vss.Context
	copies   []vss.SnapshotID
	suspends []string
}

// Kind implements Member.
func (m *localMember) Kind() Kind { return m.k }

// Begin implements Member.
func (m *localMember) Begin(ctx context.Context, id vss.SnapshotID, v *volume.Volume, o Offer) error {
	err := m.k.do(ctx, callBegin, m.set, func(ctx context.Context) error {
		return m.k.sw.BeginPrepareSnapshot(ctx, m.set, id, identify(v), m.context)
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
	err = m.k.do(provider.WithReport(ctx, progress), callEndPrepare, m.set, func(ctx context.Context) error {
		return m.k.sw.EndPrepareSnapshots(ctx, m.set)
	})
	if err != nil {
		return nil, err
	}
	return call(ctx, m.k.caller, callWritePaths, m.set, func(ctx context.Context) ([]string, error) { return m.k.sw.WritePaths(ctx, m.set) })
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

// PreCommit implements Member.
func (m *localMember) PreCommit(ctx context.Context) error {
	return m.k.do(ctx, callPreCommit, m.set, func(ctx context.Context) error { return m.k.sw.PreCommitSnapshots(ctx, m.set) })
}

// Commit implements Member.
func (m *localMember) Commit(ctx context.Context) error {
	return m.k.do(ctx, callCommit, m.set, func(ctx context.Context) error { return m.k.sw.CommitSnapshots(ctx, m.set) })
}

// PostCommit implements Member.
func (m *localMember) PostCommit(ctx context.Context, count int) error {
	return m.k.do(ctx, callPostCommit, m.set, func(ctx context.Context) error { return m.k.sw.PostCommitSnapshots(ctx, m.set, count) })
}

// PreFinalCommit implements Member.
func (m *localMember) PreFinalCommit(ctx context.Context) error {
	return m.k.do(ctx, callPreFinalCommit, m.set, func(ctx context.Context) error { return m.k.sw.PreFinalCommitSnapshots(ctx, m.set) })
}

// PostFinalCommit implements Member.
func (m *localMember) PostFinalCommit(ctx context.Context) error {
	return m.k.do(ctx, callPostFinalCommit, m.set, func(ctx context.Context) error { return m.k.sw.PostFinalCommitSnapshots(ctx, m.set) })
}

// Abort implements Member.
func (m *localMember) Abort(ctx context.Context) error { return m.k.abort(ctx, m.set) }

// Collect implements Member.
func (m *localMember) Collect(ctx context.Context, records []*catalog.Snapshot) error {
	for _, r := range records {
		if !slices.Contains(m.copies, r.ID) {
			return errNotBegun(r.ID)
		}
		c, err := call(ctx, m.k.caller, callDescribe, m.set, func(ctx context.Context) (provider.Copy, error) {
			c, err := m.k.sw.Describe(ctx, m.set, r.ID)
			if err == nil && len(c.Payload) > provider.MaxPayload {
				err = vss.E("Describe", vss.ErrUnexpectedProviderError, fmt.Errorf("a payload of %d bytes; %d are allowed", len(c.Payload), provider.MaxPayload))
			}
			if err == nil && c.LastCut.Before(c.FirstCut) {
				err = vss.E("Describe", vss.ErrUnexpectedProviderError, fmt.Errorf("the last cut (%v) is before the first (%v)", c.LastCut, c.FirstCut))
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
	for _, c := range here {
		if err := c.ReadOnly(ctx, false); err != nil {
			return err
		}
	}
	return nil
}

// EndRecovery implements Member.
func (m *localMember) EndRecovery(ctx context.Context, here []Copy) error {
	for _, c := range here {
		if err := c.ReadOnly(ctx, true); err != nil {
			return err
		}
	}
	return nil
}
