package vsscmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// maxDocument is the maximum size of a document that import reads, in bytes.
const maxDocument = 16 << 20

func (a *app) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show one shadow copy or one set",
		Long:    "Show prints a shadow copy, or a set with its writers and the timeline of its creation.",
		Example: "  vss show {6a1f8c1e-3b52-4b6e-9a53-1c8f0f2f7a10}",
		Args:    exactly("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := cli.ParseID("copy or set", args[0])
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			return a.Session(ctx, vss.ContextAll, func(c *requester.Client, b *requester.BackupComponents) error {
				s, err := b.GetSnapshotProperties(ctx, vss.SnapshotID{GUID: id})
				switch {
				case err == nil && a.JSON:
					a.PrintJSON(cli.NewCopy(s))
					return nil
				case err == nil:
					a.PrintCopies([]requester.Snapshot{s})
					return nil
				case !errors.Is(err, vss.ErrObjectNotFound):
					return err
				}
				set, err := c.GetSnapshotSet(ctx, vss.SnapshotSetID{GUID: id})
				switch {
				case err != nil:
					return err
				case a.JSON:
					a.PrintJSON(cli.NewSet(set))
				default:
					a.PrintSet(set)
				}
				return nil
			})
		},
	}
}

func (a *app) importCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "import --bc FILE",
		Short: "Import a transportable set on this host",
		Long: `Import makes the shadow copies of a transportable set available on this host: its LUNs are shown
to this host, get new disk identities and become readable. FILE is the Backup Components Document
that create --bc wrote on the creating host. A set can be imported once. If only some of its
copies arrive, the set is printed and the exit status is 1.`,
		Example: "  vss import --bc set.xml",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return cli.Usagef("name the document that `vss create --bc FILE` wrote", "missing flag --bc")
			}
			text, err := readDocument(path)
			if err != nil {
				return err
			}
			doc, err := document.Parse(text)
			if err != nil {
				return vss.E("ImportSnapshots", vss.ErrInvalidXMLDocument, err).On(path).
					Advise("name the unmodified file that `vss create --bc` wrote")
			}
			return a.With(cmd.Context(), func(c *requester.Client) error {
				return a.importSet(cmd.Context(), c, text, doc.SnapshotSetID)
			})
		},
	}
	cmd.Flags().StringVar(&path, "bc", "", "`FILE` with the Backup Components Document of the set")
	return cmd
}

func readDocument(path string) ([]byte, error) {
	fail := func(code vss.Code, err error) ([]byte, error) {
		return nil, vss.E("ImportSnapshots", code, err).On(path).Advise("name the file that `vss create --bc` wrote")
	}
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return fail(vss.ErrObjectNotFound, err)
	} else if err != nil {
		return fail(vss.ErrInvalidArg, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err == nil && len(text) > maxDocument {
		err = errors.New("the file is larger than 16 MiB")
	}
	if err != nil {
		return fail(vss.ErrInvalidArg, err)
	}
	return text, nil
}

func (a *app) importSet(ctx context.Context, c *requester.Client, text []byte, id vss.SnapshotSetID) error {
	b, err := c.Open(ctx, "vss import")
	if err != nil {
		return err
	}
	defer b.Close()
	if err := b.InitializeForBackup(ctx, text); err != nil {
		return err
	}
	// The set must outlive this session.
	if err := b.SetContext(ctx, vss.ContextAppRollback); err != nil {
		return err
	}
	async, err := b.ImportSnapshots(ctx)
	if err != nil {
		return err
	}
	show, end := a.Progress()
	code, err := async.Wait(ctx, show)
	end()
	if err != nil {
		return err
	}
	set, err := c.GetSnapshotSet(ctx, id)
	if err != nil {
		return err
	}
	partial := code == vss.SuccessSomeSnapshotsNotImported
	if partial {
		a.Exit = cli.ExitFailed
	}
	if a.JSON {
		shape := cli.NewSet(set)
		if partial {
			shape.Result = code.Name()
		}
		a.PrintJSON(shape)
		return nil
	}
	a.PrintSet(set)
	if partial {
		a.Warnf("%s; `vss events` shows why", code.Text())
	}
	return nil
}

func (a *app) exposeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "expose COPY PATH",
		Short: "Mount a shadow copy at a directory",
		Long: `Expose mounts a copy read-only at PATH: an empty directory, or a drive letter such as P: that the
configuration maps. The exposure of a persistent copy lasts, also after a restart, until the copy
is unexposed or deleted.`,
		Example: "  vss expose {6a1f8c1e-3b52-4b6e-9a53-1c8f0f2f7a10} /mnt/yesterday",
		Args:    exactly("COPY", "PATH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := cli.ParseID("copy", args[0])
			if err != nil {
				return err
			}
			path := args[1]
			if !cli.IsLetter(path) {
				if path, err = filepath.Abs(path); err != nil {
					return cli.Usagef("", "invalid path %q", args[1])
				}
			}
			return a.Session(cmd.Context(), vss.ContextAll,
				func(_ *requester.Client, b *requester.BackupComponents) error {
					copy := vss.SnapshotID{GUID: id}
					s, err := b.ExposeSnapshot(cmd.Context(), copy, "", vss.AttrExposedLocally, path)
					if err == nil {
						a.exposed(s)
					}
					return err
				})
		},
	}
}

func (a *app) exposed(s requester.Snapshot) {
	switch {
	case a.JSON:
		a.PrintJSON(cli.Exposed{ID: s.ID, ExposedAt: s.ExposedAt})
	case s.ExposedAt == "":
		fmt.Fprintf(a.Stdout, "%v was unexposed.\n", s.ID)
	default:
		fmt.Fprintf(a.Stdout, "%v is exposed at %s, read-only.\n", s.ID, s.ExposedAt)
	}
}

func (a *app) unexposeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unexpose COPY|PATH",
		Short: "Unmount an exposed shadow copy",
		Long: `Unexpose unmounts a copy that expose mounted, named by its id or by the path. The copy is not
deleted.`,
		Example: "  vss unexpose /mnt/yesterday",
		Args:    exactly("COPY|PATH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return a.Session(ctx, vss.ContextAll, func(_ *requester.Client, b *requester.BackupComponents) error {
				id, err := vss.ParseGUID(args[0])
				if err != nil {
					if id, err = exposedAt(ctx, b, args[0]); err != nil {
						return err
					}
				}
				s, err := b.UnexposeSnapshot(ctx, vss.SnapshotID{GUID: id})
				if err == nil {
					a.exposed(s)
				}
				return err
			})
		},
	}
}

// exposedAt returns the id of the copy that is exposed at path.
func exposedAt(ctx context.Context, b *requester.BackupComponents, path string) (vss.GUID, error) {
	name := path
	if !cli.IsLetter(path) {
		if abs, err := filepath.Abs(path); err == nil {
			path = abs
		}
	}
	all, err := b.QuerySnapshots(ctx)
	if err != nil {
		return vss.GUID{}, err
	}
	for _, s := range all {
		if s.ExposedAt != "" && (s.ExposedAt == path || s.ExposedAt == name) {
			return s.ID.GUID, nil
		}
	}
	return vss.GUID{}, vss.E("UnexposeSnapshot", vss.ErrObjectNotFound, errors.New("no copy is exposed there")).
		On(name).
		Advise("`vss list shadows --json` shows which copies are exposed, and where")
}
