// Package loop shows LUNs to hosts on the array's own machine, as loop devices. Target is the array's side; Initiator
// is the host's: it makes this host's loop devices equal to what the array maps to it.
package loop

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/array/loopdev"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Target exports LUNs by the path of their image: any process of this machine that is root could open it, so masking
// is a matter of the hosts' good manners here.
type Target struct{}

// Type is "loop".
func (Target) Type() string { return "loop" }

// Bus is that of disks in files.
func (Target) Bus() vss.BusType { return vss.BusFileBackedVirtual }

// Serves reports true: hosts of other machines don't use this target.
func (Target) Serves(string) bool { return true }

// Export has nothing to do: a host of this machine can open the image.
func (Target) Export(context.Context, array.LUN, array.Backing, string) error { return nil }

// Withdraw has nothing to do: the host has detached its device before the LUN is masked.
func (Target) Withdraw(context.Context, array.LUN, string) error { return nil }

// Address is the image.
func (Target) Address(_ context.Context, _ array.LUN, data array.Backing, _ string) (array.Address, bool) {
	return array.Address{Type: "loop", Path: data.Path, DirectIO: data.DirectIO}, true
}

var _ array.Target = Target{}

// Initiator attaches LUNs to this host.
type Initiator struct{}

// Find returns the loop devices that have the mappings' images, "" where there is none.
func (Initiator) Find(mappings []array.Mapping) (devices []string) {
	paths := make([]string, len(mappings))
	for i, m := range mappings {
		paths[i] = m.Address.Path
	}
	return loopdev.FindAll(paths)
}

// Attach gives a LUN that Find has not found a loop device. Partitions are not added: the disk may need another
// identity first. Errors: VSS_E_MISSING_DISK.
func (Initiator) Attach(_ context.Context, m array.Mapping) (device string, err error) {
	fail := func(err error) (string, error) {
		hint := "is the array's pool mounted? `vss array list` shows it"
		if at := (*fs.PathError)(nil); errors.As(err, &at) && at.Path == loopdev.Control {
			hint = "`modprobe loop` gives this host loop devices (a container must be given them); then `vss lun " +
				"rescan`"
		}
		return "", vss.E("AttachLun", vss.ErrMissingDisk, err).On(m.LUN.Name).Advise(hint)
	}
	image, err := os.OpenFile(m.Address.Path, os.O_RDWR, 0)
	if err != nil {
		return fail(err)
	}
	defer image.Close()
	var flags uint32
	if m.Address.DirectIO {
		flags = unix.LO_FLAGS_DIRECT_IO
	}
	if device, err = loopdev.Attach(image, flags); err != nil {
		return fail(err)
	}
	return device, nil
}

// Detach deletes the partitions and detaches the image. Errors: VDS_E_DEVICE_IN_USE, and the partitions are restored.
func (Initiator) Detach(_ context.Context, device string) error {
	err := disk.DeletePartitions(device)
	if err == nil {
		err = loopdev.Detach(device)
	}
	if err == nil {
		return nil
	}
	if t, e := disk.Read(device); e == nil {
		_, _ = disk.AddPartitions(device, t)
	}
	return vss.E("DetachLun", vss.VDSErrDeviceInUse, err).
		On(device).
		Advise("unmount its volumes and end what has it open first")
}

// Resize makes the device as large as its image.
func (Initiator) Resize(_ context.Context, device string) error {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return vss.E("ResizeLun", vss.ErrUnexpected, err).On(device)
	}
	defer f.Close()
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.LOOP_SET_CAPACITY, 0); e != 0 {
		return vss.E("ResizeLun", vss.ErrUnexpected, e).On(device)
	}
	return nil
}
