package vsscmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func (a *app) breakCommand() *cobra.Command {
	var mask, readWrite, revert, keep bool
	cmd := &cobra.Command{
		Use:   "break SET",
		Short: "Convert the copies of a set to ordinary LUNs",
		Long: `Break ends the management of a set: the LUNs of its copies become ordinary LUNs, read-only unless
--read-write is given. Only sets of hardware providers can be broken. Root only.

Each disk gets the identity of its original if the original is not visible on this host, otherwise
it keeps its own. With --revert-identity all disks get the identities of their originals, or the
command fails and nothing is changed; with --keep-identity none does. --mask hides the LUNs from
this host and excludes the other flags.`,
		Example: "  vss break --read-write {6a1f8c1e-3b52-4b6e-9a53-1c8f0f2f7a10}",
		Args:    exactly("SET"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := cli.ParseID("set", args[0])
			if err != nil {
				return err
			}
			var flags vss.BreakFlags
			for _, f := range []struct {
				on  bool
				bit vss.BreakFlags
			}{{mask, vss.BreakMaskLUNs}, {readWrite, vss.BreakMakeReadWrite}, {revert, vss.BreakRevertIdentityAll},
				{keep, vss.BreakRevertIdentityNone}} {
				if f.on {
					flags |= f.bit
				}
			}
			if err := vss.CheckBreakFlags(flags); err != nil {
				return cli.Usagef(vss.Hint(err), "invalid combination of flags")
			}
			return a.breakSet(cmd.Context(), vss.SnapshotSetID{GUID: id}, flags)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&mask, "mask", false, "hide the LUNs from this host")
	f.BoolVar(&readWrite, "read-write", false, "make the volumes writable; mounted volumes stay mounted")
	f.BoolVar(&revert, "revert-identity", false, "give all disks the identities of their originals, or fail")
	f.BoolVar(&keep, "keep-identity", false, "do not change the identities of the disks")
	return cmd
}

func (a *app) breakSet(ctx context.Context, id vss.SnapshotSetID, flags vss.BreakFlags) error {
	return a.Session(ctx, vss.ContextAll, func(_ *requester.Client, b *requester.BackupComponents) error {
		async, err := b.BreakSnapshotSetEx(ctx, id, flags)
		if err != nil {
			return err
		}
		show, end := a.Progress()
		_, err = async.Wait(ctx, show)
		end()
		if err != nil {
			return err
		}
		luns, err := b.GetBreakResult(ctx, async)
		if err != nil {
			return err
		}
		shape := cli.NewBroken(id, luns)
		if a.JSON {
			a.PrintJSON(shape)
			return nil
		}
		header := []string{"LUN", "ORIGINAL VOLUME", "DEVICE", "ACCESS", "IDENTITY"}
		a.Table("The set had no LUNs.", header, cli.Each(shape.LUNs, func(l cli.BrokenLUN) []string {
			access := "read-only"
			switch {
			case l.Masked:
				access = "masked"
			case l.ReadWrite:
				access = "read/write"
			}
			return []string{l.LUN.String(), l.OriginalVolume, cli.Dash(l.Device), access, l.Identity}
		}))
		return nil
	})
}

// deletion is the result of a delete. It is an error if a copy could not be deleted.
type deletion struct {
	Failure    *cli.Failure     `json:"error,omitempty"`
	Deleted    []vss.SnapshotID `json:"deleted"`
	NotDeleted *vss.SnapshotID  `json:"not_deleted,omitempty"`
	err        error
}

func (d *deletion) Error() string { return d.err.Error() }
func (d *deletion) Unwrap() error { return d.err }

// Document implements cli.Documented.
func (d *deletion) Document() any { return d }

func (a *app) deleteCommand() *cobra.Command {
	var all, force bool
	var oldest, volume string
	cmd := &cobra.Command{
		Use:   "delete COPY|SET | --all | --oldest VOLUME | --volume VOLUME",
		Short: "Delete shadow copies",
		Long: `Delete deletes one copy, the copies of a set, all copies, the oldest copy of a volume, or every
copy of a volume, without confirmation. It stops at the first failure and prints which copies were
deleted and which one was not.`,
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
				return cli.Usagef("", "exactly one of COPY, SET, --all, --oldest and --volume is required")
			}
			var ids []vss.GUID
			if len(args) == 1 {
				id, err := cli.ParseID("copy or set", args[0])
				if err != nil {
					return err
				}
				ids = append(ids, id)
			}
			ctx := cmd.Context()
			return a.Session(ctx, vss.ContextAll, func(c *requester.Client, b *requester.BackupComponents) error {
				if len(ids) == 0 {
					var err error
					if ids, err = copiesToDelete(ctx, c, b, oldest, volume); err != nil {
						return err
					}
				}
				return a.delete(ctx, b, ids, force)
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&all, "all", false, "delete every copy on this host")
	f.StringVar(&oldest, "oldest", "", "delete the oldest copy of this `VOLUME`")
	f.StringVar(&volume, "volume", "", "delete every copy of this `VOLUME`")
	f.BoolVar(&force, "force", false, "delete copies even if they are in use")
	return cmd
}

// copiesToDelete returns the copies that the flags of delete select: all of them if no volume is named.
func copiesToDelete(
	ctx context.Context, c *requester.Client, b *requester.BackupComponents, oldest, volume string,
) ([]vss.GUID, error) {
	list, err := b.QuerySnapshots(ctx)
	if err != nil {
		return nil, err
	}
	if name := oldest + volume; name != "" {
		if list, err = cli.OfVolume(ctx, c, list, name); err != nil {
			return nil, err
		}
		if len(list) == 0 {
			return nil, vss.E("DeleteSnapshots", vss.ErrObjectNotFound, errors.New("the volume has no shadow copies")).
				On(name).
				Advise("`vss list shadows` lists the copies")
		}
	}
	if oldest != "" {
		list = list[:1] // the list is sorted by time of creation
	}
	return cli.Each(list, func(s requester.Snapshot) vss.GUID { return s.ID.GUID }), nil
}

func (a *app) delete(ctx context.Context, b *requester.BackupComponents, ids []vss.GUID, force bool) error {
	d := &deletion{Deleted: []vss.SnapshotID{}}
	for _, id := range ids {
		deleted, notDeleted, err := b.DeleteSnapshots(ctx, id, vss.ObjectUnknown, force)
		d.Deleted = append(d.Deleted, deleted...)
		if err == nil {
			continue
		}
		if notDeleted.IsZero() {
			notDeleted.GUID = id
		}
		f := cli.NewFailure(err)
		d.err, d.Failure, d.NotDeleted = err, &f, &notDeleted
		break
	}
	if !a.JSON {
		for _, id := range d.Deleted {
			fmt.Fprintf(a.Stdout, "%v deleted\n", id)
		}
		if len(ids) == 0 {
			fmt.Fprintln(a.Stdout, "There are no shadow copies.")
		}
	}
	if d.err != nil {
		return d
	}
	if a.JSON {
		a.PrintJSON(d)
	}
	return nil
}
