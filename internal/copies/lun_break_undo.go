package copies

import (
	"context"
	"errors"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// renewable reports whether a file system gets a UUID of its own when it becomes writable.
func renewable(fileSystem string) bool { return disk.Renewable(fileSystem) }

// ResumeBreak implements Breaker.
func (k *lunKind) ResumeBreak(records []*catalog.Snapshot, rec catalog.Break) Break {
	b := &lunBreak{
		k:         k,
		set:       rec.Set,
		readWrite: rec.ReadWrite,
		mask:      rec.MaskLUNs,
		resumed:   true,
		copies:    k.openAll(records),
	}
	for _, l := range rec.Before {
		for _, r := range records {
			if On(r, l.LUNID) {
				b.before = append(b.before, l)
				break
			}
		}
	}
	return b
}

// resumeMask goes on with a break that masks: masking is idempotent, and a LUN that left this host is not brought back.
func (b *lunBreak) resumeMask(ctx context.Context) error {
	for _, c := range b.copies {
		b.k.host.Withdraw(ctx, c)
		for i := range c.r.LUNs {
			err := b.k.plain(
				ctx,
				callStateChange,
				func(ctx context.Context) error { return b.k.change(ctx, c.r.LUNs[i:i+1], vss.DoMaskLUNs) },
			)
			if err != nil && !errors.Is(err, vss.ErrObjectNotFound) {
				return b.k.translate(ctx, callStateChange, b.set, err)
			}
		}
	}
	return nil
}

// Undo implements Break: identities, flags, access and mounts are put back. After a restart it isn't known where the
// copies were mounted, unless they are so for writing, which is a break's last step.
func (b *lunBreak) Undo(ctx context.Context) error {
	var errs []error
	for _, c := range b.copies {
		c.moved()
		errs = append(errs, b.takeWritable(ctx, c))
	}
	if err := b.k.host.Rescan(ctx); err != nil { // a masked one may have to come back
		errs = append(errs, err)
	}
	for _, c := range b.copies {
		c.moved()
	}
	locked := map[vss.LUNID]LockedDisk{}
	defer unlockAll(locked)
	for _, before := range b.before {
		errs = append(errs, b.undoDisk(ctx, before, locked))
	}
	for _, c := range b.copies {
		errs = append(errs, b.undoFileSystem(ctx, c), c.ReadOnly(ctx, true), b.k.host.link(ctx, c))
	}
	for _, m := range b.mounted {
		errs = append(errs, b.remount(ctx, m))
	}
	return errors.Join(errs...)
}

// undoDisk gives a disk the identity and flags that it had. As in a break udev doesn't come between.
func (b *lunBreak) undoDisk(ctx context.Context, before catalog.BreakLUN, locked map[vss.LUNID]LockedDisk) error {
	d, err := b.k.disks().Find(ctx, before.LUNID)
	if err != nil || d.Device == "" {
		return vss.E("UndoBreak", vss.ErrMissingDisk, err).On(before.LUNID.String())
	}
	if err := lockAll(ctx, b.k.disks(), []vds.Disk{d}, locked); err != nil {
		return err
	}
	l := locked[d.LUN.ID]
	return errors.Join(
		b.k.disks().SetReadOnly(d.Device, false),
		l.SetIdentity(ctx, before.Identity),
		l.SetFlags(ctx, vss.FlagsShadowCopy, 0),
	)
}

// takeWritable unmounts a copy where it is mounted for writing, and remembers where that was.
func (b *lunBreak) takeWritable(ctx context.Context, c *lunCopy) error {
	paths, err := b.k.host.mountsOf(ctx, c)
	if errors.Is(err, vss.ErrMissingDisk) { // masked already
		return nil
	}
	for _, p := range paths {
		if !b.k.host.cfg.Mounts.Writable(p) {
			continue
		}
		if e := b.k.host.unmount(ctx, c, p, false); e != nil {
			err = errors.Join(
				err,
				vss.E("UndoBreak", vss.ErrVolumeInUse, e).On(p).Advise("end what uses it: `fuser -vm "+p+"`"),
			)
			continue
		}
		b.mounted = append(b.mounted, mounted{c, p})
	}
	return err
}

// remount mounts a copy again where it was, unless it is there.
func (b *lunBreak) remount(ctx context.Context, m mounted) error {
	paths, err := b.k.host.mountsOf(ctx, m.copy)
	if err != nil || slices.Contains(paths, m.path) {
		return err
	}
	return b.k.host.Mount(ctx, m.copy, m.path, true)
}

// undoFileSystem gives a copy's file system the identity that it had as a copy. One that is mounted is mounted for
// reading, from before the break: it was not written to.
func (b *lunBreak) undoFileSystem(ctx context.Context, c *lunCopy) error {
	at, err := c.Source(ctx)
	if err != nil {
		return err
	}
	paths, err := b.k.host.mountsOf(ctx, c)
	switch {
	case err != nil || len(paths) > 0:
		return err
	case c.r.FileSystem == "btrfs" && c.r.CopyUUID != "":
		fsid, err := vss.ParseGUID(c.r.CopyUUID)
		if err != nil {
			return err
		}
		return b.k.disks().SetBtrfsFSID(at.Devices, fsid)
	case b.readWrite && renewable(c.r.FileSystem) && c.r.FileSystemUUID != "":
		return b.k.disks().RestoreFileSystemUUID(ctx, at.Devices[0], c.r.FileSystemUUID)
	}
	return nil
}

// On reports whether a copy lies on a LUN.
func On(r *catalog.Snapshot, lun vss.LUNID) bool {
	return slices.ContainsFunc(r.LUNs, func(l catalog.LUN) bool { return l.LUNID == lun })
}
