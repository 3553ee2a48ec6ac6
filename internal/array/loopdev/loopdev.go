// Package loopdev binds files to loop devices on a machine where others do the same at the same time. A loop device
// is claimed exclusively before anything about it is looked at or changed, so that no other process's device is ever
// touched.
package loopdev

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/disk"
)

// Control is the node that gives out loop devices. It isn't there where the kernel's module isn't loaded, or in a
// container that wasn't given it.
const Control = "/dev/loop-control"

// tries is how many device numbers are tried when others are taken in the same moment.
const tries = 256

// Attach binds a file to a free loop device and returns its node. Flags are LO_FLAGS_*. Partitions that a former user
// of the number left behind are deleted first: they would overlay the new file.
func Attach(file *os.File, flags uint32) (device string, err error) {
	control, err := os.OpenFile(Control, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close()
	last := -1
	for range tries {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return "", err
		}
		if n <= last { // free for the kernel, but it or an old partition is in use: try the next number
			n = last + 1
			if err := unix.IoctlSetInt(int(control.Fd()), unix.LOOP_CTL_ADD, n); err != nil &&
				!errors.Is(err, unix.EEXIST) {
				return "", err
			}
		}
		last = n
		device = fmt.Sprintf("/dev/loop%d", n)
		err = configure(device, file, flags)
		if err == nil {
			return device, nil
		}
		switch { // taken in between; or its node is there before the device is, or after it
		case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOENT):
			time.Sleep(time.Millisecond)
		case !errors.Is(err, unix.EBUSY):
			return "", err
		}
	}
	return "", errors.New("no loop device is free")
}

func configure(device string, file *os.File, flags uint32) error {
	f, err := os.OpenFile(device, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := unix.IoctlLoopGetStatus64(int(f.Fd())); err == nil {
		return unix.EBUSY
	}
	if err := disk.DeletePartitions(device); err != nil {
		return unix.EBUSY
	}
	if err := disk.SetReadOnly(device, false); err != nil { // the flag outlives the file that it was set for
		return err
	}
	cfg := unix.LoopConfig{Fd: uint32(file.Fd()), Size: 512}
	cfg.Info.Flags = flags
	copy(cfg.Info.File_name[:63], file.Name())
	if err := unix.IoctlLoopConfigure(int(f.Fd()), &cfg); err != nil {
		return err
	}
	return writable(f)
}

// writable ends what BLKROSET did to a device: it stays with the device when the file is detached, and would apply to
// the next file.
func writable(f *os.File) error { return unix.IoctlSetPointerInt(int(f.Fd()), unix.BLKROSET, 0) }

// Detach detaches a loop device's file and returns when it is detached. Errors: EBUSY while the device is mounted or
// claimed.
func Detach(device string) error {
	f, err := os.OpenFile(device, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		return err
	}
	if err = writable(f); err == nil {
		err = unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0)
	}
	f.Close()
	if err != nil && !errors.Is(err, unix.ENXIO) {
		return err
	}
	for end := time.Now().Add(5 * time.Second); Backing(device) != ""; time.Sleep(time.Millisecond) {
		if time.Now().After(end) { // it is open; the kernel detaches the file when it is closed
			return unix.EBUSY
		}
	}
	return nil
}

// Backing returns the path of the file behind a loop device, "" for none. The kernel adds " (deleted)" to a deleted
// file's path. It makes as few system calls as it can: hundreds of devices are looked through whenever a LUN is
// attached.
func Backing(device string) string {
	fd, err := unix.Open("/sys/block/"+filepath.Base(device)+"/loop/backing_file", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	var b [unix.PathMax + 64]byte
	n, _ := unix.Read(fd, b[:]) // a file in sysfs is read at once
	return strings.TrimSuffix(string(b[:max(n, 0)]), "\n")
}

// Find returns the loop device that a file is bound to, by the file's identity: it works whichever process bound it,
// and wherever the path was spelt differently, as long as the file and the two folders above it have the same names.
func Find(path string) (device string, ok bool) {
	device = FindAll([]string{path})[0]
	return device, device != ""
}

// FindAll is Find for many files, of which each device is compared with all. It returns "" for a file that no device
// has.
func FindAll(paths []string) []string {
	devices := make([]string, len(paths))
	wanted := map[string][]int{} // indexes in paths by their ends
	files := make([]unix.Stat_t, len(paths))
	for i, path := range paths {
		if err := unix.Stat(path, &files[i]); err != nil {
			continue
		}
		if real, err := filepath.EvalSymlinks(path); err == nil {
			wanted[tail(real)] = append(wanted[tail(real)], i)
		}
	}
	if len(wanted) == 0 {
		return devices
	}
	all, _ := os.ReadDir("/sys/block")
	for _, e := range all {
		if !strings.HasPrefix(e.Name(), "loop") {
			continue
		}
		device := "/dev/" + e.Name()
		candidates := wanted[tail(Backing(device))]
		if len(candidates) == 0 {
			continue // don't open what can't be it: hundreds of LUNs are all called image
		}
		f, err := os.Open(device)
		if err != nil {
			continue
		}
		info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
		f.Close()
		for _, i := range candidates {
			if err == nil && devices[i] == "" && info.Inode == files[i].Ino && info.Device == files[i].Dev {
				devices[i] = device
			}
		}
	}
	return devices
}

// tail is the end of a path: the file's name and those of two folders above it.
func tail(path string) string {
	at := len(path)
	for range 3 {
		if at = strings.LastIndexByte(path[:at], '/'); at <= 0 {
			return path
		}
	}
	return path[at:]
}
