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

// maxDepth is how many layers of devices, and of loop devices over file systems, are walked down. Linux has no cycles in
// them; a limit makes sure.
const maxDepth = 16

// run is a stretch of a disk, in bytes.
type run struct {
	disk          string
	start, length int64
}

// bottom walks a device down to its disks, through partitions and the devices below device-mapper and md. A loop device is a
// disk, since it may be a LUN; so is a multipath map, whose paths are one LUN. A partition is where it lies on its disk;
// device-mapper and md spread a volume in ways that sysfs doesn't tell: their disks, or the partitions that they are on,
// count in full.
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

// lower lists the devices that a device lies on: the disk of a partition (parent is true), what device-mapper and md use,
// none for a disk.
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

// locate fills in disks and extents.
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

// nodeOf is the device node of a name in sysfs, where "!" stands for "/".
func nodeOf(name string) string { return "/dev/" + strings.ReplaceAll(name, "!", "/") }

// sysPath is where sysfs describes a device.
func sysPath(node string) string {
	return "/sys/class/block/" + strings.ReplaceAll(strings.TrimPrefix(node, "/dev/"), "/", "!")
}

func sysNumber(path string) int64 {
	b, _ := os.ReadFile(path)
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}

// blockDevices are the nodes of all devices that hold something.
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

// devOf is the number, MAJ:MIN, of a device node.
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

// deviceNode names the device of a number.
func deviceNode(dev string) string {
	real, err := os.Readlink("/sys/dev/block/" + dev)
	if err != nil {
		return "/dev/block/" + dev
	}
	return nodeOf(filepath.Base(real))
}
