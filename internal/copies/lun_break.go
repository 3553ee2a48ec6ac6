package copies

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// lunBreak makes ordinary LUNs of a set's copies.
type lunBreak struct {
	k         *lunKind
	set       vss.SnapshotSetID
	readWrite bool
	mask      bool
	resumed   bool // begun by a former service
	copies    []*lunCopy
	luns      []brokenLUN
	before    []catalog.BreakLUN
	mounted   []mounted
}

// brokenLUN is one LUN of a break, each once.
type brokenLUN struct {
	lun    *catalog.LUN
	disk   vds.Disk
	volume string // the original volume of the first copy on it
	revert bool
}

// mounted is where a copy was mounted before a break.
type mounted struct {
	copy *lunCopy
	path string
}

const opBreak = "BreakSnapshotSetEx"

// CheckBreak implements Breaker: after it the break can only fail for what happens in between.
func (k *lunKind) CheckBreak(ctx context.Context, records []*catalog.Snapshot, flags vss.BreakFlags) (Break, error) {
	b := &lunBreak{
		k:         k,
		readWrite: flags&vss.BreakMakeReadWrite != 0,
		mask:      flags&vss.BreakMaskLUNs != 0,
		copies:    k.openAll(records),
	}
	for _, c := range b.copies {
		b.set = c.r.SetID
		if !c.r.Imported {
			return nil, vss.E(opBreak, vss.ErrObjectNotFound, errors.New("not imported on this host")).
				On(c.r.SetID.String()).
				Advise("import it first: `vss import --bc FILE`")
		}
		disks, err := c.find(ctx)
		if err != nil {
			return nil, err
		}
		for i := range c.r.LUNs {
			l := &c.r.LUNs[i]
			if slices.ContainsFunc(b.luns, func(o brokenLUN) bool { return o.lun.LUNID == l.LUNID }) {
				continue
			}
			if err := b.take(ctx, c, l, disks[i], flags); err != nil {
				return nil, err
			}
		}
	}
	return b, nil
}

// take adds one LUN to the break.
func (b *lunBreak) take(ctx context.Context, c *lunCopy, l *catalog.LUN, d vds.Disk, flags vss.BreakFlags) error {
	visible := b.k.disks().VisibleOriginal(ctx, &l.Original)
	if visible && flags&vss.BreakRevertIdentityAll != 0 {
		err := fmt.Errorf("the original of %s (serial %s) is visible on this host", d.Device, l.Original.SerialNumber)
		return vss.E(opBreak, vss.ErrBreakRevertIDFailed, err).On(c.r.SetID.String()).
			Advise("mask the originals first (`vss lun mask`), or keep the new identities (--keep-identity); " +
				"the set is intact")
	}
	id, err := b.k.disks().Identity(ctx, d)
	if err != nil {
		return err
	}
	b.before = append(b.before, catalog.BreakLUN{LUNID: l.LUNID, Identity: id})
	b.luns = append(b.luns, brokenLUN{l, d, c.r.OriginalVolume, !visible && flags&vss.BreakRevertIdentityNone == 0})
	return nil
}

// Before implements Break.
func (b *lunBreak) Before() []catalog.BreakLUN { return b.before }

// Apply implements Break.
func (b *lunBreak) Apply(ctx context.Context) error {
	switch {
	case b.mask && b.resumed:
		return b.resumeMask(ctx)
	case b.mask:
		return b.maskAll(ctx)
	}
	return b.change(ctx)
}

func (b *lunBreak) affected() []catalog.LUN {
	var out []catalog.LUN
	for _, l := range b.luns {
		out = append(out, *l.lun)
	}
	return out
}

// maskAll takes the disks off this host, then has the provider mask the LUNs; they stay in the array.
func (b *lunBreak) maskAll(ctx context.Context) error {
	if err := b.unmountAll(ctx); err != nil {
		return err
	}
	for _, c := range b.copies {
		b.k.host.unlink(c.r)
	}
	for _, l := range b.luns {
		err := fault.Around("break", "uninstall", func() error { return b.k.disks().Uninstall(ctx, l.disk, false) })
		if err != nil {
			return err
		}
	}
	return b.k.stateChange(ctx, callStateChange, b.set, b.affected(), vss.DoMaskLUNs)
}

