package vds

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/disk"
)

// sysPath is where sysfs describes a device.
func sysPath(node string) string {
	return "/sys/class/block/" + strings.ReplaceAll(strings.TrimPrefix(node, "/dev/"), "/", "!")
}

func nodeOf(name string) string { return "/dev/" + strings.ReplaceAll(name, "!", "/") }

func sysNumber(path string) int64 {
	b, _ := os.ReadFile(path)
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}

// sequence is the kernel's number of what a disk holds: another one each time that a disk appears, even under the
// same name. 0 if the kernel doesn't report it.
func sequence(device string) uint64 { return uint64(sysNumber(sysPath(device) + "/diskseq")) }

// sizeOf is a disk's size in bytes.
func sizeOf(device string) int64 { return sysNumber(sysPath(device)+"/size") * 512 }

// wholeDisk returns the disk that a device node, by any path, is or is a partition of.
func wholeDisk(path string) (device string, ok bool) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", false
	}
	real, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)))
	if err != nil {
		return "", false
	}
	if _, err := os.Stat(real + "/partition"); err == nil {
		real = filepath.Dir(real)
	}
	return nodeOf(filepath.Base(real)), true
}

// partitions lists the partitions that the kernel has of a disk.
func partitions(device string) []string {
	name := filepath.Base(sysPath(device))
	entries, _ := os.ReadDir(sysPath(device) + "/")
	var out []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), name) {
			out = append(out, nodeOf(e.Name()))
		}
	}
	return out
}

// partitionAt is the kernel's partition at a place of a disk, in bytes.
func partitionAt(device string, start, size int64) (node string, ok bool) {
	for _, n := range partitions(device) {
		if sysNumber(sysPath(n)+"/start")*512 == start && sizeOf(n) == size {
			return n, true
		}
	}
	return "", false
}

// claimed returns those of a disk's nodes that are open exclusively: by a mount, a device made of them, swap.
func claimed(device string) []string {
	return slices.DeleteFunc(disk.Nodes(device), func(n string) bool {
		fd, err := unix.Open(n, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Close(fd)
		}
		return err != unix.EBUSY
	})
}

// holders returns the names of the devices that lie on a device: LVM, md and others.
func holders(node string) []string {
	var out []string
	entries, _ := os.ReadDir(sysPath(node) + "/holders")
	for _, e := range entries {
		name := e.Name()
		if b, err := os.ReadFile("/sys/class/block/" + name + "/dm/name"); err == nil {
			name += " (" + strings.TrimSpace(string(b)) + ")"
		}
		out = append(out, name)
	}
	return out
}
