package vsscmd

import (
	"context"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func (a *app) lunMask() *cobra.Command {
	var host string
	var force bool
	cmd := &cobra.Command{
		Use:   "mask LUN",
		Short: "Hide a LUN from a host",
		Long: `Mask hides a LUN from a host, by default from this one. On this host its device is removed first;
without --force that fails if a volume of the LUN is mounted.`,
		Example: "  vss lun mask data\n  vss lun mask data --from db2",
		Args:    exactly("LUN"),
		RunE: a.onLUN(func(ctx context.Context, d *requester.Disks, lun string) (requester.LUN, error) {
			return d.MaskLUN(ctx, lun, host, force)
		}),
	}
	cmd.Flags().StringVar(&host, "from", "", "`HOST` (default this one)")
	cmd.Flags().BoolVar(&force, "force", false, "unmount volumes that are mounted on this host")
	return cmd
}

func (a *app) lunUnmask() *cobra.Command {
	var host string
	cmd := &cobra.Command{
		Use:   "unmask LUN",
		Short: "Show a LUN to a host",
		Long: `Unmask shows a LUN to a host, by default to this one. On this host its device appears at once, on
another host with the next rescan.`,
		Example: "  vss lun unmask data --to db2",
		Args:    exactly("LUN"),
		RunE: a.onLUN(func(ctx context.Context, d *requester.Disks, lun string) (requester.LUN, error) {
			return d.UnmaskLUN(ctx, lun, host)
		}),
	}
	cmd.Flags().StringVar(&host, "to", "", "`HOST` (default this one)")
	return cmd
}

func (a *app) lunSet() *cobra.Command {
	var ro, rw bool
	cmd := &cobra.Command{
		Use:     "set LUN --read-only|--read-write",
		Short:   "Make a LUN read-only or read/write",
		Long:    "Set makes a LUN read-only or read/write on this host: its disk and its partitions.",
		Example: "  vss lun set data --read-only",
		Args:    exactly("LUN"),
		PreRunE: func(*cobra.Command, []string) error {
			if ro == rw {
				return cli.Usagef("", "exactly one of --read-only and --read-write is required")
			}
			return nil
		},
		RunE: a.onLUN(func(ctx context.Context, d *requester.Disks, lun string) (requester.LUN, error) {
			return d.SetLUNReadOnly(ctx, lun, ro)
		}),
	}
	cmd.Flags().BoolVar(&ro, "read-only", false, "prevent writes")
	cmd.Flags().BoolVar(&rw, "read-write", false, "allow writes")
	return cmd
}

func (a *app) lunMount() *cobra.Command {
	var persist bool
	cmd := &cobra.Command{
		Use:   "mount LUN[:PART] PATH",
		Short: "Mount a volume of a LUN",
		Long: `Mount mounts the volume of a LUN, or a partition of it, at PATH. With --persist the service mounts
it again after a restart.`,
		Example: "  vss lun mount data /srv/data --persist",
		Args:    exactly("LUN[:PART]", "PATH"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			lun, part, err := parseLUN(args[0])
			if err != nil {
				return err
			}
			defer a.warnBoot(&err)
			path, err := filepath.Abs(args[1])
			if err != nil || args[1] == "" {
				return cli.Usagef("name a directory", "invalid path %q", args[1])
			}
			return a.lun(cmd.Context(), func(d *requester.Disks) (requester.LUN, error) {
				return d.MountLUN(cmd.Context(), lun, part, path, persist)
			})
		},
	}
	cmd.Flags().BoolVar(&persist, "persist", false, "mount it again after a restart")
	return cmd
}

func (a *app) lunUnmount() *cobra.Command {
	return &cobra.Command{
		Use:     "unmount LUN[:PART]",
		Short:   "Unmount the volumes of a LUN",
		Long:    "Unmount unmounts the volumes of a LUN, or one partition, everywhere. It fails if they are in use.",
		Example: "  vss lun unmount data",
		Args:    exactly("LUN[:PART]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			lun, part, err := parseLUN(args[0])
			if err != nil {
				return err
			}
			return a.lun(cmd.Context(), func(d *requester.Disks) (requester.LUN, error) {
				return d.UnmountLUN(cmd.Context(), lun, part)
			})
		},
	}
}

func (a *app) lunFlags() *cobra.Command {
	var set, unset []string
	cmd := &cobra.Command{
		Use:   "flags LUN[:PART]",
		Short: "Show or change the flags of partitions",
		Long: `Flags sets and clears flags of one partition, or of all partitions of a LUN: read-only, hidden,
no-auto-mount, shadow-copy. Without --set and --clear it prints the LUN with its flags.`,
		Example: "  vss lun flags data:1 --set read-only --clear hidden",
		Args:    exactly("LUN[:PART]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			lun, part, err := parseLUN(args[0])
			if err != nil {
				return err
			}
			on, err := parseFlags(set)
			if err != nil {
				return err
			}
			off, err := parseFlags(unset)
			if err != nil {
				return err
			}
			if on&off != 0 {
				return cli.Usagef("", "a flag can't be both set and cleared")
			}
			return a.lun(cmd.Context(), func(d *requester.Disks) (requester.LUN, error) {
				if on|off == 0 {
					return d.ShowLUN(cmd.Context(), lun)
				}
				return d.ChangeLUNFlags(cmd.Context(), lun, part, on, off)
			})
		},
	}
	cmd.Flags().StringSliceVar(&set, "set", nil, "`FLAG` to set; may be repeated")
	cmd.Flags().StringSliceVar(&unset, "clear", nil, "`FLAG` to clear; may be repeated")
	return cmd
}

func parseFlags(names []string) (vss.DiskFlags, error) {
	var all vss.DiskFlags
	for _, name := range names {
		f, err := vss.DiskFlagByName(name)
		if err != nil {
			return 0, cli.Usagef(vss.Hint(err), "unknown flag %q", name)
		}
		all |= f
	}
	return all, nil
}
