package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// FileSystem is what a superblock says of its file system. Type is "" where none was found.
type FileSystem struct {
	Type, UUID, Label string
	// btrfs only
	FSID, MetadataUUID, DeviceUUID vss.GUID
	Devices                        int
	DeviceID                       uint64
}

// ProbeFileSystem reads the superblock of a device or image: ext, XFS and btrfs by itself, other kinds by blkid. A device
// that can't be read is an error; one with nothing on it is not.
func ProbeFileSystem(device string) (FileSystem, error) {
	f, err := os.Open(device)
	if err != nil {
		return FileSystem{}, openError("ProbeFileSystem", device, err)
	}
	defer f.Close()
	if fs := probe(f); fs.Type != "" {
		return fs, nil
	}
	out, err := exec.Command("blkid", "-p", "-o", "export", device).Output()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return exported(string(out)), nil
	case errors.As(err, &exit) && exit.ExitCode() == 2: // nothing found
		return FileSystem{}, nil
	case errors.As(err, &exit) && exit.ExitCode() == 8:
		err = errors.New("it has signatures of more than one file system")
	}
	return FileSystem{}, vss.E("ProbeFileSystem", vss.ErrVolumeNotSupported, err).On(device).Advise("`wipefs " + device + "` lists its signatures, `blkid -p` says more")
}

// exported reads blkid's export format, in which a backslash protects what a shell would act on.
func exported(out string) FileSystem {
	var fs FileSystem
	fields := map[string]*string{"TYPE": &fs.Type, "UUID": &fs.UUID, "LABEL": &fs.Label}
	for _, l := range strings.Split(out, "\n") {
		k, v, _ := strings.Cut(l, "=")
		to, ok := fields[k]
		if !ok {
			continue
		}
		var b []byte
		for i := 0; i < len(v); i++ {
			if v[i] == '\\' && i+1 < len(v) {
				i++
			}
			b = append(b, v[i])
		}
		*to = text(b)
	}
	return fs
}

// extJournalDevice marks an external journal, which isn't a file system.
const extJournalDevice = 8

// probe reads the superblocks that we know. Everything in them is taken as hostile.
func probe(r io.ReaderAt) FileSystem {
	b := make([]byte, 4096)
	if n, _ := r.ReadAt(b, 0); n >= 512 && string(b[:4]) == "XFSB" {
		return FileSystem{Type: "xfs", UUID: vss.GUID(b[32:48]).Plain(), Label: text(b[108:120])}
	}
	if n, _ := r.ReadAt(b, 1024); n >= 1024 && le.Uint16(b[56:]) == 0xef53 && le.Uint32(b[24:]) <= 6 && le.Uint32(b[96:])&extJournalDevice == 0 {
		kind := "ext2"
		compat, incompat, ro := le.Uint32(b[92:]), le.Uint32(b[96:]), le.Uint32(b[100:])
		if compat&4 != 0 {
			kind = "ext3"
		}
		if incompat&0x2c0 != 0 || ro&0x478 != 0 { // extents, 64bit, flex_bg; huge_file and later
			kind = "ext4"
		}
		return FileSystem{Type: kind, UUID: vss.GUID(b[104:120]).Plain(), Label: text(b[120:136])}
	}
	if n, _ := r.ReadAt(b, btrfsSuper); n == len(b) && string(b[64:72]) == "_BHRfS_M" {
		s := btrfsSB(b)
		fs := FileSystem{Type: "btrfs", FSID: s.fsid(), MetadataUUID: s.metadataUUID(), DeviceUUID: s.deviceUUID(), Devices: int(min(le.Uint64(b[136:]), 1024)), DeviceID: le.Uint64(b[btrfsDevItem:]), Label: text(b[299:555])}
		fs.UUID = fs.FSID.Plain()
		return fs
	}
	return FileSystem{}
}

func text(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return strings.ToValidUTF8(string(b), "?")
}

// SetFileSystemUUID gives an ext or XFS file system a UUID. What its log has is replayed first, and the id is read back, since
// xfs_admin exits 0 where it failed. One that has the UUID already is left with an empty log. It may be repeated after a power
// cut at any moment of it. Errors: VSS_E_CANNOT_REVERT_DISKID.
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
	var said []byte
	run := func(ok int, name string, args ...string) error {
		out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
		said = bytes.TrimSpace(out)
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.Exited() && exit.ExitCode() <= ok {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w: %s", name, err, said)
		}
		return nil
	}
	if fs.Type == "xfs" {
		err = replayXFS(device)
	} else {
		err = run(1, "e2fsck", "-f", "-y", device) // 1: something was mended
	}
	switch {
	case err != nil || fs.UUID == uuid:
	case fs.Type == "xfs":
		err = run(0, "xfs_admin", "-U", uuid, device)
	default:
		err = run(0, "tune2fs", "-f", "-U", uuid, device)
	}
	if err != nil {
		return bad(err)
	}
	if fs, err = ProbeFileSystem(device); err != nil || fs.UUID != uuid {
		return bad(fmt.Errorf("read back UUID %s, wrote %s: %s", fs.UUID, uuid, said))
	}
	return nil
}

// Renewable says whether SetFileSystemUUID can do it.
func Renewable(fileSystem string) bool {
	return slices.Contains([]string{"ext2", "ext3", "ext4", "xfs"}, fileSystem)
}

// replayXFS has the kernel take a file system into use, which replays its log, and let it go. It is mounted nowhere, so that
// nothing stays when this process is killed.
func replayXFS(device string) error {
	fd, err := unix.Fsopen("xfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("fsopen", err)
	}
	err = unix.FsconfigSetString(fd, "source", device)
	if err == nil {
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
