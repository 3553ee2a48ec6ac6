package disk

import (
	"context"
	"errors"
	"os"
	"slices"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Editor changes a disk's flags and identity through one writable descriptor, locked (flock) from Open to Close. udev
// respects that lock: it looks at a disk again only when the lock is free, so nothing happens to live mounts. Table
// is what is on the disk: a failed change leaves it as it was.
type Editor struct {
	blocks *blocks
	lock   *os.File // the descriptor that has the lock
	disk   *onDisk
}

// Open opens a disk for editing; it waits for the lock until ctx ends. udev looks at the disk again when it is
// closed. Errors: VSS_E_VOLUME_IN_USE, VSS_E_OBJECT_NOT_FOUND, VSS_E_VOLUME_NOT_SUPPORTED for a corrupt table.
func Open(ctx context.Context, device string) (*Editor, error) {
	b, err := openBlocks(device, os.O_RDWR)
	if err != nil {
		return nil, openError("OpenDisk", device, err)
	}
	return newEditor(ctx, device, b, b.file)
}

// Edit opens a disk for one change. Errors: those of Open and change.
func Edit(ctx context.Context, device string, change func(*Editor) error) error {
	e, err := Open(ctx, device)
	if err != nil {
		return err
	}
	return e.closeAfter(change(e))
}

// closeAfter closes the disk and returns err, or what went wrong while closing.
func (e *Editor) closeAfter(err error) error {
	if c := e.Close(); err == nil && c != nil {
		return vss.E("EditTable", vss.ErrUnexpected, c).On(e.disk.name)
	}
	return err
}

// OpenLive is Open for a disk whose file systems are in use and whose content for others is the same when it is closed:
// udev isn't notified of the writes, and doesn't run its rules for the disk.
func OpenLive(ctx context.Context, device string) (*Editor, error) {
	node, err := os.Open(device)
	if err != nil {
		return nil, openError("OpenDisk", device, err)
	}
	b, err := openUnseen(node)
	if err != nil { // where that isn't allowed the disk has an event more
		b, err = openBlocks(device, os.O_RDWR)
	}
	if err != nil {
		node.Close()
		return nil, openError("OpenDisk", device, err)
	}
	return newEditor(ctx, device, b, node)
}

// newEditor takes the lock, and both descriptors, and reads what there is.
func newEditor(ctx context.Context, device string, b *blocks, lock *os.File) (*Editor, error) {
	e := &Editor{blocks: b, lock: lock}
	err := flock(ctx, lock, device)
	if err == nil {
		e.disk, err = readDisk(b, device)
	}
	if err != nil {
		e.Close()
		return nil, err
	}
	return e, nil
}

// Close closes the disk and then releases its lock.
func (e *Editor) Close() error {
	err := e.blocks.Close()
	if e.lock != e.blocks.file {
		err = errors.Join(err, e.lock.Close())
	}
	return err
}

// Table is the table as it is now.
func (e *Editor) Table() *Table { return e.disk.table() }

// SetFlags sets and clears flags of every data partition (GPT) or of the disk (MBR). They are durable when it returns.
// Errors: VSS_E_NOT_SUPPORTED where the disk has no room for them, and nothing was changed.
func (e *Editor) SetFlags(set, clr vss.DiskFlags) error { return e.setFlags(0, set, clr) }

// SetPartitionFlags is SetFlags of one data partition; on MBR the flags are the disk's. Errors: also
// VSS_E_OBJECT_NOT_FOUND.
func (e *Editor) SetPartitionFlags(number int, set, clr vss.DiskFlags) error {
	t := e.Table()
	i := slices.IndexFunc(t.Partitions, func(p Partition) bool { return p.Number == number })
	switch {
	case t.Style == StyleNone: // setFlags returns the error
	case i < 0:
		return vss.E("SetFlags", vss.ErrObjectNotFound, nil).On(PartitionNode(e.disk.name, number))
	case !t.Partitions[i].Data:
		return vss.E("SetFlags", vss.ErrNotSupported, errors.New("it is a system partition, which carries no flags")).
			On(PartitionNode(e.disk.name, number))
	}
	return e.setFlags(number, set, clr)
}

func (e *Editor) setFlags(number int, set, clr vss.DiskFlags) error {
	d := e.disk
	if d.gpt == nil && d.mbr == nil {
		return vss.E("SetFlags", vss.ErrNotSupported, errors.New("the disk has no partition table to hold flags")).
			On(d.name)
	}
	if err := d.editable(); err != nil {
		return err
	}
	var err error
	if d.gpt != nil {
		err = e.changeGPT(func(g *gpt) { g.setFlags(number, set, clr) })
	} else {
		err = d.mbr.setFlags(e.blocks, d.mbr.flags()&^clr|set)
	}
	if err != nil {
		return vss.E("SetFlags", vss.ErrUnexpected, err).On(d.name)
	}
	return nil
}

// changeGPT writes a changed table; ours stays as it was when that fails.
func (e *Editor) changeGPT(change func(*gpt)) error {
	g := e.disk.gpt.clone()
	change(g)
	if err := g.editable(e.disk.size); err != nil {
		return err
	}
	if err := g.write(e.blocks); err != nil {
		return err
	}
	g.primary = true
	e.disk.gpt = g
	return nil
}

// SetIdentity writes these ids to the disk and reads them back. It must name every partition. Errors:
// VSS_E_CANNOT_REVERT_DISKID.
func (e *Editor) SetIdentity(id Identity) error {
	d := e.disk
	err := d.editable()
	switch {
	case err != nil:
	case !e.Table().Identity.fits(id):
		err = errors.New("the identity is of a disk with another table or other partitions")
	case d.gpt != nil:
		err = e.changeGPT(func(g *gpt) { g.setIdentity(id) })
	case d.mbr != nil:
		err = d.mbr.setSignature(e.blocks, id.Disk)
	}
	if err == nil {
		var t *Table
		if t, err = Read(d.name); err == nil && !t.Identity.equal(id) {
			err = errors.New("what was read back differs")
		}
	}
	if err != nil {
		return vss.E("SetIdentity", vss.ErrCannotRevertDiskID, err).On(d.name)
	}
	return nil
}

// fits reports whether a disk with identity i can be given o: the same kind of table and partitions of the same
// numbers.
func (i Identity) fits(o Identity) bool {
	return i.Style == o.Style &&
		slices.EqualFunc(i.Partitions, o.Partitions, func(a, b PartitionID) bool { return a.Number == b.Number })
}

func (i Identity) equal(o Identity) bool {
	return i.Style == o.Style && i.Disk == o.Disk && slices.Equal(i.Partitions, o.Partitions)
}

// RenewIdentity writes new ids to the disk and its partitions and returns them. A disk without a table has none:
// nothing happens. Errors: VSS_E_CANNOT_REVERT_DISKID.
func (e *Editor) RenewIdentity() (Identity, error) {
	id := e.Table().Identity
	if id.Style == StyleNone {
		return id, nil
	}
	id.Disk = vss.NewGUID()
	if id.Style == StyleMBR {
		clear(id.Disk[4:])
	}
	for i := range id.Partitions {
		id.Partitions[i].ID = vss.NewGUID()
	}
	return id, e.SetIdentity(id)
}
