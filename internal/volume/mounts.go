package volume

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	mounts "github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// mount is one line of a mount table, with the way to reach it.
type mount struct {
	id       uint64
	dev      string // MAJ:MIN
	root     string // folder of the file system that is shown
	point    string
	kind     string
	source   string
	readOnly bool     // of the super block
	noExec   bool     // of this mount
	outside  []string // other devices that the options name
	noLog    bool     // the log was not replayed
	upper    string   // overlay: the writable folder
	here     bool     // in the mount namespace of this process
	prefix   string   // prefix of paths of its namespace as seen from here: "" or /proc/PID/root

	superKey    string   // "" if it isn't on a local block device
	devices     []string // all devices of the file system
	subvolume   string   // btrfs: the path of the subvolume, which root may lie below
	subvolumeID string
}

func (m *mount) reach() string { return m.prefix + m.point }

// local reports whether it is a file system of which copies can be made.
func (m *mount) local() bool { return m.superKey != "" }

// key returns the key of the volume that the mount shows.
func (m *mount) key() string {
	if m.kind == "btrfs" {
		return m.superKey + ":" + m.subvolumeID
	}
	return m.superKey
}

// whole reports whether the mount shows the root of its volume, not a folder or file in it.
func (m *mount) whole() bool {
	if m.kind == "btrfs" {
		return m.root == m.subvolume
	}
	return m.root == "/"
}

// noCopies reports whether file systems of this kind aren't volumes even if they have a block device: they never
// change, or are served by a process that may be stopped.
func noCopies(kind string) bool {
	return slices.Contains([]string{"squashfs", "iso9660", "udf", "erofs", "fuseblk"}, kind)
}

// allMounts returns the mounts of this namespace, then those of every other one with a process.
func allMounts() []*mount {
	out := describe(mounts.All())
	pools := mountedBtrfs()
	for _, m := range out {
		m.findSuper(pools)
	}
	return out
}

// describe returns the mounts of a mount table, with what their options tell.
func describe(table []mounts.Info) []*mount {
	var out []*mount
	for _, i := range table {
		m := &mount{
			id: i.ID, dev: i.Device, root: i.Root, point: i.Point, kind: i.Type, source: i.Source,
			readOnly: i.ReadOnly(), here: i.Here(), prefix: i.Prefix, noExec: i.NoExec,
			outside: outside(i.SuperOptions), noLog: noLog(i.SuperOptions),
		}
		switch i.Type {
		case "btrfs": // subvol= is the last option, and its commas are not escaped
			options, path, _ := strings.Cut(i.SuperOptions, ",subvol=")
			m.subvolume, m.subvolumeID = unescape(path), option(options, "subvolid")
		case "overlay":
			m.upper = unescape(option(i.SuperOptions, "upperdir"))
		}
		out = append(out, m)
	}
	return out
}

// outside returns the devices that mount options name as the places of a log, a journal or data.
func outside(options string) (devices []string) {
	for _, name := range []string{"logdev", "rtdev", "journal_path", "journal_dev"} {
		if d := unescape(option(options, name)); d != "" {
			devices = append(devices, d)
		}
	}
	return devices
}

// noLog reports whether mount options leave the log of a file system as it is.
func noLog(options string) bool {
	for o := range strings.SplitSeq(options, ",") {
		switch name, value, _ := strings.Cut(o, "="); name {
		case "noload", "norecovery", "nologreplay":
			return true
		case "rescue":
			if strings.Contains(value, "nologreplay") || strings.Contains(value, "all") {
				return true
			}
		}
	}
	return false
}

func option(options, name string) string {
	for o := range strings.SplitSeq(options, ",") {
		if n, value, ok := strings.Cut(o, "="); ok && n == name {
			return value
		}
	}
	return ""
}

// unescape replaces the kernel's octal escapes such as \040. Anything else after a backslash is kept.
func unescape(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		if s[0] == '\\' && len(s) >= 4 {
			if n, err := strconv.ParseUint(s[1:4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				s = s[4:]
				continue
			}
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	return b.String()
}

// findSuper sets the fields that identify the super block.
func (m *mount) findSuper(pools map[string]*pool) {
	switch {
	case m.kind == "btrfs":
		if p := m.pool(pools); p != nil {
			m.superKey, m.devices = "btrfs:"+p.fsid, p.devices
		}
	case !strings.HasPrefix(m.dev, "0:") && !noCopies(m.kind):
		m.superKey, m.devices = "dev:"+m.dev, []string{deviceNode(m.dev)}
	}
}

// look calls statx on a path without waiting for a server that may be dead.
func look(path string) (unix.Statx_t, error) {
	var st unix.Statx_t
	err := unix.Statx(
		unix.AT_FDCWD,
		path,
		unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT,
		unix.STATX_BASIC_STATS|unix.STATX_MNT_ID,
		&st,
	)
	return st, err
}

// mountOf returns the mount that a path lies on, in any namespace: by the mount ID from the kernel (Linux 5.8), or
// otherwise by the longest mount point here above the path, and of several on one mount point the last.
func mountOf(path string, all []*mount) (*mount, bool) {
	st, err := look(path)
	if err != nil {
		return nil, false
	}
	if st.Mask&unix.STATX_MNT_ID != 0 {
		i := slices.IndexFunc(all, func(m *mount) bool { return m.id == st.Mnt_id })
		if i < 0 {
			return nil, false
		}
		return all[i], true
	}
	real, err := filepath.EvalSymlinks(path)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if err != nil {
		return nil, false
	}
	var best *mount
	for _, m := range all {
		if m.here && under(real, m.point) && (best == nil || len(m.point) >= len(best.point)) {
			best = m
		}
	}
	return best, best != nil
}

// open reports whether the mount is accessible: nothing is mounted over it, and it is a folder.
func (m *mount) open() bool {
	st, err := look(m.reach())
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && (st.Mask&unix.STATX_MNT_ID == 0 || st.Mnt_id == m.id)
}

// under reports whether path is dir or lies below it.
func under(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// MountsOf returns the mount points of a device in all namespaces; those of others by their path through /proc.
// Errors: VSS_E_OBJECT_NOT_FOUND.
func MountsOf(device string) ([]string, error) {
	dev, err := devOf(device)
	if err != nil {
		return nil, vss.E("MountsOf", vss.ErrObjectNotFound, err).On(device)
	}
	var out []string
	for _, m := range allMounts() {
		if (m.dev == dev || slices.Contains(m.devices, deviceNode(dev))) && !slices.Contains(out, m.reach()) {
			out = append(out, m.reach())
		}
	}
	return out, nil
}
