package coordinator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// mount shows a copy at a folder.
func (k *Coordinator) mount(ctx context.Context, r *catalog.Snapshot, path string, readOnly bool) error {
	nodes, err := k.nodes(ctx, r)
	if err != nil {
		return err
	}
	var flags uintptr
	if readOnly {
		flags = unix.MS_RDONLY
	}
	// An XFS or btrfs that was held needs no log to be read; ext4 mounts read-only as it is. Two of one UUID: XFS must be told.
	tries := []string{""}
	switch r.FileSystem {
	case "xfs":
		tries = []string{"nouuid"}
		if readOnly {
			tries = []string{"norecovery,nouuid"}
		}
	case "ext2", "ext3", "ext4":
		if readOnly {
			tries = []string{"", "noload"}
		}
	case "btrfs":
		opts := ""
		for _, n := range nodes[1:] {
			opts += ",device=" + n
		}
		if r.Subvolume != "" && r.Subvolume != "/" {
			opts += ",subvol=" + r.Subvolume
		}
		tries = []string{strings.TrimPrefix(opts, ",")}
		if readOnly {
			tries = append(tries, strings.TrimPrefix(opts+",rescue=nologreplay", ","))
		}
	case "":
		return vss.E("MountSnapshot", vss.ErrVolumeNotSupported, errors.New("the copy holds no file system")).On(r.ID.String()).Advise("read it through its device object " + k.deviceObject(r))
	}
	for _, data := range tries {
		if err = unix.Mount(nodes[0], path, r.FileSystem, flags, data); err == nil {
			return nil
		}
	}
	return vss.E("MountSnapshot", vss.ErrUnexpected, fmt.Errorf("mount %s (%s): %w", nodes[0], r.FileSystem, err)).On(r.ID.String())
}

// find gives a finished copy. Errors: VSS_E_OBJECT_NOT_FOUND.
func (k *Coordinator) find(op string, id vss.SnapshotID) (r catalog.Snapshot, err error) {
	err = k.Catalog.View(func(tx *catalog.Tx) error {
		var ok bool
		r, ok, err = tx.Snapshot(id)
		if err == nil && (!ok || r.State != vss.StateCreated) {
			return vss.E(op, vss.ErrObjectNotFound, nil).On(id.String()).Advise("`vss list shadows` shows which copies exist")
		}
		return err
	})
	return r, err
}

func notImported(op string, object fmt.Stringer) error {
	return vss.E(op, vss.ErrObjectNotFound, errors.New("not imported on this host")).On(object.String()).Advise("import it first: `vss import --bc FILE`")
}

// Expose mounts a copy, read-only, at an empty folder or a free letter, until it is unexposed, deleted or broken; that of a
// persistent copy lasts over restarts. A caller who isn't root may use the expose roots only. Source: ExposeSnapshot.
func (s *Session) Expose(ctx context.Context, id vss.SnapshotID, pathFromRoot string, attributes vss.Attributes, name string) (catalog.Snapshot, error) {
	const op = "ExposeSnapshot"
	k := s.k
	bad := func(why, hint string) error {
		return vss.E(op, vss.ErrInvalidArg, errors.New(why)).On(name).Advise(hint)
	}
	s.mu.Lock()
	err := s.begin(op, false, initialized...)
	s.mu.Unlock()
	if err != nil {
		return catalog.Snapshot{}, err
	}
	r, err := k.find(op, id)
	if err != nil {
		return r, err
	}
	unlock, err := k.lockSet(op, r.SetID)
	if err != nil {
		return r, err
	}
	defer unlock()
	switch {
	case attributes == vss.AttrExposedRemotely:
		return r, vss.E(op, vss.ErrNotSupported, errors.New("copies are not shared from here")).On(name).Advise("expose it at a folder and share that")
	case attributes != vss.AttrExposedLocally:
		return r, bad("exactly one way of exposing must be chosen", "expose it locally")
	case pathFromRoot != "":
		return r, bad("a local exposure shows the whole copy", "leave the path from root empty")
	case r.Attributes.Has(vss.AttrClientAccessible):
		return r, bad("a client-accessible copy is never exposed", "create one with another context")
	case !r.Imported:
		return r, notImported(op, id)
	case r.ExposedAt != "":
		return r, vss.E(op, vss.ErrObjectAlreadyExists, nil).On(r.ExposedAt).Advise("unexpose it first")
	}
	path, err := k.exposePath(op, name, s.Owner)
	if err != nil {
		return r, err
	}
	if err := k.mount(ctx, &r, path, true); err != nil {
		k.failed("expose-failed", r.SetID, r.ID.String(), err)
		return r, err
	}
	r.ExposedAt = path
	r.Attributes = r.Attributes&^vss.AttrNotSurfaced | vss.AttrExposedLocally
	if err := k.Catalog.Update(func(tx *catalog.Tx) error { return tx.PutSnapshot(r) }); err != nil {
		_ = unix.Unmount(path, 0)
		return r, err
	}
	return r, nil
}

