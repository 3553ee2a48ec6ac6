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

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Renewable says whether SetFileSystemUUID can do it.
func Renewable(fileSystem string) bool {
	return slices.Contains([]string{"ext2", "ext3", "ext4", "xfs"}, fileSystem)
}

// SetFileSystemUUID gives an ext or XFS file system a UUID. What its log has is replayed first, and the id is read back, since
// xfs_admin exits 0 where it failed. One that has the UUID already is left with an empty log. After a power cut at any moment of
// it the file system is whole, and it may be repeated. Errors: VSS_E_CANNOT_REVERT_DISKID.
func SetFileSystemUUID(ctx context.Context, device, uuid string) error {
	bad := func(err error) error {
		return vss.E("SetFileSystemUUID", vss.ErrCannotRevertDiskID, err).On(device).Advise("the file system keeps its former UUID; check it with fsck")
	}
	fs, err := ProbeFileSystem(device)
	if err != nil {
		return bad(err)
	}
	if !Renewable(fs.Type) {
		return bad(fmt.Errorf("a file system of type %q is not re-identified this way", fs.Type))
	}
	if err := ctx.Err(); err != nil {
		return bad(err)
	}
	said := ""
	switch {
	case fs.Type == "xfs":
		if err = replay(device, fs.Type); err == nil && fs.UUID != uuid {
			said, err = tool(ctx, 0, "xfs_admin", "-U", uuid, device)
		}
	default:
		said, err = setExtUUID(ctx, device, fs, uuid)
	}
	if err != nil {
		return bad(err)
	}
	if fs, err = ProbeFileSystem(device); err != nil || fs.UUID != uuid {
		return bad(fmt.Errorf("read back UUID %s, wrote %s: %s", fs.UUID, uuid, said))
	}
	return nil
}

// setExtUUID changes nothing but the superblock: where all checksums are computed from the UUID, tune2fs would write each of them
// anew, and a power cut in between would leave files that fsck takes for damaged. So they are first tied to the former UUID.
func setExtUUID(ctx context.Context, device string, fs FileSystem, uuid string) (said string, err error) {
	if fs.Type != "ext2" { // which has no log
		if err = replay(device, "ext4"); err != nil { // cut while group descriptors were written, whose checksums have the UUID in old forms
			said, err = tool(ctx, 1, "e2fsck", "-f", "-y", device) // 1: something was mended
		}
	}
	if err != nil || fs.UUID == uuid {
		return said, err
	}
	if fs.Checksums && !fs.ChecksumSeed {
		if said, err = tool(ctx, 0, "tune2fs", "-O", "metadata_csum_seed", device); err != nil {
			return said, err
		}
	}
	return tool(ctx, 0, "tune2fs", "-f", "-U", uuid, device)
}

// tool runs a program, which may exit with up to ok.
func tool(ctx context.Context, ok int, name string, args ...string) (said string, err error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	said = string(bytes.TrimSpace(out))
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() && exit.ExitCode() <= ok {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", name, err, said)
	}
	return said, err
}

// replay has the kernel take a file system into use, which replays its log, and let it go. It is mounted nowhere, so that
// nothing stays when this process is killed.
func replay(device, fsType string) error {
	fd, err := unix.Fsopen(fsType, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("fsopen", err)
	}
	err = unix.FsconfigSetString(fd, "source", device)
	if err == nil && fsType == "xfs" {
		err = unix.FsconfigSetFlag(fd, "nouuid")
	}
	if err == nil {
		err = unix.FsconfigCreate(fd)
	}
	if err = errors.Join(err, unix.Close(fd)); err != nil {
		return fmt.Errorf("replay the log: %w", err)
	}
	// A program that was being started in that moment has the descriptor until it runs: only then the kernel lets go.
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if err = free(device); !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return err
		}
	}
}

// free says whether nobody uses a block device: EBUSY if somebody does.
func free(device string) error {
	syscall.ForkLock.RLock() // or a program that is being started would use it, too
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Open(device, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("open", err)
	}
	return unix.Close(fd)
}
