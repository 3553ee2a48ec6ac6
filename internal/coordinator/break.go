package coordinator

import (
	"context"
	"fmt"
	"slices"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/fault"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Broken is what a break did to one LUN.
type Broken struct {
	LUN            vss.LUNID
	OriginalVolume string
	Device         string // the whole disk; "" when masked
	VolumeDevice   string // where the volume is; "" when masked
	ReadWrite      bool
	Masked         bool
	Reverted       bool // the disk has its original's identity, else the one it got at import
}

// Break makes ordinary LUNs of a set's copies, and VSS forgets the set. Its Async's value is a []Broken. Errors, at once:
// E_INVALIDARG, VSS_E_BAD_STATE; through the Async: VSS_E_OBJECT_NOT_FOUND, VSS_E_PROVIDER_VETO,
// VSS_E_BREAK_REVERT_ID_FAILED (the set is intact then), VSS_E_VOLUME_IN_USE. Source: BreakSnapshotSetEx.
func (s *Session) Break(set vss.SnapshotSetID, flags vss.BreakFlags) (*Async, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.begin("BreakSnapshotSetEx", true, initialized...); err != nil {
		return nil, err
	}
	if err := vss.CheckBreakFlags(flags); err != nil {
		return nil, err
	}
	return s.async(func(ctx context.Context, a *Async) (vss.Code, error) {
		out, err := s.k.breakSet(ctx, set, flags, a.progress)
		s.k.failed("break-failed", set, "", err)
		a.mu.Lock()
		a.value = out
		a.mu.Unlock()
		return vss.OK, err
	}), nil
}

// Result is what a finished break did.
func (a *Async) Result() []Broken {
	a.mu.Lock()
	defer a.mu.Unlock()
	out, _ := a.value.([]Broken)
	return out
}

// breaking is one break under way.
type breaking struct {
	k       *Coordinator
	set     vss.SnapshotSetID
	flags   vss.BreakFlags
	copies  []catalog.Snapshot
	luns    []brokenLUN
	mounted []mounted
	record  catalog.Break
	hw      provider.Hardware
	props   provider.Properties
}

type brokenLUN struct {
	lun    *catalog.LUN
	disk   vds.Disk
	volume string
	revert bool
}

type mounted struct {
	copy *catalog.Snapshot
	path string
}

func (k *Coordinator) breakSet(ctx context.Context, set vss.SnapshotSetID, flags vss.BreakFlags, progress func(string, float64)) ([]Broken, error) {
	unlock, err := k.lockSet("BreakSnapshotSetEx", set)
	if err != nil {
		return nil, err
	}
	defer unlock()
	b := &breaking{k: k, set: set, flags: flags, record: catalog.Break{
		Set: set, ReadWrite: flags&vss.BreakMakeReadWrite != 0, MaskLUNs: flags&vss.BreakMaskLUNs != 0,
	}}
	progress("check", 0)
	if err := b.check(ctx); err != nil {
		return nil, err
	}
	if err := k.Catalog.Update(func(tx *catalog.Tx) error { return tx.PutBreak(b.record) }); err != nil {
		return nil, err
	}
	progress("change", 25)
	if b.record.MaskLUNs {
		err = fault.Around("break", "mask", func() error { return b.mask(ctx) })
	} else {
		err = fault.Around("break", "change", func() error { return b.change(ctx) })
	}
	if err != nil {
		b.rollBack(ctx)
		return nil, err
	}
	progress("forget", 75)
	if err := fault.Around("break", "forget", func() error { return b.forget(ctx) }); err != nil {
		return nil, err
	}
	return b.result(ctx), nil
}

// check changes nothing: after it the break can only fail for what happens in between.
func (b *breaking) check(ctx context.Context) error {
	const op = "BreakSnapshotSetEx"
	k := b.k
	if err := k.Catalog.View(func(tx *catalog.Tx) (err error) {
		b.copies, err = tx.SnapshotsOf(b.set)
		return err
	}); err != nil {
		return err
	}
	if len(b.copies) == 0 || slices.ContainsFunc(b.copies, func(r catalog.Snapshot) bool { return r.State != vss.StateCreated }) {
		return vss.E(op, vss.ErrObjectNotFound, nil).On(b.set.String()).Advise("`vss list shadows` shows which sets exist")
	}
	for i := range b.copies {
		r := &b.copies[i]
		var err error
		if b.hw, b.props, err = k.hardware(r.ProviderID); err != nil {
			return err
		}
		if !r.Imported {
			return notImported(op, b.set)
		}
		for j := range r.LUNs {
			l := &r.LUNs[j]
			if slices.ContainsFunc(b.luns, func(o brokenLUN) bool { return o.lun.LUNID == l.LUNID }) {
				continue
			}
			d, err := k.lunDisk(ctx, l)
			if err != nil {
				return err
			}
			visible := k.Disks.VisibleOriginal(ctx, &l.Original)
			if visible && b.flags&vss.BreakRevertIdentityAll != 0 {
				return vss.E(op, vss.ErrBreakRevertIDFailed, fmt.Errorf("the original of %s (serial %s) is visible on this host", d.Device, l.Original.SerialNumber)).
					On(b.set.String()).Advise("mask the originals first (`vss lun mask`), or keep the new identities (--keep-identity); the set is intact")
			}
			id, err := k.Disks.Identity(ctx, d)
			if err != nil {
				return err
			}
			b.record.Before = append(b.record.Before, catalog.BreakLUN{LUNID: l.LUNID, Identity: id})
			b.luns = append(b.luns, brokenLUN{l, d, r.OriginalVolume, !visible && b.flags&vss.BreakRevertIdentityNone == 0})
		}
	}
	return nil
}

func (b *breaking) pairs() (copies, originals []vss.LUNInformation) {
	for _, l := range b.luns {
		copies, originals = append(copies, l.lun.Copy), append(originals, l.lun.Original)
	}
	return copies, originals
}

// mask takes the disks off this host, then has the provider mask the LUNs; they stay in the array.
func (b *breaking) mask(ctx context.Context) error {
	if err := b.unmountAll(); err != nil {
		return err
	}
	for i := range b.copies {
		b.k.unlink(&b.copies[i])
	}
	for _, l := range b.luns {
		if err := fault.Around("break", "uninstall", func() error { return b.k.Disks.Uninstall(ctx, l.disk, false) }); err != nil {
			return err
		}
	}
	copies, originals := b.pairs()
	return b.k.said(b.props, "OnLunStateChange", b.set, b.hw.OnLUNStateChange(ctx, copies, originals, vss.DoMaskLUNs))
}

// change gives the disks the state and identity that was asked for. udev sees them when all is done.
func (b *breaking) change(ctx context.Context) error {
	readWrite := b.flags&vss.BreakMakeReadWrite != 0
	if readWrite {
		copies, originals := b.pairs()
		if err := b.k.said(b.props, "OnLunStateChange", b.set, b.hw.OnLUNStateChange(ctx, copies, originals, vss.NotifyReadWrite)); err != nil {
			return err
		}
	}
	if err := b.unmountAll(); err != nil {
		return err
	}
	clear := vss.FlagShadowCopy | vss.FlagHidden
	if readWrite {
		clear |= vss.FlagReadOnly
	}
	locks := make([]*vds.LockedDisk, len(b.luns))
	for i, l := range b.luns { // or udev, still busy with a copy that has just come, would make it read-only again
		var err error
		if locks[i], err = b.k.Disks.Lock(ctx, l.disk); err != nil {
			return err
		}
		defer locks[i].Unlock()
	}
	for i, l := range b.luns {
		if err := disk.SetReadOnly(l.disk.Device, false); err != nil {
			return err
		}
		if l.revert {
			if err := fault.Around("break", "identity", func() error { return locks[i].SetIdentity(ctx, l.lun.OriginalIdentity) }); err != nil {
				return vss.E("BreakSnapshotSetEx", vss.ErrBreakRevertIDFailed, err).On(l.disk.Device).Advise("the identities are as before and the set is intact; `vss doctor` checks the disk")
			}
		}
		if err := fault.Around("break", "flags", func() error { return locks[i].SetFlags(ctx, 0, clear) }); err != nil {
			return err
		}
	}
	for i := range b.copies {
		if err := fault.Around("break", "file-system", func() error { return b.fileSystem(ctx, &b.copies[i], readWrite) }); err != nil {
			return err
		}
	}
	if !readWrite {
		for _, l := range b.luns {
			if err := disk.SetReadOnly(l.disk.Device, true); err != nil {
				return err
			}
		}
	}
	for _, m := range b.mounted {
		if err := b.k.mount(ctx, m.copy, m.path, !readWrite); err != nil {
			return err
		}
	}
	return nil
}

// reverted says whether all LUNs of a copy get their originals' identities.
func (b *breaking) reverted(r *catalog.Snapshot) bool {
	for _, l := range r.LUNs {
		if !slices.ContainsFunc(b.luns, func(o brokenLUN) bool { return o.lun.LUNID == l.LUNID && o.revert }) {
			return false
		}
	}
	return true
}

// fileSystem gives the file system its identity: the original's where the disks' are reverted, else one of its own as soon
// as it can be written, so that no mount by UUID takes the wrong disk. ext4 and XFS have their original's as long as they
// are copies; btrfs got one of its own at import.
func (b *breaking) fileSystem(ctx context.Context, r *catalog.Snapshot, readWrite bool) error {
	nodes, err := b.k.nodes(ctx, r)
	if err != nil {
		return err
	}
	switch {
	case r.FileSystem == "btrfs" && b.reverted(r):
		fsid, err := vss.ParseGUID(r.FileSystemUUID)
		if err != nil {
			return err
		}
		return disk.SetBtrfsFSID(nodes, fsid)
	case readWrite && !b.reverted(r) && disk.Renewable(r.FileSystem):
		return disk.SetFileSystemUUID(ctx, nodes[0], vss.NewGUID().Plain())
	}
	return nil
}

// unmountAll takes the copies' mounts off and remembers where they were.
func (b *breaking) unmountAll() error {
	for i := range b.copies {
		r := &b.copies[i]
		_, paths, err := b.k.mounts(context.Background(), r)
		if err != nil {
			return err
		}
		for _, p := range paths {
			if err := unmount(p, false); err != nil {
				return vss.E("BreakSnapshotSetEx", vss.ErrVolumeInUse, err).On(p).Advise("end what uses the copy: `fuser -vm " + p + "`")
			}
			b.mounted = append(b.mounted, mounted{r, p})
		}
	}
	return nil
}

// forget ends the break: from its first transaction on there is no way back, and recovery goes on from it.
func (b *breaking) forget(ctx context.Context) error {
	b.record.Forgetting = true
	if err := b.k.Catalog.Update(func(tx *catalog.Tx) error { return tx.PutBreak(b.record) }); err != nil {
		return err
	}
	return b.k.finishBreak(context.WithoutCancel(ctx), b.record)
}

// finishBreak makes the LUNs plain ones in their arrays and forgets the set.
func (k *Coordinator) finishBreak(ctx context.Context, record catalog.Break) error {
	byArray := map[array.Array][]vss.LUNID{}
	for _, l := range record.Before {
		if d, err := k.Disks.Find(ctx, l.LUNID.String()); err == nil {
			byArray[d.Array] = append(byArray[d.Array], l.LUNID)
		}
	}
	for a, ids := range byArray {
		if err := fault.Around("break", "make-plain", func() error { return a.MakePlain(ctx, ids) }); err != nil {
			return err
		}
	}
	return k.Catalog.Update(func(tx *catalog.Tx) error {
		if err := tx.RemoveSet(record.Set); err != nil {
			return err
		}
		return tx.RemoveBreak(record.Set)
	})
}

func (b *breaking) result(ctx context.Context) []Broken {
	var out []Broken
	for _, l := range b.luns {
		r := Broken{LUN: l.lun.LUNID, OriginalVolume: l.volume, Masked: b.record.MaskLUNs, ReadWrite: b.flags&vss.BreakMakeReadWrite != 0, Reverted: l.revert && !b.record.MaskLUNs}
		if !r.Masked {
			r.Device = l.disk.Device
			for i := range b.copies {
				if c := &b.copies[i]; c.OriginalVolume == l.volume {
					if nodes, err := b.k.nodes(ctx, c); err == nil {
						r.VolumeDevice = nodes[0]
					}
				}
			}
		}
		out = append(out, r)
	}
	return out
}