// change gives the disks the state and identity that was asked for. udev sees them when all is done: while it is still
// busy with a copy that has just come it would make it read-only again.
func (b *lunBreak) change(ctx context.Context) error {
	if b.readWrite {
		if err := b.k.stateChange(ctx, callStateChange, b.set, b.affected(), vss.NotifyReadWrite); err != nil {
			return err
		}
	}
	if err := b.unmountAll(ctx); err != nil {
		return err
	}
	locked := map[vss.LUNID]LockedDisk{}
	defer unlockAll(locked)
	for _, l := range b.luns {
		if err := lockAll(ctx, b.k.disks(), []vds.Disk{l.disk}, locked); err != nil {
			return err
		}
	}
	for _, l := range b.luns {
		if err := b.changeDisk(ctx, l, locked[l.disk.LUN.ID]); err != nil {
			return err
		}
	}
	for _, c := range b.copies {
		if err := fault.Around("break", "file-system", func() error { return b.fileSystem(ctx, c) }); err != nil {
			return err
		}
	}
	if !b.readWrite {
		for _, l := range b.luns {
			if err := b.k.disks().SetReadOnly(l.disk.Device, true); err != nil {
				return err
			}
		}
	}
	for _, m := range b.mounted {
		if err := b.k.host.Mount(ctx, m.copy, m.path, !b.readWrite); err != nil {
			return err
		}
	}
	return nil
}

// changeDisk gives one disk its identity and flags.
func (b *lunBreak) changeDisk(ctx context.Context, l brokenLUN, locked LockedDisk) error {
	clear := vss.FlagShadowCopy | vss.FlagHidden
	if b.readWrite {
		clear |= vss.FlagReadOnly
	}
	if err := b.k.disks().SetReadOnly(l.disk.Device, false); err != nil {
		return err
	}
	if l.revert {
		err := fault.Around("break", "identity", func() error {
			return locked.SetIdentity(ctx, l.lun.OriginalIdentity)
		})
		if err != nil {
			return vss.E(opBreak, vss.ErrBreakRevertIDFailed, err).On(l.disk.Device).
				Advise("the identities are as before and the set is intact; `vss doctor` checks the disk")
		}
	}
	return fault.Around("break", "flags", func() error { return locked.SetFlags(ctx, 0, clear) })
}

// reverted reports whether all LUNs of a copy get their originals' identities.
func (b *lunBreak) reverted(r *catalog.Snapshot) bool {
	for _, l := range r.LUNs {
		if !slices.ContainsFunc(b.luns, func(o brokenLUN) bool { return o.lun.LUNID == l.LUNID && o.revert }) {
			return false
		}
	}
	return true
}

// fileSystem gives the file system its identity: the original's where the disks' are reverted, else one of its own as
// soon as it can be written, so that no mount by UUID takes the wrong disk. ext4 and XFS have their original's as long
// as they are copies; btrfs got one of its own at import.
func (b *lunBreak) fileSystem(ctx context.Context, c *lunCopy) error {
	at, err := c.Source(ctx)
	if err != nil {
		return err
	}
	switch {
	case c.r.FileSystem == "btrfs" && b.reverted(c.r):
		fsid, err := vss.ParseGUID(c.r.FileSystemUUID)
		if err != nil {
			return err
		}
		return b.k.disks().SetBtrfsFSID(at.Devices, fsid)
	case b.readWrite && !b.reverted(c.r) && renewable(c.r.FileSystem):
		return b.k.disks().SetFileSystemUUID(ctx, at.Devices[0], vss.NewGUID().Plain())
	}
	return nil
}

// unmountAll unmounts the copies, wherever they are mounted, and remembers where that was.
func (b *lunBreak) unmountAll(ctx context.Context) error {
	for _, c := range b.copies {
		paths, err := b.k.host.mountsOf(ctx, c)
		if err != nil {
			return err
		}
		for _, p := range paths {
			if err := b.k.host.unmount(ctx, c, p, false); err != nil {
				return vss.E(opBreak, vss.ErrVolumeInUse, err).
					On(p).
					Advise("end what uses the copy: `fuser -vm " + p + "`")
			}
			b.mounted = append(b.mounted, mounted{c, p})
		}
	}
	return nil
}

// Finish implements Break.
func (b *lunBreak) Finish(ctx context.Context) error {
	ids := make([]vss.LUNID, len(b.before))
	for i, l := range b.before {
		ids[i] = l.LUNID
	}
	return fault.Around("break", "make-plain", func() error { return b.k.disks().MakePlain(ctx, ids) })
}

// Result implements Break.
func (b *lunBreak) Result(ctx context.Context) []Broken {
	var out []Broken
	for _, l := range b.luns {
		r := Broken{
			LUN:            l.lun.LUNID,
			OriginalVolume: l.volume,
			Masked:         b.mask,
			ReadWrite:      b.readWrite,
			Reverted:       l.revert && !b.mask,
		}
		if !r.Masked {
			r.Device = l.disk.Device
			for _, c := range b.copies {
				if c.r.OriginalVolume != l.volume {
					continue
				}
				if at, err := c.Source(ctx); err == nil {
					r.VolumeDevice = at.Devices[0]
				}
			}
		}
		out = append(out, r)
	}
	return out
}
