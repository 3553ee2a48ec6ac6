package copies

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
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
	// Owned returns nil if what is mounted at a path is its owner's.
	Owned(path string, o mount.Owner) error
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
func (hostMounts) Owned(path string, o mount.Owner) error {
	return o.Owns(path)
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
		var o mount.Options
		if o, err = mountOptions(r, at, readOnly); err == nil {
			id, err = h.cfg.Mounts.Mount(path, o)
		}
	}
	if err != nil {
		return vss.E(op, vss.ErrUnexpected, err).On(r.ID.String())
	}
	h.mu.Lock()
	h.mounted[path] = mount.Owner{ID: id, Devices: at.Devices}
	h.mu.Unlock()
	return nil
}

// mountOptions returns how a copy's file system is mounted: without set-user-id programs and devices, and without
// programs where its original has none. No log is replayed that may be outside of the copy, and the superblock doesn't
// decide what this host does about errors. Two file systems of one UUID: XFS has to be told.
func mountOptions(r *catalog.Snapshot, at provider.Location, readOnly bool) (mount.Options, error) {
	o := mount.Options{
		Device: at.Devices[0], Type: r.FileSystem, ReadOnly: readOnly, NoSUID: true, NoDev: true, NoExec: r.NoExec,
	}
	switch r.FileSystem {
	case "xfs":
		o.Data = []string{"nouuid"}
		if readOnly {
			o.Data = []string{"norecovery,nouuid"}
		}
	case "ext2":
		o.Data = []string{"errors=continue"}
	case "ext3", "ext4":
		o.Data = []string{"errors=continue"}
		if readOnly {
			o.Data = []string{"noload,errors=continue"}
		}
	case "btrfs":
		o.Others = at.Devices[1:]
		which, err := subvolume(r, at)
		if err != nil {
			return o, err
		}
		o.Data = []string{which}
		if readOnly {
			o.Data = append(o.Data, which+",rescue=nologreplay")
		}
	}
	return o, nil
}

// topLevel is the id of the top level of every btrfs.
const topLevel = "5"

// subvolume returns the option that names the subvolume of a copy. Without one the default subvolume would be mounted.
func subvolume(r *catalog.Snapshot, at provider.Location) (option string, err error) {
	switch {
	case at.Subvolume == r.Subvolume && r.SubvolumeID != "":
		_, err = strconv.ParseUint(r.SubvolumeID, 10, 64)
		return "subvolid=" + r.SubvolumeID, err
	case at.Subvolume == "" || at.Subvolume == "/":
		return "subvolid=" + topLevel, nil
	case strings.Contains(at.Subvolume, ","):
		return "", fmt.Errorf("subvolume %q can't be named in an option of mount", at.Subvolume)
	}
	return "subvol=" + at.Subvolume, nil
}

// unmount takes off a copy's mount at a path. The mount is the copy's by its id where this process made it, else by its
// devices.
func (h *Host) unmount(ctx context.Context, c Copy, path string, force bool) error {
	err := h.cfg.Mounts.Unmount(path, h.owner(ctx, c, path), force)
	if err == nil {
		h.mu.Lock()
		delete(h.mounted, path)
		h.mu.Unlock()
	}
	return err
}

// owner identifies a copy's mount at a path.
func (h *Host) owner(ctx context.Context, c Copy, path string) mount.Owner {
	h.mu.Lock()
	o, made := h.mounted[path]
	h.mu.Unlock()
	if at, err := c.Source(ctx); err == nil && !made {
		o.Devices = at.Devices
	}
	return o
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
	h.private[id] = append(h.private[id], path)
	h.mu.Unlock()
	return path, nil
}

// MountTable is what is mounted in all namespaces at one moment.
type MountTable []mount.Info

// Mounted returns the table of this moment.
func Mounted() MountTable { return mount.All() }

// Numbers returns the numbers, MAJ:MIN, of the mounted file systems on these devices.
func (t MountTable) Numbers(devices []string) (numbers []string) {
	for _, m := range t {
		if m.On(devices...) && !slices.Contains(numbers, m.Device) {
			numbers = append(numbers, m.Device)
		}
	}
	return numbers
}

// NumberAt returns the number of the file system that is mounted at path in this namespace, "" for none.
func (t MountTable) NumberAt(path string) (number string) {
	for _, m := range t {
		if path != "" && m.Here() && m.Point == path {
			number = m.Device
		}
	}
	return number
}

// HandOver returns a detached mount of a copy that MountPrivate has mounted, for another mount namespace: of its file
// system's root, of which r.Subvolume may be a part. The caller closes it. Errors: VSS_E_BAD_STATE.
func (h *Host) HandOver(ctx context.Context, c Copy) (*os.File, error) {
	r := c.Record()
	h.mu.Lock()
	paths := slices.Clone(h.private[r.ID])
	h.mu.Unlock()
	if len(paths) == 0 {
		return nil, vss.E("HandOver", vss.ErrBadState, errors.New("the copy isn't mounted")).On(r.ID.String())
	}
	at, err := c.Source(ctx)
	if err != nil {
		return nil, err
	}
	var f *os.File
	if r.FileSystem == "btrfs" && at.Folder == "" {
		f, err = mount.DetachedTop(at.Devices[0])
	} else {
		f, err = mount.Detached(paths[len(paths)-1])
	}
	if err != nil {
		return nil, vss.E("HandOver", vss.ErrUnexpected, err).On(r.ID.String())
	}
	return f, nil
}

// UnmountPrivate removes private mounts, even if they are in use.
func (h *Host) UnmountPrivate(paths []string) {
	h.mu.Lock()
	owners := make([]mount.Owner, len(paths))
	for i, p := range paths {
		owners[i] = h.mounted[p]
		delete(h.mounted, p)
	}
	h.mu.Unlock()
	for i, p := range paths {
		if err := h.cfg.Mounts.Unmount(p, owners[i], true); err != nil {
			h.cfg.Logger.Warn("private mount not taken off", "path", p, "error", err)
		}
	}
	h.forgetPrivate(paths)
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
