package copies

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Mounts is what the package does with mounts. The zero Config has those of this host; package copiestest has some in
// memory.
type Mounts interface {
	// Mount mounts a file system at a folder that no symbolic link leads to, and returns the mount's id. Bind shows a
	// folder there, read-only.
	Mount(path string, o mount.Options) (id uint64, err error)
	Bind(folder, path string) (id uint64, err error)
	// Unmount takes off what is at a path if it is its owner's; that nothing is there is no error.
	Unmount(path string, o mount.Owner, force bool) error
	// IsPoint reports whether something is mounted at a path.
	IsPoint(path string) bool
	// Below lists what is mounted at and below a folder, the innermost first.
	Below(folder string) []mount.Info
	// Of lists where a device is mounted, in all mount namespaces.
	Of(device string) ([]string, error)
	// Writable reports whether the mount at a path takes writes.
	Writable(path string) bool
}

// hostMounts is Mounts of this host.
type hostMounts struct{}

func (hostMounts) Mount(path string, o mount.Options) (uint64, error) {
	return mount.FileSystem(path, o)
}
func (hostMounts) Unmount(path string, o mount.Owner, force bool) error {
	return mount.Unmount(path, o, force)
}
func (hostMounts) IsPoint(path string) bool           { return mount.IsPoint(path) }
func (hostMounts) Below(folder string) []mount.Info   { return mount.Below(folder) }
func (hostMounts) Of(device string) ([]string, error) { return volume.MountsOf(device) }

func (hostMounts) Bind(folder, path string) (uint64, error) { return mount.Folder(folder, path) }

func (hostMounts) Writable(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Flags&unix.ST_RDONLY == 0
}

// Mount mounts a copy at a folder. The copy's journal is not replayed where that can be helped: a copy is read as it
// was taken. Errors: VSS_E_VOLUME_NOT_SUPPORTED for a copy without a file system.
func (h *Host) Mount(ctx context.Context, c Copy, path string, readOnly bool) error {
	const op = "MountSnapshot"
	r := c.Record()
	at, err := c.Source(ctx)
	if err != nil {
		return err
	}
	var id uint64
	switch {
	case at.Folder != "":
		id, err = h.cfg.Mounts.Bind(at.Folder, path)
	case r.FileSystem == "":
		return vss.E(op, vss.ErrVolumeNotSupported, errors.New("the copy holds no file system")).On(r.ID.String()).
			Advise("read it through its device object " + h.DeviceObject(r))
	default:
		id, err = h.cfg.Mounts.Mount(path, mountOptions(r.FileSystem, at, readOnly))
	}
	if err != nil {
		return vss.E(op, vss.ErrUnexpected, err).On(r.ID.String())
	}
	h.mu.Lock()
	h.mounted[path] = id
	h.mu.Unlock()
	return nil
}

// mountOptions returns how a copy's file system is mounted. An XFS or btrfs that was held needs no log to be read; ext4
// is mounted read-only as it is, or without its journal. Two file systems of one UUID: XFS has to be told.
func mountOptions(fileSystem string, at provider.Location, readOnly bool) mount.Options {
	o := mount.Options{Device: at.Devices[0], Type: fileSystem, ReadOnly: readOnly}
	switch fileSystem {
	case "xfs":
		o.Data = []string{"nouuid"}
		if readOnly {
			o.Data = []string{"norecovery,nouuid"}
		}
	case "ext2", "ext3", "ext4":
		if readOnly {
			o.Data = []string{"", "noload"}
		}
	case "btrfs":
		o.Others = at.Devices[1:]
		opts := ""
		if at.Subvolume != "" && at.Subvolume != "/" {
			opts = "subvol=" + at.Subvolume
		}
		o.Data = []string{opts}
		if readOnly {
			if opts != "" {
				opts += ","
			}
			o.Data = append(o.Data, opts+"rescue=nologreplay")
		}
	}
	return o
}

// unmount takes off a copy's mount at a path. The mount is the copy's by its id where this process made it, else by its
// devices.
func (h *Host) unmount(ctx context.Context, c Copy, path string, force bool) error {
	h.mu.Lock()
	owner := mount.Owner{ID: h.mounted[path]}
	h.mu.Unlock()
	if at, err := c.Source(ctx); err == nil && owner.ID == 0 {
		owner.Devices = at.Devices
	}
	err := h.cfg.Mounts.Unmount(path, owner, force)
	if err == nil {
		h.mu.Lock()
		delete(h.mounted, path)
		h.mu.Unlock()
	}
	return err
}

// mountsOf returns where a copy is mounted.
func (h *Host) mountsOf(ctx context.Context, c Copy) (paths []string, err error) {
	at, err := c.Source(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range at.Devices {
		more, err := h.cfg.Mounts.Of(n)
		if err != nil {
			return nil, err
		}
		for _, p := range more {
			if !slices.Contains(paths, p) {
				paths = append(paths, p)
			}
		}
	}
	return paths, nil
}

// MountPrivate makes a copy readable at a path of its own, for the life of a session whose token is given, and returns
// the path. It may be repeated.
func (h *Host) MountPrivate(ctx context.Context, c Copy, token string) (path string, err error) {
	id := c.Record().ID
	path = filepath.Join(h.cfg.RunDir, "mnt", token+"-"+id.Plain())
	if h.cfg.Mounts.IsPoint(path) {
		return path, nil
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return "", vss.E("MountSnapshot", vss.ErrUnexpected, err).On(path)
	}
	if err := h.Mount(ctx, c, path, true); err != nil {
		_ = os.Remove(path)
		return "", err
	}
	h.mu.Lock()
	h.private[id] = path
	h.mu.Unlock()
	return path, nil
}

// UnmountPrivate removes private mounts, even if they are in use.
func (h *Host) UnmountPrivate(paths []string) {
	h.mu.Lock()
	owners := make([]mount.Owner, len(paths))
	for i, p := range paths {
		owners[i].ID = h.mounted[p]
		delete(h.mounted, p)
	}
	for id, p := range h.private {
		if slices.Contains(paths, p) {
			delete(h.private, id)
		}
	}
	h.mu.Unlock()
	for i, p := range paths {
		if err := h.cfg.Mounts.Unmount(p, owners[i], true); err != nil {
			h.cfg.Logger.Warn("private mount not taken off", "path", p, "error", err)
			continue
		}
		_ = os.Remove(p)
	}
}

// sweepPrivate takes off the private mounts that a former service left: all that is mounted below its folder, which
// nothing but this service mounts at.
func (h *Host) sweepPrivate() {
	folder := filepath.Join(h.cfg.RunDir, "mnt")
	for _, m := range h.cfg.Mounts.Below(folder) {
		if err := h.cfg.Mounts.Unmount(m.Point, mount.Owner{ID: m.ID}, true); err != nil {
			h.cfg.Logger.Warn("private mount not taken off", "path", m.Point, "error", err)
		}
	}
	left, _ := filepath.Glob(filepath.Join(folder, "*"))
	for _, p := range left {
		_ = os.Remove(p)
	}
}
