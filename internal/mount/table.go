package mount

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// maxNamespaces limits how many other mount namespaces are looked into.
const maxNamespaces = 4096

// Info is one line of a mount table.
type Info struct {
	ID           uint64
	Device       string // MAJ:MIN of the super block; a btrfs has a number of its own
	Root         string // the folder of the file system that is shown
	Point        string // in its namespace
	Type         string
	Source       string
	NoExec       bool   // no program of this mount can be run
	SuperOptions string // of the file system, not of this mount
	Shared       int    // the peer group to which it propagates mounts; 0: none
	Master       int    // the peer group from which it receives mounts; 0: none
	Prefix       string // what leads to the namespace's paths from here: "", or /proc/PID/root
}

// Here reports whether the mount is in this process's namespace.
func (m Info) Here() bool { return m.Prefix == "" }

// Path is the mount's path as this process can use it.
func (m Info) Path() string { return m.Prefix + m.Point }

// ReadOnly reports whether the super block is read-only.
func (m Info) ReadOnly() bool { return slices.Contains(strings.Split(m.SuperOptions, ","), "ro") }

// List returns the mounts of this process's namespace, the oldest first.
func List() []Info { return table("self", "") }

// Of returns the mount that a path lies on. The last component of path is not followed if it is a symbolic link.
func Of(path string) (Info, error) {
	id, err := idAt(path)
	if err != nil {
		return Info{}, err
	}
	for _, m := range List() {
		if m.ID == id {
			return m, nil
		}
	}
	return Info{}, &os.PathError{Op: "find the mount of", Path: path, Err: os.ErrNotExist}
}

// Below returns the mounts of this namespace at dir and below it, the innermost and newest first.
func Below(dir string) []Info {
	var out []Info
	for _, m := range List() {
		if m.Point == dir || strings.HasPrefix(m.Point, strings.TrimSuffix(dir, "/")+"/") {
			out = append(out, m)
		}
	}
	slices.Reverse(out)
	slices.SortStableFunc(out, func(a, b Info) int { return strings.Count(b.Point, "/") - strings.Count(a.Point, "/") })
	return out
}

// All returns the mounts of this namespace, then those of every other one that a process lives in. Tables that can't be
// read are left out: a process may end meanwhile.
func All() []Info {
	out := List()
	self, _ := os.Readlink("/proc/self/ns/mnt")
	seen := map[string]bool{self: true}
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
		out = append(out, table(p.Name(), "/proc/"+p.Name()+"/root")...)
	}
	return out
}

func table(pid, prefix string) []Info {
	b, err := os.ReadFile("/proc/" + pid + "/mountinfo")
	if err != nil {
		return nil
	}
	return Parse(string(b), prefix)
}

// Parse reads the text of a mount table. Lines that make no sense are left out.
func Parse(text, prefix string) []Info {
	infos, err := mountinfo.GetMountsFromReader(strings.NewReader(text), nil)
	if err != nil {
		infos = parseLines(text)
	}
	var out []Info
	for _, i := range infos {
		if i.ID < 0 {
			continue
		}
		out = append(out, Info{
			Shared: group(i.Optional, "shared:"), Master: group(i.Optional, "master:"),
			ID: uint64(i.ID), Device: fmt.Sprintf("%d:%d", i.Major, i.Minor), Root: i.Root, Point: i.Mountpoint,
			Type: i.FSType, Source: i.Source, NoExec: slices.Contains(strings.Split(i.Options, ","), "noexec"),
			SuperOptions: i.VFSOptions, Prefix: prefix,
		})
	}
	return out
}

// parseLines parses a table with lines that make no sense, each by itself, which takes longer.
func parseLines(text string) []*mountinfo.Info {
	var out []*mountinfo.Info
	for line := range strings.Lines(text) {
		if infos, err := mountinfo.GetMountsFromReader(strings.NewReader(line), nil); err == nil {
			out = append(out, infos...)
		}
	}
	return out
}

// group returns a peer group of the optional fields of a mount.
func group(fields, name string) int {
	for f := range strings.FieldsSeq(fields) {
		if n, ok := strings.CutPrefix(f, name); ok {
			id, _ := strconv.Atoi(n)
			return id
		}
	}
	return 0
}

// On reports whether the mount shows a file system on one of these block devices.
func (m Info) On(devices ...string) bool {
	for _, d := range devices {
		number, ok := deviceNumber(d)
		if ok && (number == m.Device || m.Type == "btrfs" && m.onBtrfs(number)) {
			return true
		}
	}
	return false
}

// onBtrfs reports whether the device with this number is one of those of the btrfs that the mount shows.
func (m Info) onBtrfs(number string) bool {
	name := func(number string) string {
		real, err := os.Readlink("/sys/dev/block/" + number)
		if err != nil {
			return ""
		}
		return filepath.Base(real)
	}
	for _, source := range []string{m.Source, m.Prefix + m.Source} {
		its, ok := deviceNumber(source)
		if !ok {
			continue
		}
		if its == number {
			return true
		}
		all, _ := filepath.Glob("/sys/fs/btrfs/*-*/devices/" + name(its))
		for _, p := range all {
			if exists(filepath.Join(filepath.Dir(p), name(number))) {
				return true
			}
		}
	}
	id, ok := m.btrfsID() // the source's name may exist no more
	return ok && exists(filepath.Join("/sys/fs/btrfs", id, "devices", name(number)))
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// btrfsID returns the id of the btrfs that is mounted, as sysfs spells it.
func (m Info) btrfsID() (string, bool) {
	f, err := os.OpenFile(m.Path(), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", false
	}
	defer f.Close()
	if id, err := idAt(byDescriptor(f) + "/."); err != nil || id != m.ID { // another mount covers it
		return "", false
	}
	var info struct { // struct btrfs_ioctl_fs_info_args
		_    [16]byte
		fsid vss.GUID
		_    [992]byte
	}
	const fsInfo = 0x8400941f // _IOR(0x94, 31, 1024 bytes)
	_, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fsInfo, uintptr(unsafe.Pointer(&info)))
	return info.fsid.Plain(), e == 0
}

// deviceNumber returns the MAJ:MIN of a block device.
func deviceNumber(node string) (number string, ok bool) {
	st, err := look(node, 0)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", false
	}
	return fmt.Sprintf("%d:%d", st.Rdev_major, st.Rdev_minor), true
}

// look returns the status of a path without waiting for the server of a network file system.
func look(path string, flags int) (unix.Statx_t, error) {
	var st unix.Statx_t
	flags |= unix.AT_STATX_DONT_SYNC | unix.AT_NO_AUTOMOUNT
	err := unix.Statx(unix.AT_FDCWD, path, flags, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &st)
	return st, err
}

// IsPoint reports whether path is the root of a mount. A symbolic link isn't.
func IsPoint(path string) bool {
	st, err := look(path, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil || st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return false
	}
	if st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
	}
	above, err := look(filepath.Dir(path), 0)
	return err == nil && st.Mnt_id != above.Mnt_id
}

// idAt returns the id of the mount that path lies on.
func idAt(path string) (uint64, error) {
	st, err := look(path, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return 0, &os.PathError{Op: "statx", Path: path, Err: err}
	}
	if st.Mask&unix.STATX_MNT_ID == 0 {
		return 0, &os.PathError{Op: "statx", Path: path, Err: unix.ENOSYS}
	}
	return st.Mnt_id, nil
}
