package coordinator

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// original is one disk of the set with its descriptor, open and locked while its flags may differ.
type original struct {
	device string
	editor *disk.Editor
	before catalog.Flagged
}

// recordIntent opens and locks the originals' disks and makes durable which flags they have, so that a crash from here on
// is mended at the next start.
func (c *creation) recordIntent(ctx context.Context) error {
	for _, s := range c.copies {
		s.identities = nil
		for i, dev := range s.vol.Disks {
			o, err := c.open(ctx, dev, s.sources[i])
			if err != nil {
				return err
			}
			s.identities = append(s.identities, o.editor.Table().Identity)
		}
	}
	if err := c.k.listCreating(c.disks); err != nil {
		return err
	}
	for _, o := range c.disks {
		c.record.Flagged = append(c.record.Flagged, o.before)
	}
	return c.k.Catalog.Update(func(tx *catalog.Tx) error { return tx.PutCreation(c.record) })
}

// open gives the set's one open descriptor of a disk.
func (c *creation) open(ctx context.Context, device string, lun vss.LUNInformation) (*original, error) {
	for _, o := range c.disks {
		if o.device == device {
			return o, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	e, err := disk.OpenLive(ctx, device)
	if err != nil {
		return nil, err
	}
	t := e.Table()
	before := catalog.Flagged{LUN: lun, Disk: t.Flags, Before: map[int]vss.DiskFlags{}}
	for _, p := range t.Partitions {
		if p.Data {
			before.Before[p.Number] = p.Flags
		}
	}
	o := &original{device, e, before}
	c.disks = append(c.disks, o)
	return o, nil
}

func (c *creation) closeDisks(context.Context) {
	for _, o := range c.disks {
		if err := o.editor.Close(); err != nil {
			c.k.Logger.Warn("disk not closed cleanly", "disk", o.device, "error", err)
		}
	}
	c.disks = nil
	if err := c.k.listCreating(nil); err != nil {
		c.k.Logger.Warn("list of disks in creation not removed", "error", err)
	}
}

// eachDisk works on all disks of the set at once.
func (c *creation) eachDisk(f func(*original) error) error {
	errs := make([]error, len(c.disks))
	var wg sync.WaitGroup
	for i, o := range c.disks {
		wg.Go(func() { errs[i] = f(o) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// setFlags writes the four flags on the originals, so that the copies are born with them. A disk without a partition
// table has no room for them: its copy's array record and the document hold them.
func (c *creation) setFlags(context.Context) error {
	c.marked = true
	return c.eachDisk(func(o *original) error {
		if o.editor.Table().Style == disk.StyleNone {
			return nil
		}
		return o.editor.SetFlags(vss.FlagsShadowCopy, 0)
	})
}

func (c *creation) restoreFlags() error {
	return c.eachDisk(func(o *original) error { return restoreFlags(o.editor, o.before) })
}

// restoreFlags puts a disk's flags back to what they were before a creation.
func restoreFlags(e *disk.Editor, before catalog.Flagged) error {
	switch e.Table().Style {
	case disk.StyleMBR:
		return e.SetFlags(before.Disk, vss.FlagsShadowCopy&^before.Disk)
	case disk.StyleGPT:
		var rest vss.DiskFlags
		for _, f := range before.Before {
			rest |= f
		}
		if rest == 0 { // the usual case in one write
			return e.SetFlags(0, vss.FlagsShadowCopy)
		}
		for n, f := range before.Before {
			if err := e.SetPartitionFlags(n, f, vss.FlagsShadowCopy&^f); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *creation) undoFlags(context.Context) {
	if !c.marked {
		return
	}
	if err := c.restoreFlags(); err != nil {
		c.k.events.add(catalog.Event{Severity: "error", What: "flags-left", SetID: c.id, Code: vss.CodeOf(err), Message: err.Error(), Hint: "run `vss doctor --repair`: an original still carries shadow copy flags"})
		return
	}
	c.marked = false
}

func (c *creation) clearFlags(ctx context.Context) error {
	c.closeVolumes(ctx)
	if err := c.restoreFlags(); err != nil {
		return err
	}
	c.marked = false
	return nil
}

// verifyFlags reads the originals again: what was cleared must be clear.
func (c *creation) verifyFlags(ctx context.Context) error {
	for _, o := range c.disks {
		t, err := disk.Read(o.device)
		if err != nil {
			return err
		}
		clean := t.Flags == o.before.Disk || t.Style != disk.StyleMBR
		for _, p := range t.Partitions {
			clean = clean && (!p.Data || t.Style != disk.StyleGPT || p.Flags == o.before.Before[p.Number])
		}
		if !clean {
			return vss.E("VerifyFlags", vss.ErrUnexpected, errors.New("the flags of the original did not go")).On(o.device).Advise("does another program write to this disk's partition table?")
		}
	}
	c.closeDisks(ctx)
	return nil
}
