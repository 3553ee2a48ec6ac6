package disk

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// mbr is a master boot record with, behind it, our own record of the disk's flags: 512 bytes at the end of the gap
// before the first partition (by the order of places, extended ones too), or before the first MiB where the gap is
// longer. It is found from the table alone. Where the flags lie on the original systems is not documented; this place
// is ours.
type mbr struct {
	sector   int64
	sector0  []byte // its first 512 bytes
	recordAt int64  // bytes; 0 where there is no gap
	record   []byte
	bootCode bool // something else lives in the gap
	logical  []Partition
}

// Our record: magic, format version, flags, checksum over what is before it. Later formats keep these where they are.
const (
	recordMagic  = "STILLPOINT-FLAGS"
	recordFormat = 1
	recFormat    = 16
	recFlags     = 20
	recCRC       = 24
	recordSize   = 512
)

// Offsets in sector 0.
const (
	mbrBootCode  = 440 // bytes of it
	mbrSignature = 440
	mbrTable     = 446
)

// mbrEntry is one of the four entries of sector 0 or of an extended partition's links.
type mbrEntry []byte

func entryOf(sector []byte, i int) mbrEntry { return sector[mbrTable+16*i : mbrTable+16*i+16] }

func (e mbrEntry) kind() byte    { return e[4] }
func (e mbrEntry) start() int64  { return int64(le.Uint32(e[8:])) }  // sectors
func (e mbrEntry) length() int64 { return int64(le.Uint32(e[12:])) } // sectors
func (e mbrEntry) used() bool    { return e.kind() != 0 && e.length() != 0 }

func bootSignature(sector []byte) bool { return sector[510] == 0x55 && sector[511] == 0xaa }

// readMBR returns nil without an error for a disk that has no MBR: the boot signature alone is also a file system's.
func readMBR(r io.ReaderAt, sector0 []byte, size, sector int64) (*mbr, error) {
	if !bootSignature(sector0) {
		return nil, nil
	}
	m := &mbr{sector: sector, sector0: sector0}
	first, used := int64(align), false
	for i := range 4 {
		e := entryOf(sector0, i)
		if !e.used() {
			continue
		}
		if e[0]&^0x80 != 0 || e.start() == 0 || (e.start()+e.length())*sector > size {
			return nil, nil // not a table: a boot sector of a file system
		}
		used = true
		first = min(first, e.start()*sector)
		if extended(e.kind()) {
			m.readLogical(r, e.start(), size)
		}
	}
	if !used {
		return nil, nil
	}
	if first <= sector {
		return m, nil
	}
	m.recordAt = first - recordSize
	gap := make([]byte, first-sector)
	if _, err := r.ReadAt(gap, sector); err != nil {
		return nil, fmt.Errorf("the gap before the first partition can't be read: %w", err)
	}
	rest := len(gap) - recordSize
	m.record = gap[rest:]
	m.bootCode = !blank(sector0[:mbrBootCode]) && !blank(gap[:rest])
	return m, nil
}

func extended(t byte) bool { return t == 5 || t == 0xf || t == 0x85 }

// maxLogical bounds the walk through an extended partition.
const maxLogical = 128

// readLogical follows the links of an extended partition, which are relative to its beginning base (in sectors).
func (m *mbr) readLogical(r io.ReaderAt, base, size int64) {
	at := base
	seen := map[int64]bool{} // links may go in circles; they may go back too
	for range maxLogical {
		seen[at] = true
		b := make([]byte, 512)
		if _, err := r.ReadAt(b, at*m.sector); err != nil || !bootSignature(b) {
			return
		}
		p, next := entryOf(b, 0), entryOf(b, 1)
		if start := at + p.start(); p.used() && p.start() != 0 && !extended(p.kind()) &&
			(start+p.length())*m.sector <= size {
			m.logical = append(m.logical, Partition{
				Number:  5 + len(m.logical),
				TypeMBR: p.kind(),
				Start:   start * m.sector,
				Size:    p.length() * m.sector,
				Data:    carriesData(p.kind()),
			})
		}
		if !next.used() || !extended(next.kind()) || seen[base+next.start()] {
			return
		}
		at = base + next.start()
	}
}

// carriesData is false for extended, EFI system and Windows recovery partitions.
func carriesData(kind byte) bool { return !extended(kind) && kind != 0xef && kind != 0x27 }

