package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// FileSystem is the identity of a file system, as its superblock has it. Type is "" if there is none.
type FileSystem struct {
	Type, UUID, Label string
	// ext only: metadata have checksums, and those are of a seed of their own instead of the UUID
	Checksums, ChecksumSeed bool
	NeedsRecovery           bool // ext only: the journal has transactions that were not written to their places
	// Outside names what the file system needs besides its own devices: an external journal or log, real-time data.
	Outside string
	// btrfs only
	FSID, MetadataUUID, DeviceUUID vss.GUID
	Devices                        int
	DeviceID                       uint64
}

// ProbeFileSystem reads the superblock of a device or image: ext, XFS and btrfs itself, other kinds by blkid. A
// device that can't be read is an error; one with nothing on it is not.
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
	return FileSystem{}, vss.E("ProbeFileSystem", vss.ErrVolumeNotSupported, err).
		On(device).
		Advise("`wipefs " + device + "` lists its signatures, `blkid -p` shows more")
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

// Features that the driver of ext3 knows; a file system with any other is an ext4, as blkid says too.
const (
	ext3Incompat = 0x2 | 0x4 | 0x10 // filetype, needs_recovery, meta_bg
	ext3ReadOnly = 0x1 | 0x2 | 0x4  // sparse_super, large_file, btree_dir
)

// extJournal names the external journal of an ext: the device where the file system last had it, and its UUID.
func extJournal(super []byte) string {
	dev := le.Uint32(super[0xe4:])
	major, minor := dev>>8&0xfff, dev&0xff|dev>>12&0xfff00
	name := fmt.Sprintf("%d:%d", major, minor)
	if real, err := os.Readlink("/sys/dev/block/" + name); err == nil {
		name = "/dev/" + filepath.Base(real)
	}
	return fmt.Sprintf("the external journal %s (UUID %s)", name, vss.GUID(super[0xd0:0xe0]).Plain())
}

// probe reads the superblocks that we know. Everything in them is taken as hostile.
func probe(r io.ReaderAt) FileSystem {
	b := make([]byte, 4096)
	if n, _ := r.ReadAt(b, 0); n >= 512 && string(b[:4]) == "XFSB" {
		fs := FileSystem{Type: "xfs", UUID: vss.GUID(b[32:48]).Plain(), Label: text(b[108:120])}
		if be.Uint64(b[48:]) == 0 { // sb_logstart
			fs.Outside = "an external log device"
		}
		if be.Uint64(b[16:]) != 0 { // sb_rblocks
			fs.Outside = "a real-time device"
		}
		return fs
	}
	if n, _ := r.ReadAt(b, 1024); n >= 1024 && le.Uint16(b[56:]) == 0xef53 && le.Uint32(b[24:]) <= 6 &&
		le.Uint32(b[96:])&extJournalDevice == 0 {
		kind := "ext2"
		compat, incompat, ro := le.Uint32(b[92:]), le.Uint32(b[96:]), le.Uint32(b[100:])
		if compat&4 != 0 {
			kind = "ext3"
		}
		if incompat&^ext3Incompat != 0 || ro&^ext3ReadOnly != 0 {
			kind = "ext4"
		}
		fs := FileSystem{
			Type:          kind,
			UUID:          vss.GUID(b[104:120]).Plain(),
			Label:         text(b[120:136]),
			Checksums:     ro&0x400 != 0,
			ChecksumSeed:  incompat&0x2000 != 0,
			NeedsRecovery: incompat&4 != 0,
		}
		if compat&4 != 0 && le.Uint32(b[0xe0:]) == 0 { // the journal isn't an inode
			fs.Outside = extJournal(b)
		}
		return fs
	}
	if n, _ := r.ReadAt(b, btrfsSuper); n == len(b) && string(b[64:72]) == "_BHRfS_M" {
		s := btrfsSB(b)
		fs := FileSystem{
			Type:         "btrfs",
			FSID:         s.fsid(),
			MetadataUUID: s.metadataUUID(),
			DeviceUUID:   s.deviceUUID(),
			Devices:      int(min(le.Uint64(b[136:]), 1024)),
			DeviceID:     le.Uint64(b[btrfsDevItem:]),
			Label:        text(b[299:555]),
		}
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
