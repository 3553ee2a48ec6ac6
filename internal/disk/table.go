// Package disk reads and edits what identifies a disk: its partition table (GPT or MBR), the four shadow copy
// flags, the identities of disk and partitions, and the identity of a file system. It edits live disks without
// disturbing their mounts: it never asks the kernel to read a table again.
package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Style is the kind of a disk's partition table.
type Style int

// Kinds of tables.
const (
	StyleNone Style = iota // no table: the entire disk is one volume
	StyleGPT
	StyleMBR
)

var styleNames = [...]string{"none", "gpt", "mbr"}

// String is the style's name as commands print it; a number that no style has, from a damaged record, is itself.
func (s Style) String() string {
	if s < 0 || int(s) >= len(styleNames) {
		return strconv.Itoa(int(s))
	}
	return styleNames[s]
}

// StyleByName reads a style's name. Errors: E_INVALIDARG.
func StyleByName(name string) (Style, error) {
	for i, n := range styleNames {
		if n == name {
			return Style(i), nil
		}
	}
	return 0, vss.E("Style", vss.ErrInvalidArg, nil).On(name).Advise("styles are gpt, mbr, none")
}

// Partition is one entry of a table.
type Partition struct {
	Number   int
	ID       vss.GUID // GPT: unique id; zero on MBR
	TypeGUID vss.GUID
	TypeMBR  byte
	Name     string
	Start    int64 // bytes
	Size     int64 // bytes
	Flags    vss.DiskFlags
	Data     bool // may carry the four flags: not a boot, reserved, recovery or extended partition
}

// PartitionID is the identity of one GPT partition.
type PartitionID struct {
	Number int      `json:"number"`
	ID     vss.GUID `json:"id"`
}

// Identity identifies a disk: GPT's disk GUID or MBR's signature (little-endian in the first four
// bytes of Disk, as in VDS_LUN_INFORMATION), and GPT's partition ids.
type Identity struct {
	Style      Style         `json:"style"`
	Disk       vss.GUID      `json:"disk"`
	Partitions []PartitionID `json:"partitions,omitempty"`
}

// Table is a disk's partition table as it was read.
type Table struct {
	Style      Style
	SectorSize int64
	Size       int64
	Identity   Identity
	Flags      vss.DiskFlags // MBR: for the entire disk; GPT: flags that all data partitions have
	Partitions []Partition
}

// Read reads the table of a device or an image file. A disk without one has StyleNone. Errors:
// VSS_E_VOLUME_NOT_SUPPORTED when both copies of a GPT are corrupt; VSS_E_OBJECT_NOT_FOUND.
func Read(device string) (*Table, error) {
	d, err := readDevice(device)
	if err != nil {
		return nil, err
	}
	return d.table(), nil
}

func readDevice(device string) (*onDisk, error) {
	b, err := openBlocks(device, os.O_RDONLY)
	if err != nil {
		return nil, openError("ReadTable", device, err)
	}
	defer b.Close()
	return readDisk(b, device)
}

func openError(op, device string, err error) error {
	code := vss.ErrUnexpected
	if errors.Is(err, os.ErrNotExist) {
		code = vss.ErrObjectNotFound
	}
	return vss.E(op, code, err).On(device)
}

// onDisk is a disk with the parsed form of whichever table it has.
type onDisk struct {
	name   string
	sector int64
	size   int64
	gpt    *gpt
	mbr    *mbr
}

func readDisk(b *blocks, name string) (*onDisk, error) {
	d, err := parse(b, b.size, b.sectorSizes())
	var sector *sectorError
	if errors.As(err, &sector) {
		return nil, vss.E("ReadTable", vss.ErrVolumeNotSupported, err).On(name).Advise(fmt.Sprintf(
			"the table is intact: show the disk with sectors of %d bytes, and don't write a table to it", sector.table))
	}
	if err != nil {
		return nil, vss.E("ReadTable", vss.ErrVolumeNotSupported, err).
			On(name).
			Advise("repair the partition table first: `sgdisk -v`, `gdisk` recovery; nothing was changed")
	}
	d.name = name
	return d, nil
}

