package vsscmd

import (
	"context"
	"path/filepath"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func (a *app) lunCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lun",
		Short: "Manage the LUNs of storage arrays",
		Long: `Lun is what an administrator does with a LUN before the service knows it and after a break: make, format, mount, mask,
grow, delete. A LUN is named by its id, its name or a device of it here; LUN:2 is its second partition. Root only.`,
		Example: "  vss lun create data --size 2G\n  vss lun format data --fs xfs\n  vss lun mount data /srv/data",
		RunE:    a.group,
	}
	cmd.AddCommand(
		a.lunCreate(), a.lunList(), a.lunShow(), a.lunFormat(), a.lunMask(), a.lunUnmask(), a.lunSet(), a.lunMount(), a.lunUnmount(),
		a.lunFlags(), a.lunRename(), a.lunRescan(), a.lunExtend(), a.lunDelete(),
	)
	return cmd
}

// disks runs f with the disk manager of the service.
func (a *app) disks(ctx context.Context, f func(vssv1.DisksClient) error) error {
	return a.with(ctx, func(c *requester.Client) error { return f(vssv1.NewDisksClient(c.Conn())) })
}

// one calls a method that answers with a LUN, and prints it.
func one[Q any](a *app, ctx context.Context, call func(vssv1.DisksClient, context.Context, *Q, ...grpc.CallOption) (*vssv1.Lun, error), q *Q) error {
	return a.disks(ctx, func(d vssv1.DisksClient) error {
		l, err := call(d, ctx, q)
		switch {
		case err != nil:
			return err
		case a.json:
			a.print(lunShape(l))
		default:
			a.lun(l)
		}
		return nil
	})
}

// many is the same for a list.
func many[Q any](a *app, ctx context.Context, none string, call func(vssv1.DisksClient, context.Context, *Q, ...grpc.CallOption) (*vssv1.LunList, error), q *Q) error {
	return a.disks(ctx, func(d vssv1.DisksClient) error {
		l, err := call(d, ctx, q)
		switch {
		case err != nil:
			return err
		case a.json:
			a.print(each(l.GetLuns(), lunShape))
		default:
			a.luns(none, l.GetLuns())
		}
		return nil
	})
}

// oneLUN reads LUN without a partition.
func oneLUN(s string) (string, error) {
	lun, part, err := parseLUN(s)
	if err == nil && part != 0 {
		err = usage("leave :"+s[len(lun)+1:]+" away", "this is about a whole LUN")
	}
	return lun, err
}

func (a *app) lunCreate() *cobra.Command {
	var size string
	q := &vssv1.CreateLunRequest{}
	cmd := &cobra.Command{
		Use:     "create NAME --size SIZE",
		Short:   "Make a LUN",
		Long:    "Create makes a LUN on an array and, unless --masked is given, shows it to this host, where it arrives as an empty disk.",
		Example: "  vss lun create data --size 2G\n  vss lun create log --size 512M --array san1 --masked",
		Args:    exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if size == "" {
				return usage("say how large: --size 2G", "--size is missing")
			}
			if q.Size, err = parseSize(size); err != nil {
				return err
			}
			if args[0] == "" {
				return usage("", "a LUN has a name")
			}
			q.Name = args[0]
			return one(a, cmd.Context(), vssv1.DisksClient.CreateLun, q)
		},
	}
	cmd.Flags().StringVar(&size, "size", "", "size: 2G, 512M, 1.5T or bytes")
	cmd.Flags().StringVar(&q.Array, "array", "", "array (default local)")
	cmd.Flags().StringVar(&q.Pool, "pool", "", "pool of the array (default its first)")
	cmd.Flags().BoolVar(&q.Masked, "masked", false, "show it to no host")
	return cmd
}

func (a *app) lunList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the LUNs of every array",
		Long:    "List shows every LUN of every known array, whether it is on this host or not.",
		Example: "  vss lun list --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return many(a, cmd.Context(), "There are no LUNs.", vssv1.DisksClient.ListLuns, &vssv1.ListLunsRequest{})
		},
	}
}

func (a *app) lunRescan() *cobra.Command {
	return &cobra.Command{
		Use:     "rescan",
		Short:   "Look for LUNs that came or went",
		Long:    "Rescan attaches what the arrays show to this host, takes away what is gone and unused, and lists what arrived.",
		Example: "  vss lun rescan",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return many(a, cmd.Context(), "Nothing new arrived.", vssv1.DisksClient.RescanLuns, &vssv1.RescanLunsRequest{})
		},
	}
}

func (a *app) lunShow() *cobra.Command {
	return &cobra.Command{
		Use:     "show LUN",
		Short:   "Show one LUN and its partitions",
		Long:    "Show describes a LUN: where it is, who may see it, and the disk it is on this host.",
		Example: "  vss lun show data\n  vss lun show /dev/loop3",
		Args:    exactly("LUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			lun, err := oneLUN(args[0])
			if err != nil {
				return err
			}
			return one(a, cmd.Context(), vssv1.DisksClient.ShowLun, &vssv1.LunRequest{Lun: lun})
		},
	}
}

