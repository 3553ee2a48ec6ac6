package copies

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Expose mounts a copy, read-only, at a folder or a free letter, and records it. Callers other than root may use the
// expose roots only. Errors: E_INVALIDARG, E_ACCESSDENIED, VSS_E_OBJECT_NOT_FOUND for a folder that doesn't exist.
func (h *Host) Expose(ctx context.Context, c Copy, name string, user uint32) error {
	path, err := h.exposePath("ExposeSnapshot", name, user)
	if err != nil {
		return err
	}
	r := c.Record()
	if err := h.Mount(ctx, c, path, true); err != nil {
		h.cfg.Events.Failed(events.ExposeFailed, r.SetID, r.ID.String(), err)
		return err
	}
	exposed := *r
	exposed.ExposedAt = path
	exposed.Attributes = r.Attributes&^vss.AttrNotSurfaced | vss.AttrExposedLocally
	if err := h.cfg.Catalog.Update(func(tx *catalog.Tx) error { return tx.PutSnapshot(exposed) }); err != nil {
		_ = h.unmount(ctx, c, path, false)
		return err
	}
	*r = exposed
	return nil
}

// exposePath checks where a copy is to be exposed: an absolute, existing, empty folder that no symbolic link leads to.
// In an expose root, or for a letter, the folder is made.
func (h *Host) exposePath(op, name string, user uint32) (string, error) {
	bad := func(code vss.Code, why, hint string) (string, error) {
		return "", vss.E(op, code, errors.New(why)).On(name).Advise(hint)
	}
	path := name
	letter := len(name) == 2 && name[1] == ':'
	if letter {
		if h.cfg.Letters(name) {
			return bad(vss.ErrInvalidArg, "the letter is a volume's", "choose a free letter")
		}
		path = filepath.Join(h.cfg.LettersRoot, strings.ToUpper(name[:1]))
	}
	if !filepath.IsAbs(path) || filepath.Clean(path) != strings.TrimSuffix(path, "/") || path == "/" {
		return bad(vss.ErrInvalidArg, "not an absolute path", "give the full path of an empty folder")
	}
	path = filepath.Clean(path)
	inRoot := h.inExposeRoot(path)
	if user != 0 && !inRoot {
		return bad(
			vss.ErrAccessDenied,
			"only root exposes outside of the expose roots",
			"use a folder in "+strings.Join(h.cfg.ExposeRoots, " or "),
		)
	}
	root := ""
	if letter || inRoot {
		root = h.exposeRoot(path)
	}
	if why, code, hint := checkFolder(root, path); why != "" {
		return bad(code, why, hint)
	}
	return path, nil
}

// inExposeRoot reports whether a path lies below one of the expose roots.
func (h *Host) inExposeRoot(path string) bool {
	return slices.ContainsFunc(h.cfg.ExposeRoots, func(root string) bool {
		return strings.HasPrefix(path, filepath.Clean(root)+"/")
	})
}

// exposeRoot returns the folder below which this service makes folders to expose copies at, "" for a path that lies in
// none.
func (h *Host) exposeRoot(path string) string {
	for _, root := range append(slices.Clone(h.cfg.ExposeRoots), h.cfg.LettersRoot) {
		if root != "" && strings.HasPrefix(path, filepath.Clean(root)+"/") {
			return filepath.Clean(root)
		}
	}
	return ""
}

// exposeFolder makes the folder of an exposure again, for a copy that comes back.
func (h *Host) exposeFolder(path string) error {
	dir, err := mount.MakeFolder(h.exposeRoot(path), path)
	if err != nil {
		return err
	}
	return dir.Close()
}

// checkExposure returns nil if the copy is what is mounted where it is exposed. Errors: VSS_E_VOLUME_IN_USE.
func (h *Host) checkExposure(ctx context.Context, c Copy) error {
	at := c.Record().ExposedAt
	if err := h.cfg.Mounts.Owned(at, h.owner(ctx, c, at)); err != nil {
		return vss.E("ExposeSnapshot", vss.ErrVolumeInUse, err).On(at).
			Advise("unmount what was mounted over the copy: `findmnt " + at + "`")
	}
	return nil
}

// checkFolder returns why nothing can be mounted at a path, "" if something can. Below root, if that isn't "", the
// folder is made.
func checkFolder(root, path string) (why string, code vss.Code, hint string) {
	dir, err := mount.OpenFolder(path)
	if root != "" {
		dir, err = mount.MakeFolder(root, path)
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		return "no such folder", vss.ErrObjectNotFound, "make it first: mkdir " + path
	case errors.Is(err, unix.ELOOP):
		return "a symbolic link is on the way", vss.ErrInvalidArg, "give the real path"
	case errors.Is(err, unix.EXDEV):
		return "something is mounted on the way", vss.ErrInvalidArg, "choose a folder of the expose root itself"
	case errors.Is(err, unix.ENOTDIR):
		return "not a folder", vss.ErrInvalidArg, "give the path of an empty folder; a symbolic link is not taken"
	case err != nil:
		return err.Error(), vss.ErrInvalidArg, "give the full path of an empty folder"
	}
	defer dir.Close()
	if entries, err := mount.ReadFolder(dir); err != nil || len(entries) > 0 {
		return "the folder isn't empty", vss.ErrInvalidArg, "choose an empty folder"
	}
	return "", vss.OK, ""
}

// Unexpose takes the exposure of a copy off. Callers other than root may end those below the expose roots only. Errors:
// VSS_E_OBJECT_NOT_FOUND for a copy that isn't exposed, E_ACCESSDENIED, VSS_E_VOLUME_IN_USE, also where something else
// was mounted over it.
func (h *Host) Unexpose(ctx context.Context, c Copy, user uint32) error {
	const op = "UnexposeSnapshot"
	r := c.Record()
	if r.ExposedAt == "" {
		return vss.E(op, vss.ErrObjectNotFound, errors.New("the copy isn't exposed")).
			On(r.ID.String()).
			Advise("`vss list shadows` shows where copies are exposed")
	}
	if user != 0 && !h.inExposeRoot(r.ExposedAt) {
		return vss.E(op, vss.ErrAccessDenied, errors.New("only root ends exposures outside of the expose roots")).
			On(r.ExposedAt).Advise("ask an administrator: `vss unexpose " + r.ID.String() + "`")
	}
	if err := h.unmount(ctx, c, r.ExposedAt, false); err != nil {
		return vss.E(op, vss.ErrVolumeInUse, err).
			On(r.ExposedAt).
			Advise("end what uses it: `fuser -vm " + r.ExposedAt + "`")
	}
	r.ExposedAt = ""
	r.Attributes = r.Attributes&^vss.AttrExposedLocally | vss.AttrNotSurfaced
	return h.cfg.Catalog.Update(func(tx *catalog.Tx) error { return tx.PutSnapshot(*r) })
}
