package pool

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctls of btrfs and of files that x/sys does not name. Source: linux/btrfs.h, linux/fs.h, linux/fiemap.h.
const (
	btrfsSubvolCreate = 0x5000940e
	btrfsSnapDestroy  = 0x5000940f
	btrfsSnapCreateV2 = 0x50009417
	btrfsResize       = 0x50009403
	btrfsStartSync    = 0x80089418
	btrfsWaitSync     = 0x40089416
	btrfsFSInfo       = 0x8400941f
	btrfsDevInfo      = 0xd000941e
	fsIocGetFlags     = 0x80086601
	fsIocSetFlags     = 0x40086602
	fsNoCOW           = 0x00800000
	fsIocFiemap       = 0xc020660b
	fiemapSync        = 1
	extentLast        = 1
	extentShared      = 0x2000
)

// volArgs is struct btrfs_ioctl_vol_args.
type volArgs struct {
	fd   int64
	name [4088]byte
}

// volArgsV2 is struct btrfs_ioctl_vol_args_v2.
type volArgsV2 struct {
	fd      int64
	transid uint64
	flags   uint64
	unused  [4]uint64
	name    [4040]byte
}

func ioctl(fd uintptr, request uint, arg unsafe.Pointer) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(arg)); e != 0 {
		return e
	}
	return nil
}

// subvolume creates or destroys a subvolume in a folder.
func subvolume(request uint, dir, name string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	var a volArgs
	copy(a.name[:], name)
	err = ioctl(f.Fd(), request, unsafe.Pointer(&a))
	if errors.Is(err, unix.ENOENT) {
		return os.ErrNotExist
	}
	return err
}

// commit ends the running transaction of a btrfs and waits for it. It writes no file's dirty data.
func commit(f *os.File) error {
	var transid uint64
	if err := ioctl(f.Fd(), btrfsStartSync, unsafe.Pointer(&transid)); err != nil {
		return err
	}
	return ioctl(f.Fd(), btrfsWaitSync, unsafe.Pointer(&transid))
}

// setNoCOW makes what is created in a folder (or the empty file itself) be overwritten in place where it isn't shared.
func setNoCOW(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var flags int64
	if err := ioctl(f.Fd(), fsIocGetFlags, unsafe.Pointer(&flags)); err != nil {
		return err
	}
	if flags&fsNoCOW != 0 {
		return nil
	}
	flags |= fsNoCOW
	return ioctl(f.Fd(), fsIocSetFlags, unsafe.Pointer(&flags))
}

// extent is one run of a file's blocks.
type extent struct {
	logical, physical, length uint64
	_                         [2]uint64
	flags                     uint32
	_                         [3]uint32
}

// fiemap is struct fiemap with room for extents.
type fiemap struct {
	start, length         uint64
	flags, mapped, extent uint32
	_                     uint32
	extents               [256]extent
}

// extents calls f for each run of a file's blocks from an offset on, until f returns false.
func extents(f *os.File, from uint64, each func(extent) bool) error {
	m := new(fiemap)
	for {
		m.start, m.length, m.flags, m.extent = from, ^uint64(0)-from, fiemapSync, uint32(len(m.extents))
		if err := ioctl(f.Fd(), fsIocFiemap, unsafe.Pointer(m)); err != nil {
			return err
		}
		if m.mapped == 0 {
			return nil
		}
		for _, e := range m.extents[:m.mapped] {
			if !each(e) || e.flags&extentLast != 0 {
				return nil
			}
			from = e.logical + e.length
		}
	}
}
