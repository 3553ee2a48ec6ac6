package vsscmd

import (
	"cmp"
	"context"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/requester"
)

func (a *app) lunCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lun",
		Short: "Manage the LUNs of storage arrays",
		Long: `Lun manages LUNs before the service copies them and after a break: create, format, mount, mask,
extend, delete. A LUN is named by its id, its name, or the path of a device that it has on this
host; LUN:2 is its second partition. Root only.`,
		Example: "  vss lun create data --size 2G\n  vss lun format data --fs xfs\n  vss lun mount data /srv/data",
		RunE:    a.group,
	}
	cmd.AddCommand(
		a.lunCreate(), a.lunList(), a.lunShow(), a.lunFormat(), a.lunMask(), a.lunUnmask(), a.lunSet(), a.lunMount(),
		a.lunUnmount(), a.lunFlags(), a.lunRename(), a.lunRescan(), a.lunExtend(), a.lunDelete(),
	)
	return cmd
}

// lun runs a call of the disk manager and prints the LUN that it returns.
func (a *app) lun(ctx context.Context, call func(*requester.Disks) (requester.LUN, error)) error {
	return a.With(ctx, func(c *requester.Client) error {
		l, err := call(c.Disks())
		switch {
		case err != nil:
			return err
		case a.JSON:
			a.PrintJSON(lunShape(l))
		default:
			a.printLUN(l)
		}
		return nil
	})
}

// luns returns the action of a command that runs a call of the disk manager and prints the LUNs that it returns.
func (a *app) luns(
	none string, call func(*requester.Disks, context.Context) ([]requester.LUN, error),
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		return a.With(cmd.Context(), func(c *requester.Client) error {
			l, err := call(c.Disks(), cmd.Context())
			switch {
			case err != nil:
				return err
			case a.JSON:
				a.PrintJSON(cli.Each(l, lunShape))
			default:
				a.printLUNs(none, l)
			}
			return nil
		})
	}
}

// parseLUN splits LUN[:PART]. The partition is 0 if there is none.
func parseLUN(s string) (lun string, partition int, err error) {
	lun = s
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		n, perr := strconv.ParseInt(s[i+1:], 10, 32)
		if perr != nil || n < 1 {
			return "", 0, cli.Usagef("write LUN:2 for its second partition", "invalid partition %q", s)
		}
		lun, partition = s[:i], int(n)
	}
	if lun == "" {
		return "", 0, cli.Usagef("name the LUN by its id, name or device", "invalid LUN %q", s)
	}
	return lun, partition, nil
}

// parseWholeLUN parses a LUN without a partition.
func parseWholeLUN(s string) (string, error) {
	lun, part, err := parseLUN(s)
	if err == nil && part != 0 {
		err = cli.Usagef("remove :"+s[len(lun)+1:], "the command applies to a LUN, not to a partition: %q", s)
	}
	return lun, err
}

// onLUN returns the action of a command whose only argument is a LUN.
func (a *app) onLUN(
	call func(ctx context.Context, d *requester.Disks, lun string) (requester.LUN, error),
) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		lun, err := parseWholeLUN(args[0])
		if err != nil {
			return err
		}
		return a.lun(cmd.Context(), func(d *requester.Disks) (requester.LUN, error) {
			return call(cmd.Context(), d, lun)
		})
	}
}

func (a *app) lunList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the LUNs of every array",
		Long:    "List prints every LUN of every known array, whether or not it is on this host.",
		Example: "  vss lun list --json",
		Args:    exactly(),
		RunE:    a.luns("There are no LUNs.", (*requester.Disks).ListLUNs),
	}
}

func (a *app) lunRescan() *cobra.Command {
	return &cobra.Command{
		Use:   "rescan",
		Short: "Look for new and removed LUNs",
		Long: `Rescan attaches the LUNs that the arrays show to this host, removes the devices of those that they
no longer show and that are not in use, and lists the LUNs that arrived.`,
		Example: "  vss lun rescan",
		Args:    exactly(),
		RunE:    a.luns("There are no new LUNs.", (*requester.Disks).RescanLUNs),
	}
}

func (a *app) lunShow() *cobra.Command {
	return &cobra.Command{
		Use:     "show LUN",
		Short:   "Show one LUN and its partitions",
		Long:    "Show prints a LUN: its array and pool, the hosts that can see it, and its disk on this host.",
		Example: "  vss lun show data\n  vss lun show /dev/loop3",
		Args:    exactly("LUN"),
		RunE: a.onLUN(func(ctx context.Context, d *requester.Disks, lun string) (requester.LUN, error) {
			return d.ShowLUN(ctx, lun)
		}),
	}
}

// warnBoot warns, unless a command failed, if nothing starts the service at the next boot: then LUNs are attached and
// mounted only when a command starts it. Programs, which get JSON, aren't warned.
func (a *app) warnBoot(err *error) {
	if *err == nil && !a.JSON && !startsAtBoot(&a.Service, "/etc/systemd/system") {
		a.Warnf("after a boot the LUN is missing until a vss command starts the service; to have it started at boot: " +
			"systemctl enable --now vssd.service")
	}
}

// startsAtBoot reports whether the units of a folder start the service at boot. A service with other folders than the
// default ones has no unit.
func startsAtBoot(o *requester.ConnectOptions, units string) bool {
	if cmp.Or(o.State, requester.DefaultState) != requester.DefaultState ||
		cmp.Or(o.Run, requester.DefaultRun) != requester.DefaultRun {
		return false
	}
	enabled, _ := filepath.Glob(filepath.Join(units, "*.wants", "vssd.service"))
	return len(enabled) > 0
}
