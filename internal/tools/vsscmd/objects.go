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
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// maxDocument is the largest document that import reads.
const maxDocument = 16 << 20

func (a *app) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show one shadow copy or one set",
		Long:    "Show describes a shadow copy, or a set with its writers and the timeline of its creation.",
		Example: "  vss show {6a1f8c1e-3b52-4b6e-9a53-1c8f0f2f7a10}",
		Args:    exactly("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseID("copy or set", args[0])
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			return a.session(ctx, vss.ContextAll, func(c *requester.Client, b *requester.BackupComponents) error {
				s, err := b.GetSnapshotProperties(ctx, vss.SnapshotID{GUID: id})
				switch {
				case err == nil && a.json:
					a.print(copyShape(s))
					return nil
				case err == nil:
					a.copies([]requester.Snapshot{s})
					return nil
				case !errors.Is(err, vss.ErrObjectNotFound):
					return err
				}
				set, err := c.GetSnapshotSet(ctx, vss.SnapshotSetID{GUID: id})
				switch {
				case err != nil:
					return err
				case a.json:
					a.print(setShape(set))
				default:
					a.set(set)
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
		Short: "Bring a transportable set to this host",
		Long: `Import surfaces the shadow copies of a transportable set on this host: its LUNs are shown to it, get new disk identities
and become readable. FILE is the Backup Components Document that create --bc wrote on the creating host, untouched. A set
can be imported once. If only a part of it arrives the set is printed all the same, and the exit status is 1.`,
		Example: "  vss import --bc set.xml",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if path == "" {
				return usage("name the document that `vss create --bc FILE` wrote", "--bc FILE is missing")
			}
			text, err := readDocument(path)
			if err != nil {
				return err
			}
			doc, err := document.Parse(text)
			if err != nil {
				return vss.E("ImportSnapshots", vss.ErrInvalidXMLDocument, err).On(path).Advise("give the file that `vss create --bc` wrote, unchanged")
			}
			return a.with(cmd.Context(), func(c *requester.Client) error { return a.importSet(cmd.Context(), c, text, doc.SnapshotSetID) })
		},
	}
	cmd.Flags().StringVar(&path, "bc", "", "the Backup Components Document")
	return cmd
}

func readDocument(path string) ([]byte, error) {
	fail := func(code vss.Code, err error) ([]byte, error) {
		return nil, vss.E("ImportSnapshots", code, err).On(path).Advise("give the file that `vss create --bc` wrote")
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
		err = errors.New("more than 16 MiB")
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
	// So that the set outlives this session.
	if err := b.SetContext(ctx, vss.ContextAppRollback); err != nil {
		return err
	}
	async, err := b.ImportSnapshots(ctx)
	if err != nil {
		return err
	}
	show, end := a.progress()
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
		a.exit = exitFailed
	}
	if a.json {
		shape := setShape(set)
		if partial {
			shape.Result = code.Name()
		}
		a.print(shape)
		return nil
	}
	a.set(set)
	if partial {
		a.warn("%s; `vss events` says why", code.Text())
	}
	return nil
}

func (a *app) exposeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "expose COPY PATH",
		Short: "Mount a shadow copy at a folder",
		Long: `Expose mounts a copy, read-only, at PATH: an empty folder, or a letter such as P: that the configuration maps. That of a
persistent copy lasts over restarts, until it is unexposed or deleted.`,
		Example: "  vss expose {6a1f8c1e-3b52-4b6e-9a53-1c8f0f2f7a10} /mnt/yesterday",
		Args:    exactly("COPY", "PATH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseID("copy", args[0])
			if err != nil {
				return err
			}
			path := args[1]
			if !isLetter(path) {
				if path, err = filepath.Abs(path); err != nil {
					return usage("", "%q is no path", args[1])
				}
			}
			return a.session(cmd.Context(), vss.ContextAll, func(_ *requester.Client, b *requester.BackupComponents) error {
				s, err := b.ExposeSnapshot(cmd.Context(), vss.SnapshotID{GUID: id}, "", vss.AttrExposedLocally, path)
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
	case a.json:
		a.print(exposedJSON{s.ID, s.ExposedAt})
	case s.ExposedAt == "":
		fmt.Fprintf(a.stdout, "%v is no longer exposed.\n", s.ID)
	default:
		fmt.Fprintf(a.stdout, "%v is exposed at %s, read-only.\n", s.ID, s.ExposedAt)
	}
}

func (a *app) unexposeCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "unexpose COPY|PATH",
		Short:   "Take the exposure of a shadow copy off",
		Long:    "Unexpose unmounts a copy that expose mounted. It is named by its id or by the folder. The copy stays.",
		Example: "  vss unexpose /mnt/yesterday",
		Args:    exactly("COPY|PATH"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return a.session(ctx, vss.ContextAll, func(_ *requester.Client, b *requester.BackupComponents) error {
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

// exposedAt finds the copy that is exposed at a folder.
func exposedAt(ctx context.Context, b *requester.BackupComponents, path string) (vss.GUID, error) {
	name := path
	if !isLetter(path) {
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
	return vss.GUID{}, vss.E("UnexposeSnapshot", vss.ErrObjectNotFound, errors.New("no copy is exposed there")).On(name).Advise("`vss list shadows` shows which copies are exposed, and where")
}
