package vds

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// lunVolume is a volume on a LUN.
type lunVolume struct {
	number int // of its partition; 0: the entire disk
	node   string
	fs     disk.FileSystem
	copied bool // it is a shadow copy
}

// volumeOf finds a volume of a disk: that of a partition, or for number 0 the only one. Errors: VDS_E_OBJECT_NOT_FOUND,
// E_INVALIDARG if there are several, VDS_E_INVALID_OPERATION if there is no file system.
func (m *Manager) volumeOf(op string, d Disk, number int) (*lunVolume, error) {
	if d.Device == "" {
		return nil, notHere(op, d)
	}
	t, err := disk.Read(d.Device)
	if err != nil {
		return nil, err
	}
	v := &lunVolume{number: number, node: d.Device, copied: d.LUN.Kind == array.KindShadowCopy}
	if t.Style == disk.StyleNone && number != 0 {
		return nil, noPartition(op, d, number)
	}
	if t.Style != disk.StyleNone {
		data := slices.DeleteFunc(slices.Clone(t.Partitions), func(p disk.Partition) bool {
			return !p.Data || number != 0 && p.Number != number
		})
		switch {
		case len(data) == 0:
			return nil, noPartition(op, d, number)
		case len(data) > 1:
			return nil, vss.E(op, vss.ErrInvalidArg, fmt.Errorf("it has %d partitions", len(data))).
				On(d.LUN.Name).
				Advise(fmt.Sprintf("name one: %s:%d", d.LUN.Name, data[0].Number))
		}
		v.number, v.node = data[0].Number, disk.PartitionNode(d.Device, data[0].Number)
	}
	if v.fs, err = disk.ProbeFileSystem(v.node); err != nil {
		return nil, err
	}
	if v.fs.Type == "" {
		return nil, vss.E(op, vss.VDSErrInvalidOperation, errors.New("it holds no file system")).
			On(v.node).
			Advise("`vss lun format " + d.LUN.Name + "` makes one")
	}
	return v, nil
}

func notHere(op string, d Disk) error {
	return vss.E(op, vss.VDSErrInvalidOperation, errors.New("the LUN is not on this host")).
		On(d.LUN.Name).
		Advise("`vss lun unmask " + d.LUN.Name + "` brings it here")
}

// mount mounts the volume at a folder, read-only if its device is read-only. Its log can't be replayed then.
func (v *lunVolume) mount(path string) error {
	o := mount.Options{Device: v.node, Type: v.fs.Type, NoSUID: v.copied, NoDev: v.copied}
	switch {
	case v.copied: // as a copy is mounted elsewhere, too: no log is replayed that may be its original's
		o.ReadOnly = true
		switch v.fs.Type {
		case "xfs":
			o.Data = []string{"norecovery,nouuid"}
		case "ext3", "ext4":
			o.Data = []string{"noload,errors=continue"}
		case "btrfs":
			o.Data = []string{"", "rescue=nologreplay"}
		}
	case disk.ReadOnly(v.node):
		o.ReadOnly = true
		switch v.fs.Type {
		case "xfs":
			o.Data = []string{"", "nouuid", "norecovery,nouuid"}
		case "ext3", "ext4":
			o.Data = []string{"", "noload"}
		case "btrfs":
			o.Data = []string{"", "rescue=nologreplay"}
		}
	}
	if v.fs.Devices > 1 {
		found, err := volume.New(volume.Options{}).Find(context.Background(), v.node)
		if err != nil {
			return err
		}
		o.Others = found.Devices
	}
	_, err := mount.FileSystem(path, o)
	if err == nil {
		return nil
	}
	hint := "the kernel's log (dmesg) shows why"
	if v.fs.Type == "xfs" && errors.Is(err, unix.EINVAL) {
		hint = "is another file system with its UUID mounted? " + hint
	}
	return vss.E("MountLun", vss.ErrUnexpected, err).On(path).Advise(hint)
}

