package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	blkpgAdd    = 1
	blkpgDel    = 2
	blkpgResize = 3
)

// PartitionNode names a partition's device: /dev/sda and 1 give /dev/sda1, /dev/loop3 and 1 give /dev/loop3p1.
func PartitionNode(device string, number int) string {
	if c := device[len(device)-1]; c >= '0' && c <= '9' {
		device += "p"
	}
	return device + strconv.Itoa(number)
}

// kernelPartition is a partition as the kernel has it now.
type kernelPartition struct {
	number      int
	start, size int64
}

func kernelPartitions(device string) []kernelPartition {
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return nil
	}
	dir := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	real, err := os.Readlink(dir)
	if err != nil {
		return nil
	}
	entries, _ := os.ReadDir(dir + "/")
	var out []kernelPartition
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), filepath.Base(real)) { // a partition's name begins with its disk's
			continue
		}
		d := dir + "/" + e.Name()
		if n := sysNumber(d + "/partition"); n > 0 {
			out = append(
				out, kernelPartition{int(n), sysNumber(d+"/start") * sysSector, sysNumber(d+"/size") * sysSector},
			)
		}
	}
	slices.SortFunc(out, func(a, b kernelPartition) int { return a.number - b.number })
	return out
}

// sysSector is the unit of sizes in /sys, independent of the disk's sectors.
const sysSector = 512

func sysNumber(path string) int64 {
	b, _ := os.ReadFile(path)
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}

func blkpg(f *os.File, op int32, p kernelPartition) error {
	part := unix.BlkpgPartition{Start: p.start, Length: p.size, Pno: int32(p.number)}
	arg := unix.BlkpgIoctlArg{Op: op, Datalen: int32(unsafe.Sizeof(part)), Data: (*byte)(unsafe.Pointer(&part))}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg))); e != 0 {
		return e
	}
	return nil
}

// nodeWait is how long a new partition's device node may take to appear.
const nodeWait = 2 * time.Second

// AddPartitions makes the kernel know the table's partitions, as a kernel without partition parsers does not by
// itself. It leaves alone what is right already, stretches or shortens in place, also when mounted, what only changed
// its size, takes away what the table doesn't have (any more, or there), and returns the nodes in the order of the
// table, without extended partitions. Errors: VSS_E_VOLUME_IN_USE for a stale partition that is in use.
func AddPartitions(device string, t *Table) ([]string, error) {
	f, err := os.Open(device)
	if err != nil {
		return nil, openError("AddPartitions", device, err)
	}
	defer f.Close()
	for _, k := range kernelPartitions(device) {
		if slices.ContainsFunc(t.Partitions, k.is) {
			continue
		}
		i := slices.IndexFunc(
			t.Partitions,
			func(p Partition) bool { return p.Number == k.number && p.Start == k.start },
		)
		if i >= 0 && blkpg(f, blkpgResize, kernelPartition{k.number, k.start, t.Partitions[i].Size}) == nil {
			continue
		}
		if err := blkpg(f, blkpgDel, k); err != nil && !errors.Is(err, unix.ENXIO) {
			return nil, vss.E("AddPartitions", vss.ErrVolumeInUse, err).
				On(PartitionNode(device, k.number)).
				Advise("unmount it; the kernel has it at another place than the table")
		}
	}
	var nodes []string
	for _, p := range t.Partitions {
		if extended(p.TypeMBR) {
			continue
		}
		node := PartitionNode(device, p.Number)
		want := kernelPartition{p.Number, p.Start, p.Size}
		if !slices.Contains(kernelPartitions(device), want) {
			// another process may add it at the same moment
			if err := blkpg(f, blkpgAdd, want); err != nil && !slices.Contains(kernelPartitions(device), want) {
				return nil, vss.E("AddPartitions", vss.ErrUnexpected, err).On(node)
			}
		}
		nodes = append(nodes, node)
	}
	deadline := time.Now().Add(nodeWait)
	for _, n := range nodes {
		for {
			if _, err := os.Stat(n); err == nil {
				break
			}
			if time.Now().After(deadline) {
				return nil, vss.E("AddPartitions", vss.ErrUnexpected, fmt.Errorf("no device node after %v", nodeWait)).
					On(n)
			}
			time.Sleep(time.Millisecond)
		}
	}
	return nodes, nil
}

// is reports whether the kernel's partition is that of the table. Kernels show an extended partition too short on
// purpose.
func (k kernelPartition) is(p Partition) bool {
	return k.number == p.Number && k.start == p.Start && (k.size == p.Size || extended(p.TypeMBR))
}

// lookIn is how long a partition may be busy because another process reads it, as udev does with new ones.
const lookIn = time.Second

// DeletePartitions makes the kernel forget a disk's partitions. They would survive a loop device's detaching and
// overlay the next file on its number. Errors: VSS_E_VOLUME_IN_USE.
func DeletePartitions(device string) error {
	f, err := os.Open(device)
	if err != nil {
		return openError("DeletePartitions", device, err)
	}
	defer f.Close()
	for _, p := range kernelPartitions(device) {
		err := blkpg(f, blkpgDel, p)
		end := time.Now().Add(lookIn)
		for ; errors.Is(err, unix.EBUSY) && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			err = blkpg(f, blkpgDel, p)
		}
		if err != nil && !errors.Is(err, unix.ENXIO) {
			return vss.E("DeletePartitions", vss.ErrVolumeInUse, err).
				On(PartitionNode(device, p.number)).
				Advise("unmount it first")
		}
	}
	return nil
}

// Nodes are the disk itself and, behind it, the partitions that the kernel knows of it.
func Nodes(device string) []string {
	out := []string{device}
	for _, p := range kernelPartitions(device) {
		out = append(out, PartitionNode(device, p.number))
	}
	return out
}

// SetReadOnly makes a disk and its partitions refuse writes, or take them again, until the next time they appear.
// Errors: VSS_E_OBJECT_NOT_FOUND.
func SetReadOnly(device string, ro bool) error {
	v := 0
	if ro {
		v = 1
	}
	for _, n := range Nodes(device) {
		f, err := os.Open(n)
		if err != nil {
			return openError("SetReadOnly", n, err)
		}
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.BLKROSET, v)
		f.Close()
		if err != nil {
			return vss.E("SetReadOnly", vss.ErrUnexpected, err).On(n)
		}
	}
	return nil
}

// ReadOnly reports whether a device refuses writes.
func ReadOnly(device string) bool {
	f, err := os.Open(device)
	if err != nil {
		return false
	}
	defer f.Close()
	v, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKROGET)
	return err == nil && v != 0
}
