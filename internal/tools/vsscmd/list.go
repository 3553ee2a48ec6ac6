package vsscmd

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func (a *app) listCommand() *cobra.Command {
	list := &cobra.Command{
		Use:   "list",
		Short: "List shadow copies, writers, providers or volumes",
		Long: `List prints the finished shadow copies of all contexts, the writers and their state, the
registered providers, or the volumes of this host with the providers that can copy them.`,
		Example: "  vss list shadows --volume /srv/data\n  vss list writers",
		RunE:    a.group,
	}
	var set, volume string
	shadows := &cobra.Command{
		Use:   "shadows",
		Short: "List finished shadow copies",
		Long: `Shadows lists the finished shadow copies of all contexts, oldest first: all, those of a set, or
those of a volume.`,
		Example: "  vss list shadows\n  vss list shadows --volume /srv/data --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var id vss.GUID
			if set != "" {
				var err error
				if id, err = cli.ParseID("set", set); err != nil {
					return err
				}
			}
			return a.Session(cmd.Context(), vss.ContextAll,
				func(c *requester.Client, b *requester.BackupComponents) error {
					all, err := b.QuerySnapshots(cmd.Context())
					if err != nil {
						return err
					}
					if set != "" {
						all = slices.DeleteFunc(all, func(s requester.Snapshot) bool { return s.SetID.GUID != id })
					}
					if volume != "" {
						if all, err = cli.OfVolume(cmd.Context(), c, all, volume); err != nil {
							return err
						}
					}
					if a.JSON {
						a.PrintJSON(cli.Each(all, cli.NewCopy))
					} else {
						a.PrintCopies(all)
					}
					return nil
				})
		},
	}
	shadows.Flags().StringVar(&set, "set", "", "only the copies of this set, by `ID`")
	shadows.Flags().StringVar(&volume, "volume", "", "only the copies of this `VOLUME`")
	list.AddCommand(shadows, a.listWriters(), a.listProviders(), a.listVolumes())
	return list
}

func (a *app) listWriters() *cobra.Command {
	return &cobra.Command{
		Use:   "writers",
		Short: "List writers and their state",
		Long: `Writers requests the status of every writer and prints it. A writer that does not answer is not
listed.`,
		Example: "  vss list writers\n  vss list writers --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return a.Session(ctx, vss.ContextBackup, func(_ *requester.Client, b *requester.BackupComponents) error {
				for _, gather := range []func(context.Context) (*requester.Async, error){b.GatherWriterMetadata,
					b.GatherWriterStatus} {
					async, err := gather(ctx)
					if err != nil {
						return err
					}
					if _, err := async.Wait(ctx, nil); err != nil {
						return err
					}
				}
				all, err := b.GetWriterStatus(ctx)
				switch {
				case err != nil:
					return err
				case a.JSON:
					a.PrintJSON(cli.Each(all, cli.NewWriter))
				default:
					a.PrintWriters(all)
				}
				return nil
			})
		},
	}
}

func (a *app) listProviders() *cobra.Command {
	return &cobra.Command{
		Use:   "providers",
		Short: "List registered providers",
		Long: `Providers lists the providers that make shadow copies on this host, with their type, version and
capabilities.`,
		Example: "  vss list providers",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.Session(cmd.Context(), vss.ContextAll,
				func(_ *requester.Client, b *requester.BackupComponents) error {
					all, err := b.QueryProviders(cmd.Context())
					if err != nil {
						return err
					}
					if a.JSON {
						a.PrintJSON(cli.Each(all, cli.NewProvider))
						return nil
					}
					header := []string{"PROVIDER", "ID", "TYPE", "VERSION", "CAPABILITIES"}
					a.Table("There are no providers.", header, cli.Each(all, func(p requester.Provider) []string {
						return []string{p.Name, p.ID.String(), p.Type, p.Version,
							cli.Dash(strings.Join(p.Capabilities, " "))}
					}))
					return nil
				})
		},
	}
}

func (a *app) listVolumes() *cobra.Command {
	return &cobra.Command{
		Use:   "volumes",
		Short: "List volumes and the providers that can copy them",
		Long: `Volumes lists the volumes on the disks of this host, mounted or not, with the providers that can
copy each.`,
		Example: "  vss list volumes",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.With(cmd.Context(), func(c *requester.Client) error {
				all, err := c.ListVolumes(cmd.Context())
				if err != nil {
					return err
				}
				if a.JSON {
					a.PrintJSON(cli.Each(all, cli.NewVolume))
					return nil
				}
				header := []string{"VOLUME", "DEVICE", "FILE SYSTEM", "UUID", "PROVIDERS"}
				a.Table("There are no volumes.", header, cli.Each(all, func(v requester.Volume) []string {
					by := strings.Join(v.Providers, " ")
					if !v.Supported {
						by = "not supported"
					}
					return []string{v.Name, v.Device, cli.Dash(v.FileSystem), cli.Dash(v.UUID), cli.Dash(by)}
				}))
				return nil
			})
		},
	}
}
