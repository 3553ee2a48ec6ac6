package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
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
	r.prove("originals go on", "the originals go on, without a failed write", went > 0, "%d more commits after the hold", went)
	r.Listener.Note("load", "ended")
	masked := true
	for _, v := range []*volume{r.data, r.wal} {
		if _, err := r.disks.UnmountLun(ctx, &vssv1.UnmountLunRequest{Lun: v.lun.GetId()}); err != nil {
			return err
		}
		l, err := r.disks.MaskLun(ctx, &vssv1.MaskLunRequest{Lun: v.lun.GetId()})
		if err != nil {
			return err
		}
		masked = masked && l.GetDevice() == "" && len(l.GetMappedTo()) == 0
	}
	if !masked {
		return errors.New("an original is still to be seen after it was masked")
	}
	r.Listener.Note("originals", "unmounted and masked")
	r.made.Session.Close()

	copies, err := r.show(ctx, r.copyLUN)
	if err != nil {
		return err
	}
	if r.report.Broken, err = r.breakIt(ctx); err != nil {
		return err
	}
	written := !slices.ContainsFunc(r.report.Broken, func(l requester.BrokenLUN) bool { return !l.ReadWrite || !l.Reverted || l.Device == "" })
	broken, err := r.show(ctx, r.copyLUN)
	if err != nil {
		return err
	}
	identity := written && len(r.report.Broken) == 2
	for i, v := range []*volume{r.data, r.wal} {
		was, is := ids(v.lun), ids(broken[i])
		identity = identity && slices.Equal(was, is) && !slices.Equal(was[:2], ids(copies[i])[:2]) && plain(broken[i])
		r.Listener.Note(v.name, fmt.Sprintf("%s, disk %s again; as a copy it was %s", broken[i].GetDevice(), is[0], ids(copies[i])[0]))
	}
	r.prove("identity reverted", "the broken set has the originals' identities", identity, "ids of disks, partitions and file systems; no flag of a copy")
	return nil
}

// breakIt breaks the set read/write, with the identities of the originals or not at all.
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

// copyLUN is the LUN of a copy, before and after the break.
func (r *run) copyLUN(i int) string { return r.made.Set.Snapshots[i].LUNs[0].String() }

func (r *run) show(ctx context.Context, name func(int) string) (out []*vssv1.Lun, err error) {
	for i := range r.made.Set.Snapshots {
		l, err := r.disks.ShowLun(ctx, &vssv1.LunRequest{Lun: name(i)})
		if err != nil {
			return nil, err
		}
		if len(l.GetDisk().GetPartitions()) != 1 {
			return nil, fmt.Errorf("LUN %s has %d partitions, not 1", l.GetId(), len(l.GetDisk().GetPartitions()))
		}
		out = append(out, l)
	}
	return out, nil
}

// ids are by what a host knows a disk and what is on it: disk, partition, file system.
func ids(l *vssv1.Lun) []string {
	p := l.GetDisk().GetPartitions()[0]
	return []string{l.GetDisk().GetId(), p.GetId(), p.GetUuid()}
}

// plain says whether a LUN has nothing of a shadow copy about it.
func plain(l *vssv1.Lun) bool {
	flags := vss.DiskFlags(l.GetDisk().GetPartitions()[0].GetFlags())
	return l.GetKind() == "plain" && !l.GetReadOnly() && flags&(vss.FlagShadowCopy|vss.FlagHidden|vss.FlagReadOnly) == 0
}

// useBroken mounts the broken set where the originals were: the server starts there and knows no difference.
func (r *run) useBroken(ctx context.Context) error {
	for i, v := range []*volume{r.data, r.wal} {
		if _, err := r.disks.MountLun(ctx, &vssv1.MountLunRequest{Lun: r.copyLUN(i), Path: v.point}); err != nil {
			return err
		}
	}
	r.Listener.Note("broken set", "mounted read/write where the originals were")
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
		err = fmt.Errorf("it has %d commits, the copies had %d", e.commits(), r.examined.commits())
	}
	err = errors.Join(err, e.gap, e.fault)
	r.prove("starts in their place", "PostgreSQL starts there, with what the copies had", err == nil, "%s", told(err, fmt.Sprintf("%d commits", e.commits())))
	r.Listener.Note("PostgreSQL", told(err, fmt.Sprintf("runs, with the same %d commits", e.commits())))

	err = r.write(ctx)
	if err = errors.Join(err, r.server.Stop(ctx)); ctx.Err() != nil {
		return ctx.Err()
	}
	r.prove("takes writes", "the broken set takes writes", err == nil, "%s", told(err, "a table in the database, a file on each volume"))
	return r.check(ctx)
}

// write writes to the broken set, by the database and beside it.
func (r *run) write(ctx context.Context) error {
	answer, err := r.server.SQL(ctx, "CREATE TABLE after_break AS SELECT sum(n) AS n FROM generate_series(1, 1000) n; CHECKPOINT; SELECT n FROM after_break")
	if err == nil && answer != "500500" {
		err = fmt.Errorf("the table has %q", answer)
	}
	for _, v := range []*volume{r.data, r.wal} {
		err = errors.Join(err, os.WriteFile(filepath.Join(v.point, "after-break"), []byte(v.name), 0o644))
	}
	return err
}

// check lets each file system's own program look at what was the copy.
func (r *run) check(ctx context.Context) error {
	var errs []error
	for i, v := range []*volume{r.data, r.wal} {
		l, err := r.disks.UnmountLun(ctx, &vssv1.UnmountLunRequest{Lun: r.copyLUN(i)})
		if err != nil {
			return err
		}
		node := l.GetDisk().GetPartitions()[0].GetDevice()
		if v.fs == "xfs" {
			errs = append(errs, tool(ctx, "xfs_repair", "-n", node))
		} else {
			errs = append(errs, tool(ctx, "e2fsck", "-fn", node))
		}
	}
	err := errors.Join(errs...)
	r.prove("file systems well", "its file systems are well", err == nil, "%s", told(err, "xfs_repair -n and e2fsck -fn find no fault"))
	return ctx.Err()
}