func (a *app) lunFormat() *cobra.Command {
	var fs, label string
	var gpt, mbr, whole bool
	cmd := &cobra.Command{
		Use:     "format LUN --fs ext4|xfs|btrfs",
		Short:   "Write a partition table and a file system",
		Long:    "Format makes one partition (GPT unless told otherwise) with a fresh file system. What was on the LUN is lost. Refused while a volume of it is mounted.",
		Example: "  vss lun format data --fs xfs --label data\n  vss lun format log --fs ext4 --whole-disk",
		Args:    exactly("LUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			lun, err := oneLUN(args[0])
			if err != nil {
				return err
			}
			q := &vssv1.FormatLunRequest{Lun: lun, FileSystem: fs, Style: "gpt", Label: label}
			switch fs {
			case "ext4", "xfs", "btrfs":
			default:
				return usage("choose --fs ext4, --fs xfs or --fs btrfs", "%q is no file system to format with", fs)
			}
			switch {
			case gpt && mbr || gpt && whole || mbr && whole:
				return usage("choose one of --gpt, --mbr and --whole-disk", "a disk has one kind of partition table")
			case mbr:
				q.Style = "mbr"
			case whole:
				q.Style = "none"
			}
			return one(a, cmd.Context(), vssv1.DisksClient.FormatLun, q)
		},
	}
	f := cmd.Flags()
	f.StringVar(&fs, "fs", "", "file system: ext4, xfs or btrfs")
	f.BoolVar(&gpt, "gpt", false, "a GPT with one partition (the default)")
	f.BoolVar(&mbr, "mbr", false, "an MBR with one partition")
	f.BoolVar(&whole, "whole-disk", false, "no partition table")
	f.StringVar(&label, "label", "", "label of the file system")
	return cmd
}

func (a *app) lunMask() *cobra.Command {
	q := &vssv1.MaskLunRequest{}
	cmd := &cobra.Command{
		Use:     "mask LUN",
		Short:   "Hide a LUN from a host",
		Long:    "Mask hides a LUN from a host, this one unless another is named. From this host the device is taken away first, which is refused while a volume of it is mounted, unless --force is given.",
		Example: "  vss lun mask data\n  vss lun mask data --from db2",
		Args:    exactly("LUN"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if q.Lun, err = oneLUN(args[0]); err != nil {
				return err
			}
			return one(a, cmd.Context(), vssv1.DisksClient.MaskLun, q)
		},
	}
	cmd.Flags().StringVar(&q.Host, "from", "", "host (default this one)")
	cmd.Flags().BoolVar(&q.Force, "force", false, "unmount what is mounted here")
	return cmd
}

func (a *app) lunUnmask() *cobra.Command {
	q := &vssv1.UnmaskLunRequest{}
	cmd := &cobra.Command{
		Use:     "unmask LUN",
		Short:   "Show a LUN to a host",
		Long:    "Unmask shows a LUN to a host, this one unless another is named. Here it arrives at once, elsewhere with the next rescan.",
		Example: "  vss lun unmask data --to db2",
		Args:    exactly("LUN"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if q.Lun, err = oneLUN(args[0]); err != nil {
				return err
			}
			return one(a, cmd.Context(), vssv1.DisksClient.UnmaskLun, q)
		},
	}
	cmd.Flags().StringVar(&q.Host, "to", "", "host (default this one)")
	return cmd
}

func (a *app) lunSet() *cobra.Command {
	var ro, rw bool
	cmd := &cobra.Command{
		Use:     "set LUN --read-only|--read-write",
		Short:   "Make a LUN read-only or read/write",
		Long:    "Set makes a LUN of this host read-only or read/write, as its disk and on its partitions.",
		Example: "  vss lun set data --read-only",
		Args:    exactly("LUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			lun, err := oneLUN(args[0])
			if err != nil {
				return err
			}
			if ro == rw {
				return usage("", "want exactly one of --read-only and --read-write")
			}
			return one(a, cmd.Context(), vssv1.DisksClient.SetLunReadOnly, &vssv1.SetLunReadOnlyRequest{Lun: lun, ReadOnly: ro})
		},
	}
	cmd.Flags().BoolVar(&ro, "read-only", false, "nothing can be written")
	cmd.Flags().BoolVar(&rw, "read-write", false, "it can be written")
	return cmd
}

func (a *app) lunMount() *cobra.Command {
	q := &vssv1.MountLunRequest{}
	cmd := &cobra.Command{
		Use:     "mount LUN[:PART] PATH",
		Short:   "Mount a volume of a LUN",
		Long:    "Mount mounts the volume of a LUN, or that of one partition, at PATH. With --persist the service mounts it again after a restart.",
		Example: "  vss lun mount data /srv/data --persist",
		Args:    exactly("LUN[:PART]", "PATH"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if q.Lun, q.Partition, err = parseLUN(args[0]); err != nil {
				return err
			}
			if q.Path, err = filepath.Abs(args[1]); err != nil || args[1] == "" {
				return usage("give the path of a folder", "%q is no path", args[1])
			}
			return one(a, cmd.Context(), vssv1.DisksClient.MountLun, q)
		},
	}
	cmd.Flags().BoolVar(&q.Persist, "persist", false, "mount it again after a restart")
	return cmd
}

