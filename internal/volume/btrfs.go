package volume

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// pool is a mounted btrfs: its ID and its devices in the order of their device IDs.
type pool struct {
	fsid    string
	devices []string
}

// mountedBtrfs returns the mounted btrfs by device, as reported by the kernel. Superblocks don't suffice: devices of
// an unmounted copy have the same content.
func mountedBtrfs() map[string]*pool {
	out := map[string]*pool{}
	dirs, _ := filepath.Glob("/sys/fs/btrfs/*-*/devices")
	for _, d := range dirs {
		p := &pool{fsid: filepath.Base(filepath.Dir(d))}
		names, _ := os.ReadDir(d)
		for _, n := range names {
			p.devices = append(p.devices, nodeOf(n.Name()))
			out[nodeOf(n.Name())] = p
		}
		if len(p.devices) > 1 {
			sortByID(p.devices)
		}
	}
	return out
}

func sortByID(devices []string) {
	ids := map[string]uint64{}
	for _, d := range devices {
		fs, _ := disk.ProbeFileSystem(d) // one that can't be read sorts first
		ids[d] = fs.DeviceID
	}
	slices.SortFunc(devices, func(a, b string) int { return cmp.Or(cmp.Compare(ids[a], ids[b]), cmp.Compare(a, b)) })
}

// pool returns the btrfs that the mount shows: by its source, a name in the mount's own namespace, or otherwise by
// asking the file system, since that name may no longer exist.
func (m *mount) pool(pools map[string]*pool) *pool {
	for _, source := range []string{m.source, m.prefix + m.source} {
		if dev, err := devOf(source); err == nil && pools[deviceNode(dev)] != nil {
			return pools[deviceNode(dev)]
		}
	}
	if len(pools) == 0 || !m.open() {
		return nil
	}
	f, err := os.Open(m.reach())
	if err != nil {
		return nil
	}
	defer f.Close()
	id, err := btrfsFSID(f)
	if err != nil {
		return nil
	}
	for _, p := range pools {
		if strings.EqualFold(p.fsid, id.Plain()) {
			return p
		}
	}
	return nil
}

// btrfsDevices returns all devices of the unmounted btrfs that device belongs to. If two have the same device ID,
// device takes precedence.
func btrfsDevices(device string, fs disk.FileSystem, all []*mount) []string {
	out := []string{device}
	if fs.Devices <= 1 {
		return out
	}
	have := map[uint64]bool{fs.DeviceID: true}
	for _, d := range blockDevices() {
		if !hasBtrfs(d) || slices.ContainsFunc(all, func(m *mount) bool { return slices.Contains(m.devices, d) }) {
			continue
		}
		if o, err := disk.ProbeFileSystem(d); err == nil && o.FSID == fs.FSID && o.MetadataUUID == fs.MetadataUUID &&
			!have[o.DeviceID] {
			have[o.DeviceID] = true
			out = append(out, d)
		}
	}
	sortByID(out)
	return out
}

// hasBtrfs looks only for the magic of a btrfs superblock, as probing a device completely takes longer.
func hasBtrfs(device string) bool {
	f, err := os.Open(device)
	if err != nil {
		return false
	}
	defer f.Close()
	magic := make([]byte, 8)
	_, err = f.ReadAt(magic, 64<<10+64)
	return err == nil && string(magic) == "_BHRfS_M"
}

// btrfsFSInfo is struct btrfs_ioctl_fs_info_args, of which only the ID is used.
type btrfsFSInfo struct {
	_    [16]byte
	fsid [16]byte
	_    [992]byte
}

const btrfsIocFSInfo = 0x8400941f // _IOR(0x94, 31, 1024 bytes)

// btrfsFSID returns the ID of a mounted btrfs.
func btrfsFSID(f *os.File) (vss.GUID, error) {
	var info btrfsFSInfo
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), btrfsIocFSInfo, uintptr(unsafe.Pointer(&info))); e != 0 {
		return vss.GUID{}, e
	}
	return vss.GUID(info.fsid), nil
}
