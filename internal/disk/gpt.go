package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"unicode/utf16"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// gpt is a GUID partition table in its raw bytes: an edit changes only what it is about.
type gpt struct {
	sector  int64
	header  []byte // one sector, of the good copy
	entries []byte
	primary bool // the primary was good
	// where the two copies lie; array is 0 for a primary whose place is unknown
	array               uint64
	backup, backupArray uint64
}

// Offsets in the header. Source: UEFI specification, GPT header.
const (
	hdrSize       = 12
	hdrCRC        = 16
	hdrMyLBA      = 24
	hdrAltLBA     = 32
	hdrFirst      = 40
	hdrLast       = 48
	hdrDiskGUID   = 56
	hdrArrayLBA   = 72
	hdrEntries    = 80
	hdrEntrySize  = 84
	hdrArrayCRC   = 88
	maxArrayBytes = 1 << 20
)

var le = binary.LittleEndian

// The four flags as attribute bits of an entry. Source: PARTITION_INFORMATION_GPT.
var gptBits = []struct {
	bit  uint
	flag vss.DiskFlags
}{{60, vss.FlagReadOnly}, {61, vss.FlagShadowCopy}, {62, vss.FlagHidden}, {63, vss.FlagNoAutoMount}}

var (
	typeLinux = vss.MustGUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
	// notData are partition types that never carry the flags.
	notData = []vss.GUID{
		vss.MustGUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"), // EFI system
		vss.MustGUID("21686148-6449-6e6f-744e-656564454649"), // BIOS boot
		vss.MustGUID("e3c9e316-0b5c-4db8-817d-f92df00215ae"), // Microsoft reserved
		vss.MustGUID("de94bba4-06d1-4d40-a16a-bfd50179d6ac"), // Windows recovery
	}
)

// readGPT returns the table, nil without an error where there is none, or an error where there was one (announced in
// sector 0, or with a header) and both of its copies are corrupt.
func readGPT(r io.ReaderAt, size, sector int64, announced bool) (*gpt, error) {
	last := uint64(size / sector)
	if last < 3 {
		if announced {
			return nil, errNoHeader
		}
		return nil, nil
	}
	last--
	g, damage := readHeader(r, size, sector, 1)
	if g != nil {
		g.primary = true
		g.array, g.backup = le.Uint64(g.header[hdrArrayLBA:]), le.Uint64(g.header[hdrAltLBA:])
		g.backupArray = g.backup - g.sectors()
		if g.backup > 1 && g.backup <= last {
			if b, _ := readHeader(r, size, sector, g.backup); b != nil && len(b.entries) == len(g.entries) {
				g.backupArray = le.Uint64(b.header[hdrArrayLBA:])
			}
		}
		return g, nil
	}
	none := errors.Is(damage, errNoHeader)
	if none && !announced {
		return nil, nil // a backup alone is a leftover on a disk that was given another use
	}
	for _, at := range []uint64{namedBackup(r, sector), last} {
		if at <= 1 || at > last {
			continue
		}
		if g, _ = readHeader(r, size, sector, at); g != nil {
			g.backup, g.backupArray = at, le.Uint64(g.header[hdrArrayLBA:])
			g.array = g.primaryArray(r)
			return g, nil
		}
	}
	return nil, damage
}

// namedBackup returns where a corrupt primary header has its backup: not at the end of a disk that has grown since.
// 0: unknown.
func namedBackup(r io.ReaderAt, sector int64) uint64 {
	h := make([]byte, 92)
	if _, err := r.ReadAt(h, sector); err != nil || string(h[:8]) != "EFI PART" {
		return 0
	}
	return le.Uint64(h[hdrAltLBA:])
}

// primaryArray is where the primary's array belongs when its header is corrupt: as that header still has it, or LBA 2
// where the table leaves no room for another place, or where the array lies or nothing does. 0: unknown.
func (g *gpt) primaryArray(r io.ReaderAt) uint64 {
	h := make([]byte, 92)
	if _, err := r.ReadAt(h, g.sector); err == nil && string(h[:8]) == "EFI PART" &&
		guidAt(h[hdrDiskGUID:]) == guidAt(g.header[hdrDiskGUID:]) {
		return le.Uint64(h[hdrArrayLBA:])
	}
	e := make([]byte, len(g.entries))
	if _, err := r.ReadAt(e, 2*g.sector); err != nil {
		return 0
	}
	if le.Uint64(g.header[hdrFirst:]) == 2+g.sectors() || bytes.Equal(e, g.entries) || blank(e) {
		return 2
	}
	return 0
}

