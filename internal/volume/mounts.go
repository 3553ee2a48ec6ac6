package volume

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// maxNamespaces bounds how many other mount namespaces are looked into.
const maxNamespaces = 4096

// mount is one line of a mount table, and how to get to it.
type mount struct {
	id       uint64
	dev      string // MAJ:MIN
	root     string // what of the file system is shown
	point    string
	kind     string
	source   string
	readOnly bool   // the super block is
	upper    string // overlay: the folder that takes the writes
	here     bool   // in this process's mount namespace
	prefix   string // of all its namespace's paths, seen from here: "" or /proc/PID/root

	superKey    string   // "" for what isn't on a local block device
	devices     []string // all that the file system is on
	subvolume   string   // btrfs: the path of the subvolume, below which root may lie
	subvolumeID string
}

func (m *mount) reach() string { return m.prefix + m.point }

// local says whether it is a file system that copies can be made of.
func (m *mount) local() bool { return m.superKey != "" }

// key is that of the volume which the mount shows.
func (m *mount) key() string {
	if m.kind == "btrfs" {
		return m.superKey + ":" + m.subvolumeID
	}
	return m.superKey
}

// whole says whether the mount shows the root of its volume, not a folder or file in it.
func (m *mount) whole() bool {
	if m.kind == "btrfs" {
		return m.root == m.subvolume
	}
	return m.root == "/"
}

// noCopies are kinds of file systems that have a block device and yet are no volumes: they never change, or a process that
// may stand still serves them.
func noCopies(kind string) bool {
	return slices.Contains([]string{"squashfs", "iso9660", "udf", "erofs", "fuseblk"}, kind)
}

// allMounts lists the mounts of this namespace, then those of every other one that a process lives in. What can't be read is
// left out: processes end while one looks.
func allMounts() []*mount {
	var out []*mount
	self, _ := os.Readlink("/proc/self/ns/mnt")
	seen := map[string]bool{self: true}
	add := func(pid, prefix string) {
		if b, err := os.ReadFile("/proc/" + pid + "/mountinfo"); err == nil {
			out = append(out, parseMounts(string(b), prefix)...)
		}
	}
	add("self", "")
	procs, _ := os.ReadDir("/proc")
	for _, p := range procs {
		if _, err := strconv.Atoi(p.Name()); err != nil || len(seen) > maxNamespaces {
			continue
		}
		ns, err := os.Readlink("/proc/" + p.Name() + "/ns/mnt")
		if err != nil || seen[ns] {
			continue
		}
		seen[ns] = true
		add(p.Name(), "/proc/"+p.Name()+"/root")
	}
	pools := mountedBtrfs()
	for _, m := range out {
		m.findSuper(pools)
	}
	return out
}

// parseMounts reads a mount table. A line that makes no sense is left out, the others count.
func parseMounts(table, prefix string) []*mount {
	var out []*mount
	for line := range strings.Lines(table) {
		infos, err := mountinfo.GetMountsFromReader(strings.NewReader(line), nil)
		if err != nil || len(infos) != 1 || infos[0].ID < 0 {
			continue
		}
		i := infos[0]
		m := &mount{id: uint64(i.ID), dev: fmt.Sprintf("%d:%d", i.Major, i.Minor), root: i.Root, point: i.Mountpoint, kind: i.FSType, source: i.Source, here: prefix == "", prefix: prefix}
		m.readOnly = slices.Contains(strings.Split(i.VFSOptions, ","), "ro")
		switch i.FSType {
		case "btrfs": // subvol= is the last option, and its commas are not escaped
			options, path, _ := strings.Cut(i.VFSOptions, ",subvol=")
			m.subvolume, m.subvolumeID = unescape(path), option(options, "subvolid")
		case "overlay":
			m.upper = unescape(option(i.VFSOptions, "upperdir"))
		}
		out = append(out, m)
	}
	return out
}

func option(options, name string) string {
	for o := range strings.SplitSeq(options, ",") {
		if n, value, ok := strings.Cut(o, "="); ok && n == name {
			return value
		}
	}
	return ""
}

// unescape turns the kernel's \040 back into characters. Anything else after a backslash stays as it is.
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

// findSuper fills in which super block the mount shows.
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

// look asks about a path without waiting for a server that may be dead.
func look(path string) (unix.Statx_t, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &st)
	return st, err
}

// mountOf finds the mount that a path lies on, in whichever namespace: by the number that the kernel gives (Linux 5.8), else
// as the longest mount point here that the path lies below, and of several on one point the last.
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

// open says whether the mount can be got at: nothing is mounted over it, and it is a folder.
func (m *mount) open() bool {
	st, err := look(m.reach())
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && (st.Mask&unix.STATX_MNT_ID == 0 || st.Mnt_id == m.id)
}

// under says whether path is dir or lies below it.
func under(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// MountsOf lists where a device is mounted, in all namespaces; those of others by their path through /proc. Errors:
// VSS_E_OBJECT_NOT_FOUND.
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
