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
	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func (a *app) restoreCommand() *cobra.Command {
	r := &restore{app: a}
	var bc string
	var named []string
	cmd := &cobra.Command{
		Use:   "restore --bc FILE [flags] -- CMD ARG...",
		Short: "Restore the data of applications with a command",
		Long: `Restore asks the writers to prepare for the restore of a backup (they stop the programs that use
the files), runs CMD, which restores the files, and asks the writers to start these programs
again. FILE is the document that backup --bc wrote. The Writer Metadata Documents are read from
the directory of FILE, or from --wm DIR.

All components of the backup are restored, or those selected with --component. VSS_FILES_FROM
names a file that lists their files, one path per line: a directory stands for its whole content,
and a name may be a pattern with * and ?. VSS_FILES_FROM0 names the same list with a NUL after
each path.

Restore incremental backups in their order, beginning with the full one, each except the last with
--more.

Only root may restore, as writers stop, move and start what belongs to other accounts. What they
execute is taken from this host's records of its backups and from running servers, never from
FILE. If a writer fails or is not running, the restore ends before CMD is run, unless
--ignore-writers is given. The exit status of CMD tells the writers whether all files were restored (0) or not;
they are notified in either case.

Exit status: that of CMD; 1 if CMD exited with 0 but a writer failed, or if vss failed; 126 if CMD
cannot be run, 127 if it was not found.`,
		Example: `  vss restore --bc db.xml --wm db.wm -- tar -C / -xPf /backup/db.tar
  vss restore --bc db.xml --wm db.wm --component 'PostgreSQL Writer/15/main' -- \
    sh -c 'tar -xPf /backup/db.tar -T $VSS_FILES_FROM'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			n := cmd.ArgsLenAtDash()
			switch {
			case n > 0 || n < 0 && len(args) > 0:
				return cli.Usagef("write the command after --", "too many arguments: %s", args[0])
			case len(args) == 0:
				return errNoCommand()
			case bc == "":
				return cli.Usagef("name the document of the backup", "missing flag --bc")
			}
			r.selectors = parseSelectors(named)
			if err := r.load(bc); err != nil {
				return err
			}
			return a.With(cmd.Context(), func(c *requester.Client) error {
				return r.run(cmd.Context(), c, cmd.CommandPath(), args)
			})
		},
	}
	l := cmd.Flags()
	l.StringVar(&bc, "bc", "", "`FILE` with the Backup Components Document of the backup")
	l.StringVar(&r.wm, "wm", "", "`DIR` with its Writer Metadata Documents (default: the directory of FILE)")
	l.StringArrayVar(&named, "component", nil,
		"restore only this `COMPONENT`: WRITER, WRITER/NAME or WRITER/PATH/NAME; may be repeated")
	l.BoolVar(&r.more, "more", false, "further (incremental) restores follow; writers do not recover their data yet")
	l.BoolVar(&r.ignore, "ignore-writers", false, "continue if a writer fails or is not running")
	return cmd
}

// restore is one run of the command.
type restore struct {
	app       *app
	wm        string
	selectors []*selector
	more      bool
	ignore    bool
	document  []byte
	backup    *document.Components
	metadata  map[vss.WriterInstanceID]*document.WriterMetadata
	texts     [][]byte
	items     []*item
}

// restoreJSON is the JSON document of a restore.
type restoreJSON struct {
	Session    vss.SessionID   `json:"session_id"`
	ExitCode   int             `json:"exit_code"` // of CMD; -1 if it was not run
	Components []componentJSON `json:"components"`
	Writers    []cli.Writer    `json:"writers"`
}

func (r *restore) run(ctx context.Context, c *requester.Client, program string, command []string) error {
	if _, err := exec.LookPath(command[0]); err != nil { // before a writer stops a program
		r.app.Exit = cli.NotRunCode(err)
		return vss.E("restore", vss.ErrInvalidArg, err).On(command[0]).Advise("name an executable program")
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
	ctx = context.WithoutCancel(ctx) // from here on the writers must be notified of the end
	if err := finished(ctx)(s.PreRestore(ctx)); err != nil {
		return err
	}
	out := restoreJSON{ExitCode: -1, Components: []componentJSON{}, Writers: []cli.Writer{}}
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
	r.app.Exit = max(out.ExitCode, 0)
	if failed == nil {
		failed = firstFailure("PostRestore", writers)
	}
	if failed != nil && !r.ignore && r.app.Exit == 0 {
		r.app.Exit = cli.ExitFailed
	}
	return r.print(ctx, s, &out, status, writers, failed)
}

// selectAll selects the components. With --ignore-writers, components whose writer is not running are restored without
// it.
func (r *restore) selectAll(ctx context.Context, s *requester.BackupComponents) error {
	for _, i := range r.items {
		if i.alone {
			continue
		}
		k := componentOf(i.writer, i.explicit)
		err := s.SetSelectedForRestore(ctx, k, true)
		if errors.Is(err, vss.ErrObjectNotFound) && r.ignore {
			r.app.Warnf("%s of %s is restored without its writer, which is not running", i.explicit.FullName(),
				i.meta.Name)
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

// files checks the status of the writers after PreRestore and runs CMD. It returns as failed the failure of the first
// writer that failed; without --ignore-writers CMD isn't run then.
func (r *restore) files(
	ctx context.Context, s *requester.BackupComponents, command []string, out *restoreJSON,
) (failed, err error) {
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
		return failed, vss.E("ListFiles", vss.ErrUnexpected, err).Advise("set TMPDIR to a writable directory")
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
			r.app.Warnf("%s requires that service %s is stopped during the restore; CMD must do this", i.meta.Name,
				m.Service)
		}
	}
	if err := l.close(); err != nil {
		return failed, vss.E("ListFiles", vss.ErrUnexpected, err).On(folder)
	}
	out.ExitCode = r.app.Command(command, append(listVariables(folder), "VSS_SESSION="+out.Session.String()), nil)
	return failed, nil
}

// status returns the status of the writers of the restored components.
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
			return vss.E(op, w.Failure, errors.New(w.Message)).On(w.Name).
				Advise("see the log of the writer; --ignore-writers continues without it")
		}
	}
	return nil
}

// print prints the result of the restore. It returns the failure of a writer, if it isn't ignored.
func (r *restore) print(
	ctx context.Context, s *requester.BackupComponents, out *restoreJSON, status vss.FileRestoreStatus,
	writers []requester.WriterStatus, failed error,
) error {
	now, err := s.GetWriterComponents(ctx)
	if err != nil {
		return err
	}
	for _, i := range r.items {
		shape := componentShape(i.meta.Name, i.writer, i.explicit)
		shape.Status = status.String()
		for _, n := range now {
			if c := n.Component(i.explicit.LogicalPath, i.explicit.Name); c != nil && n.WriterID == i.writer.WriterID &&
				n.InstanceID == i.writer.InstanceID {
				shape.Failure = strings.Trim(c.PreRestoreFailure+"; "+c.PostRestoreFailure, "; ")
			}
		}
		out.Components = append(out.Components, shape)
	}
	out.Writers = cli.Each(writers, cli.NewWriter)
	switch {
	case r.app.JSON && failed != nil && out.ExitCode < 0:
		return failed
	case r.app.JSON:
		r.app.PrintJSON(out)
	case failed != nil && !r.ignore:
		return failed
	case failed != nil:
		r.app.Warnf("%v", failed)
	}
	return nil
}

// finished returns a function that waits for an operation that was just started.
func finished(ctx context.Context) func(*requester.Async, error) error {
	return func(a *requester.Async, err error) error {
		if err == nil {
			_, err = a.Wait(ctx, nil)
		}
		return err
	}
}
