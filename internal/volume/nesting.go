package volume

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// CheckNesting returns an error for a set in which one volume holds another, since freezing the lower one would block
// the upper one's flush forever, and for one in which a volume holds something that a commit writes to: writes lists
// these files, folders and devices, which need not exist yet. Errors: VSS_E_NESTED_VOLUME_LIMIT. Source:
// AddToSnapshotSet.
func (h *Host) CheckNesting(_ context.Context, vols []*Volume, writes []string) error {
	all := allMounts()
	for _, v := range vols {
		v.below = chain(v.Devices, all, 0)
	}
	return checkNesting(vols, all, writes)
}

// CheckAdded is CheckNesting for a volume that is added to a set: what the others lie on was determined when they were
// added, and is determined again by CheckNesting only.
func (h *Host) CheckAdded(_ context.Context, set []*Volume, v *Volume, writes []string) error {
	all := v.found
	if all == nil {
		all = allMounts()
	}
	vols := append(slices.Clone(set), v)
	for _, o := range vols {
		if o.below == nil {
			o.below = chain(o.Devices, all, 0)
		}
	}
	v.found = nil
	return checkNesting(vols, all, writes)
}

// checkNesting compares volumes whose chains are known.
func checkNesting(vols []*Volume, all []*mount, writes []string) error {
	supers := map[string]*Volume{}
	for _, v := range vols {
		supers[v.SuperKey] = v
	}
	for _, v := range vols {
		for _, below := range v.below {
			if o := supers[below]; o != nil && o.SuperKey != v.SuperKey {
				return vss.E("AddToSnapshotSet", vss.ErrNestedVolumeLimit, fmt.Errorf("%s lies on %s", v.Name, o.Name)).
					On(v.Name).
					Advise("create the two copies in separate sets")
			}
		}
	}
	for _, w := range writes {
		for _, k := range chainOfPath(w, all, 0) {
			if o := supers[k]; o != nil {
				return vss.E("AddToSnapshotSet", vss.ErrNestedVolumeLimit,
					fmt.Errorf("%s holds %s, which the creation writes to", o.Name, w)).
					On(o.Name).
					Advise("a volume that holds a storage pool can't be in a set; use another provider for it, or " +
						"move the pool")
			}
		}
	}
	return nil
}

// chain returns the keys of everything that devices lie on, through partitions, device-mapper, md and the files behind
// loop devices: devices by their number, file systems by their super block.
func chain(devices []string, all []*mount, depth int) []string {
	var out []string
	if depth > maxDepth {
		return out
	}
	for _, d := range devices {
		if dev, err := devOf(d); err == nil {
			out = append(out, "dev:"+dev)
		}
		below, _ := lower(d)
		out = append(out, chain(below, all, depth+1)...)
		out = append(out, behindLoop(d, all, depth+1)...)
	}
	return out
}

// chainOfPath returns the chain of a path: its super block and everything below.
func chainOfPath(path string, all []*mount, depth int) []string {
	path, err := filepath.Abs(path)
	if err != nil || depth > maxDepth {
		return nil
	}
	st, err := look(path)
	for err != nil && path != "/" { // a path that doesn't exist will be created in the nearest folder that does
		path = filepath.Dir(path)
		st, err = look(path)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		return chain([]string{deviceNode(fmt.Sprintf("%d:%d", st.Rdev_major, st.Rdev_minor))}, all, depth+1)
	}
	m, ok := mountOf(path, all)
	if !ok {
		return nil
	}
	return chainOfMount(m, all, depth)
}

func chainOfMount(m *mount, all []*mount, depth int) []string {
	switch {
	case m.local():
		return append([]string{m.superKey}, chain(m.devices, all, depth+1)...)
	case m.upper != "":
		return chainOfPath(m.prefix+m.upper, all, depth+1)
	}
	return nil
}

// behindLoop returns the chain of the file or device behind a loop device. The kernel reports its file system by
// number; for file systems without a number of their own the file's name is used, which fails if the file was deleted.
func behindLoop(device string, all []*mount, depth int) []string {
	name, err := os.ReadFile(sysPath(device) + "/loop/backing_file")
	if err != nil {
		return nil
	}
	f, err := os.Open(device)
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err != nil {
		return nil
	}
	for _, number := range []uint64{info.Rdevice, info.Device} { // a device behind it, or a file on a device
		if unix.Major(number) != 0 {
			return chain([]string{deviceNode(fmt.Sprintf("%d:%d", unix.Major(number), unix.Minor(number)))}, all, depth)
		}
	}
	file := strings.TrimSuffix(strings.TrimSuffix(string(name), "\n"), " (deleted)")
	same := func(path string, inode bool) bool {
		var st unix.Stat_t
		return unix.Stat(path, &st) == nil && st.Dev == info.Device && (!inode || st.Ino == info.Inode)
	}
	for _, prefix := range prefixes(all) {
		if same(prefix+file, true) {
			return chainOfPath(prefix+file, all, depth)
		}
	}
	for _, m := range all { // for a deleted file: on one of the mounts, or in its former folder
		if (m.kind == "btrfs" || m.kind == "overlay") && m.open() && same(m.reach(), false) {
			return chainOfMount(m, all, depth)
		}
	}
	for _, prefix := range prefixes(all) {
		if dir := prefix + filepath.Dir(file); same(dir, false) {
			return chainOfPath(dir, all, depth)
		}
	}
	return nil
}

// prefixes returns the roots of the mount namespaces, this one's first.
func prefixes(all []*mount) []string {
	out := []string{""}
	for _, m := range all {
		if !slices.Contains(out, m.prefix) {
			out = append(out, m.prefix)
		}
	}
	return out
}