func (a *app) lunUnmount() *cobra.Command {
	return &cobra.Command{
		Use:     "unmount LUN[:PART]",
		Short:   "Unmount the volumes of a LUN",
		Long:    "Unmount takes every mount of a LUN's volumes off, or of one partition's. Refused while something uses it.",
		Example: "  vss lun unmount data",
		Args:    exactly("LUN[:PART]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			lun, part, err := parseLUN(args[0])
			if err != nil {
				return err
			}
			return one(a, cmd.Context(), vssv1.DisksClient.UnmountLun, &vssv1.UnmountLunRequest{Lun: lun, Partition: part})
		},
	}
}

func (a *app) lunFlags() *cobra.Command {
	var set, unset []string
	cmd := &cobra.Command{
		Use:     "flags LUN[:PART]",
		Short:   "Show or change the flags of partitions",
		Long:    "Flags sets and clears flags on a partition, or on all of a LUN's: read-only, hidden, no-auto-mount, shadow-copy. Without --set and --clear it shows them.",
		Example: "  vss lun flags data:1 --set read-only --clear hidden",
		Args:    exactly("LUN[:PART]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := &vssv1.ChangeLunFlagsRequest{}
			var err error
			if q.Lun, q.Partition, err = parseLUN(args[0]); err != nil {
				return err
			}
			for _, l := range []struct {
				names []string
				bits  *uint32
			}{{set, &q.Set}, {unset, &q.Clear}} {
				for _, name := range l.names {
					f, err := vss.DiskFlagByName(name)
					if err != nil {
						return usage(vss.Hint(err), "%q is no flag", name)
					}
					*l.bits |= uint32(f)
				}
			}
			switch {
			case q.Set&q.Clear != 0:
				return usage("", "a flag can't be both set and cleared")
			case q.Set|q.Clear == 0:
				return one(a, cmd.Context(), vssv1.DisksClient.ShowLun, &vssv1.LunRequest{Lun: q.GetLun()})
			}
			return one(a, cmd.Context(), vssv1.DisksClient.ChangeLunFlags, q)
		},
	}
	cmd.Flags().StringSliceVar(&set, "set", nil, "flag to set; may be repeated")
	cmd.Flags().StringSliceVar(&unset, "clear", nil, "flag to clear; may be repeated")
	return cmd
}

func (a *app) lunRename() *cobra.Command {
	return &cobra.Command{
		Use:     "rename LUN NAME",
		Short:   "Give a LUN another name",
		Long:    "Rename changes the name of a LUN. Its id, serial number and content stay.",
		Example: "  vss lun rename data old-data",
		Args:    exactly("LUN", "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			lun, err := oneLUN(args[0])
			if err != nil {
				return err
			}
			if args[1] == "" {
				return usage("", "a LUN has a name")
			}
			return one(a, cmd.Context(), vssv1.DisksClient.RenameLun, &vssv1.RenameLunRequest{Lun: lun, Name: args[1]})
		},
	}
}

func (a *app) lunExtend() *cobra.Command {
	var size string
	cmd := &cobra.Command{
		Use:     "extend LUN --size SIZE",
		Short:   "Make a LUN larger",
		Long:    "Extend makes a LUN larger, and its last partition with it. The size is what it shall be, not what is added.",
		Example: "  vss lun extend data --size 4G",
		Args:    exactly("LUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			lun, err := oneLUN(args[0])
			if err != nil {
				return err
			}
			if size == "" {
				return usage("say how large: --size 4G", "--size is missing")
			}
			n, err := parseSize(size)
			if err != nil {
				return err
			}
			return one(a, cmd.Context(), vssv1.DisksClient.ExtendLun, &vssv1.ExtendLunRequest{Lun: lun, Size: n})
		},
	}
	cmd.Flags().StringVar(&size, "size", "", "size: 4G, 512M, 1.5T or bytes")
	return cmd
}

func (a *app) lunDelete() *cobra.Command {
	q := &vssv1.DeleteLunRequest{}
	cmd := &cobra.Command{
		Use:     "delete LUN",
		Short:   "Delete a LUN and what is on it",
		Long:    "Delete frees a LUN and prints what it was. Refused while a volume of it is mounted here or a differential copy depends on it, unless --force is given.",
		Example: "  vss lun delete data",
		Args:    exactly("LUN"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if q.Lun, err = oneLUN(args[0]); err != nil {
				return err
			}
			return one(a, cmd.Context(), vssv1.DisksClient.DeleteLun, q)
		},
	}
	cmd.Flags().BoolVar(&q.Force, "force", false, "also if it is in use")
	return cmd
}
