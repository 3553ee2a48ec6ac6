package vsscmd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/document"
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
		Short: "Back up the data of applications with a command of yours",
		Long: `Backup makes shadow copies of the volumes and runs CMD as exec does: where the volumes are it sees their copies. CMD also
gets lists of the files to save: those that the writers' components on these volumes need in a backup of this type.
VSS_FILES_FROM names a file with one path a line, VSS_FILES_FROM0 one in which each path ends with NUL. The lists have
folders, too, as what is in them; so CMD must not descend into the folders that it finds there (tar --no-recursion).

All components that lie on the volumes are chosen, or those named with --component, and what their writers require.
Files that need not come from a copy (a configuration on another volume, say) are read where they are.

If CMD exits with 0 writers are told that the backup is complete (they may drop logs then), the Backup Components
Document is written to FILE and the Writer Metadata Documents to DIR, one a writer. A restore needs both: keep them
with the data. Else the backup is aborted, nothing is written, and the exit status is that of CMD.

Exit status: that of CMD; 1 if CMD exited with 0 but not every component is saved; 125 if we failed, 126 if CMD can't be
run, 127 if it wasn't found, 128+n if signal n ended it.`,
		Example: `  vss backup --bc db.xml --wm db.wm /srv/data -- sh -c 'tar -cPf /backup/db.tar --no-recursion --null -T $VSS_FILES_FROM0'
  vss backup --bc b2.xml --wm b2.wm --type incremental --previous b1.xml /srv/data -- ./save-listed-files
  vss backup --bc db.xml --wm db.wm --component 'PostgreSQL Writer/15/main' /srv/data /srv/wal -- ./save-listed-files`,
		RunE: func(cmd *cobra.Command, args []string) error {
			volumes, command, err := split(cmd, args)
			if err != nil {
				return err
			}
			o, err := b.options(cmd, &f, kind, volumes, command)
			if err == nil && previous != "" {
				b.previous, err = readComponents(previous)
			}
			var u *usageError
			if errors.As(err, &u) {
				return err
			}
			b.wanted = wishes(named)
			if err == nil {
				err = a.with(cmd.Context(), func(c *requester.Client) error { return b.run(cmd.Context(), c, o, command) })
			}
			if err != nil {
				a.exit = exitOurs
			}
			return err
		},
	}
	f.add(cmd, "backup, and no other")
	l := cmd.Flags()
	l.StringVar(&b.wm, "wm", "", "write the Writer Metadata Documents to this folder")
	l.StringVar(&kind, "type", "full", "full, incremental, differential, log or copy")
	l.StringArrayVar(&named, "component", nil, "only this component: WRITER, WRITER/NAME or WRITER/PATH/NAME; may be repeated")
	l.StringVar(&previous, "previous", "", "the Backup Components Document of the backup that this one builds on")
	return cmd
}

// backup is one run of the command.
type backup struct {
	app      *app
	bc, wm   string
	volumes  []string
	kind     vss.BackupType
	wanted   []*wish
	previous *document.Components
	chosen   []requester.WriterMetadata // writers with components in the backup
}

// backupJSON is the document of a backup.
type backupJSON struct {
	setJSON
	BackupType string          `json:"backup_type"`
	BC         string          `json:"bc"`
	WM         []string        `json:"wm"`
	Components []componentJSON `json:"components"`
}

func (b *backup) options(cmd *cobra.Command, f *createFlags, kind string, volumes, command []string) (requester.Options, error) {
	b.bc, b.volumes = f.document, volumes
	switch {
	case len(command) == 0:
		return requester.Options{}, usage("write the command after --", "a command is missing")
	case b.bc == "" || b.wm == "":
		return requester.Options{}, usage("name them with --bc FILE and --wm DIR: a restore needs both", "a place for the documents is missing")
	case f.noWriters || f.transportable || f.context != "" && f.context != vss.ContextBackup.ContextName():
		return requester.Options{}, usage("leave --context, --no-writers and --transportable away; `vss exec` takes them", "a backup is made with writers, of copies on this host")
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
	return o, usage("choose full, incremental, differential, log or copy", "%q is no type of backup", kind)
}

func readComponents(path string) (*document.Components, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, vss.E("Load", vss.ErrObjectNotFound, err).On(path).Advise("name the file that `vss backup --bc` wrote")
	}
	d, err := document.Parse(text)
	if err != nil {
		return nil, vss.E("Load", vss.ErrInvalidXMLDocument, err).On(path).Advise("name the file that `vss backup --bc` wrote, untouched")
	}
	return d, nil
}