func blank(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// sectors is how many sectors an array has.
func (g *gpt) sectors() uint64 {
	return (uint64(len(g.entries)) + uint64(g.sector) - 1) / uint64(g.sector)
}

// editable returns an error for a table that we don't write: it must have its array right behind the header, where we
// know that nothing else lies, and room for both of its copies outside of all partitions.
func (g *gpt) editable(size int64) error {
	if g.array != 2 {
		return fmt.Errorf("the partition array is at LBA %d, not 2; a boot loader may lie in between", g.array)
	}
	n, end := g.sectors(), uint64(size/g.sector)
	if g.backup <= 1 || g.backup >= end || g.backupArray >= end || g.backupArray+n > end {
		return fmt.Errorf("the backup table at LBA %d is outside of the disk", g.backup)
	}
	for _, c := range []struct{ first, last uint64 }{
		{0, 1}, {g.array, g.array + n - 1}, {g.backupArray, g.backupArray + n - 1}, {g.backup, g.backup},
	} {
		for i := range g.count() {
			e := g.entry(i)
			if first, last := le.Uint64(e[32:]), le.Uint64(e[40:]); !guidAt(e).IsZero() && first <= c.last &&
				last >= c.first {
				return fmt.Errorf("partition %d lies over the table", i+1)
			}
		}
	}
	if g.backupArray <= g.array+n-1 || g.backupArray <= g.backup && g.backup < g.backupArray+n {
		return errors.New("the two copies of the table overlap")
	}
	return nil
}

// same reports whether both are the same table, whichever of its copies they were read from.
func (g *gpt) same(o *gpt) bool {
	part := func(g *gpt) []byte {
		return slices.Concat(g.header[hdrFirst:hdrArrayLBA], g.header[hdrEntries:hdrArrayCRC])
	}
	return bytes.Equal(part(g), part(o)) && bytes.Equal(g.entries, o.entries) && g.backup == o.backup
}

var errNoHeader = errors.New("no GPT header")

func readHeader(r io.ReaderAt, size, sector int64, lba uint64) (*gpt, error) {
	h := make([]byte, sector)
	if _, err := r.ReadAt(h, int64(lba)*sector); err != nil {
		return nil, errNoHeader
	}
	if string(h[:8]) != "EFI PART" {
		return nil, errNoHeader
	}
	n := le.Uint32(h[hdrSize:])
	if n < 92 || int64(n) > sector {
		return nil, fmt.Errorf("header of %d bytes", n)
	}
	sum := le.Uint32(h[hdrCRC:])
	c := slices.Clone(h[:n])
	clear(c[hdrCRC : hdrCRC+4])
	if crc32.ChecksumIEEE(c) != sum || le.Uint64(h[hdrMyLBA:]) != lba {
		return nil, errors.New("the header's checksum or place is wrong")
	}
	count, esize, at := le.Uint32(h[hdrEntries:]), le.Uint32(h[hdrEntrySize:]), le.Uint64(h[hdrArrayLBA:])
	total := uint64(count) * uint64(esize)
	if esize < 128 || esize%8 != 0 || count == 0 || total > maxArrayBytes || at > uint64(size/sector) {
		return nil, fmt.Errorf("%d entries of %d bytes at LBA %d", count, esize, at)
	}
	e := make([]byte, total)
	if _, err := r.ReadAt(e, int64(at)*sector); err != nil {
		return nil, fmt.Errorf("the partition array can't be read: %w", err)
	}
	if crc32.ChecksumIEEE(e) != le.Uint32(h[hdrArrayCRC:]) {
		return nil, errors.New("the partition array's checksum is wrong")
	}
	return &gpt{sector: sector, header: h, entries: e}, nil
}

func (g *gpt) entry(i int) []byte {
	n := int(le.Uint32(g.header[hdrEntrySize:]))
	return g.entries[i*n : (i+1)*n]
}

func (g *gpt) count() int { return int(le.Uint32(g.header[hdrEntries:])) }

func guidAt(b []byte) vss.GUID { return vss.GUIDFromMixedEndian([16]byte(b[:16])) }

func putGUID(b []byte, g vss.GUID) {
	m := g.MixedEndian()
	copy(b, m[:])
}

func (g *gpt) fill(t *Table) {
	t.Style = StyleGPT
	t.Identity.Disk = guidAt(g.header[hdrDiskGUID:])
	t.Flags = vss.FlagsShadowCopy
	data := false
	for i := range g.count() {
		e := g.entry(i)
		kind := guidAt(e)
		if kind.IsZero() {
			continue
		}
		first, last, attrs := le.Uint64(e[32:]), le.Uint64(e[40:]), le.Uint64(e[48:])
		if first > last || last >= uint64(t.Size/g.sector) {
			continue // an entry that lies outside of the disk isn't a volume
		}
		p := Partition{
			Number:   i + 1,
			ID:       guidAt(e[16:]),
			TypeGUID: kind,
			Start:    int64(first) * g.sector,
			Size:     int64(last-first+1) * g.sector,
			Data:     !slices.Contains(notData, kind),
		}
		units := make([]uint16, nameUnits)
		for j := range units {
			units[j] = le.Uint16(e[56+2*j:])
		}
		if end := slices.Index(units, 0); end >= 0 {
			units = units[:end]
		}
		p.Name = string(utf16.Decode(units))
		for _, b := range gptBits {
			if attrs>>b.bit&1 == 1 {
				p.Flags |= b.flag
			}
		}
		if p.Data {
			t.Flags &= p.Flags
			data = true
		}
		t.Partitions = append(t.Partitions, p)
		t.Identity.Partitions = append(t.Identity.Partitions, PartitionID{p.Number, p.ID})
	}
	if !data {
		t.Flags = 0
	}
}

// setFlags changes the flags of one entry (or of every data entry for number 0).
func (g *gpt) setFlags(number int, set, clr vss.DiskFlags) {
	for i := range g.count() {
		e := g.entry(i)
		kind := guidAt(e)
		if kind.IsZero() || number == 0 && slices.Contains(notData, kind) || number != 0 && number != i+1 {
			continue
		}
		attrs := le.Uint64(e[48:])
		for _, b := range gptBits {
			if set&b.flag != 0 {
				attrs |= 1 << b.bit
			}
			if clr&b.flag != 0 {
				attrs &^= 1 << b.bit
			}
		}
		le.PutUint64(e[48:], attrs)
	}
}

func (g *gpt) setIdentity(id Identity) {
	putGUID(g.header[hdrDiskGUID:], id.Disk)
	for _, p := range id.Partitions {
		if p.Number >= 1 && p.Number <= g.count() && !guidAt(g.entry(p.Number-1)).IsZero() {
			putGUID(g.entry(p.Number - 1)[16:], p.ID)
		}
	}
}

type syncer interface {
	io.WriterAt
	Sync() error
}

// write makes both copies durable, the good one last: one of them is intact at any moment.
func (g *gpt) write(f syncer) error {
	type place struct{ my, alt, array uint64 }
	order := []place{{g.backup, 1, g.backupArray}, {1, g.backup, g.array}}
	if !g.primary {
		slices.Reverse(order)
	}
	h := slices.Clone(g.header[:le.Uint32(g.header[hdrSize:])])
	le.PutUint32(h[hdrArrayCRC:], crc32.ChecksumIEEE(g.entries))
	for _, c := range order {
		le.PutUint64(h[hdrMyLBA:], c.my)
		le.PutUint64(h[hdrAltLBA:], c.alt)
		le.PutUint64(h[hdrArrayLBA:], c.array)
		le.PutUint32(h[hdrCRC:], 0)
		le.PutUint32(h[hdrCRC:], crc32.ChecksumIEEE(h))
		if _, err := f.WriteAt(g.entries, int64(c.array)*g.sector); err != nil {
			return err
		}
		if _, err := f.WriteAt(h, int64(c.my)*g.sector); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

func (g *gpt) clone() *gpt {
	c := *g
	c.header, c.entries = slices.Clone(g.header), slices.Clone(g.entries)
	return &c
}

// end moves the backup to the end of a disk.
func (g *gpt) end(size int64) {
	g.backup = uint64(size/g.sector) - 1
	g.backupArray = g.backup - g.sectors()
	le.PutUint64(g.header[hdrLast:], g.backupArray-1)
}

// newGPT is a table with one Linux partition from 1 MiB to the end.
func newGPT(size, sector int64, label string) *gpt {
	g := &gpt{sector: sector, array: 2, header: make([]byte, sector), entries: make([]byte, 128*128), primary: true}
	copy(g.header, "EFI PART")
	le.PutUint32(g.header[8:], 0x00010000)
	le.PutUint32(g.header[hdrSize:], 92)
	le.PutUint64(g.header[hdrFirst:], 2+g.sectors())
	g.end(size)
	putGUID(g.header[hdrDiskGUID:], vss.NewGUID())
	le.PutUint32(g.header[hdrEntries:], 128)
	le.PutUint32(g.header[hdrEntrySize:], 128)
	e := g.entry(0)
	putGUID(e, typeLinux)
	putGUID(e[16:], vss.NewGUID())
	le.PutUint64(e[32:], uint64(align/sector))
	le.PutUint64(e[40:], uint64(lastByte(size)/sector)-1)
	for i, u := range utf16.Encode([]rune(label)) {
		if i < nameUnits {
			le.PutUint16(e[56+2*i:], u)
		}
	}
	return g
}

// nameUnits is how long a partition's name can be, in UTF-16.
const nameUnits = 36

// align is where partitions begin and end.
const align = 1 << 20

// lastByte is the end of the last aligned partition on a disk: the backup table needs what is behind it.
func lastByte(size int64) int64 { return (size/align - 1) * align }

// grow moves the backup to the end of a disk that grew and stretches the last partition up to it.
func (g *gpt) grow(size int64) {
	g.end(size)
	var last []byte
	for i := range g.count() {
		if e := g.entry(i); !guidAt(e).IsZero() && (last == nil || le.Uint64(e[40:]) > le.Uint64(last[40:])) {
			last = e
		}
	}
	end := uint64(lastByte(size)/g.sector) - 1
	if last != nil && le.Uint64(last[40:]) < end {
		le.PutUint64(last[40:], end)
	}
}
