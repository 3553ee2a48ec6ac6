package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Renewable reports whether SetFileSystemUUID can change the UUID of a type of file system.
func Renewable(fileSystem string) bool {
	return slices.Contains([]string{"ext2", "ext3", "ext4", "xfs"}, fileSystem)
}

// SetFileSystemUUID gives an ext or XFS file system a UUID. Its log is replayed first, and the id is read back. A
// file system that has the UUID already is left with an empty log. After a power cut in between,
// RestoreFileSystemUUID repairs it. Errors: VSS_E_CANNOT_REVERT_DISKID.
func SetFileSystemUUID(ctx context.Context, device, uuid string) error {
	return setFileSystemUUID(ctx, device, uuid, false)
}

// RestoreFileSystemUUID is SetFileSystemUUID for a file system whose UUID was being set when the power failed:
// an ext of old forms, in which the checksums of group descriptors contain the UUID, is repaired first if the
// kernel refuses it.
func RestoreFileSystemUUID(ctx context.Context, device, uuid string) error {
	return setFileSystemUUID(ctx, device, uuid, true)
}

func setFileSystemUUID(ctx context.Context, device, uuid string, repair bool) error {
	bad := func(err error) error {
		return vss.E("SetFileSystemUUID", vss.ErrCannotRevertDiskID, err).
			On(device).
			Advise("the file system keeps its former UUID; check it with fsck")
	}
	fs, err := ProbeFileSystem(device)
	if err != nil {
		return bad(err)
	}
	if !Renewable(fs.Type) {
		return bad(fmt.Errorf("a file system of type %q is not re-identified this way", fs.Type))
	}
	if fs.Outside != "" { // the log that is replayed would be the original's
		return bad(fmt.Errorf("the file system needs %s", fs.Outside))
	}
	if err := ctx.Err(); err != nil {
		return bad(err)
	}
	output := ""
	if err = replay(device, fs.Type); err != nil && repair && fs.Type != "xfs" {
		if _, err = tool(ctx, 1, "e2fsck", "-f", "-y", device); err == nil { // 1: something was repaired
			fs, err = ProbeFileSystem(device)
		}
	}
	switch {
	case err != nil || fs.UUID == uuid:
	case fs.Type == "xfs":
		if err = writeXFSUUID(device, uuid); err == nil {
			err = replay(device, fs.Type) // which gives the log the UUID
		}
	default:
		output, err = setExtUUID(ctx, device, fs, uuid)
	}
	if err != nil {
		return bad(err)
	}
	if fs, err = ProbeFileSystem(device); err != nil || fs.UUID != uuid {
		return bad(fmt.Errorf("read back UUID %s, wrote %s: %s", fs.UUID, uuid, output))
	}
	return nil
}

// setExtUUID changes nothing but the superblock: where all checksums are computed from the UUID, tune2fs would write
// each of them anew, and a power cut in between would leave files that fsck takes for damaged. So they are first tied
// to the former UUID.
func setExtUUID(ctx context.Context, device string, fs FileSystem, uuid string) (output string, err error) {
	if fs.Checksums && !fs.ChecksumSeed {
		if output, err = tool(ctx, 0, "tune2fs", "-O", "metadata_csum_seed", device); err != nil {
			return output, err
		}
	}
	return tool(ctx, 0, "tune2fs", "-f", "-U", uuid, device)
}

func writeXFSUUID(device, uuid string) error {
	id, err := vss.ParseGUID(uuid)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(device, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(setXFSUUID(f, id), f.Close()); err != nil {
		return err
	}
	return waitUnused(device)
}

// tool runs a program, whose exit code may be at most ok, and returns its output.
func tool(ctx context.Context, ok int, name string, args ...string) (output string, err error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	output = string(bytes.TrimSpace(out))
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() && exit.ExitCode() <= ok {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", name, err, output)
	}
	return output, err
}

// replay makes the kernel replay the log of a file system.
func replay(device, fsType string) error {
	switch fsType {
	case "ext2": // which has no log
		return nil
	case "ext3":
		fsType = "ext4" // whose driver takes it
	}
	var flags []string
	if fsType == "xfs" {
		flags = []string{"nouuid"}
	}
	if err := mount.Load(fsType, device, flags...); err != nil {
		return fmt.Errorf("replay the log: %w", err)
	}
	return waitUnused(device)
}

// waitUnused waits until a device that we have closed isn't in use: a program that was being started in that moment
// has our descriptor until it runs.
func waitUnused(device string) error {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if err := checkUnused(device); !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return err
		}
	}
}

// checkUnused returns EBUSY if a block device is in use.
func checkUnused(device string) error {
	syscall.ForkLock.RLock() // or a program that is being started would inherit the descriptor
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Open(device, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	return unix.Close(fd)
}
