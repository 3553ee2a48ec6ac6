package coordinator

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// rollBack makes the set what it was.
func (b *breaking) rollBack(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	if err := b.k.undoBreak(ctx, b.record, b.copies, b.mounted); err != nil {
		b.k.events.add(catalog.Event{Severity: "error", What: "break-not-undone", SetID: b.set, Code: vss.CodeOf(err), Message: err.Error(), Hint: "the next start of the service tries again"})
	}
}

// undoBreak puts identities, flags, access and mounts back; recovery uses it too, and doesn't know where copies were mounted
// unless they are so for writing, which is a break's last step.
func (k *Coordinator) undoBreak(ctx context.Context, record catalog.Break, copies []catalog.Snapshot, where []mounted) error {
	var errs []error
	for i := range copies {
		taken, err := k.takeWritable(ctx, &copies[i])
		where, errs = append(where, taken...), append(errs, err)
	}
	if _, err := k.Disks.Rescan(ctx, vds.RescanOptions{}); err != nil { // a masked one may have to come back
		errs = append(errs, err)
	}
	for _, before := range record.Before {
		d, err := k.Disks.Find(ctx, before.LUNID.String())
		if err != nil || d.Device == "" {
			errs = append(errs, vss.E("UndoBreak", vss.ErrMissingDisk, err).On(before.LUNID.String()))
			continue
		}
		l, err := k.Disks.Lock(ctx, d) // as in a break: udev doesn't come between
		if err != nil {
			errs = append(errs, err)
			continue
		}
		defer l.Unlock()
		errs = append(errs, disk.SetReadOnly(d.Device, false), l.SetIdentity(ctx, before.Identity), l.SetFlags(ctx, vss.FlagsShadowCopy, 0))
	}
	for i := range copies {
		r := &copies[i]
		errs = append(errs, k.undoFileSystem(ctx, record, r), k.blockReadOnly(ctx, r, true), k.link(ctx, r))
	}
	for _, m := range where {
		errs = append(errs, k.remount(ctx, m))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return k.Catalog.Update(func(tx *catalog.Tx) error { return tx.RemoveBreak(record.Set) })
}

// mounts gives where a copy is mounted.
func (k *Coordinator) mounts(ctx context.Context, r *catalog.Snapshot) (nodes, paths []string, err error) {
	if nodes, err = k.nodes(ctx, r); err != nil {
		return nil, nil, err
	}
	for _, n := range nodes {
		more, err := volume.MountsOf(n)
		if err != nil {
			return nil, nil, err
		}
		paths = append(paths, more...)
	}
	return nodes, paths, nil
}

// takeWritable unmounts a copy where it is mounted for writing.
func (k *Coordinator) takeWritable(ctx context.Context, r *catalog.Snapshot) ([]mounted, error) {
	_, paths, err := k.mounts(ctx, r)
	var taken []mounted
	for _, p := range paths {
		var st unix.Statfs_t
		if unix.Statfs(p, &st) != nil || st.Flags&unix.ST_RDONLY != 0 {
			continue
		}
		if e := unmount(p, false); e != nil {
			err = errors.Join(err, vss.E("UndoBreak", vss.ErrVolumeInUse, e).On(p).Advise("end what uses it: `fuser -vm "+p+"`"))
			continue
		}
		taken = append(taken, mounted{r, p})
	}
	return taken, err
}

// remount shows a copy again where it was, unless it is there.
func (k *Coordinator) remount(ctx context.Context, m mounted) error {
	_, paths, err := k.mounts(ctx, m.copy)
	if err != nil || slices.Contains(paths, m.path) {
		return err
	}
	return k.mount(ctx, m.copy, m.path, true)
}

// undoFileSystem gives a copy's file system the identity that it had as a copy. One that is mounted is mounted for reading,
// from before the break: it was not written to.
func (k *Coordinator) undoFileSystem(ctx context.Context, record catalog.Break, r *catalog.Snapshot) error {
	nodes, paths, err := k.mounts(ctx, r)
	switch {
	case err != nil || len(paths) > 0:
		return err
	case r.FileSystem == "btrfs" && r.CopyUUID != "":
		fsid, err := vss.ParseGUID(r.CopyUUID)
		if err != nil {
			return err
		}
		return disk.SetBtrfsFSID(nodes, fsid)
	case record.ReadWrite && disk.Renewable(r.FileSystem) && r.FileSystemUUID != "":
		return disk.RestoreFileSystemUUID(ctx, nodes[0], r.FileSystemUUID)
	}
	return nil
}