// exposePath checks where a copy shall be exposed: an absolute, existing, empty folder that no symbolic link leads to. In
// an expose root, or for a letter, the folder is made.
func (k *Coordinator) exposePath(op, name string, user uint32) (string, error) {
	bad := func(code vss.Code, why, hint string) (string, error) {
		return "", vss.E(op, code, errors.New(why)).On(name).Advise(hint)
	}
	path := name
	letter := len(name) == 2 && name[1] == ':'
	if letter {
		if k.Letters(name) {
			return bad(vss.ErrInvalidArg, "the letter is a volume's", "choose a free letter")
		}
		path = filepath.Join(k.LettersRoot, strings.ToUpper(name[:1]))
	}
	if !filepath.IsAbs(path) || filepath.Clean(path) != strings.TrimSuffix(path, "/") || path == "/" {
		return bad(vss.ErrInvalidArg, "not an absolute path", "give the full path of an empty folder")
	}
	path = filepath.Clean(path)
	inRoot := slices.ContainsFunc(k.ExposeRoots, func(root string) bool { return strings.HasPrefix(path, filepath.Clean(root)+"/") })
	if user != 0 && !inRoot {
		return bad(vss.ErrAccessDenied, "only root exposes outside of the expose roots", "use a folder in "+strings.Join(k.ExposeRoots, " or "))
	}
	if letter || inRoot {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return bad(vss.ErrInvalidArg, err.Error(), "choose another folder")
		}
	}
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return bad(vss.ErrObjectNotFound, "no such folder", "make it first: mkdir "+path)
	case err != nil:
		return bad(vss.ErrInvalidArg, err.Error(), "give the full path of an empty folder")
	case !fi.IsDir():
		return bad(vss.ErrInvalidArg, "not a folder", "give the path of an empty folder; a symbolic link is not taken")
	}
	if real, err := filepath.EvalSymlinks(path); err != nil || real != path {
		return bad(vss.ErrInvalidArg, "a symbolic link is on the way", "give the real path "+real)
	}
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) > 0 {
		return bad(vss.ErrInvalidArg, "the folder isn't empty", "choose an empty folder")
	}
	return path, nil
}

// Unexpose takes the exposure off. Errors: VSS_E_OBJECT_NOT_FOUND when there is no copy or it isn't exposed,
// VSS_E_VOLUME_IN_USE.
func (s *Session) Unexpose(id vss.SnapshotID) (catalog.Snapshot, error) {
	const op = "UnexposeSnapshot"
	r, err := s.k.find(op, id)
	if err != nil {
		return r, err
	}
	unlock, err := s.k.lockSet(op, r.SetID)
	if err != nil {
		return r, err
	}
	defer unlock()
	if r.ExposedAt == "" {
		return r, vss.E(op, vss.ErrObjectNotFound, errors.New("the copy isn't exposed")).On(id.String()).Advise("`vss list shadows` shows where copies are exposed")
	}
	if err := unmount(r.ExposedAt, false); err != nil {
		return r, vss.E(op, vss.ErrVolumeInUse, err).On(r.ExposedAt).Advise("end what uses it: `fuser -vm " + r.ExposedAt + "`")
	}
	r.ExposedAt = ""
	r.Attributes = r.Attributes&^vss.AttrExposedLocally | vss.AttrNotSurfaced
	return r, s.k.Catalog.Update(func(tx *catalog.Tx) error { return tx.PutSnapshot(r) })
}

// unmount takes a mount off; what is no mount point any more is no error. Force takes it out of sight at once and off when
// its last user goes.
func unmount(path string, force bool) error {
	err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
	if err == unix.EBUSY && force {
		err = unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	}
	if err == unix.EINVAL || err == unix.ENOENT {
		return nil
	}
	return err
}

// Mount makes a copy readable at a private path for the life of the session. Errors: VSS_E_OBJECT_NOT_FOUND.
func (s *Session) Mount(ctx context.Context, id vss.SnapshotID) (r catalog.Snapshot, path string, err error) {
	const op = "MountSnapshot"
	if r, err = s.k.find(op, id); err != nil {
		return r, "", err
	}
	if !r.Imported {
		return r, "", notImported(op, id)
	}
	unlock, err := s.k.lockSet(op, r.SetID)
	if err != nil {
		return r, "", err
	}
	defer unlock()
	path = filepath.Join(s.k.RunDir, "mnt", s.Token[:8]+"-"+id.Plain())
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin(op, false, initialized...); err != nil {
		return r, "", err
	}
	if slices.Contains(s.mounts, path) {
		return r, path, nil
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return r, "", vss.E(op, vss.ErrUnexpected, err).On(path)
	}
	if err := s.k.mount(ctx, &r, path, true); err != nil {
		_ = os.Remove(path)
		return r, "", err
	}
	s.mounts = append(s.mounts, path)
	s.k.mu.Lock()
	s.k.private[id] = path
	s.k.mu.Unlock()
	return r, path, nil
}

// unmountPrivate takes private mounts off.
func (k *Coordinator) unmountPrivate(paths []string) {
	k.mu.Lock()
	for id, p := range k.private {
		if slices.Contains(paths, p) {
			delete(k.private, id)
		}
	}
	k.mu.Unlock()
	for _, p := range paths {
		if err := unmount(p, true); err != nil {
			k.Logger.Warn("private mount not taken off", "path", p, "error", err)
			continue
		}
		_ = os.Remove(p)
	}
}

// path is where a copy can be read now.
func (k *Coordinator) path(r *catalog.Snapshot) string {
	if r.ExposedAt != "" {
		return r.ExposedAt
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.private[r.ID]
}
