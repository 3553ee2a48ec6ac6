package coordinator

import (
	"context"
	"errors"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/handover"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// HandOver returns how a command may see the copies of the session that Mount has mounted, with a descriptor of each.
// The caller closes them. Errors: VSS_E_BAD_STATE.
func (s *Session) HandOver(ctx context.Context) (_ []handover.Mount, err error) {
	const op = "HandOver"
	s.mu.Lock()
	err = s.begin(op, false, initialized...)
	set := s.set
	s.mu.Unlock()
	if err == nil && set == nil {
		err = vss.E(op, vss.ErrBadState, errors.New("the session has no set"))
	}
	if err != nil {
		return nil, err
	}
	var out []handover.Mount
	defer func() {
		if err != nil {
			for _, m := range out {
				_ = m.File.Close()
			}
		}
	}()
	all := copies.Mounted()
	var shadows []*shadow
	set.change(func() { shadows = slices.Clone(set.copies) })
	for _, sh := range shadows {
		m := handover.Mount{Copy: sh.id, Volume: sh.vol.Name, Root: "/"}
		m.Devices = all.Numbers(sh.vol.Devices)
		_, err := s.onCopy(ctx, op, sh.id, func(c copies.Copy) (err error) {
			if c.Record().FileSystem == "" { // nothing to mount
				return nil
			}
			if c.Record().Subvolume != "" {
				m.Root = c.Record().Subvolume
			}
			m.Own = all.NumberAt(s.k.Host.Path(c.Record()))
			m.File, err = s.k.Host.HandOver(ctx, c)
			return err
		})
		if err != nil {
			return nil, err
		}
		if m.File == nil {
			continue
		}
		out = append(out, m)
	}
	return out, s.k.addCopies(out, all)
}

// addCopies adds to each mount the numbers of all mounted copies of its volume: a command in a namespace of exec sees
// them in the original's place.
func (k *Coordinator) addCopies(mounts []handover.Mount, all copies.MountTable) error {
	for i := range mounts {
		m := &mounts[i]
		records, err := k.recordsWhere(func(r *catalog.Snapshot) bool { return r.OriginalVolume == m.Volume })
		if err != nil {
			return err
		}
		for j := range records {
			if d := all.NumberAt(k.Host.Path(&records[j])); d != "" {
				m.Copies = append(m.Copies, d)
			}
		}
	}
	return nil
}
