package vsscmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func (a *app) execCommand() *cobra.Command {
	var f createFlags
	var report string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "exec [flags] VOLUME... -- CMD ARG...",
		Short: "Run a command on shadow copies in place of the volumes",
		Long: `Exec makes shadow copies and runs CMD in a private mount namespace in which the mount point of
each VOLUME shows its copy, read-only. Other processes are not affected. The copies are deleted
when CMD has ended.

Mounts below a VOLUME that are not in the set are hidden from CMD, with a warning for each. CMD is
run with the variables VSS_SHADOW_SET, VSS_SHADOW_1, VSS_SHADOW_DEVICE_1, VSS_SHADOW_PATH_1 and so
on. If CMD exits with 0, the writers are notified that the backup is complete.

If a writer with data on the volumes fails, CMD is not run; --require none runs it with a warning.
The hold time and the consistency are printed to standard error if it is a terminal.

Exit status: that of CMD; 125 if vss failed, 126 if CMD cannot be run, 127 if it was not found,
128+n if it was ended by signal n.`,
		Example: "  vss exec /srv/data -- restic backup /srv/data\n" +
			"  vss exec --report set.json /srv/data /srv/log -- tar -cf /backup/all.tar /srv/data /srv/log",
		RunE: func(cmd *cobra.Command, args []string) error {
			volumes, command, err := split(cmd, args)
			if err != nil {
				return err
			}
			if len(command) == 0 {
				return errNoCommand()
			}
			if f.transportable {
				return cli.Usagef("remove --transportable", "a transportable set is not available on this host")
			}
			o, err := f.options(cmd, volumes, vss.ContextBackup)
			o.RequireWriters = f.require == ""
			if err == nil {
				err = a.With(cmd.Context(), func(c *requester.Client) error {
					return a.exec(cmd.Context(), c, o, execRun{f.document, report, verbose, command})
				})
			}
			if err != nil {
				a.Exit = cli.ExitTool // unless it is a usage error
			}
			return err
		},
	}
	f.add(cmd, "backup; with --no-writers file-share-backup")
	cmd.Flags().StringVar(&report, "report", "", "write the set as JSON to `FILE`")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print the hold time and the consistency of the set")
	return cmd
}

// execRun is one run of exec.
type execRun struct {
	document, report string // files to write; "": none
	verbose          bool
	command          []string
}

func (a *app) exec(ctx context.Context, c *requester.Client, o requester.Options, r execRun) error {
	made, err := a.make(ctx, c, o, r.document)
	if err != nil {
		return err
	}
	defer made.Session.Close()
	if o.Context.Has(vss.AttrNoAutoRelease) { // the others are deleted with the session
		defer func() {
			always := context.WithoutCancel(ctx)
			_, _, err := made.Session.DeleteSnapshots(always, made.Set.ID.GUID, vss.ObjectSnapshotSet, true)
			if err != nil {
				a.Warnf("the set %v was not deleted: %v", made.Set.ID, err)
			}
		}()
	}
	if err := mountAll(ctx, made); err != nil {
		return err
	}
	if r.report != "" {
		if err := writeReport(r.report, made.Set); err != nil {
			return err
		}
	}
	a.summarize(made.Set, r.verbose)
	code, err := a.inside(ctx, made, helperTask{Command: r.command, Names: o.Volumes})
	if err != nil {
		a.finish(ctx, made, false)
		return err
	}
	a.Exit = code
	a.finish(ctx, made, code == 0)
	return nil
}

// summarize warns about writers that failed and, on a terminal or if asked to, prints how the set was made.
func (a *app) summarize(s requester.SnapshotSet, verbose bool) {
	for _, w := range s.Writers {
		if w.Failure.Failed() {
			a.Warnf("writer %s failed (%s); the copies are %s consistent", w.Name, cli.WriterFailure(w), s.Consistency)
		}
	}
	if verbose || a.OnTerminal() {
		fmt.Fprintf(a.Stderr, "%s: held %.0f ms, %s consistent\n", a.Name, cli.Milliseconds(s.Hold), s.Consistency)
	}
}

