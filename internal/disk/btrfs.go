package disk

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Places in a btrfs superblock. Source: the on-disk format of btrfs.
const (
	btrfsSuper     = 0x10000
	btrfsSize      = 4096
	btrfsSum       = 32 // bytes of the checksum field
	btrfsIncompat  = 188
	btrfsCsumType  = 196
	btrfsDevItem   = 201
	btrfsMetaUUID  = 571
	featureMetaID  = 1 << 10
	btrfsFlags     = 56
	btrfsBytenr    = 48
	btrfsNumDevice = 136

	// flags of a superblock that we leave alone: a seed device; ids half changed by btrfstune, in two ways
	btrfsSeeding  = 1 << 32
	btrfsChanging = 3 << 35
)

var (
	btrfsMirrors = []int64{0x10000, 0x4000000, 0x4000000000}
	castagnoli   = crc32.MakeTable(crc32.Castagnoli)
)

type btrfsSB []byte

func (s btrfsSB) fsid() vss.GUID { return vss.GUID(s[32:48]) }

// metadataUUID is the id that all tree blocks carry: the fsid, unless the fsid was changed after the blocks were
// written.
func (s btrfsSB) metadataUUID() vss.GUID {
	if le.Uint64(s[btrfsIncompat:])&featureMetaID != 0 {
		return vss.GUID(s[btrfsMetaUUID : btrfsMetaUUID+16])
	}
	return s.fsid()
}

// setFSID changes the visible id; the tree blocks keep theirs, named in metadata_uuid.
func (s btrfsSB) setFSID(id vss.GUID) {
	meta, incompat := s.metadataUUID(), le.Uint64(s[btrfsIncompat:])
	copy(s[32:48], id[:])
	if id == meta {
		clear(s[btrfsMetaUUID : btrfsMetaUUID+16])
		incompat &^= featureMetaID
	} else {
		copy(s[btrfsMetaUUID:], meta[:])
		incompat |= featureMetaID
	}
	le.PutUint64(s[btrfsIncompat:], incompat)
	s.seal()
}

// sum is the superblock's checksum; nil for kinds that we don't know.
func (s btrfsSB) sum() []byte {
	switch le.Uint16(s[btrfsCsumType:]) {
	case 0:
		return le.AppendUint32(nil, crc32.Checksum(s[btrfsSum:], castagnoli))
	case 2:
		sum := sha256.Sum256(s[btrfsSum:])
		return sum[:]
	}
	return nil
}

func (s btrfsSB) seal() {
	clear(s[:btrfsSum])
	copy(s, s.sum())
}

// check returns an error unless the superblock, found at at, is intact and of a form that we change.
func (s btrfsSB) check(at int64) error {
	const magic = "_BHRfS_M"
	if string(s[64:64+len(magic)]) != magic || le.Uint64(s[btrfsBytenr:]) != uint64(at) {
		return errors.New("not a btrfs superblock")
	}
	if sum := s.sum(); sum != nil && !bytes.Equal(sum, s[:len(sum)]) {
		return errors.New("the superblock's checksum is wrong")
	}
	return s.changeable()
}

// changeable returns an error unless the superblock is of a form that we change. Errors: VSS_E_NOT_SUPPORTED.
func (s btrfsSB) changeable() error {
	no := func(why string, args ...any) error {
		return vss.E("SetBtrfsFSID", vss.ErrNotSupported, fmt.Errorf(why, args...))
	}
	switch flags := le.Uint64(s[btrfsFlags:]); {
	case s.sum() == nil:
		return no("checksum type %d; only crc32c and sha256 are known", le.Uint16(s[btrfsCsumType:]))
	case flags&btrfsSeeding != 0:
		return no("a seed device can't be re-identified")
	case flags&btrfsChanging != 0:
		return no("another tool was interrupted while it changed the ids")
	}
	return nil
}

// CheckBtrfs returns why a btrfs on these devices, which may be mounted, could not be given another fsid by
// SetBtrfsFSID: its kind of checksums, a seed device, a device that is missing. Errors: VSS_E_NOT_SUPPORTED.
func CheckBtrfs(devices []string) error {
	fail := func(device string, err error) error {
		return vss.E("CheckBtrfs", vss.ErrNotSupported, err).On(device).
			Advise("copies of this btrfs could not be told from their original, so none is made")
	}
	for _, d := range devices {
		s, err := readBtrfs(d)
		if err != nil {
			return fail(d, err)
		}
		if err := s.changeable(); err != nil {
			return fail(d, err)
		}
		if has := le.Uint64(s[btrfsNumDevice:]); has != uint64(len(devices)) {
			return fail(d, fmt.Errorf("the file system has %d devices, and %d are here: it is degraded, or has a seed",
				has, len(devices)))
		}
	}
	return nil
}

