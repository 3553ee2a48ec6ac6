package vsscmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func (a *app) breakCommand() *cobra.Command {
	var mask, readWrite, revert, keep bool
	cmd := &cobra.Command{
		Use:   "break SET",
		Short: "Make ordinary LUNs of a set's copies",
		Long: `Break takes a set out of the service's care: its LUNs stay as ordinary LUNs, read-only unless --read-write is given. Root
only; copies of hardware providers only.

Each disk gets its original's identity back where the original isn't visible here, else it keeps the one it got.
--revert-identity wants the originals' for all of them, or fails and changes none; --keep-identity changes none.
--mask takes the LUNs away from this host and goes with no other flag.`,
		Example: "  vss break --read-write {6a1f8c1e-3b52-4b6e-9a53-1c8f0f2f7a10}",
		Args:    exactly("SET"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseID("set", args[0])
			if err != nil {
				return err
			}
			var flags vss.BreakFlags
			for _, f := range []struct {
				on  bool
				bit vss.BreakFlags
			}{{mask, vss.BreakMaskLUNs}, {readWrite, vss.BreakMakeReadWrite}, {revert, vss.BreakRevertIdentityAll}, {keep, vss.BreakRevertIdentityNone}} {
				if f.on {
					flags |= f.bit
				}
			}
			if err := vss.CheckBreakFlags(flags); err != nil {
				return usage(vss.Hint(err), "the flags don't go together")
			}
			return a.breakSet(cmd.Context(), vss.SnapshotSetID{GUID: id}, flags)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&mask, "mask", false, "take the LUNs away from this host")
	f.BoolVar(&readWrite, "read-write", false, "make the volumes writable; mounted ones stay mounted")
	f.BoolVar(&revert, "revert-identity", false, "give all disks their originals' identities, or fail")
	f.BoolVar(&keep, "keep-identity", false, "leave the disks' identities as they are")
	return cmd
}

func (a *app) breakSet(ctx context.Context, id vss.SnapshotSetID, flags vss.BreakFlags) error {
	return a.session(ctx, vss.ContextAll, func(_ *requester.Client, b *requester.BackupComponents) error {
		async, err := b.BreakSnapshotSetEx(ctx, id, flags)
		if err != nil {
			return err
		}
		show, end := a.progress()
		_, err = async.Wait(ctx, show)
		end()
		if err != nil {
			return err
		}
		luns, err := b.GetBreakResult(ctx, async)
		if err != nil {
			return err
		}
		shape := brokenShape(id, luns)
		if a.json {
			a.print(shape)
			return nil
		}
		a.table("The set had no LUNs.", []string{"LUN", "ORIGINAL VOLUME", "DEVICE", "ACCESS", "IDENTITY"}, each(shape.LUNs, func(l brokenLUNJSON) []string {
			access := "read-only"
			switch {
			case l.Masked:
				access = "masked"
			case l.ReadWrite:
				access = "read/write"
			}
			return []string{l.LUN.String(), l.OriginalVolume, dash(l.Device), access, l.Identity}
		}))
		return nil
	})
}

// deletion is what a delete did; it is an error when it stopped at one.
type deletion struct {
	Failure    *failureJSON     `json:"error,omitempty"`
	Deleted    []vss.SnapshotID `json:"deleted"`
	NotDeleted *vss.SnapshotID  `json:"not_deleted,omitempty"`
	err        error
}

func (d *deletion) Error() string { return d.err.Error() }
func (d *deletion) Unwrap() error { return d.err }

func (a *app) deleteCommand() *cobra.Command {
	var all, force bool
	var oldest, volume string
	cmd := &cobra.Command{
		Use:   "delete COPY|SET | --all | --oldest VOLUME | --volume VOLUME",
		Short: "Delete shadow copies",
		Long: `Delete deletes one copy, all copies of one set, all copies, the oldest copy of a volume, or every copy of a volume. It asks
nothing. It goes copy by copy and stops at the first failure, telling what is gone and what stayed.`,
		Example: "  vss delete {6a1f8c1e-3b52-4b6e-9a53-1c8f0f2f7a10}\n  vss delete --oldest /srv/data",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			n := len(args)
			for _, name := range []string{"all", "oldest", "volume"} {
				if cmd.Flags().Changed(name) {
					n++
				}
			}
			if n != 1 || len(args) == 0 && !all && oldest == "" && volume == "" {
				return usage("", "want exactly one of COPY or SET, --all, --oldest VOLUME, --volume VOLUME")
			}
			var ids []vss.GUID
			if len(args) == 1 {
				id, err := parseID("copy or set", args[0])
				if err != nil {
					return err
				}
				ids = append(ids, id)
			}
			ctx := cmd.Context()
			return a.session(ctx, vss.ContextAll, func(c *requester.Client, b *requester.BackupComponents) error {
				if len(ids) == 0 {
					var err error
					if ids, err = victims(ctx, c, b, oldest, volume); err != nil {
						return err
					}
				}
				return a.delete(ctx, b, ids, force)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&all, "all", false, "every copy on this host")
	f.StringVar(&oldest, "oldest", "", "the oldest copy of this volume")
	f.StringVar(&volume, "volume", "", "every copy of this volume")
	f.BoolVar(&force, "force", false, "also if a copy is in use")
	return cmd
}

// victims are the copies that the flags of delete mean. Without a volume that is all of them.
func victims(ctx context.Context, c *requester.Client, b *requester.BackupComponents, oldest, volume string) ([]vss.GUID, error) {
	list, err := b.QuerySnapshots(ctx)
	if err != nil {
		return nil, err
	}
	if name := oldest + volume; name != "" {
		if list, err = ofVolume(ctx, c, list, name); err != nil {
			return nil, err
		}
		if len(list) == 0 {
			return nil, vss.E("DeleteSnapshots", vss.ErrObjectNotFound, fmt.Errorf("the volume has no shadow copies")).On(name).Advise("`vss list shadows` shows which copies exist")
		}
	}
	if oldest != "" {
		list = list[:1] // they come oldest first
	}
	return each(list, func(s requester.Snapshot) vss.GUID { return s.ID.GUID }), nil
}

func (a *app) delete(ctx context.Context, b *requester.BackupComponents, ids []vss.GUID, force bool) error {
	d := &deletion{Deleted: []vss.SnapshotID{}}
	for _, id := range ids {
		gone, stayed, err := b.DeleteSnapshots(ctx, id, vss.ObjectUnknown, force)
		d.Deleted = append(d.Deleted, gone...)
		if err == nil {
			continue
		}
		if stayed.IsZero() {
			stayed.GUID = id
		}
		f := failure(err)
		d.err, d.Failure, d.NotDeleted = err, &f, &stayed
		break
	}
	if !a.json {
		for _, id := range d.Deleted {
			fmt.Fprintf(a.stdout, "%v deleted\n", id)
		}
		if len(ids) == 0 {
			fmt.Fprintln(a.stdout, "There are no shadow copies.")
		}
	}
	if d.err != nil {
		return d
	}
	if a.json {
		a.print(d)
	}
	return nil
}
