package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func (r *run) breakSet(ctx context.Context) error {
	_, released, err := moments(r.made.Set)
	if err != nil {
		return err
	}
	after := r.load.after(released)
	if err := errors.Join(r.load.halt(), r.server.Stop(ctx)); err != nil {
		return fmt.Errorf("the load on the originals: %w", err)
	}
	went := r.load.now().commits() - after.commits()
	r.prove("originals go on", "the originals continue, without a failed write", went > 0,
		"%d more commits after the hold", went)
	r.Listener.Note("load", "stopped")
	masked := true
	for _, v := range []*volume{r.data, r.wal} {
		if _, err := r.disks.UnmountLUN(ctx, v.lun.ID.String(), 0); err != nil {
			return err
		}
		l, err := r.disks.MaskLUN(ctx, v.lun.ID.String(), "", false)
		if err != nil {
			return err
		}
		masked = masked && l.Device == "" && len(l.MappedTo) == 0
	}
	if !masked {
		return errors.New("an original is still visible after it was masked")
	}
	r.Listener.Note("originals", "unmounted and masked")
	r.made.Session.Close()

	copies, err := r.show(ctx)
	if err != nil {
		return err
	}
	if r.report.Broken, err = r.breakIt(ctx); err != nil {
		return err
	}
	reverted := !slices.ContainsFunc(r.report.Broken, func(l requester.BrokenLUN) bool {
		return !l.ReadWrite || !l.Reverted || l.Device == ""
	})
	broken, err := r.show(ctx)
	if err != nil {
		return err
	}
	identity := reverted && len(r.report.Broken) == 2
	for i, v := range []*volume{r.data, r.wal} {
		was, is := ids(v.lun), ids(broken[i])
		identity = identity && slices.Equal(was, is) && !slices.Equal(was[:2], ids(copies[i])[:2]) && isPlain(broken[i])
		r.Listener.Note(v.name,
			fmt.Sprintf("%s, disk %s again; as a copy it was %s", broken[i].Device, is[0], ids(copies[i])[0]))
	}
	r.prove("identity reverted", "the broken set has the identities of the originals", identity,
		"ids of disks, partitions and file systems; no shadow copy flags")
	return nil
}

// breakIt breaks the set with read/write access and the identities of the originals.
func (r *run) breakIt(ctx context.Context) ([]requester.BrokenLUN, error) {
	b, err := r.client.Open(ctx, program)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	if err := b.InitializeForBackup(ctx, nil); err != nil {
		return nil, err
	}
	if err := b.SetContext(ctx, vss.ContextAll); err != nil {
		return nil, err
	}
	a, err := b.BreakSnapshotSetEx(ctx, r.made.Set.ID, vss.BreakMakeReadWrite|vss.BreakRevertIdentityAll)
	if err != nil {
		return nil, err
	}
	if _, err := a.Wait(ctx, nil); err != nil {
		return nil, err
	}
	return b.GetBreakResult(ctx, a)
}

// copyLUN returns the id of the LUN of a copy, which it keeps after the break.
func (r *run) copyLUN(i int) string { return r.made.Set.Snapshots[i].LUNs[0].String() }

// show returns the LUNs of the copies, each of which must have one partition.
func (r *run) show(ctx context.Context) (out []requester.LUN, err error) {
	for i := range r.made.Set.Snapshots {
		l, err := r.disks.ShowLUN(ctx, r.copyLUN(i))
		if err != nil {
			return nil, err
		}
		if l.Disk == nil || len(l.Disk.Partitions) != 1 {
			return nil, fmt.Errorf("LUN %v does not have one partition", l.ID)
		}
		out = append(out, l)
	}
	return out, nil
}

// ids returns the identities of a LUN's disk, its partition and its file system.
func ids(l requester.LUN) []string {
	p := l.Disk.Partitions[0]
	return []string{l.Disk.ID, p.ID, p.UUID}
}

// isPlain reports whether a LUN has none of the properties of a shadow copy.
func isPlain(l requester.LUN) bool {
	flags := l.Disk.Partitions[0].Flags
	return l.Kind == "plain" && !l.ReadOnly && flags&(vss.FlagShadowCopy|vss.FlagHidden|vss.FlagReadOnly) == 0
}

// useBroken mounts the broken set in place of the originals and starts the server there.
func (r *run) useBroken(ctx context.Context) error {
	for i, v := range []*volume{r.data, r.wal} {
		if _, err := r.disks.MountLUN(ctx, r.copyLUN(i), 0, v.point, false); err != nil {
			return err
		}
	}
	r.Listener.Note("broken set", "mounted read/write in place of the originals")
	if err := forgetOwner(r.server.Data); err != nil {
		return err
	}
	e := &examination{}
	err := r.server.Start(ctx)
	if err == nil {
		e, err = examine(ctx, r.server)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil && (!e.balanced || !slices.Equal(e.last, r.examined.last)) {
		err = fmt.Errorf("the broken set has %d commits, the copies had %d", e.commits(), r.examined.commits())
	}
	err = errors.Join(err, e.gap, e.fault)
	r.prove("starts in their place", "PostgreSQL starts on the broken set, with the data of the copies", err == nil,
		"%s", outcome(err, fmt.Sprintf("%d commits", e.commits())))
	r.Listener.Note("PostgreSQL", outcome(err, fmt.Sprintf("is running, with the same %d commits", e.commits())))

	err = r.write(ctx)
	if err = errors.Join(err, r.server.Stop(ctx)); ctx.Err() != nil {
		return ctx.Err()
	}
	r.prove("takes writes", "the broken set can be written to", err == nil,
		"%s", outcome(err, "a table in the database, a file on each volume"))
	return r.check(ctx)
}

// write writes to the broken set: a table in the database and a file on each volume.
func (r *run) write(ctx context.Context) error {
	answer, err := r.server.SQL(ctx, "CREATE TABLE after_break AS SELECT sum(n) AS n FROM generate_series(1, 1000) n; "+
		"CHECKPOINT; SELECT n FROM after_break")
	if err == nil && answer != "500500" {
		err = fmt.Errorf("the table has %q", answer)
	}
	for _, v := range []*volume{r.data, r.wal} {
		err = errors.Join(err, os.WriteFile(filepath.Join(v.point, "after-break"), []byte(v.name), 0o644))
	}
	return err
}

// check checks each file system of the broken set with the program made for it.
func (r *run) check(ctx context.Context) error {
	var errs []error
	for i, v := range []*volume{r.data, r.wal} {
		l, err := r.disks.UnmountLUN(ctx, r.copyLUN(i), 0)
		if err != nil {
			return err
		}
		if l.Disk == nil || len(l.Disk.Partitions) != 1 {
			return fmt.Errorf("LUN %v does not have one partition", l.ID)
		}
		node := l.Disk.Partitions[0].Device
		if v.fs == "xfs" {
			errs = append(errs, tool(ctx, "xfs_repair", "-n", node))
		} else {
			errs = append(errs, tool(ctx, "e2fsck", "-fn", node))
		}
	}
	err := errors.Join(errs...)
	r.prove("file systems well", "the file systems of the broken set are intact", err == nil,
		"%s", outcome(err, "xfs_repair -n and e2fsck -fn find no error"))
	return ctx.Err()
}
