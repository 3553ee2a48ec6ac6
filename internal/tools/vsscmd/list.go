package vsscmd

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func (a *app) listCommand() *cobra.Command {
	list := &cobra.Command{
		Use:   "list",
		Short: "List shadow copies, writers, providers or volumes",
		Long: `List shows what the service knows: finished shadow copies of every context, the writers and their state, the registered
providers, and the volumes of this host with who can copy them.`,
		Example: "  vss list shadows --volume /srv/data\n  vss list writers",
		RunE:    a.group,
	}
	var set, volume string
	shadows := &cobra.Command{
		Use:     "shadows",
		Short:   "List finished shadow copies",
		Long:    "Shadows lists the finished shadow copies of all contexts, oldest first; all, those of one set, or those of one volume.",
		Example: "  vss list shadows\n  vss list shadows --volume /srv/data --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var id vss.GUID
			if set != "" {
				var err error
				if id, err = parseID("set", set); err != nil {
					return err
				}
			}
			return a.session(cmd.Context(), vss.ContextAll, func(c *requester.Client, b *requester.BackupComponents) error {
				all, err := b.QuerySnapshots(cmd.Context())
				if err != nil {
					return err
				}
				if set != "" {
					all = slices.DeleteFunc(all, func(s requester.Snapshot) bool { return s.SetID.GUID != id })
				}
				if volume != "" {
					if all, err = ofVolume(cmd.Context(), c, all, volume); err != nil {
						return err
					}
				}
				if a.json {
					a.print(each(all, copyShape))
				} else {
					a.copies(all)
				}
				return nil
			})
		},
	}
	shadows.Flags().StringVar(&set, "set", "", "only those of this set")
	shadows.Flags().StringVar(&volume, "volume", "", "only those of this volume")
	list.AddCommand(shadows, a.listWriters(), a.listProviders(), a.listVolumes())
	return list
}

func (a *app) listWriters() *cobra.Command {
	return &cobra.Command{
		Use:     "writers",
		Short:   "List writers and their state",
		Long:    "Writers asks every writer who it is and how it is. One that doesn't answer is missing from the list.",
		Example: "  vss list writers\n  vss list writers --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return a.session(ctx, vss.ContextBackup, func(_ *requester.Client, b *requester.BackupComponents) error {
				for _, gather := range []func(context.Context) (*requester.Async, error){b.GatherWriterMetadata, b.GatherWriterStatus} {
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
				case a.json:
					a.print(each(all, writerShape))
				case len(all) == 0:
					a.table("There are no writers.", nil, nil)
				default:
					a.writers(all)
				}
				return nil
			})
		},
	}
}

func (a *app) listProviders() *cobra.Command {
	return &cobra.Command{
		Use:     "providers",
		Short:   "List registered providers",
		Long:    "Providers lists who can make shadow copies on this host, of which kind, and what each is able to do.",
		Example: "  vss list providers",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.session(cmd.Context(), vss.ContextAll, func(_ *requester.Client, b *requester.BackupComponents) error {
				all, err := b.QueryProviders(cmd.Context())
				if err != nil {
					return err
				}
				if a.json {
					a.print(each(all, providerShape))
					return nil
				}
				a.table("There are no providers.", []string{"PROVIDER", "ID", "TYPE", "VERSION", "CAPABILITIES"}, each(all, func(p requester.Provider) []string {
					return []string{p.Name, p.ID.String(), p.Type, p.Version, dash(strings.Join(p.Capabilities, " "))}
				}))
				return nil
			})
		},
	}
}

func (a *app) listVolumes() *cobra.Command {
	return &cobra.Command{
		Use:     "volumes",
		Short:   "List volumes and who can copy them",
		Long:    "Volumes lists the volumes of this host on local disks, mounted or not, and the providers that can copy each.",
		Example: "  vss list volumes",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *requester.Client) error {
				all, err := c.ListVolumes(cmd.Context())
				if err != nil {
					return err
				}
				if a.json {
					a.print(each(all, volumeShape))
					return nil
				}
				a.table("There are no volumes.", []string{"VOLUME", "DEVICE", "FILE SYSTEM", "UUID", "PROVIDERS"}, each(all, func(v requester.Volume) []string {
					by := strings.Join(v.Providers, " ")
					if !v.Supported {
						by = "not supported"
					}
					return []string{v.Name, v.Device, dash(v.FileSystem), dash(v.UUID), dash(by)}
				}))
				return nil
			})
		},
	}
}

// session runs f with a requester object of a context.
func (a *app) session(ctx context.Context, context vss.Context, f func(*requester.Client, *requester.BackupComponents) error) error {
	return a.with(ctx, func(c *requester.Client) error {
		b, err := c.Open(ctx, "vss")
		if err != nil {
			return err
		}
		defer b.Close()
		if err := b.InitializeForBackup(ctx, nil); err != nil {
			return err
		}
		if err := b.SetContext(ctx, context); err != nil {
			return err
		}
		return f(c, b)
	})
}

// ofVolume leaves the copies of a volume, however it is spelled. A volume that is gone is found by the name it had.
func ofVolume(ctx context.Context, c *requester.Client, all []requester.Snapshot, name string) ([]requester.Snapshot, error) {
	volumes, err := c.ListVolumes(ctx)
	if err != nil {
		return nil, err
	}
	names := spellings(volumes, name)
	return slices.DeleteFunc(all, func(s requester.Snapshot) bool { return !slices.Contains(names, s.OriginalVolume) }), nil
}

// spellings are the names of the volume that name stands for, itself included.
func spellings(volumes []requester.Volume, name string) []string {
	names := []string{name}
	path := name
	if !strings.Contains(name, "=") && !isLetter(name) {
		if abs, err := filepath.Abs(name); err == nil {
			path = abs
		}
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		names = append(names, path)
	}
	best, length := -1, -1
	for i, v := range volumes {
		if v.Name == path || v.Device == path || v.UUID != "" && strings.EqualFold("UUID="+v.UUID, name) {
			best = i
			break
		}
		for _, m := range v.MountPoints {
			if (path == m || strings.HasPrefix(path, strings.TrimSuffix(m, "/")+"/")) && len(m) > length {
				best, length = i, len(m)
			}
		}
	}
	if best >= 0 {
		v := volumes[best]
		names = append(append(names, v.Name, v.Device), v.MountPoints...)
	}
	return names
}

// isLetter says whether a name is a drive letter, which the configuration maps.
func isLetter(name string) bool { return len(name) == 2 && name[1] == ':' }