func writeReport(path string, set requester.SnapshotSet) error {
	text, err := json.MarshalIndent(cli.NewSet(set), "", "  ")
	if err == nil {
		err = os.WriteFile(path, append(text, '\n'), 0o644)
	}
	if err != nil {
		return vss.E("Report", vss.ErrInvalidArg, err).On(path).Advise("name a writable file")
	}
	return nil
}

// inside runs a command in a mount namespace in which the copies are in place of the volumes, and returns its exit
// code. The helper, a second process of this program, attaches the mounts that the service hands over and then executes
// the command. If the session is lost the command is ended.
func (a *app) inside(ctx context.Context, made *requester.Created, h helperTask) (int, error) {
	const op = "exec"
	mounts, err := made.Session.HandOver(ctx)
	if err != nil {
		return 0, err
	}
	pass := descriptors{}
	defer pass.close()
	for _, m := range mounts {
		o := overlay{Volume: m.Volume, Devices: m.Devices, Copies: m.Copies, Own: m.Own, Root: m.Root}
		if m.File != nil {
			o.FD, err = pass.add(m.File)
			err = errors.Join(err, m.File.Close())
		}
		for _, s := range made.Set.Snapshots {
			if s.ID == m.ID {
				o.Path = s.Path
			}
		}
		if err != nil {
			return 0, vss.E(op, vss.ErrUnexpected, err)
		}
		h.Overlays = append(h.Overlays, o)
	}
	text, err := json.Marshal(h)
	if err != nil {
		return 0, vss.E(op, vss.ErrUnexpected, err)
	}
	in, out, err := os.Pipe()
	if err != nil {
		return 0, vss.E(op, vss.ErrUnexpected, err)
	}
	defer in.Close()
	go func() {
		_, _ = out.Write(text) // if the helper does not read it, it prints why
		_ = out.Close()
	}()
	task, err := pass.add(in)
	if err != nil {
		return 0, vss.E(op, vss.ErrUnexpected, err)
	}
	code, err := cli.RunForwarding(a.helper(made.Set, h.Lists, task), made.Session.Lost())
	if err != nil && !errors.Is(err, cli.ErrLost) {
		return 0, vss.E(op, vss.ErrUnexpected, err).
			Advise("exec needs namespaces; see /proc/sys/user/max_mnt_namespaces and max_user_namespaces")
	}
	return code, err
}

// helper returns the command of the helper, which reads its task from a descriptor.
func (a *app) helper(set requester.SnapshotSet, lists *listTask, task int) *exec.Cmd {
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{helperName, strconv.Itoa(task)},
		Env:   append(os.Environ(), shadowVariables(set)...),
		Stdin: a.Stdin, Stdout: a.Inherited(), Stderr: a.Stderr,
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS},
	}
	if lists != nil {
		cmd.Env = append(cmd.Env, listVariables(lists.Folder)...)
		if a.JSON {
			cmd.Stdout = a.Stderr // standard output is for the document
		}
	}
	if os.Geteuid() != 0 {
		// In a user namespace of its own the caller may mount. The user stays the same, and the helper drops the right
		// to mount before it executes CMD.
		p := cmd.SysProcAttr
		p.Cloneflags |= unix.CLONE_NEWUSER
		p.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		p.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
		p.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT}
	}
	return cmd
}

// descriptors are passed to the helper by their numbers. Those up to 9, which a shell can name, are left to the
// command: it inherits what this process was started with.
type descriptors []int

const firstOwn = 10

// add makes a descriptor of f that a child inherits, and returns its number.
func (d *descriptors) add(f *os.File) (int, error) {
	n, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD, firstOwn)
	if err == nil {
		*d = append(*d, n)
	}
	return n, os.NewSyscallError("fcntl", err)
}

func (d *descriptors) close() {
	for _, n := range *d {
		_ = unix.Close(n)
	}
}
