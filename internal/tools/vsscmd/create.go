package vsscmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/internal/atomicfile"
	"github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func (a *app) createCommand() *cobra.Command {
	var f createFlags
	var enter, volumeOf bool
	cmd := &cobra.Command{
		Use:   "create [flags] VOLUME... [-- CMD ARG...]",
		Short: "Create shadow copies of volumes at one instant",
		Long: `Create makes one shadow copy of each VOLUME, all at the same instant, and prints the set.

Applications that have a writer bring their data to a consistent state; then all writes to the
volumes are held for a moment (at most 10 s) while the copies are made. If a writer fails, the set
is still created: the table of writers and the consistency of the set show the failure. Use
--require to make it an error.

The set exists until it is deleted, unless the context is backup or file-share-backup. Then the
copies are deleted when the command ends, so -- CMD, --wait-for-enter or --transportable is
required. CMD is run with the variables VSS_SHADOW_SET, VSS_SHADOW_1, VSS_SHADOW_DEVICE_1,
VSS_SHADOW_PATH_1, VSS_SHADOW_2 and so on, and the exit status is that of CMD. Standard output is
for CMD, and the set is printed to standard error; with --json it is the reverse.

A directory that is not a mount point is refused, because a volume that is not mounted would be
mistaken for the one below it. --volume-of copies the volume that contains a path.`,
		Example: "  vss create /srv/data /srv/log\n  vss create --plex --transportable --bc set.xml /srv/data\n" +
			"  vss create --context backup /srv/data -- sh -c 'tar -C $VSS_SHADOW_PATH_1 -cf /backup/data.tar .'",
		RunE: func(cmd *cobra.Command, args []string) error {
			volumes, command, err := split(cmd, args)
			if err != nil {
				return err
			}
			o, err := f.options(cmd, volumes, vss.ContextAppRollback)
			if err != nil {
				return err
			}
			if !o.Context.Has(vss.AttrNoAutoRelease) && len(command) == 0 && !enter && !f.transportable {
				return cli.Usagef("add -- CMD, --wait-for-enter or --transportable, or choose --context app-rollback",
					"copies of context %s are deleted when the command ends", o.Context.ContextName())
			}
			if !volumeOf {
				if err := wholeVolumes(volumes); err != nil {
					return err
				}
			}
			return a.With(cmd.Context(), func(c *requester.Client) error {
				return a.create(cmd.Context(), c, o, f.document, command, enter)
			})
		},
	}
	f.add(cmd, "app-rollback; with --no-writers nas-rollback")
	cmd.Flags().BoolVar(&enter, "wait-for-enter", false, "keep the session, and its copies, until Enter is pressed")
	cmd.Flags().BoolVar(&volumeOf, "volume-of", false, "copy the volumes that contain the paths VOLUME")
	return cmd
}

func (a *app) create(
	ctx context.Context, c *requester.Client, o requester.Options, document string, command []string, enter bool,
) error {
	made, err := a.make(ctx, c, o, document)
	if err != nil {
		return err
	}
	defer made.Session.Close()
	if len(command) > 0 && !o.Context.Has(vss.AttrTransportable) {
		if err := mountAll(ctx, made); err != nil {
			return err
		}
		if err := checkVisible(made.Set); err != nil {
			a.finish(ctx, made, false)
			return err
		}
	}
	switch {
	case a.JSON:
		a.PrintJSON(cli.NewSet(made.Set))
	case len(command) > 0: // standard output is for the command
		report := a.Tool
		report.Stdout = a.Stderr
		report.PrintSet(made.Set)
	default:
		a.PrintSet(made.Set)
	}
	if len(command) > 0 {
		a.Exit = a.Command(command, shadowVariables(made.Set), made.Session.Lost())
	}
	if enter {
		fmt.Fprint(a.Stderr, "Press Enter to continue.\n")
		a.enter(ctx)
	}
	a.finish(ctx, made, a.Exit == 0 && ctx.Err() == nil)
	return nil
}

// enter waits until a line is read from standard input or ctx is done.
func (a *app) enter(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		_, _ = bufio.NewReader(a.Stdin).ReadString('\n')
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// make creates the set and saves its document. It opens the file first, because a set without its document can't be
// imported.
func (a *app) make(
	ctx context.Context, c *requester.Client, o requester.Options, document string,
) (*requester.Created, error) {
	var file *atomicfile.File
	if document != "" {
		var err error
		if file, err = newDocument(document); err != nil {
			return nil, err
		}
		defer file.Discard()
	}
	show, end := a.Progress()
	made, err := c.Create(ctx, o, show)
	end()
	if err != nil {
		return nil, err
	}
	if file != nil {
		if err := file.Save(made.Document); err != nil {
			made.Session.Close()
			return nil, vss.E("SaveAsXML", vss.ErrUnexpected, err).On(document).
				Advise("the set " + made.Set.ID.String() + " was created; see `vss show`, or delete it")
		}
	}
	return made, nil
}

// finish notifies the writers that the backup is complete or has failed. This has no effect on the copies.
func (a *app) finish(ctx context.Context, made *requester.Created, succeeded bool) {
	ctx = context.WithoutCancel(ctx)
	var err error
	switch {
	case !succeeded:
		err = made.Session.AbortBackup(ctx)
	case !made.Set.Context.Has(vss.AttrTransportable): // it is complete when another host has saved the data
		err = made.Finish(ctx)
	}
	if err != nil {
		a.Warnf("the writers were not notified of the end of the backup: %v", err)
	}
}

// mountAll mounts the copies until the session ends. Copies of volumes without a file system are left out.
func mountAll(ctx context.Context, made *requester.Created) error {
	for i, s := range made.Set.Snapshots {
		m, err := made.Session.MountSnapshot(ctx, s.ID)
		if errors.Is(err, vss.ErrVolumeNotSupported) {
			continue
		}
		if err != nil {
			return err
		}
		made.Set.Snapshots[i] = m
	}
	return nil
}

// checkVisible returns an error if a copy that is mounted for a command can't be seen in this mount namespace, where
// the command would find an empty directory.
func checkVisible(s requester.SnapshotSet) error {
	for _, c := range s.Snapshots {
		if c.Path != "" && !mount.IsPoint(c.Path) {
			return vss.E("MountSnapshot", vss.ErrObjectNotFound,
				errors.New("the mount is not visible in this mount namespace")).On(c.Path).
				Advise("use `vss exec`, or run the command in the mount namespace of the service")
		}
	}
	return nil
}

// shadowVariables returns the environment variables that describe the copies to a command.
func shadowVariables(s requester.SnapshotSet) []string {
	env := []string{"VSS_SHADOW_SET=" + s.ID.String()}
	for i, c := range s.Snapshots {
		env = append(env, fmt.Sprintf("VSS_SHADOW_%d=%v", i+1, c.ID),
			fmt.Sprintf("VSS_SHADOW_DEVICE_%d=%s", i+1, c.DeviceObject), fmt.Sprintf("VSS_SHADOW_PATH_%d=%s", i+1,
				c.Path))
	}
	return env
}

// newDocument opens the file for a document, which only its owner may read.
func newDocument(path string) (*atomicfile.File, error) {
	f, err := atomicfile.Create(path)
	if err != nil {
		return nil, vss.E("SaveAsXML", vss.ErrInvalidArg, err).On(path).Advise("name a file in a writable directory")
	}
	return f, nil
}
