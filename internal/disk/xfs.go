package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// XFS on disk. Numbers are big-endian, checksums little-endian. Source: Linux, fs/xfs/libxfs/xfs_format.h and
// xfs_log_format.h.
const (
	xfsBlockSize  = 4
	xfsUUID       = 32
	xfsLogStart   = 48
	xfsAGBlocks   = 84
	xfsAGCount    = 88
	xfsLogBlocks  = 96
	xfsVersion    = 100 // low 4 bits: 4 or 5
	xfsSectorSize = 102
	xfsAGBlockLog = 124
	xfsIncompat   = 216
	xfsCRC        = 224
	xfsMetaUUID   = 248 // what metadata have in them, where it isn't the UUID

	xfsHasMetaUUID = 1 << 2 // in xfsIncompat

	xfsLogUnit    = 512
	xfsLogMagic   = 0xfeedbabe
	xfsRecLength  = 12 // bytes after the header
	xfsRecLSN     = 16 // cycle, block
	xfsRecCRC     = 32
	xfsRecUUID    = 304
	xfsRecSize    = 320 // of the buffers that records are written from
	xfsHeaderSize = 32 << 10
	xfsUnmount    = 0x20 // flag of an operation: nothing comes after it
)

var be = binary.BigEndian

// xfsDevice is what a UUID is written to.
type xfsDevice interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// xfsSB is a superblock, one sector.
type xfsSB []byte

func readXFSSB(d io.ReaderAt, at int64) (xfsSB, error) {
	s := make(xfsSB, 32<<10)
	n, err := d.ReadAt(s, at)
	if n < 512 {
		return nil, err
	}
	size := int(be.Uint16(s[xfsSectorSize:]))
	switch {
	case string(s[:4]) != "XFSB":
		return nil, fmt.Errorf("no XFS superblock at byte %d", at)
	case size < 512 || size > n || size&(size-1) != 0:
		return nil, fmt.Errorf("the superblock at byte %d has sectors of %d bytes", at, size)
	}
	s = s[:size]
	if v := s.version(); v != 4 && v != 5 {
		return nil, fmt.Errorf("XFS of version %d", v)
	}
	if s.version() == 5 && le.Uint32(s[xfsCRC:]) != s.crc() {
		return nil, fmt.Errorf("the checksum of the superblock at byte %d is wrong", at)
	}
	return s, nil
}

func (s xfsSB) version() int { return int(be.Uint16(s[xfsVersion:]) & 15) }

func (s xfsSB) crc() uint32 { return sumOf(s[:xfsCRC], make([]byte, 4), s[xfsCRC+4:]) }

// sumOf is the checksum of parts that follow each other; a checksum's own place counts as zero.
func sumOf(parts ...[]byte) (sum uint32) {
	for _, p := range parts {
		sum = crc32.Update(sum, castagnoli, p)
	}
	return sum
}

// setUUID leaves to metadata the UUID that they have.
func (s xfsSB) setUUID(uuid vss.GUID) {
	if s.version() == 5 {
		flags := be.Uint32(s[xfsIncompat:])
		if flags&xfsHasMetaUUID == 0 {
			copy(s[xfsMetaUUID:xfsMetaUUID+16], s[xfsUUID:])
		}
		flags |= xfsHasMetaUUID
		if bytes.Equal(uuid[:], s[xfsMetaUUID:xfsMetaUUID+16]) {
			flags &^= xfsHasMetaUUID
			clear(s[xfsMetaUUID : xfsMetaUUID+16])
		}
		be.PutUint32(s[xfsIncompat:], flags)
	}
	copy(s[xfsUUID:], uuid[:])
	if s.version() == 5 {
		le.PutUint32(s[xfsCRC:], s.crc())
	}
}

// group is the size of an allocation group in bytes; each begins with a superblock.
func (s xfsSB) group() int64 {
	return int64(be.Uint32(s[xfsAGBlocks:])) * int64(be.Uint32(s[xfsBlockSize:]))
}

// log returns where the log is, in bytes: within one group, behind the four sectors of its headers.
func (s xfsSB) log() (at, size int64, err error) {
	block, shift, start := int64(be.Uint32(s[xfsBlockSize:])), s[xfsAGBlockLog], be.Uint64(s[xfsLogStart:])
	if start == 0 {
		return 0, 0, errors.New("its log is on another device")
	}
	number, within := start>>(shift&63), int64(start&(1<<(shift&63)-1))*block
	size = int64(be.Uint32(s[xfsLogBlocks:])) * block
	if block < 512 || block > 1<<16 || shift > 31 || s.group() < 4*int64(len(s)) ||
		number >= uint64(be.Uint32(s[xfsAGCount:])) ||
		within < 4*int64(len(s)) ||
		within+size > s.group() {
		return 0, 0, errors.New("its superblock makes no sense")
	}
	return int64(number)*s.group() + within, size, nil
}