// parse reads the table that a kernel would take: an MBR that announces no GPT counts more than the remains of one.
func parse(r io.ReaderAt, size int64, sectors []int64) (*onDisk, error) {
	d := &onDisk{sector: sectors[0], size: size}
	if size < d.sector {
		return d, nil // too small for any table
	}
	first := make([]byte, 512)
	if _, err := r.ReadAt(first, 0); err != nil {
		return nil, err
	}
	announced := protective(first)
	if !announced {
		m, err := readMBR(r, first, size, d.sector)
		if m != nil || err != nil {
			d.mbr = m
			return d, err
		}
	}
	var damage error
	for _, s := range sectors {
		g, err := readGPT(r, size, s, announced)
		if g != nil {
			d.gpt, d.sector = g, s
			return d, nil
		}
		if err != nil && (damage == nil || !errors.Is(err, errNoHeader)) {
			damage = err
		}
	}
	if other := otherSector(r, size, sectors); announced && other != 0 {
		return nil, &sectorError{has: sectors[0], table: other}
	}
	if damage != nil {
		return nil, fmt.Errorf("GPT is corrupt, both copies of it: %w", damage)
	}
	return d, nil
}

// sectorError is the error for a disk whose GPT was written for another size of sectors than the disk has.
type sectorError struct{ has, table int64 }

func (e *sectorError) Error() string {
	return fmt.Sprintf("its GPT was written for sectors of %d bytes, and the disk has sectors of %d", e.table, e.has)
}

// otherSector returns the size of sectors for which the disk has an intact GPT, if it isn't one that the disk can have.
func otherSector(r io.ReaderAt, size int64, sectors []int64) int64 {
	for _, s := range []int64{512, 1024, 2048, 4096} {
		if slices.Contains(sectors, s) {
			continue
		}
		if g, err := readGPT(r, size, s, true); err == nil && g != nil {
			return s
		}
	}
	return 0
}

// protective reports whether sector 0 announces a GPT.
func protective(sector []byte) bool {
	if sector[510] != 0x55 || sector[511] != 0xaa {
		return false
	}
	for i := range 4 {
		if sector[446+16*i+4] == 0xee {
			return true
		}
	}
	return false
}

// same reports whether both are the same table, flags and identities included.
func (d *onDisk) same(o *onDisk) bool {
	switch {
	case (d.gpt == nil) != (o.gpt == nil) || (d.mbr == nil) != (o.mbr == nil):
		return false
	case d.gpt != nil:
		return d.gpt.same(o.gpt)
	case d.mbr != nil:
		return d.mbr.same(o.mbr)
	}
	return true
}

func (d *onDisk) table() *Table {
	t := &Table{SectorSize: d.sector, Size: d.size}
	switch {
	case d.gpt != nil:
		d.gpt.fill(t)
	case d.mbr != nil:
		d.mbr.fill(t)
	}
	t.Identity.Style = t.Style
	return t
}

// CanFlag returns an error unless a disk can carry the four flags. A disk without a table can: the array's record
// holds its flags. Errors: VSS_E_VOLUME_NOT_SUPPORTED with the reason.
func CanFlag(device string) error {
	d, err := readDevice(device)
	if err != nil {
		return err
	}
	if err := d.editable(); err != nil {
		return vss.E("CanFlag", vss.ErrVolumeNotSupported, err).On(device).Advise(vss.Hint(err))
	}
	return nil
}

// editable returns an error unless the table is of a form that we change.
func (d *onDisk) editable() error {
	switch {
	case d.gpt != nil:
		if err := d.gpt.editable(d.size); err != nil {
			return vss.E("EditTable", vss.ErrNotSupported, err).
				On(d.name).
				Advise("this disk's table is left alone, since an edit could damage what lies around it; `sgdisk " +
					"-v` shows more")
		}
	case d.mbr != nil:
		return d.mbr.roomForRecord(d.name)
	}
	return nil
}
