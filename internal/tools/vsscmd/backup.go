package vsscmd

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func (a *app) backupCommand() *cobra.Command {
	var f createFlags
	b := &backup{app: a}
	var kind, previous string
	var named []string
	cmd := &cobra.Command{
		Use:   "backup --bc FILE --wm DIR [flags] VOLUME... -- CMD ARG...",
		Short: "Back up the data of applications with a command",
		Long: `Backup makes shadow copies of the volumes and runs CMD as exec does, with the copies in place of
the volumes. CMD also gets lists of the files to save: those of the writers' components on these
volumes that belong to a backup of this type. VSS_FILES_FROM names a file with one path per line,
VSS_FILES_FROM0 a file in which each path ends with NUL. The lists contain directories as well as
their content, so CMD must not descend into directories (tar --no-recursion).

All components on the volumes are backed up, or those selected with --component, and the
components that their writers require. Files that need not be read from a copy (such as a
configuration on another volume) are read where they are.

If CMD exits with 0, the writers are notified that the backup is complete (they may then delete
logs), the Backup Components Document is written to FILE, and the Writer Metadata Documents, one
per writer, are written to DIR. Both are required for a restore: keep them with the data.
Otherwise the backup is aborted, nothing is written, and the exit status is that of CMD.

Exit status: that of CMD; 1 if CMD exited with 0 but a component was not saved; 125 if vss failed,
126 if CMD cannot be run, 127 if it was not found, 128+n if it was ended by signal n.`,
		Example: `  vss backup --bc db.xml --wm db.wm /srv/data -- \
    sh -c 'tar -cPf /backup/db.tar --no-recursion --null -T $VSS_FILES_FROM0'
  vss backup --bc b2.xml --wm b2.wm --type incremental --previous b1.xml /srv/data -- ./save
  vss backup --bc db.xml --wm db.wm --component 'PostgreSQL Writer/15/main' /srv/data /srv/wal -- ./save`,
		RunE: func(cmd *cobra.Command, args []string) error {
			volumes, command, err := split(cmd, args)
			if err != nil {
				return err
			}
			o, err := b.options(cmd, &f, kind, volumes, command)
			if err == nil && previous != "" {
				b.previous, err = readComponents(previous)
			}
			b.selectors = parseSelectors(named)
			if err == nil {
				err = a.With(cmd.Context(), func(c *requester.Client) error {
					return b.run(cmd.Context(), c, o, command)
				})
			}
			if err != nil {
				a.Exit = cli.ExitTool // unless it is a usage error
			}
			return err
		},
	}
	f.add(cmd, "backup, the only one allowed")
	l := cmd.Flags()
	l.StringVar(&b.wm, "wm", "", "write the Writer Metadata Documents to `DIR`")
	l.StringVar(&kind, "type", "full", "`TYPE` of the backup: full, incremental, differential, log or copy")
	l.StringArrayVar(&named, "component", nil,
		"back up only this `COMPONENT`: WRITER, WRITER/NAME or WRITER/PATH/NAME; may be repeated")
	l.StringVar(&previous, "previous", "",
		"`FILE` with the Backup Components Document of the backup that this one is based on")
	return cmd
}

// backup is one run of the command.
type backup struct {
	app       *app
	bc, wm    string
	volumes   []string
	kind      vss.BackupType
	selectors []*selector
	previous  *document.Components
	chosen    []requester.WriterMetadata // writers with components in the backup
}

// backupJSON is the JSON document of a backup.
type backupJSON struct {
	cli.Set
	BackupType string          `json:"backup_type"`
	BC         string          `json:"bc"`
	WM         []string        `json:"wm"`
	Components []componentJSON `json:"components"`
}

func (b *backup) options(
	cmd *cobra.Command, f *createFlags, kind string, volumes, command []string,
) (requester.Options, error) {
	b.bc, b.volumes = f.document, volumes
	switch {
	case len(command) == 0:
		return requester.Options{}, errNoCommand()
	case b.bc == "" || b.wm == "":
		return requester.Options{}, cli.Usagef("both are required for a restore", "missing flag --bc or --wm")
	case f.noWriters || f.transportable || f.context != "" && f.context != vss.ContextBackup.ContextName():
		return requester.Options{}, cli.Usagef("remove --context, --no-writers and --transportable, or use `vss exec`",
			"a backup needs writers, and copies on this host")
	}
	o, err := f.options(cmd, volumes, vss.ContextBackup)
	if err != nil {
		return o, err
	}
	for t := vss.BackupFull; t <= vss.BackupCopy; t++ {
		if t.String() == kind {
			o.BackupType, o.Choose, b.kind = t, b.choose, t
			return o, nil
		}
	}
	return o, cli.Usagef("choose full, incremental, differential, log or copy", "invalid backup type %q", kind)
}

func readComponents(path string) (*document.Components, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, vss.E("Load", vss.ErrObjectNotFound, err).On(path).
			Advise("name the file that `vss backup --bc` wrote")
	}
	d, err := document.Parse(text)
	if err != nil {
		return nil, vss.E("Load", vss.ErrInvalidXMLDocument, err).On(path).
			Advise("name the unmodified file that `vss backup --bc` wrote")
	}
	return d, nil
}
