package pool

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// accounts is where a btrfs reports how it uses its space. statfs alone is not enough: it counts neither what waits in
// the page cache for its blocks nor that metadata may run out first, which fails writes just the same.
type accounts struct {
	root  *os.File // anything open on the file system
	sysfs string
	maxID uint64 // of its devices
}

func openAccounts(root *os.File) (*accounts, error) {
	var info struct {
		maxID, devices uint64
		fsid           [16]byte
		_              [992]byte
	}
	if err := ioctl(root.Fd(), btrfsFSInfo, unsafe.Pointer(&info)); err != nil {
		return nil, err
	}
	return &accounts{root, filepath.Join("/sys/fs/btrfs", vss.GUID(info.fsid).Plain(), "allocation"), info.maxID}, nil
}

// number reads one of the kernel's counters; one that this kernel hasn't is 0.
func (a *accounts) number(name string) int64 {
	b, _ := os.ReadFile(filepath.Join(a.sysfs, name))
	n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n
}

// unallocated is the space of all devices that neither data nor metadata has taken yet, in bytes.
func (a *accounts) unallocated() (bytes int64) {
	for id := uint64(1); id <= a.maxID; id++ {
		info := struct {
			id          uint64
			uuid        [16]byte
			used, total uint64
			_           [4096 - 40]byte
		}{id: id}
		if ioctl(a.root.Fd(), btrfsDevInfo, unsafe.Pointer(&info)) == nil {
			bytes += int64(info.total - info.used)
		}
	}
	return bytes
}

// dataPerMetadata is how much data a byte of metadata can describe at worst: an extent of 4 KiB takes about 200 bytes
// in the trees of files, extents and free space.
const dataPerMetadata = 20

// usable returns how many of the free bytes that statfs reports can be written for certain.
func (a *accounts) usable(free int64) int64 {
	free -= a.number("data/bytes_may_use") + a.number("data/bytes_reserved")
	total := a.number("metadata/total_bytes")
	if total == 0 { // data and metadata share their space (mkfs.btrfs --mixed)
		return max(free, 0)
	}
	// Copies of metadata (DUP, RAID1) take their share of what is unallocated.
	spare := int64(float64(a.unallocated()) * float64(total) / float64(max(a.number("metadata/disk_total"), total)))
	spare += total - a.number("metadata/bytes_used") - a.number("global_rsv_size")
	return max(min(free, spare*dataPerMetadata), 0)
}
