package disk

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// reseal makes the checksums of one copy of a GPT right where it has the form of one, so that mutations get past them.
func reseal(disk []byte, sector, lba int64) {
	at := lba * sector
	if at < 0 || at+sector > int64(len(disk)) || string(disk[at:at+8]) != "EFI PART" {
		return
	}
	h := disk[at : at+sector]
	n := int64(le.Uint32(h[hdrSize:]))
	array := int64(le.Uint64(h[hdrArrayLBA:]))
	size := int64(le.Uint32(h[hdrEntries:])) * int64(le.Uint32(h[hdrEntrySize:]))
	if end := int64(len(disk)); array >= 0 && array <= end/sector && size >= 0 && size <= end-array*sector {
		le.PutUint32(h[hdrArrayCRC:], crc32.ChecksumIEEE(disk[array*sector:array*sector+size]))
	}
	if n >= 92 && n <= sector {
		le.PutUint32(h[hdrCRC:], 0)
		le.PutUint32(h[hdrCRC:], crc32.ChecksumIEEE(h[:n]))
	}
}

// hostile is a disk of any size of which only the beginning and the end have content. It counts what is asked of it.
type hostile struct {
	head, tail []byte
	size       int64
	reads      int
	bytes      int64
}

func (h *hostile) ReadAt(p []byte, off int64) (int, error) {
	h.reads++
	h.bytes += int64(len(p))
	if off < 0 || off > h.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), h.size-off))
	clear(p[:n])
	if off < int64(len(h.head)) {
		copy(p[:n], h.head[off:])
	}
	for i, from := 0, h.size-int64(len(h.tail)); i < n && off+int64(n) > from; i++ {
		if at := off + int64(i); at >= from {
			p[i] = h.tail[at-from]
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// smallGPT is a table with few entries, in the order of a disk's beginning and end: a fuzzer finds its way in it.
func smallGPT(sector int64, entries uint32) (head, tail []byte) {
	size := int64(64 * 1024)
	disk := make([]byte, size)
	g := newGPT(8*mib, sector, "x")
	g.entries = g.entries[:entries*128]
	le.PutUint32(g.header[hdrEntries:], entries)
	g.end(size)
	le.PutUint64(g.entry(0)[32:], 4)
	le.PutUint64(g.entry(0)[40:], 6)
	copy(disk, protectiveMBR(size, sector))
	if err := g.write(&recorder{sector: int(sector), content: disk}); err != nil {
		panic(err)
	}
	return disk[:4*sector], disk[size-4*sector:]
}

// Reading a disk of any content doesn't panic and takes little; what can be edited reads afterwards as edited.
func FuzzTable(f *testing.F) {
	f.Add([]byte{}, []byte{}, int64(0), false)
	for _, sector := range []int64{512, 4096} {
		head, tail := smallGPT(sector, 4)
		f.Add(head, tail, int64(64*1024), sector == 4096)
		f.Add(head, tail, int64(1)<<50, sector == 4096)
		f.Add(head, []byte{}, int64(1)<<20, sector == 4096)
		f.Add(head[:sector], tail, int64(64*1024), sector == 4096)
		f.Add(newMBR(16*mib, sector), []byte{}, int64(16*mib), sector == 4096)
	}
	logical := newMBR(16*mib, 512)
	entryOf(logical, 0)[4] = 5
	le.PutUint32(entryOf(logical, 0)[8:], 1)
	link := make([]byte, 512)
	copy(link[mbrTable:], logical[mbrTable:mbrTable+16])
	copy(link[mbrTable+16:], logical[mbrTable:mbrTable+16])
	link[510], link[511] = 0x55, 0xaa
	f.Add(append(logical, link...), []byte{}, int64(16*mib), false)
	memory, err := unix.MemfdCreate("disk", unix.MFD_CLOEXEC) // a disk in a directory would be flushed at every edit
	must(f, err)
	path := fmt.Sprintf("/proc/self/fd/%d", memory)
	f.Fuzz(func(t *testing.T, head, tail []byte, size int64, large bool) {
		if len(head) > 64*1024 || len(tail) > 64*1024 || size < int64(len(head)+len(tail)) {
			return
		}
		sector := int64(512)
		if large {
			sector = 4096
		}
		h := &hostile{head: head, tail: tail, size: size}
		_, _ = parse(h, size, []int64{512, 4096})
		if h.reads > 300 || h.bytes > 16*mib {
			t.Fatalf("%d reads of %d bytes", h.reads, h.bytes)
		}
		if size > 4*mib {
			return
		}
		b := make([]byte, size)
		copy(b, head)
		copy(b[size-int64(len(tail)):], tail)
		reseal(b, sector, 1)
		reseal(b, sector, size/sector-1)
		must(t, os.WriteFile(path, b, 0o600))
		edits(t, path, b)
	})
}

// edits tries every edit on a disk in a file and checks each by reading it again.
func edits(t *testing.T, path string, before []byte) {
	e, err := Open(t.Context(), path)
	if err != nil {
		wantCode(t, err, vss.ErrVolumeNotSupported)
		return
	}
	defer e.Close()
	was := e.Table()
	usable := CanFlag(path) == nil && was.Style != StyleNone
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"set", func() error { return e.SetFlags(vss.FlagsShadowCopy, 0) }},
		{"renew", func() error {
			_, err := e.RenewIdentity()
			return err
		}},
		{"revert", func() error { return e.SetIdentity(was.Identity) }},
		{"restore", func() error {
			var all error
			for _, p := range was.Partitions {
				if p.Data {
					all = errors.Join(all, e.SetPartitionFlags(p.Number, p.Flags, vss.FlagsShadowCopy&^p.Flags))
				}
			}
			return all
		}},
	} {
		err := c.do()
		now, readErr := Read(path)
		switch {
		case readErr != nil:
			t.Fatalf("%s made the disk unreadable: %v", c.name, readErr)
		case fmt.Sprint(now) != fmt.Sprint(e.Table()):
			t.Fatalf("%s: the editor has %v, the disk %v", c.name, e.Table(), now)
		case usable && err != nil:
			t.Fatalf("%s failed on a disk that can be edited: %v", c.name, err)
		case !usable && !bytes.Equal(before, content(t, path)):
			t.Fatalf("%s changed a disk that can't be edited", c.name)
		}
	}
	if now := e.Table(); usable && fmt.Sprint(now) != fmt.Sprint(was) && was.Style == StyleGPT {
		t.Fatalf("after all was put back it is %v, was %v", now, was)
	}
}