// setXFSUUID gives an XFS with an empty log a UUID. The kernel refuses a log of another UUID, and log and superblock
// can't be written at once: so the log's last record, which ends it, is written without one first, which the kernel
// takes with any. At each moment the file system can be mounted. xfs_admin, which clears the log, leaves one that
// can't when the power fails.
func setXFSUUID(d xfsDevice, uuid vss.GUID) error {
	first, err := readXFSSB(d, 0)
	if err != nil {
		return err
	}
	if err := forgetLogUUID(d, first); err != nil {
		return err
	}
	for n := range int64(be.Uint32(first[xfsAGCount:])) {
		s, err := readXFSSB(d, n*first.group())
		if err == nil && (len(s) != len(first) || s.version() != first.version()) {
			err = fmt.Errorf("the superblock of group %d is of another file system", n)
		}
		if err != nil {
			return err
		}
		s.setUUID(uuid)
		if _, err := d.WriteAt(s, n*first.group()); err != nil {
			return err
		}
		if n == 0 { // the one that counts
			if err := d.Sync(); err != nil {
				return err
			}
		}
	}
	return d.Sync()
}

// logRing reads an XFS log, whose records may continue at its beginning.
type logRing struct {
	io.ReaderAt
	at, size int64 // in bytes
}

func (l logRing) read(from int64, n int) ([]byte, error) {
	b := make([]byte, n)
	for done := 0; done < n; {
		part := min(int64(n-done), l.size-from%l.size)
		if _, err := l.ReadAt(b[done:int64(done)+part], l.at+from%l.size); err != nil {
			return nil, err
		}
		done, from = done+int(part), from+part
	}
	return b, nil
}

// logRecord is a record of an XFS log: its header, the headers of what doesn't fit into one, and its content.
type logRecord struct{ head, more, payload []byte }

// forgetLogUUID removes the UUID from the last record of an empty log.
func forgetLogUUID(d xfsDevice, s xfsSB) error {
	at, size, err := s.log()
	if err != nil {
		return err
	}
	last, err := lastRecord(d, at, size)
	if err != nil {
		return err
	}
	r, err := readUnmountRecord(logRing{d, at, size}, last)
	if err != nil {
		return err
	}
	unsealed := s.version() == 4 && le.Uint32(r.head[xfsRecCRC:]) == 0 // a record without a checksum
	if !unsealed && !r.forgetUUID() {
		return errors.New("the checksum of the log's last record is wrong")
	}
	clear(r.head[xfsRecUUID : xfsRecUUID+16])
	if _, err := d.WriteAt(r.head, at+last); err != nil {
		return err
	}
	return d.Sync()
}

// readUnmountRecord reads the last record of a log, which must be the one of an unmount.
func readUnmountRecord(l logRing, last int64) (r logRecord, err error) {
	if r.head, err = l.read(last, xfsLogUnit); err != nil {
		return r, err
	}
	headers := int64(1)
	if buffer := int64(be.Uint32(r.head[xfsRecSize:])); buffer > xfsHeaderSize {
		headers = (buffer + xfsHeaderSize - 1) / xfsHeaderSize
	}
	length := be.Uint32(r.head[xfsRecLength:])
	if length < 12 || length > 8*xfsHeaderSize {
		return r, fmt.Errorf("the log's last record, of %d bytes, doesn't end it", length)
	}
	if r.payload, err = l.read(last+headers*xfsLogUnit, int(length)); err != nil {
		return r, err
	}
	if r.payload[9]&xfsUnmount == 0 {
		return r, errors.New("the log isn't empty")
	}
	r.more, err = l.read(last+xfsLogUnit, int(length-1)/xfsHeaderSize*xfsLogUnit)
	return r, err
}

// sum returns the checksum of the record over headers of these sizes.
func (r logRecord) sum(header, next int) uint32 {
	parts := [][]byte{r.head[:xfsRecCRC], make([]byte, 4), r.head[xfsRecCRC+4 : header]}
	for i := 0; i < len(r.more); i += xfsLogUnit {
		parts = append(parts, r.more[i:i+next])
	}
	return sumOf(append(parts, r.payload)...)
}

// forgetUUID clears the UUID in the header and writes the checksum anew. It returns false, and changes nothing, if the
// checksum isn't valid for headers of any size.
func (r logRecord) forgetUUID() bool {
	// of 64 and of 32 bits, before and since 6.18
	for _, size := range [][2]int{{328, 260}, {328, 512}, {324, 260}, {324, 512}} {
		if r.sum(size[0], size[1]) == le.Uint32(r.head[xfsRecCRC:]) {
			clear(r.head[xfsRecUUID : xfsRecUUID+16])
			le.PutUint32(r.head[xfsRecCRC:], r.sum(size[0], size[1]))
			return true
		}
	}
	return false
}

// lastRecord finds the header of the log's newest record, in bytes from the log's beginning.
func lastRecord(d io.ReaderAt, at, size int64) (int64, error) {
	last, newest := int64(-1), uint64(0)
	b := make([]byte, 1<<20)
	for from := int64(0); from < size; from += int64(len(b)) {
		part := b[:min(int64(len(b)), size-from)]
		if _, err := d.ReadAt(part, at+from); err != nil {
			return 0, err
		}
		for i := 0; i+xfsLogUnit <= len(part); i += xfsLogUnit {
			lsn := be.Uint64(part[i+xfsRecLSN:])
			here := (from + int64(i)) / xfsLogUnit
			if be.Uint32(part[i:]) == xfsLogMagic && int64(lsn&0xffffffff) == here && lsn > newest {
				last, newest = here*xfsLogUnit, lsn
			}
		}
	}
	if last < 0 {
		return 0, errors.New("the log has no record")
	}
	return last, nil
}
