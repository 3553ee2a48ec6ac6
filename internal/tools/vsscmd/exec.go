package vsscmd

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func (a *app) execCommand() *cobra.Command {
	var f createFlags
	var report string
	cmd := &cobra.Command{
		Use:   "exec [flags] VOLUME... -- CMD ARG...",
		Short: "Run a command that sees shadow copies in place of volumes",
		Long: `Exec makes shadow copies and runs CMD in a mount namespace of its own, where the mount point of each VOLUME shows its
copy, read-only. Everybody else goes on with the volumes. The copies are gone when CMD has ended.

Mounts below a VOLUME that are not in the set are hidden from CMD; each is warned of by name. CMD also finds the copies in
VSS_SHADOW_SET, VSS_SHADOW_1, VSS_SHADOW_DEVICE_1, VSS_SHADOW_PATH_1 and so on. If CMD exits with 0, writers are told
that the backup is complete.

Exit status: that of CMD; 125 if we failed, 126 if CMD can't be run, 127 if it wasn't found, 128+n if signal n ended it.`,
		Example: "  vss exec /srv/data -- restic backup /srv/data\n  vss exec --report set.json /srv/data /srv/log -- tar -cf /backup/all.tar /srv/data /srv/log",
		RunE: func(cmd *cobra.Command, args []string) error {
			volumes, command, err := split(cmd, args)
			if err != nil {
				return err
			}
			if len(command) == 0 {
				return usage("write the command after --", "a command is missing")
			}
			if f.transportable {
				return usage("leave --transportable away", "a transportable set isn't shown on this host")
			}
			o, err := f.options(cmd, volumes, vss.ContextBackup)
			var u *usageError
			if errors.As(err, &u) {
				return err
			}
			if err == nil {
				err = a.with(cmd.Context(), func(c *requester.Client) error { return a.exec(cmd.Context(), c, o, f.document, report, command) })
			}
			if err != nil {
				a.exit = exitOurs
			}
			return err
		},
	}
	f.add(cmd, "backup; with --no-writers file-share-backup")
	cmd.Flags().StringVar(&report, "report", "", "write the JSON of the set to this file")
	return cmd
}

func (a *app) exec(ctx context.Context, c *requester.Client, o requester.Options, document, report string, command []string) error {
	made, err := a.make(ctx, c, o, document)
	if err != nil {
		return err
	}
	defer made.Session.Close()
	if o.Context.Has(vss.AttrNoAutoRelease) { // the others go with the session
		defer func() {
			if _, _, err := made.Session.DeleteSnapshots(context.WithoutCancel(ctx), made.Set.ID.GUID, vss.ObjectSnapshotSet, true); err != nil {
				a.warn("the set %v stayed: %v", made.Set.ID, err)
			}
		}()
	}
	if err := mountAll(ctx, made); err != nil {
		return err
	}
	if report != "" {
		if err := writeReport(report, made.Set); err != nil {
			return err
		}
	}
	code, err := a.inside(made.Set, helperTask{Command: command}, made.Session.Lost())
	if err != nil {
		a.finish(ctx, made, false)
		return err
	}
	a.exit = code
	a.finish(ctx, made, code == 0)
	return nil
}

func writeReport(path string, set requester.SnapshotSet) error {
	text, err := json.MarshalIndent(setShape(set), "", "  ")
	if err == nil {
		err = os.WriteFile(path, append(text, '\n'), 0o644)
	}
	if err != nil {
		return vss.E("Report", vss.ErrInvalidArg, err).On(path).Advise("name a file that you may write to")
	}
	return nil
}

// inside runs a command in a namespace where the copies are in place of the volumes. It is this program, started again as
// helper, that makes the mounts and becomes the command. When the session is lost the command is ended.
func (a *app) inside(set requester.SnapshotSet, h helperTask, lost <-chan struct{}) (int, error) {
	const op = "exec"
	for _, s := range set.Snapshots {
		if s.Path != "" {
			h.Overlays = append(h.Overlays, overlay{s.OriginalVolume, s.Path})
		}
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
		_, _ = out.Write(text) // a helper that doesn't read it says why
		_ = out.Close()
	}()
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{helperName}, Env: append(os.Environ(), shadowVariables(set)...),
		Stdin: a.stdin, Stdout: a.stdout, Stderr: a.stderr, ExtraFiles: []*os.File{in},
		SysProcAttr: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS},
	}
	if h.Lists != nil {
		cmd.Env = append(cmd.Env, listVariables(h.Lists.Folder)...)
		if a.json {
			cmd.Stdout = a.stderr // standard output is for one document
		}
	}
	if os.Geteuid() != 0 {
		// In a user namespace of its own the caller, who stays who they are, may mount; what runs CMD gives that up again.
		p := cmd.SysProcAttr
		p.Cloneflags |= unix.CLONE_NEWUSER
		p.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		p.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
		p.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT}
	}
	code, err := runForwarding(cmd, lost)
	if err != nil && !errors.Is(err, errLost) {
		return 0, vss.E(op, vss.ErrUnexpected, err).Advise("this needs namespaces; look at /proc/sys/user/max_mnt_namespaces and max_user_namespaces")
	}
	return code, err
}
