package provider

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stillpoint-vss/stillpoint/vss"
)

func unknownCopy(op string, id vss.SnapshotID) error {
	return vss.E(op, vss.ErrObjectNotFound, errors.New("the provider has no such copy")).On(id.String())
}

// find returns the path of a copy. Errors: VSS_E_OBJECT_NOT_FOUND.
func (k *Keeper) find(op string, r Ref) (string, error) {
	name := string(r.Payload)
	path := filepath.Join(k.folder, name)
	if name != filepath.Base(path) || !strings.HasSuffix(name, "."+r.ID.String()) {
		return "", unknownCopy(op, r.ID)
	}
	if _, err := os.Lstat(path); err != nil {
		return "", unknownCopy(op, r.ID)
	}
	return path, nil
}

// Surface implements Software.
func (k *Keeper) Surface(ctx context.Context, r Ref) (Location, error) {
	path, err := k.find("Surface", r)
	if err != nil {
		return Location{}, err
	}
	l, err := k.copier.Surface(ctx, path)
	return l, k.answer("Surface", r.ID.String(), err)
}

// SetWritable implements Software.
func (k *Keeper) SetWritable(ctx context.Context, r Ref, on bool) error {
	path, err := k.find("SetWritable", r)
	if err != nil {
		return err
	}
	return k.answer("SetWritable", r.ID.String(), k.copier.SetWritable(ctx, path, on))
}

// Withdraw implements Software.
func (k *Keeper) Withdraw(ctx context.Context, r Ref, force bool) error {
	path, err := k.find("Withdraw", r)
	if err != nil {
		return err
	}
	return k.answer("Withdraw", r.ID.String(), k.copier.Withdraw(ctx, path, force))
}

// DeleteSnapshots implements Software.
func (k *Keeper) DeleteSnapshots(ctx context.Context, copies []Ref, force bool) (int, vss.SnapshotID, error) {
	const op = "DeleteSnapshots"
	for n, r := range copies {
		path, err := k.find(op, r)
		if err == nil {
			err = k.answer(op, r.ID.String(), k.remove(ctx, path, force))
		}
		if err == nil {
			err = k.answer(op, r.ID.String(), k.forget(r.ID))
		}
		if err != nil {
			return n, r.ID, err
		}
	}
	return len(copies), vss.SnapshotID{}, nil
}

// forget removes a copy from its record.
func (k *Keeper) forget(id vss.SnapshotID) error {
	_, err := k.change(id, func(kept []keptCopy, i int) []keptCopy { return slices.Delete(kept, i, i+1) })
	return err
}

// change changes the record that has a copy, and reports whether there is one.
func (k *Keeper) change(id vss.SnapshotID, f func(kept []keptCopy, i int) []keptCopy) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	all, err := k.load()
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(all, func(c keptCopy) bool { return c.ID == id })
	if i < 0 {
		return false, nil
	}
	set := all[i].SetID
	all = slices.DeleteFunc(all, func(c keptCopy) bool { return c.SetID != set })
	i = slices.IndexFunc(all, func(c keptCopy) bool { return c.ID == id })
	return true, k.save(set, f(all, i))
}

// IsVolumeSnapshotted implements Software.
func (k *Keeper) IsVolumeSnapshotted(_ context.Context, v Volume) (bool, vss.SnapshotCompatibility, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	all, err := k.kept()
	has := slices.ContainsFunc(all, func(c keptCopy) bool { return c.VolumeUUID == v.UUID })
	return has, 0, k.answer("IsVolumeSnapshotted", v.Name, err)
}

// GetSnapshotProperties implements Software.
func (k *Keeper) GetSnapshotProperties(ctx context.Context, id vss.SnapshotID) (SnapshotProperties, error) {
	all, err := k.Query(ctx)
	if err != nil {
		return SnapshotProperties{}, err
	}
	for _, c := range all {
		if c.ID == id {
			return c, nil
		}
	}
	return SnapshotProperties{}, unknownCopy("GetSnapshotProperties", id)
}

// Query implements Software.
func (k *Keeper) Query(context.Context) ([]SnapshotProperties, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	all, err := k.kept()
	var out []SnapshotProperties
	for _, c := range all {
		out = append(out, c.SnapshotProperties)
	}
	return out, k.answer("Query", k.folder, err)
}

// SetSnapshotProperty implements Software.
func (k *Keeper) SetSnapshotProperty(_ context.Context, id vss.SnapshotID, p Property, value any) error {
	const op = "SetSnapshotProperty"
	text, isText := value.(string)
	attributes, isAttributes := value.(vss.Attributes)
	var set func(*keptCopy)
	switch {
	case p == PropertyExposedName && isText:
		set = func(c *keptCopy) { c.ExposedName = text }
	case p == PropertyExposedPath && isText:
		set = func(c *keptCopy) { c.ExposedPath = text }
	case p == PropertyAttributes && isAttributes:
		set = func(c *keptCopy) { c.Attributes = attributes }
	default:
		return vss.E(op, vss.ErrInvalidArg, fmt.Errorf("property %d can't be set to a %T", p, value)).On(id.String())
	}
	found, err := k.change(id, func(kept []keptCopy, i int) []keptCopy {
		set(&kept[i])
		return kept
	})
	if err == nil && !found {
		return unknownCopy(op, id)
	}
	return k.answer(op, id.String(), err)
}
