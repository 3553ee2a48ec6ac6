package vsscmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/requester"
)

func (a *app) lunCreate() *cobra.Command {
	var size string
	var n requester.NewLUN
	cmd := &cobra.Command{
		Use:   "create NAME --size SIZE",
		Short: "Create a LUN",
		Long: `Create makes a LUN on an array. Unless --masked is given, it appears on this host as an empty
disk.`,
		Example: "  vss lun create data --size 2G\n  vss lun create log --size 512M --array san1 --masked",
		Args:    exactly("NAME"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if n.Size, err = sizeFlag(size); err != nil {
				return err
			}
			if n.Name = args[0]; n.Name == "" {
				return errNoName()
			}
			defer a.warnBoot(&err)
			return a.lun(cmd.Context(), func(d *requester.Disks) (requester.LUN, error) {
				return d.CreateLUN(cmd.Context(), n)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&size, "size", "", "`SIZE`: 2G, 512M, 1.5T or in bytes")
	f.StringVar(&n.Array, "array", "", "storage `ARRAY` (default local)")
	f.StringVar(&n.Pool, "pool", "", "`POOL` of the array (default the first one)")
	f.BoolVar(&n.Masked, "masked", false, "do not show the LUN to any host")
	return cmd
}

// sizeFlag parses the value of --size, which is required.
func sizeFlag(size string) (int64, error) {
	if size == "" {
		return 0, cli.Usagef("name the size, as in --size 2G", "missing flag --size")
	}
	return cli.ParseSize(size)
}

func errNoName() error { return cli.Usagef("", "LUN name must not be empty") }

func (a *app) lunFormat() *cobra.Command {
	var f requester.NewFormat
	var gpt, mbr, whole bool
	cmd := &cobra.Command{
		Use:   "format LUN --fs ext4|xfs|btrfs",
		Short: "Write a partition table and a file system",
		Long: `Format writes a partition table (GPT by default) with one partition, and a new file system. The
former content of the LUN is lost. It fails if a volume of the LUN is mounted.`,
		Example: "  vss lun format data --fs xfs --label data\n  vss lun format log --fs ext4 --whole-disk",
		Args:    exactly("LUN"),
		PreRunE: func(*cobra.Command, []string) error {
			switch f.FileSystem {
			case "ext4", "xfs", "btrfs":
			default:
				return cli.Usagef("choose --fs ext4, --fs xfs or --fs btrfs", "unsupported file system %q",
					f.FileSystem)
			}
			f.Style = "gpt"
			switch {
			case gpt && mbr || gpt && whole || mbr && whole:
				return cli.Usagef("choose one of them", "--gpt, --mbr and --whole-disk exclude each other")
			case mbr:
				f.Style = "mbr"
			case whole:
				f.Style = "none"
			}
			return nil
		},
		RunE: a.onLUN(func(ctx context.Context, d *requester.Disks, lun string) (requester.LUN, error) {
			return d.FormatLUN(ctx, lun, f)
		}),
	}
	l := cmd.Flags()
	l.StringVar(&f.FileSystem, "fs", "", "file system `TYPE`: ext4, xfs or btrfs")
	l.BoolVar(&gpt, "gpt", false, "write a GPT with one partition (default)")
	l.BoolVar(&mbr, "mbr", false, "write an MBR with one partition")
	l.BoolVar(&whole, "whole-disk", false, "write no partition table")
	l.StringVar(&f.Label, "label", "", "`LABEL` of the file system")
	return cmd
}

func (a *app) lunRename() *cobra.Command {
	return &cobra.Command{
		Use:     "rename LUN NAME",
		Short:   "Rename a LUN",
		Long:    "Rename changes the name of a LUN. Its id, serial number and content do not change.",
		Example: "  vss lun rename data old-data",
		Args:    exactly("LUN", "NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[1] == "" {
				return errNoName()
			}
			return a.onLUN(func(ctx context.Context, d *requester.Disks, lun string) (requester.LUN, error) {
				return d.RenameLUN(ctx, lun, args[1])
			})(cmd, args)
		},
	}
}

func (a *app) lunExtend() *cobra.Command {
	var size string
	cmd := &cobra.Command{
		Use:     "extend LUN --size SIZE",
		Short:   "Enlarge a LUN",
		Long:    "Extend enlarges a LUN and its last partition. SIZE is the new size of the LUN, not the difference.",
		Example: "  vss lun extend data --size 4G",
		Args:    exactly("LUN"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := sizeFlag(size)
			if err != nil {
				return err
			}
			return a.onLUN(func(ctx context.Context, d *requester.Disks, lun string) (requester.LUN, error) {
				return d.ExtendLUN(ctx, lun, n)
			})(cmd, args)
		},
	}
	cmd.Flags().StringVar(&size, "size", "", "new `SIZE`: 4G, 512M, 1.5T or in bytes")
	return cmd
}

func (a *app) lunDelete() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "delete LUN",
		Short: "Delete a LUN and its content",
		Long: `Delete deletes a LUN and prints what it was. Without --force it fails if a volume of the LUN is
mounted on this host, or if a differential copy depends on the LUN.`,
		Example: "  vss lun delete data",
		Args:    exactly("LUN"),
		RunE: a.onLUN(func(ctx context.Context, d *requester.Disks, lun string) (requester.LUN, error) {
			return d.DeleteLUN(ctx, lun, force)
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "delete it even if it is in use")
	return cmd
}
