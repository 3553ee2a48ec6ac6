package disk

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// smallest is the smallest disk that gets a table.
const smallest = 4 * align

// Create writes a new table with one Linux partition, aligned to 1 MiB; StyleNone only wipes. label is the
// partition's name (GPT only, 36 UTF-16 units at most). What the disk held is lost. Errors: E_INVALIDARG for a
// disk under 4 MiB, and nothing was changed.
func Create(device string, style Style, label string) (*Table, error) {
	b, err := openBlocks(device, os.O_RDWR)
	if err != nil {
		return nil, openError("CreateTable", device, err)
	}
	defer b.Close()
	if b.size < smallest && style != StyleNone {
		return nil, vss.E(
			"CreateTable", vss.ErrInvalidArg, fmt.Errorf("the disk has %d bytes, a table needs %d", b.size, smallest),
		).
			On(device)
	}
	err = b.wipe()
	sector := b.sectorSizes()[0]
	switch {
	case err != nil:
	case style == StyleGPT:
		if _, err = b.WriteAt(protectiveMBR(b.size, sector), 0); err == nil {
			err = newGPT(b.size, sector, label).write(b)
		}
	case style == StyleMBR:
		if _, err = b.WriteAt(newMBR(b.size, sector), 0); err == nil {
			err = b.Sync()
		}
	}
	if err != nil {
		return nil, vss.E("CreateTable", vss.ErrUnexpected, err).On(device)
	}
	return Read(device)
}

func protectiveMBR(size, sector int64) []byte {
	b := make([]byte, 512)
	e := entryOf(b, 0)
	copy(e, []byte{0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff})
	le.PutUint32(e[8:], 1)
	le.PutUint32(e[12:], uint32(min(size/sector-1, 1<<32-1)))
	b[510], b[511] = 0x55, 0xaa
	return b
}

// Wipe clears the first and the last MiB of a disk, where tables and superblocks are. Source: IVdsLun::Delete.
func Wipe(device string) error {
	b, err := openBlocks(device, os.O_RDWR)
	if err != nil {
		return openError("Wipe", device, err)
	}
	defer b.Close()
	if err := b.wipe(); err != nil {
		return vss.E("Wipe", vss.ErrUnexpected, err).On(device)
	}
	return nil
}

func (b *blocks) wipe() error {
	zero := make([]byte, min(b.size, align))
	for _, at := range []int64{0, b.size - int64(len(zero))} {
		if _, err := b.WriteAt(zero, at); err != nil {
			return err
		}
	}
	return b.Sync()
}

// growWait is how long Grow waits for the disk's lock.
const growWait = 10 * time.Second

// Grow fits the table to a disk that grew: the GPT's backup moves to the end, the last partition is stretched (to a
// whole MiB). A disk without a table needs nothing. Errors: VSS_E_VOLUME_IN_USE where another program keeps the disk
// locked, VSS_E_NOT_SUPPORTED for tables that we don't edit.
func Grow(device string) (*Table, error) {
	ctx, cancel := context.WithTimeout(context.Background(), growWait)
	defer cancel()
	e, err := Open(ctx, device)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	d := e.disk
	switch {
	case d.gpt != nil:
		if err = d.editable(); err != nil {
			return nil, err
		}
		if err = e.changeGPT(func(g *gpt) { g.grow(d.size) }); err == nil {
			err = growProtective(e.blocks, d.size, d.sector)
		}
	case d.mbr != nil:
		err = d.mbr.grow(e.blocks, d.size)
	}
	if err != nil {
		return nil, vss.E("GrowTable", vss.ErrUnexpected, err).On(device)
	}
	return Read(device)
}

// growProtective fits the one entry of a protective MBR; a hybrid one, or one that some tool made otherwise, stays as
// it is.
func growProtective(b *blocks, size, sector int64) error {
	s := make([]byte, 512)
	if _, err := b.ReadAt(s, 0); err != nil {
		return err
	}
	want := protectiveMBR(size, sector)
	e := entryOf(s, 0)
	if e.kind() != 0xee || e.start() != 1 || !blank(s[mbrTable+16:510]) {
		return nil
	}
	copy(e[12:], entryOf(want, 0)[12:])
	if _, err := b.WriteAt(s, 0); err != nil {
		return err
	}
	return b.Sync()
}