// mountFolder checks a mount point: an existing folder that no symbolic link leads to, with nothing
// mounted there yet.
func mountFolder(path string) error {
	bad := func(code vss.Code, why, hint string) error {
		return vss.E("MountLun", code, errors.New(why)).On(path).Advise(hint)
	}
	if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
		return bad(vss.ErrInvalidArg, "not an absolute path of a folder", "give the full path of a folder")
	}
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return bad(vss.ErrInvalidArg, "no such folder", "make it first: mkdir -p "+path)
	case err != nil:
		return bad(vss.ErrInvalidArg, err.Error(), "give the full path of a folder")
	case !fi.IsDir():
		return bad(vss.ErrInvalidArg, "not a folder", "give the path of a folder, not of a symbolic link")
	}
	if real, err := filepath.EvalSymlinks(path); err != nil || real != path {
		return bad(vss.ErrInvalidArg, "a component of the path is a symbolic link", "give the real path "+real)
	}
	if mount.IsPoint(path) {
		return bad(
			vss.VDSErrVolumeHasPath,
			"something is mounted there already",
			"`findmnt "+path+"` shows what; choose another folder",
		)
	}
	return nil
}

// Mount mounts a volume of a LUN: that of a partition, or the only one for number 0; with persist also whenever the
// LUN comes back. Errors: E_INVALIDARG for the path or where a partition must be named, VDS_E_OBJECT_NOT_FOUND,
// VDS_E_INVALID_OPERATION (not here, no file system, a shadow copy that would be mounted permanently),
// VDS_E_VOLUME_HAS_PATH. Source: IVdsVolumeMF::AddAccessPath.
func (m *Manager) Mount(ctx context.Context, name string, number int, path string, persist bool) (Disk, error) {
	const op = "MountLun"
	return m.change(ctx, op, name, func(d Disk) error {
		if err := m.checkNotInUse(op, d); err != nil {
			return err
		}
		if persist && d.LUN.Kind == array.KindShadowCopy {
			return vss.E(
				op, vss.VDSErrInvalidOperation, errors.New("it is a shadow copy, which may be deleted at any time"),
			).
				On(d.LUN.Name).
				Advise("break its set first: `vss break`; or mount it without --persist")
		}
		v, err := m.volumeOf(op, d, number)
		if err != nil {
			return err
		}
		already := persist && v.mountedAt(path) // what is mounted may be made persistent
		if !already {
			if err := mountFolder(path); err != nil {
				return err
			}
			if err := v.mount(path); err != nil {
				return err
			}
		}
		if !persist {
			return nil
		}
		p := persistentMount{d.LUN.ID, v.number, path}
		err = m.mounts.add(p)
		if err != nil && !already {
			_ = mount.Unmount(path, mount.Owner{Devices: []string{v.node}}, false)
		}
		return err
	})
}

func (v *lunVolume) mountedAt(path string) bool {
	paths, err := volume.MountsOf(v.node)
	return err == nil && slices.Contains(paths, path)
}

// Unmount takes all mounts of a volume off, or of all volumes of the LUN for number 0; they aren't persistent any more.
// Errors: VDS_E_DEVICE_IN_USE, VDS_E_OBJECT_NOT_FOUND.
func (m *Manager) Unmount(ctx context.Context, name string, number int) (Disk, error) {
	const op = "UnmountLun"
	return m.change(ctx, op, name, func(d Disk) error {
		if err := m.checkNotInUse(op, d); err != nil {
			return err
		}
		if d.Device != "" {
			nodes := disk.Nodes(d.Device)
			if number != 0 {
				n := disk.PartitionNode(d.Device, number)
				if !slices.Contains(nodes, n) {
					return noPartition(op, d, number)
				}
				nodes = []string{n}
			}
			for _, n := range nodes {
				if err := unmountNode(n, false); err != nil {
					return inUse(op, err)
				}
			}
		}
		if number == 0 {
			number = -1
		}
		return m.mounts.remove(d.LUN.ID, number)
	})
}
