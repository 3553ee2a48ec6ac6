// Package volume finds the volumes of this host, with their names, devices and disks, and determines what lies below
// them. A volume is a file system on a block device, or a mounted subvolume of a btrfs; a device without a file system
// is one too. Mounts of other mount namespaces are included.
package volume

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Volume is one volume of this host.
type Volume struct {
	Name           string // canonical: the first mount point here, otherwise the device
	Key            string // the same for all names: "dev:MAJ:MIN" or "btrfs:FSID:SUBVOLID"
	SuperKey       string // the same for all volumes of one super block
	FileSystem     string
	UUID, Label    string
	Device         string
	Devices        []string // several for a btrfs on several devices
	MountPoints    []string // in this mount namespace
	Mounted        bool
	ReadOnly       bool // mounted read-only, or the device refuses writes
	DeviceReadOnly bool // the device refuses writes
	// path by which the root of the mount can be opened, possibly through /proc/PID/root; "" if not mounted
	Reach       string
	Subvolume   string // btrfs: path of the mounted subvolume
	SubvolumeID string // btrfs: its id; that of the top level is 5
	NoExec      bool   // no mount in this namespace lets programs run
	// Unrecovered says that the log was not replayed when the volume was mounted: what it shows may be inconsistent.
	Unrecovered bool
	// Outside are the devices that the file system needs besides Devices: an external journal or log, real-time data.
	Outside []string
	Disks   []string     // disks below, in order
	Extents []vss.Extent // LUN is an index into Disks

	found []*mount // the mounts when Find found it, until CheckAdded
	below []string // keys of what it lies on, once they have been determined
}

// Options holds the parameters of New.
type Options struct {
	Names map[string]string // names of volumes in scripts, with what they stand for
}

// Host finds volumes. It has no state: each call reads the present state of the host.
type Host struct{ opts Options }

// New returns a Host.
func New(opts Options) *Host { return &Host{opts} }

// Find resolves a name: a mount point, a folder or file in a volume, a device, UUID=, LABEL= or a configured name.
// Errors: VSS_E_OBJECT_NOT_FOUND; VSS_E_VOLUME_NOT_SUPPORTED for file systems that aren't on a local block device;
// E_INVALIDARG for a UUID or label that several volumes have.
func (h *Host) Find(ctx context.Context, name string) (*Volume, error) {
	if target, ok := h.configured(name); ok {
		return New(Options{}).Find(ctx, target)
	}
	notFound := func(err error) error {
		return vss.E("FindVolume", vss.ErrObjectNotFound, err).
			On(name).
			Advise("name a mount point, a device, UUID= or LABEL=; `vss list volumes` shows them")
	}
	if tag, value, ok := parseTag(name); ok {
		return h.findTag(ctx, tag, value, notFound)
	}
	st, err := look(name)
	if err != nil {
		return nil, notFound(err)
	}
	all := allMounts()
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		v, err := describeDevice(fmt.Sprintf("%d:%d", st.Rdev_major, st.Rdev_minor), all)
		if err != nil {
			return nil, err
		}
		v.found = all
		return v, nil
	}
	m, ok := mountOf(name, all)
	if !ok {
		return nil, notFound(errors.New("it lies on no mounted volume"))
	}
	v, err := describeMount(m, all)
	if err != nil {
		return nil, err
	}
	v.found = all
	return v, nil
}

