package volume

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// maxDepth limits the layers of devices, and of loop devices on file systems, that are followed. Linux has no cycles
// in them; the limit ensures an end in any case.
const maxDepth = 16

// run is a range of a disk, in bytes.
type run struct {
	disk          string
	start, length int64
}

// bottom follows a device down to its disks, through partitions and the devices below device-mapper and md. A loop
// device counts as a disk, since it may be a LUN; so does a multipath map, whose paths lead to one LUN. A partition is
// a range of its disk. Device-mapper and md distribute a volume in ways that sysfs doesn't show, so their disks, or
// the partitions they use, count in full.
func bottom(device string, depth int) []run {
	below, parent := lower(device)
	sys := sysPath(device)
	if len(below) == 0 || depth > maxDepth {
		return []run{{device, 0, sysNumber(sys+"/size") * 512}}
	}
	if parent {
		on := bottom(below[0], depth+1)
		if len(on) == 1 && on[0].disk == below[0] {
			return []run{{on[0].disk, sysNumber(sys+"/start") * 512, sysNumber(sys+"/size") * 512}}
		}
		return on
	}
	var out []run
	for _, d := range below {
		for _, r := range bottom(d, depth+1) {
			if !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
	}
	return out
}

// lower returns the devices that a device lies on: the disk of a partition (parent is true), the devices that
// device-mapper and md use, none for a disk.
func lower(device string) (below []string, parent bool) {
	sys := sysPath(device)
	if _, err := os.Stat(sys + "/partition"); err == nil {
		real, err := filepath.EvalSymlinks(sys)
		if err != nil {
			return nil, false
		}
		return []string{nodeOf(filepath.Base(filepath.Dir(real)))}, true
	}
	if id, err := os.ReadFile(sys + "/dm/uuid"); err == nil && strings.HasPrefix(string(id), "mpath-") {
		return nil, false
	}
	slaves, _ := os.ReadDir(sys + "/slaves")
	for _, s := range slaves {
		below = append(below, nodeOf(s.Name()))
	}
	return below, false
}

// locate sets disks and extents.
func (v *Volume) locate() {
	for _, d := range v.Devices {
		for _, r := range bottom(d, 0) {
			i := slices.Index(v.Disks, r.disk)
			if i < 0 {
				i = len(v.Disks)
				v.Disks = append(v.Disks, r.disk)
			}
			if e := (vss.Extent{LUN: i, Start: r.start, Length: r.length}); !slices.Contains(v.Extents, e) {
				v.Extents = append(v.Extents, e)
			}
		}
	}
}

// nodeOf returns the device node for a name in sysfs, where "!" stands for "/".
func nodeOf(name string) string { return "/dev/" + strings.ReplaceAll(name, "!", "/") }

// sysPath returns the folder of a device in sysfs.
func sysPath(node string) string {
	return "/sys/class/block/" + strings.ReplaceAll(strings.TrimPrefix(node, "/dev/"), "/", "!")
}

func sysNumber(path string) int64 {
	b, _ := os.ReadFile(path)
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}

// blockDevices returns the nodes of all devices with a size.
func blockDevices() []string {
	var out []string
	names, _ := os.ReadDir("/sys/class/block")
	for _, n := range names {
		if d := nodeOf(n.Name()); sysNumber(sysPath(d)+"/size") > 0 {
			out = append(out, d)
		}
	}
	return out
}

// devOf returns the number, MAJ:MIN, of a device node.
func devOf(node string) (string, error) {
	st, err := look(node)
	if err != nil {
		return "", &os.PathError{Op: "stat", Path: node, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", fmt.Errorf("%s is not a block device", node)
	}
	return fmt.Sprintf("%d:%d", st.Rdev_major, st.Rdev_minor), nil
}

// deviceNode returns the node of a device number.
func deviceNode(dev string) string {
	real, err := os.Readlink("/sys/dev/block/" + dev)
	if err != nil {
		return "/dev/block/" + dev
	}
	return nodeOf(filepath.Base(real))
}
