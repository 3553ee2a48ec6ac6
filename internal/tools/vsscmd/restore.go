package vsscmd

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func (a *app) restoreCommand() *cobra.Command {
	r := &restore{app: a}
	var bc string
	var named []string
	cmd := &cobra.Command{
		Use:   "restore --bc FILE [flags] -- CMD ARG...",
		Short: "Restore the data of applications with a command of yours",
		Long: `Restore has the writers make room for the data of a backup (they stop what uses the files), runs CMD, which puts the files
back, and has the writers start again what they stopped. FILE is what backup --bc wrote; the Writer Metadata Documents
are looked for in its folder, or in --wm DIR.

All components of the backup are restored, or those named with --component. VSS_FILES_FROM names a file that lists what
belongs to them, one path a line: a folder stands for all in it, and a name may be a pattern with * and ?.
VSS_FILES_FROM0 is the same with a NUL behind each path.

Incremental backups are restored in their order, the full one first, each with --more but for the last.

A writer that fails, or doesn't run, ends the restore before CMD, unless --ignore-writers is given. CMD's exit status
tells the writers whether all files are there (0), or only a part; they are told in every case.

Exit status: that of CMD; 1 if CMD exited with 0 but a writer failed, or if we refused or failed; 126 if CMD can't be run,
127 if it wasn't found.`,
		Example: `  vss restore --bc db.xml --wm db.wm -- tar -C / -xPf /backup/db.tar
  vss restore --bc db.xml --wm db.wm --component 'PostgreSQL Writer/15/main' -- sh -c 'tar -xPf /backup/db.tar -T $VSS_FILES_FROM'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			n := cmd.ArgsLenAtDash()
			switch {
			case n > 0 || n < 0 && len(args) > 0:
				return usage("write the command after --", "too many arguments: %s", args[0])
			case len(args) == 0:
				return usage("write the command after --", "a command is missing")
			case bc == "":
				return usage("name the document of the backup with --bc FILE", "the backup is missing")
			}
			r.wanted = wishes(named)
			if err := r.load(bc); err != nil {
				return err
			}
			return a.with(cmd.Context(), func(c *requester.Client) error { return r.run(cmd.Context(), c, cmd.CommandPath(), args) })
		},
	}
	l := cmd.Flags()
	l.StringVar(&bc, "bc", "", "the Backup Components Document of the backup")
	l.StringVar(&r.wm, "wm", "", "the folder of its Writer Metadata Documents (default: that of FILE)")
	l.StringArrayVar(&named, "component", nil, "only this component: WRITER, WRITER/NAME or WRITER/PATH/NAME; may be repeated")
	l.BoolVar(&r.more, "more", false, "further restores follow (incremental backups): writers don't recover their data yet")
	l.BoolVar(&r.ignore, "ignore-writers", false, "go on although a writer failed or doesn't run")
	return cmd
}

// restore is one run of the command.
type restore struct {
	app      *app
	wm       string
	wanted   []*wish
	more     bool
	ignore   bool
	document []byte
	backup   *document.Components
	metadata map[vss.WriterInstanceID]*document.WriterMetadata
	texts    [][]byte
	items    []*item
}

// restoreJSON is the document of a restore.
type restoreJSON struct {
	Session    vss.SessionID   `json:"session_id"`
	ExitCode   int             `json:"exit_code"` // of CMD; -1: it was not run
	Components []componentJSON `json:"components"`
	Writers    []writerJSON    `json:"writers"`
}

func (r *restore) run(ctx context.Context, c *requester.Client, program string, command []string) error {
	if _, err := exec.LookPath(command[0]); err != nil { // before a writer stops anything for it
		r.app.exit = notRunCode(err)
		return vss.E("restore", vss.ErrInvalidArg, err).On(command[0]).Advise("name a program that can be run")
	}
	s, err := c.Open(ctx, program)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.InitializeForRestore(ctx, r.document, r.texts...); err != nil {
		return err
	}
	if err := finished(ctx)(s.GatherWriterMetadata(ctx)); err != nil {
		return err
	}
	if err := r.selectAll(ctx, s); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // from here on writers must hear how it ends
	if err := finished(ctx)(s.PreRestore(ctx)); err != nil {
		return err
	}
	out := restoreJSON{ExitCode: -1, Components: []componentJSON{}, Writers: []writerJSON{}}
	if out.Session, err = s.GetSessionID(ctx); err != nil {
		return err
	}
	failed, err := r.files(ctx, s, command, &out)
	status := vss.RestoredAll
	switch {
	case out.ExitCode < 0:
		status = vss.RestoredNone
	case out.ExitCode != 0:
		status = vss.RestoredFailed
	}
	for _, i := range r.items {
		if !i.alone {
			err = errors.Join(err, s.SetFileRestoreStatus(ctx, componentOf(i.writer, i.explicit), status))
		}
	}
	if err = errors.Join(err, finished(ctx)(s.PostRestore(ctx))); err != nil {
		return err
	}
	writers, err := r.status(ctx, s)
	if err != nil {
		return err
	}
	r.app.exit = max(out.ExitCode, 0)
	if failed == nil {
		failed = firstFailure("PostRestore", writers)
	}
	if failed != nil && !r.ignore && r.app.exit == 0 {
		r.app.exit = exitFailed
	}
	return r.tell(ctx, s, &out, status, writers, failed)
}

// selectAll selects the components. One whose writer doesn't run is restored without it only if that is wanted.
func (r *restore) selectAll(ctx context.Context, s *requester.BackupComponents) error {
	for _, i := range r.items {
		if i.alone {
			continue
		}
		k := componentOf(i.writer, i.explicit)
		err := s.SetSelectedForRestore(ctx, k, true)
		if errors.Is(err, vss.ErrObjectNotFound) && r.ignore {
			r.app.warn("%s of %s is restored without its writer, which doesn't run", i.explicit.FullName(), i.meta.Name)
			i.alone = true
			continue
		}
		if err != nil {
			return err
		}
		if r.more {
			if err := s.SetAdditionalRestores(ctx, k, true); err != nil {
				return err
			}
		}
		for _, p := range i.parts {
			if err := s.AddRestoreSubcomponent(ctx, k, p.LogicalPath, p.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// files looks at what the writers said in PreRestore and has CMD put the files back. It returns the failure that kept CMD from
// being run, or of the first writer that failed.
func (r *restore) files(ctx context.Context, s *requester.BackupComponents, command []string, out *restoreJSON) (failed, err error) {
	writers, err := r.status(ctx, s)
	if err != nil {
		return nil, err
	}
	if failed = firstFailure("PreRestore", writers); failed != nil && !r.ignore {
		return failed, nil
	}
	now, err := s.GetWriterComponents(ctx)
	if err != nil {
		return failed, err
	}
	folder, err := os.MkdirTemp("", "vss-files-")
	if err != nil {
		return failed, vss.E("ListFiles", vss.ErrUnexpected, err).Advise("set TMPDIR to a folder that you may write to")
	}
	defer func() { _ = os.RemoveAll(folder) }()
	l, err := newLists(folder)
	if err != nil {
		return failed, vss.E("ListFiles", vss.ErrUnexpected, err).On(folder)
	}
	for _, i := range r.items {
		if err := i.list(now, r.backup.BackupType, l.add); err != nil {
			return failed, errors.Join(err, l.close())
		}
		if m := i.meta.RestoreMethod; m != nil && m.Service != "" {
			r.app.warn("%s wants service %s stopped and started around the restore: CMD has to see to it", i.meta.Name, m.Service)
		}
	}
	if err := l.close(); err != nil {
		return failed, vss.E("ListFiles", vss.ErrUnexpected, err).On(folder)
	}
	out.ExitCode = r.app.command(command, append(listVariables(folder), "VSS_SESSION="+out.Session.String()), nil)
	return failed, nil
}

// status is how the writers of the restored components are.
func (r *restore) status(ctx context.Context, s *requester.BackupComponents) ([]requester.WriterStatus, error) {
	if err := finished(ctx)(s.GatherWriterStatus(ctx)); err != nil {
		return nil, err
	}
	all, err := s.GetWriterStatus(ctx)
	return slices.DeleteFunc(all, func(w requester.WriterStatus) bool {
		return !slices.ContainsFunc(r.items, func(i *item) bool { return !i.alone && i.writer.WriterID == w.ID })
	}), err
}

func firstFailure(op string, all []requester.WriterStatus) error {
	for _, w := range all {
		if w.Failure.Failed() {
			return vss.E(op, w.Failure, errors.New(w.Message)).On(w.Name).Advise("the writer's own log says more; --ignore-writers goes on without it")
		}
	}
	return nil
}

// tell shows how the restore went; a failure of a writer is the command's.
func (r *restore) tell(ctx context.Context, s *requester.BackupComponents, out *restoreJSON, status vss.FileRestoreStatus, writers []requester.WriterStatus, failed error) error {
	now, err := s.GetWriterComponents(ctx)
	if err != nil {
		return err
	}
	for _, i := range r.items {
		shape := componentShape(i.meta.Name, i.writer, i.explicit)
		shape.Status = status.String()
		for _, n := range now {
			if c := n.Component(i.explicit.LogicalPath, i.explicit.Name); c != nil && n.WriterID == i.writer.WriterID && n.InstanceID == i.writer.InstanceID {
				shape.Failure = strings.Trim(c.PreRestoreFailure+"; "+c.PostRestoreFailure, "; ")
			}
		}
		out.Components = append(out.Components, shape)
	}
	out.Writers = each(writers, writerShape)
	switch {
	case r.app.json && failed != nil && out.ExitCode < 0:
		return failed
	case r.app.json:
		r.app.print(out)
	case failed != nil && !r.ignore:
		return failed
	case failed != nil:
		r.app.warn("%v", failed)
	}
	return nil
}

// finished waits for an operation that was just begun.
func finished(ctx context.Context) func(*requester.Async, error) error {
	return func(a *requester.Async, err error) error {
		if err == nil {
			_, err = a.Wait(ctx, nil)
		}
		return err
	}
}