// Reading a superblock of any content returns a type or nothing.
func FuzzSuperblock(f *testing.F) {
	ext := make([]byte, 2048)
	le.PutUint16(ext[1024+56:], 0xef53)
	f.Add(ext)
	f.Add(append([]byte("XFSB"), make([]byte, 508)...))
	btrfs := make([]byte, btrfsSize)
	copy(btrfs[64:], "_BHRfS_M")
	f.Add(btrfs)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, append(make([]byte, 1024), b...), append(make([]byte, btrfsSuper), b...)} {
			fs := probe(bytes.NewReader(b))
			if again := probe(bytes.NewReader(b)); again != fs {
				t.Fatalf("%+v, then %+v", fs, again)
			}
			if (fs.Type == "") != (fs.UUID == "") || fs.Type == "btrfs" && (fs.Devices < 0 || fs.Devices > 1024) {
				t.Fatalf("%+v", fs)
			}
		}
		// as a btrfs superblock it is refused, or can be changed to and fro
		s := make(btrfsSB, btrfsSize)
		copy(s, b)
		copy(s[64:], "_BHRfS_M")
		le.PutUint64(s[btrfsBytenr:], btrfsSuper)
		if s.sum() != nil {
			s.seal()
		}
		if s.check(btrfsSuper) != nil {
			return
		}
		was, fsid, meta := bytes.Clone(s), s.fsid(), s.metadataUUID()
		s.setFSID(vss.NewGUID())
		if s.fsid() == fsid || s.metadataUUID() != meta || s.check(btrfsSuper) != nil {
			t.Fatal("a changed superblock isn't whole, or its tree blocks lost their id")
		}
		s.setFSID(fsid)
		if s.fsid() != fsid || s.metadataUUID() != meta || fsid != meta && !bytes.Equal(s, was) {
			t.Fatal("with its former id it isn't as it was")
		}
	})
}
