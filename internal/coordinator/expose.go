package coordinator

import (
	"context"
	"errors"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Expose mounts a copy, read-only, at an empty folder or a free letter, until it is unexposed, deleted or broken; the
// exposure of a persistent copy survives restarts. Callers other than root may use the expose roots only. Errors:
// VSS_E_BAD_STATE, VSS_E_OBJECT_NOT_FOUND, VSS_E_OBJECT_ALREADY_EXISTS, E_INVALIDARG, E_ACCESSDENIED. Source:
// ExposeSnapshot.
func (s *Session) Expose(
	ctx context.Context, id vss.SnapshotID, pathFromRoot string, attributes vss.Attributes, name string,
) (catalog.Snapshot, error) {
	const op = "ExposeSnapshot"
	bad := func(why, hint string) error {
		return vss.E(op, vss.ErrInvalidArg, errors.New(why)).On(name).Advise(hint)
	}
	if _, err := s.look(op, initialized); err != nil {
		return catalog.Snapshot{}, err
	}
	return s.onCopy(ctx, op, id, func(c copies.Copy) error {
		r := c.Record()
		switch {
		case attributes == vss.AttrExposedRemotely:
			return vss.E(op, vss.ErrNotSupported, errors.New("this service doesn't share copies")).On(name).
				Advise("expose it at a folder and share that")
		case attributes != vss.AttrExposedLocally:
			return bad("exactly one way of exposing must be chosen", "expose it locally")
		case pathFromRoot != "":
			return bad("a local exposure shows all of the copy", "leave the path from root empty")
		case r.Attributes.Has(vss.AttrClientAccessible):
			return bad("a client-accessible copy can't be exposed", "create one with another context")
		case !r.Imported:
			return notImported(op, id)
		case r.ExposedAt != "":
			return vss.E(op, vss.ErrObjectAlreadyExists, nil).On(r.ExposedAt).Advise("unexpose it first")
		}
		return s.k.Host.Expose(ctx, c, name, s.Owner)
	})
}

// onCopy calls f with a finished copy whose set is locked, and returns its record as f leaves it.
func (s *Session) onCopy(
	ctx context.Context, op string, id vss.SnapshotID, f func(copies.Copy) error,
) (catalog.Snapshot, error) {
	r, err := s.k.find(op, id)
	if err != nil {
		return r, err
	}
	unlock, err := s.k.lockSet(op, r.SetID)
	if err != nil {
		return r, err
	}
	defer unlock()
	if r, err = s.k.find(op, id); err != nil { // the operation before may have changed it
		return r, err
	}
	c, err := s.k.open(&r)
	if err == nil {
		err = f(c)
	}
	return r, err
}

// Unexpose ends an exposure. Errors: VSS_E_BAD_STATE, VSS_E_OBJECT_NOT_FOUND when there is no such copy or it isn't
// exposed, E_ACCESSDENIED for callers other than root outside of the expose roots, VSS_E_VOLUME_IN_USE.
func (s *Session) Unexpose(id vss.SnapshotID) (catalog.Snapshot, error) {
	const op = "UnexposeSnapshot"
	if _, err := s.look(op, initialized); err != nil {
		return catalog.Snapshot{}, err
	}
	ctx := context.Background()
	return s.onCopy(ctx, op, id, func(c copies.Copy) error { return s.k.Host.Unexpose(ctx, c, s.Owner) })
}

// Mount makes a copy readable at a private path for the life of the session. Errors: VSS_E_OBJECT_NOT_FOUND,
// VSS_E_BAD_STATE.
func (s *Session) Mount(ctx context.Context, id vss.SnapshotID) (r catalog.Snapshot, path string, err error) {
	const op = "MountSnapshot"
	r, err = s.onCopy(ctx, op, id, func(c copies.Copy) error {
		if !c.Record().Imported {
			return notImported(op, id)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if err := s.begin(op, false, initialized...); err != nil {
			return err
		}
		if path, err = s.k.Host.MountPrivate(ctx, c, s.Token[:8]); err == nil {
			s.mounts = append(s.mounts, path)
		}
		return err
	})
	return r, path, err
}
