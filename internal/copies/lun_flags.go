package copies

import (
	"context"
	"errors"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// original is one disk of the set with its descriptor, open and locked while its flags may differ.
type original struct {
	device  string
	editor  Editor
	before  catalog.Flagged
	changed bool // another program changed the partition table since Intent
}

// openWait is how long the lock of an original is waited for.
const openWait = 10 * time.Second

// Intent implements Member: the originals' disks are opened and locked, and which flags they have is recorded.
func (m *lunMember) Intent(ctx context.Context, rec *catalog.Creation) error {
	for _, p := range m.copies {
		p.identities = nil
		for i, dev := range p.volume.Disks {
			o, err := m.open(ctx, dev, p.sources[i])
			if err != nil {
				return err
			}
			p.identities = append(p.identities, o.editor.Table().Identity)
		}
	}
	for _, o := range m.disks {
		rec.Flagged = append(rec.Flagged, o.before)
	}
	return m.k.host.listCreating(m.devices(), true)
}

func (m *lunMember) devices() []string {
	var out []string
	for _, o := range m.disks {
		out = append(out, o.device)
	}
	return out
}

// open returns the set's one open descriptor of a disk.
func (m *lunMember) open(ctx context.Context, device string, lun vss.LUNInformation) (*original, error) {
	for _, o := range m.disks {
		if o.device == device {
			return o, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, openWait)
	defer cancel()
	e, err := m.k.disks().Edit(ctx, device, true)
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
	o := &original{device: device, editor: e, before: before}
	m.disks = append(m.disks, o)
	return o, nil
}

// Release implements Member.
func (m *lunMember) Release() {
	unlockAll(m.locked)
	for _, o := range m.disks {
		if err := o.editor.Close(); err != nil {
			m.k.logger.Warn("disk not closed cleanly", "disk", o.device, "error", err)
		}
	}
	if len(m.disks) == 0 {
		return
	}
	if err := m.k.host.listCreating(m.devices(), false); err != nil {
		m.k.logger.Warn("list of disks in creation not removed", "error", err)
	}
	m.disks = nil
}

// eachDisk works on all disks of the set at once: each waits for its disk's cache flush.
func (m *lunMember) eachDisk(f func(*original) error) error {
	return errors.Join(each(len(m.disks), func(i int) error { return f(m.disks[i]) })...)
}

// Mark implements Member. A disk without a partition table has no room for flags: its copy's array record and the
// document hold them.
func (m *lunMember) Mark(context.Context) error {
	m.marked = true
	return m.eachDisk(func(o *original) error {
		if o.editor.Table().Style == disk.StyleNone {
			return nil
		}
		return o.editor.SetFlags(vss.FlagsShadowCopy, 0)
	})
}

// Unmark implements Member.
func (m *lunMember) Unmark(context.Context) error {
	if !m.marked {
		return nil
	}
	if err := m.eachDisk(func(o *original) error { return o.restore() }); err != nil {
		return err
	}
	m.marked = false
	return nil
}

// restore puts the flags back. In a table that another program has changed meanwhile only the flags of the partitions
// that it still has are written; Verify fails the set then.
func (o *original) restore() error {
	err := restoreFlags(o.editor, o.before)
	if !errors.Is(err, disk.ErrTableChanged) {
		return err
	}
	o.changed = true
	if err := o.editor.Reload(); err != nil {
		return err
	}
	return restoreKnown(o.editor, o.before)
}

// restoreKnown is restoreFlags for a table that may have other partitions than it had.
func restoreKnown(e Editor, before catalog.Flagged) error {
	t := e.Table()
	if t.Style != disk.StyleGPT {
		return restoreFlags(e, before)
	}
	for _, p := range t.Partitions {
		if f, known := before.Before[p.Number]; known && p.Data && p.Flags != f {
			if err := e.SetPartitionFlags(p.Number, f, vss.FlagsShadowCopy&^f); err != nil {
				return err
			}
		}
	}
	return nil
}

// restoreFlags puts a disk's flags back to what they were before a creation.
func restoreFlags(e Editor, before catalog.Flagged) error {
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

// Verify implements Member.
func (m *lunMember) Verify(context.Context) error {
	for _, o := range m.disks {
		t, err := m.k.disks().Table(o.device)
		if err != nil {
			return err
		}
		if o.changed {
			return vss.E("VerifyFlags", vss.ErrUnexpected, disk.ErrTableChanged).On(o.device).
				Advise("its changes are kept; create the copies again when it has finished")
		}
		clean := t.Flags == o.before.Disk || t.Style != disk.StyleMBR
		for _, p := range t.Partitions {
			clean = clean && (!p.Data || t.Style != disk.StyleGPT || p.Flags == o.before.Before[p.Number])
		}
		if !clean {
			err := errors.New("shadow copy flags are still set on the original")
			return vss.E("VerifyFlags", vss.ErrUnexpected, err).On(o.device).
				Advise("does another program write to this disk's partition table?")
		}
	}
	return nil
}

// RestoreOriginals puts back the flags of the originals of a creation that died. Which disks they are is known by their
// page 0x83, never by the flags. It needs no provider, and may be repeated. Errors: VSS_E_MISSING_DISK for an original
// that isn't visible here.
func (h *Host) RestoreOriginals(ctx context.Context, c catalog.Creation) error {
	var errs []error
	for _, f := range c.Flagged {
		d, ok := h.cfg.Disks.ByInformation(ctx, &f.LUN)
		if !ok {
			continue // the LUN itself doesn't exist any more
		}
		if d.Device == "" {
			err := errors.New("an original that may carry shadow copy flags isn't visible here")
			errs = append(errs, vss.E("ClearFlags", vss.ErrMissingDisk, err).On(d.LUN.Name).
				Advise("unmask it to this host and restart the service"))
			continue
		}
		errs = append(errs, h.restoreOriginal(ctx, d.Device, f))
	}
	return errors.Join(errs...)
}

func (h *Host) restoreOriginal(ctx context.Context, device string, f catalog.Flagged) error {
	// after a boot the kernel obeys the flags that are to go
	if err := h.cfg.Disks.SetReadOnly(device, false); err != nil {
		return err
	}
	e, err := h.cfg.Disks.Edit(ctx, device, false)
	if err != nil {
		return err
	}
	defer e.Close()
	if err := restoreKnown(e, f); err != nil {
		return err
	}
	ro := f.Disk&vss.FlagReadOnly != 0
	for _, b := range f.Before {
		ro = ro || b&vss.FlagReadOnly != 0
	}
	return h.cfg.Disks.SetReadOnly(device, ro)
}