func (b *backup) run(ctx context.Context, c *requester.Client, o requester.Options, command []string) error {
	a := b.app
	if err := os.MkdirAll(b.wm, 0o700); err != nil {
		return vss.E("SaveAsXML", vss.ErrInvalidArg, err).On(b.wm).Advise("name a folder that you may write to")
	}
	bc, err := newDocument(b.bc) // opened before there is anything to lose
	if err != nil {
		return err
	}
	defer bc.discard()
	folder, err := os.MkdirTemp("", "vss-files-") // made before the copies, which then have it, too
	if err != nil {
		return vss.E("ListFiles", vss.ErrUnexpected, err).Advise("set TMPDIR to a folder that you may write to")
	}
	defer func() { _ = os.RemoveAll(folder) }()

	show, end := a.progress()
	made, err := c.Create(ctx, o, show)
	end()
	if err != nil {
		return err
	}
	defer made.Session.Close()
	whole := false
	defer func() {
		if !whole {
			a.finish(ctx, made, false)
		}
	}()
	if err := mountAll(ctx, made); err != nil {
		return err
	}
	components, err := made.Session.GetWriterComponents(ctx)
	if err != nil {
		return err
	}
	metadata, err := b.metadataFiles()
	if err != nil {
		return err
	}
	for _, m := range metadata {
		defer m.discard()
	}
	task := &listTask{Folder: folder, Type: b.kind}
	for _, w := range components {
		for _, k := range b.chosen {
			if k.Instance != w.InstanceID {
				continue
			}
			xml, err := w.XML()
			if err != nil {
				return err
			}
			task.Writers = append(task.Writers, struct{ Metadata, Components []byte }{k.XML, xml})
		}
	}
	code, err := a.inside(made.Set, helperTask{Command: command, Lists: task}, made.Session.Lost())
	if err != nil {
		return err
	}
	if a.exit = code; code != 0 {
		return nil
	}
	whole = true
	return b.complete(context.WithoutCancel(ctx), made, folder, bc, metadata)
}

// metadataFiles opens a file for each writer that has components.
func (b *backup) metadataFiles() (out []*documentFile, err error) {
	for _, w := range b.chosen {
		name := strings.Map(func(r rune) rune {
			if r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
				return r
			}
			return '_'
		}, w.Name) + "-" + w.Instance.Plain() + ".xml"
		f, err := newDocument(filepath.Join(b.wm, name))
		if err != nil {
			for _, o := range out {
				o.discard()
			}
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// complete ends a backup whose data CMD has: components are marked, writers told, documents saved.
func (b *backup) complete(ctx context.Context, made *requester.Created, folder string, bc *documentFile, metadata []*documentFile) error {
	faults, err := readFaults(folder)
	if err != nil {
		return vss.E("ListFiles", vss.ErrUnexpected, err)
	}
	failed := map[vss.WriterInstanceID]requester.WriterStatus{}
	for _, w := range made.Set.Writers {
		if w.Failure.Failed() {
			failed[w.Instance] = w
		}
	}
	components, err := made.Session.GetWriterComponents(ctx)
	if err != nil {
		return err
	}
	out := backupJSON{setJSON: setShape(made.Set), BackupType: b.kind.String(), BC: b.bc, Components: []componentJSON{}}
	for _, w := range components {
		for _, c := range w.Components {
			shape := componentShape(b.nameOf(w), w, c)
			shape.Stamp = c.BackupStamp
			if s, bad := failed[w.InstanceID]; bad {
				shape.Failure = strings.TrimRight(s.Failure.Name()+": "+s.Message, ": ")
			}
			for _, f := range faults {
				if f.Writer == w.InstanceID && f.FullName == c.FullName() {
					shape.Failure = f.Why
				}
			}
			well := shape.Failure == ""
			if !well {
				b.app.exit = exitFailed
				b.app.warn("%s of %s is not saved: %s", c.FullName(), shape.Writer, shape.Failure)
			}
			shape.Succeeded = &well
			out.Components = append(out.Components, shape)
			if err := made.Session.SetBackupSucceeded(ctx, componentOf(w, c), well); err != nil {
				return err
			}
		}
	}
	if err := made.Finish(ctx); err != nil {
		return err
	}
	status, err := made.Session.GetWriterStatus(ctx)
	if err != nil {
		return err
	}
	for _, w := range status {
		if _, known := failed[w.Instance]; w.Failure.Failed() && !known {
			b.app.exit = exitFailed
			b.app.warn("writer %s failed after the backup: %s", w.Name, strings.TrimRight(w.Failure.Name()+": "+w.Message, ": "))
		}
	}
	out.Writers = each(status, writerShape)
	text, err := made.Session.SaveAsXML(ctx)
	if err == nil {
		err = bc.save(text)
	}
	for i, f := range metadata {
		if err == nil {
			err = f.save(b.chosen[i].XML)
			out.WM = append(out.WM, f.path)
		}
	}
	if err != nil {
		return vss.E("SaveAsXML", vss.ErrUnexpected, err).On(b.bc).Advise("the data are saved but can't be restored by `vss restore`; make another full backup")
	}
	if b.app.json {
		b.app.print(out)
	}
	return nil
}

func (b *backup) nameOf(w *document.WriterComponents) string {
	for _, k := range b.chosen {
		if k.Instance == w.InstanceID {
			return k.Name
		}
	}
	return w.WriterID.String()
}