// configured returns what a configured name stands for. An exact match precedes one in another case, and a final
// backslash may be missing.
func (h *Host) configured(name string) (string, bool) {
	if target, ok := h.opts.Names[name]; ok {
		return target, true
	}
	for _, n := range slices.Sorted(maps.Keys(h.opts.Names)) {
		if strings.EqualFold(strings.TrimRight(n, `\`), strings.TrimRight(name, `\`)) {
			return h.opts.Names[n], true
		}
	}
	return "", false
}

// parseTag parses UUID=... and LABEL=..., with an optionally quoted value.
func parseTag(name string) (tag, value string, ok bool) {
	tag, value, ok = strings.Cut(name, "=")
	tag = strings.ToUpper(tag)
	if !ok || tag != "UUID" && tag != "LABEL" {
		return "", "", false
	}
	if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		value = value[1 : n-1]
	}
	return tag, value, true
}

// findTag returns the one volume with a UUID or label. Imported copies have those of their original and are read-only,
// so a single writable volume takes precedence.
func (h *Host) findTag(ctx context.Context, tag, value string, notFound func(error) error) (*Volume, error) {
	all, err := h.List(ctx)
	if err != nil {
		return nil, err
	}
	var found, writable []*Volume
	for _, v := range all {
		if value == "" || tag == "UUID" && !strings.EqualFold(v.UUID, value) || tag == "LABEL" && v.Label != value {
			continue
		}
		found = append(found, v)
		if !v.DeviceReadOnly {
			writable = append(writable, v)
		}
	}
	if len(writable) == 1 {
		found = writable
	}
	switch {
	case len(found) == 0:
		return nil, notFound(nil)
	case len(found) > 1:
		return nil, vss.E("FindVolume", vss.ErrInvalidArg,
			fmt.Errorf("%d volumes match, such as %s and %s", len(found), found[0].Name, found[1].Name)).
			On(tag + "=" + value).
			Advise("name the mount point or the device")
	}
	return found[0], nil
}

// notVolumes are the types that blkid reports for devices that are parts of something else.
var notVolumes = []string{
	"",
	"swap",
	"swsuspend",
	"LVM1_member",
	"LVM2_member",
	"crypto_LUKS",
	"linux_raid_member",
	"bcache",
	"mpath_member",
	"zfs_member",
	"drbd",
}

// List returns the mounted local volumes of all namespaces and the file systems that aren't mounted. Unreadable
// devices are omitted.
func (h *Host) List(ctx context.Context) ([]*Volume, error) {
	all := allMounts()
	keys, devices := map[string]bool{}, map[string]bool{}
	var out []*Volume
	add := func(v *Volume, err error) {
		if err != nil || keys[v.Key] {
			return
		}
		keys[v.Key] = true
		out = append(out, v)
		for _, d := range v.Devices {
			devices[d] = true
		}
	}
	for _, m := range all {
		if m.local() && !keys[m.key()] {
			add(describeMount(m, all))
		}
	}
	for _, d := range blockDevices() {
		if err := ctx.Err(); err != nil {
			return nil, vss.E("ListVolumes", vss.ErrUnexpected, err)
		}
		if devices[d] {
			continue
		}
		if dev, err := devOf(d); err == nil {
			if v, err := describeDevice(dev, all); err == nil && !slices.Contains(notVolumes, v.FileSystem) {
				add(v, nil)
			}
		}
	}
	slices.SortFunc(out, func(a, b *Volume) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// Open opens the root of a mounted volume and checks on the descriptor that it is the file system that was found, as
// it may have been unmounted since. Errors: VSS_E_OBJECT_NOT_FOUND.
func (h *Host) Open(v *Volume) (*os.File, error) {
	f, err := os.OpenFile(v.Reach, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err == nil {
		var st unix.Stat_t
		if err = unix.Fstat(int(f.Fd()), &st); err == nil {
			err = sameSuper(v, f, st.Dev)
		}
		if err != nil {
			f.Close()
		}
	}
	if err != nil {
		return nil, vss.E("OpenVolume", vss.ErrObjectNotFound, err).
			On(v.Name).
			Advise("the volume was unmounted or replaced; try again")
	}
	return f, nil
}

// sameSuper compares the descriptor with the volume: the device number, and for btrfs, which has none of its own, the
// file system's ID.
func sameSuper(v *Volume, f *os.File, dev uint64) error {
	if v.FileSystem != "btrfs" {
		if key := devKey(dev); key != v.SuperKey {
			return fmt.Errorf("another file system (%s, not %s) is mounted there now", key, v.SuperKey)
		}
		return nil
	}
	id, err := btrfsFSID(f)
	if err != nil {
		return err
	}
	if "btrfs:"+id.Plain() != v.SuperKey {
		return fmt.Errorf("another btrfs is mounted there now")
	}
	return nil
}

func devKey(dev uint64) string {
	return fmt.Sprintf("dev:%d:%d", unix.Major(dev), unix.Minor(dev))
}