// ours reports whether our record is at its place, and returns its format.
func (m *mbr) ours() (format uint32, ok bool) {
	if m.recordAt == 0 || string(m.record[:len(recordMagic)]) != recordMagic ||
		crc32.ChecksumIEEE(m.record[:recCRC]) != le.Uint32(m.record[recCRC:]) {
		return 0, false
	}
	return le.Uint32(m.record[recFormat:]), true
}

func (m *mbr) flags() vss.DiskFlags {
	if _, ok := m.ours(); ok {
		return vss.DiskFlags(le.Uint32(m.record[recFlags:])) & vss.FlagsShadowCopy
	}
	return 0
}

// roomForRecord returns an error unless the gap before the first partition is free for our record.
func (m *mbr) roomForRecord(name string) error {
	refuse := func(why, hint string) error {
		return vss.E("EditTable", vss.ErrNotSupported, errors.New(why)).On(name).Advise(hint)
	}
	format, ours := m.ours()
	switch {
	case ours && format > recordFormat:
		return refuse(
			fmt.Sprintf("the disk's flag record has format %d, this program knows up to %d", format, recordFormat),
			"use the newer program that wrote it; nothing was changed",
		)
	case m.recordAt == 0:
		return refuse(
			"there is no gap before the first partition for the flags",
			"use a GPT, or begin the first partition at 1 MiB",
		)
	case !ours && (m.bootCode || !blank(m.record)):
		return refuse(
			"boot code or other data lies in the gap before the first partition",
			"boot disks with an MBR can't be copied; use a GPT",
		)
	}
	return nil
}

// same reports whether both are the same table with the same record in the gap.
func (m *mbr) same(o *mbr) bool {
	return bytes.Equal(m.sector0, o.sector0) && m.recordAt == o.recordAt && bytes.Equal(m.record, o.record) &&
		slices.Equal(m.logical, o.logical)
}

// setFlags writes our record, or takes it away when no flag is left, so that the disk is as it was before.
func (m *mbr) setFlags(f syncer, flags vss.DiskFlags) error {
	record := make([]byte, recordSize)
	if flags != 0 {
		copy(record, recordMagic)
		le.PutUint32(record[recFormat:], recordFormat)
		le.PutUint32(record[recFlags:], uint32(flags))
		le.PutUint32(record[recCRC:], crc32.ChecksumIEEE(record[:recCRC]))
	}
	if _, err := f.WriteAt(record, m.recordAt); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	m.record = record
	return nil
}

func (m *mbr) fill(t *Table) {
	t.Style = StyleMBR
	copy(t.Identity.Disk[:4], m.sector0[mbrSignature:])
	t.Flags = m.flags()
	for i := range 4 {
		if e := entryOf(m.sector0, i); e.used() {
			t.Partitions = append(t.Partitions, Partition{
				Number:  i + 1,
				TypeMBR: e.kind(),
				Start:   e.start() * m.sector,
				Size:    e.length() * m.sector,
				Data:    carriesData(e.kind()),
			})
		}
	}
	t.Partitions = append(t.Partitions, m.logical...)
	for i := range t.Partitions {
		t.Partitions[i].Flags = t.Flags
	}
}

func (m *mbr) setSignature(f syncer, id vss.GUID) error {
	if _, err := f.WriteAt(id[:4], mbrSignature); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	copy(m.sector0[mbrSignature:], id[:4])
	return nil
}

// newMBR is a table with one Linux partition from 1 MiB to the end.
func newMBR(size, sector int64) []byte {
	b := make([]byte, 512)
	id := vss.NewGUID()
	copy(b[mbrSignature:], id[:4])
	e := entryOf(b, 0)
	copy(e, []byte{0, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff}) // cylinders, which are no longer used
	le.PutUint32(e[8:], uint32(align/sector))
	le.PutUint32(e[12:], uint32(min((size/align-1)*align/sector, math.MaxUint32)))
	b[510], b[511] = 0x55, 0xaa
	return b
}

// grow stretches the last partition, if it is a primary one, to the end of a disk that grew.
func (m *mbr) grow(f syncer, size int64) error {
	var last mbrEntry
	for i := range 4 {
		if e := entryOf(m.sector0, i); e.used() && (last == nil || e.start() > last.start()) {
			last = e
		}
	}
	length := min(size/align*align/m.sector-last.start(), math.MaxUint32)
	if extended(last.kind()) || length <= last.length() {
		return nil
	}
	le.PutUint32(last[12:], uint32(length))
	if _, err := f.WriteAt(m.sector0, 0); err != nil {
		return err
	}
	return f.Sync()
}
