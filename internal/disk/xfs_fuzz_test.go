package disk

import (
	"bytes"
	"io"
	"testing"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// memoryDisk is a disk in memory.
type memoryDisk []byte

func (m memoryDisk) ReadAt(b []byte, at int64) (int, error) {
	if at < 0 || at >= int64(len(m)) {
		return 0, io.EOF
	}
	n := copy(b, m[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (m memoryDisk) WriteAt(b []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(b)) > int64(len(m)) {
		return 0, io.EOF
	}
	return copy(m[at:], b), nil
}

func (m memoryDisk) Sync() error { return nil }

// smallXFS is an XFS of two groups with nothing in them but superblocks and, in the first, a log that has ended.
func smallXFS() memoryDisk {
	const group, log = 16, 8 // blocks of 512 bytes
	m := make(memoryDisk, 2*group*512)
	for at := int64(0); at < int64(len(m)); at += group * 512 {
		s := xfsSB(m[at : at+512])
		copy(s, "XFSB")
		for offset, n := range map[int]uint32{
			xfsBlockSize: 512, xfsAGBlocks: group, xfsAGCount: 2, xfsLogBlocks: group - log,
		} {
			be.PutUint32(s[offset:], n)
		}
		be.PutUint64(s[xfsLogStart:], log)
		be.PutUint16(s[xfsVersion:], 5)
		be.PutUint16(s[xfsSectorSize:], 512)
		s[xfsAGBlockLog] = 4
		le.PutUint32(s[xfsCRC:], s.crc())
	}
	head := m[log*512:]
	for offset, n := range map[int]uint32{0: xfsLogMagic, xfsRecLength: 512, xfsRecSize: 32 << 10, xfsRecLSN: 1} {
		be.PutUint32(head[offset:], n)
	}
	head[512+9] = xfsUnmount
	resealXFS(m)
	return m
}

// resealXFS makes checksums right where there is something to have them, so that mutations get past them.
func resealXFS(m memoryDisk) {
	for at := 0; at+512 <= len(m); at += 512 {
		b := m[at : at+512]
		switch {
		case string(b[:4]) == "XFSB":
			if size := int(be.Uint16(b[xfsSectorSize:])); size >= 512 && at+size <= len(m) {
				s := xfsSB(m[at : at+size])
				le.PutUint32(s[xfsCRC:], s.crc())
			}
		case be.Uint32(b) == xfsLogMagic:
			if n := int64(be.Uint32(b[xfsRecLength:])); int64(at)+512+n <= int64(len(m)) {
				le.PutUint32(
					b[xfsRecCRC:],
					sumOf(b[:xfsRecCRC], make([]byte, 4), b[xfsRecCRC+4:328], m[at+512:at+512+int(n)]),
				)
			}
		}
	}
}

// With any content of an XFS, nothing panics or takes for ever, and a file system that got a UUID has it, and can be
// given its former one.
func FuzzXFS(f *testing.F) {
	id := vss.MustGUID("0b1a2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d")
	if err := setXFSUUID(smallXFS(), id); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(smallXFS()))
	f.Add([]byte("XFSB"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		m := memoryDisk(bytes.Clone(b))
		resealXFS(m)
		was := probe(bytes.NewReader(m))
		if setXFSUUID(m, id) != nil {
			return
		}
		if now := probe(bytes.NewReader(m)); now.Type != "xfs" || now.UUID != id.Plain() {
			t.Fatalf("it has %+v", now)
		}
		resealXFS(m) // the log's record of a mount
		if err := setXFSUUID(m, vss.MustGUID(was.UUID)); err != nil {
			t.Fatal(err)
		}
		if now := probe(bytes.NewReader(m)); now.UUID != was.UUID {
			t.Fatalf("it has %+v, had %+v", now, was)
		}
	})
}