// readBtrfs reads the first superblock of a device.
func readBtrfs(device string) (btrfsSB, error) {
	f, err := os.Open(device)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s := make(btrfsSB, btrfsSize)
	_, err = f.ReadAt(s, btrfsSuper)
	return s, err
}

// SetBtrfsFSID gives an unmounted btrfs another fsid, on all of its devices and in all mirrors of their superblocks,
// and reads it back. Two file systems of one fsid are mixed up by the kernel, so a copy needs this before anything
// scans it. Giving it the id that it was made with leaves no trace. It may be repeated when it was interrupted.
// Errors: VSS_E_CANNOT_REVERT_DISKID; VSS_E_NOT_SUPPORTED for kinds of btrfs that we don't change,
// VSS_E_VOLUME_IN_USE for a mounted one, and nothing was changed.
func SetBtrfsFSID(devices []string, fsid vss.GUID) error {
	fail := func(device string, err error) error {
		code := vss.ErrCannotRevertDiskID
		if errors.Is(err, vss.ErrNotSupported) {
			code = vss.ErrNotSupported
		}
		if errors.Is(err, unix.EBUSY) {
			code = vss.ErrVolumeInUse
		}
		return vss.E("SetBtrfsFSID", code, err).
			On(device).
			Advise("all devices of the file system must be there, and it must not be mounted")
	}
	var members []*btrfsMember
	defer func() {
		for _, m := range members {
			m.file.Close()
		}
	}()
	for _, d := range devices { // look at all devices before the first is written
		m, err := openBtrfs(d)
		if err != nil {
			return fail(d, err)
		}
		members = append(members, m)
		if err := m.belongs(members, len(devices)); err != nil {
			return fail(d, err)
		}
	}
	for i, m := range members {
		if err := m.setFSID(fsid); err != nil {
			return fail(devices[i], err)
		}
	}
	for _, d := range devices {
		if fs, err := ProbeFileSystem(d); err != nil || fs.FSID != fsid {
			return fail(d, fmt.Errorf("read back fsid %s, wrote %s", fs.FSID, fsid))
		}
	}
	return nil
}

// btrfsMember is one device of a btrfs, opened exclusively, so that it can't be mounted, with its superblocks.
type btrfsMember struct {
	file   *os.File
	supers map[int64]btrfsSB // by place
}

func openBtrfs(device string) (*btrfsMember, error) {
	f, err := os.OpenFile(device, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		return nil, err
	}
	m := &btrfsMember{f, map[int64]btrfsSB{}}
	for _, at := range btrfsMirrors {
		s := make(btrfsSB, btrfsSize)
		if _, err = f.ReadAt(s, at); errors.Is(err, io.EOF) && at != btrfsSuper {
			break // a device too small for this mirror
		}
		if err == nil {
			err = s.check(at)
		}
		if err == nil && (at == btrfsSuper || s.sameDevice(m.supers[btrfsSuper])) {
			m.supers[at] = s
		} else if at == btrfsSuper {
			f.Close()
			return nil, err
		} // else a mirror that was never written, or by a former file system
	}
	return m, nil
}

// sameDevice reports whether two superblocks are mirrors. Their fsids differ if a change of them was interrupted.
func (s btrfsSB) sameDevice(o btrfsSB) bool {
	return s.metadataUUID() == o.metadataUUID() && s.deviceUUID() == o.deviceUUID()
}

func (s btrfsSB) deviceUUID() vss.GUID { return vss.GUID(s[btrfsDevItem+66:]) }

// belongs checks that m, the last of the members so far, is another device of the same file system as they, which has
// n.
func (m *btrfsMember) belongs(members []*btrfsMember, n int) error {
	s := m.supers[btrfsSuper]
	if has := le.Uint64(s[btrfsNumDevice:]); has != uint64(n) {
		return fmt.Errorf("the file system has %d devices, %d were given", has, n)
	}
	for _, o := range members[:len(members)-1] {
		switch t := o.supers[btrfsSuper]; {
		case s.metadataUUID() != t.metadataUUID():
			return errors.New("the devices are of different file systems")
		case s.deviceUUID() == t.deviceUUID():
			return errors.New("the device was given twice, or has a twin")
		}
	}
	return nil
}

func (m *btrfsMember) setFSID(fsid vss.GUID) error {
	for at, s := range m.supers {
		s.setFSID(fsid)
		if _, err := m.file.WriteAt(s, at); err != nil {
			return err
		}
	}
	return m.file.Sync()
}
