package vsscmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func (a *app) createCommand() *cobra.Command {
	var f createFlags
	var enter bool
	cmd := &cobra.Command{
		Use:   "create [flags] VOLUME... [-- CMD ARG...]",
		Short: "Make shadow copies of volumes at one instant",
		Long: `Create makes one shadow copy of each VOLUME, all at the same instant, and prints the set.

Applications that have a writer are asked to be consistent; then all writes are held for a moment (at most 10 s) while the
copies are cut. A writer that failed doesn't fail the set: the table of writers and the consistency say so, and --require
makes a lesser set an error.

The set stays until it is deleted, unless the context is backup or file-share-backup: such copies live only while this
command does, so they need -- CMD, --wait-for-enter or --transportable. CMD finds the copies in VSS_SHADOW_SET,
VSS_SHADOW_1, VSS_SHADOW_DEVICE_1, VSS_SHADOW_PATH_1, VSS_SHADOW_2 and so on; its exit status is this command's. With
--json its output goes to standard error.`,
		Example: "  vss create /srv/data /srv/log\n  vss create --plex --transportable --bc set.xml /srv/data\n  vss create --context backup /srv/data -- sh -c 'tar -C $VSS_SHADOW_PATH_1 -cf /backup/data.tar .'",
		RunE: func(cmd *cobra.Command, args []string) error {
			volumes, command, err := split(cmd, args)
			if err != nil {
				return err
			}
			fallback := vss.ContextAppRollback
			o, err := f.options(cmd, volumes, fallback)
			if err != nil {
				return err
			}
			if !o.Context.Has(vss.AttrNoAutoRelease) && len(command) == 0 && !enter && !f.transportable {
				return usage("add -- CMD, --wait-for-enter or --transportable, or choose --context app-rollback",
					"copies of context %s go when this command ends", o.Context.ContextName())
			}
			return a.with(cmd.Context(), func(c *requester.Client) error { return a.create(cmd.Context(), c, o, f.document, command, enter) })
		},
	}
	f.add(cmd, "app-rollback; with --no-writers nas-rollback")
	cmd.Flags().BoolVar(&enter, "wait-for-enter", false, "keep the session open until Enter is pressed")
	return cmd
}

func (a *app) create(ctx context.Context, c *requester.Client, o requester.Options, document string, command []string, enter bool) error {
	made, err := a.make(ctx, c, o, document)
	if err != nil {
		return err
	}
	defer made.Session.Close()
	if len(command) > 0 && !o.Context.Has(vss.AttrTransportable) {
		if err := mountAll(ctx, made); err != nil {
			return err
		}
	}
	if a.json {
		a.print(setShape(made.Set))
	} else {
		a.set(made.Set)
	}
	if len(command) > 0 {
		a.exit = a.command(command, shadowVariables(made.Set), made.Session.Lost())
	}
	if enter {
		fmt.Fprint(a.stderr, "Press Enter to go on.\n")
		a.enter(ctx)
	}
	a.finish(ctx, made, a.exit == 0 && ctx.Err() == nil)
	return nil
}

// enter waits for a line, or for the end.
func (a *app) enter(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		_, _ = bufio.NewReader(a.stdin).ReadString('\n')
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// make creates the set and saves its document, whose file is opened first: a set without its document can't be imported.
func (a *app) make(ctx context.Context, c *requester.Client, o requester.Options, document string) (*requester.Created, error) {
	var file *documentFile
	if document != "" {
		var err error
		if file, err = newDocument(document); err != nil {
			return nil, err
		}
		defer file.discard()
	}
	show, end := a.progress()
	made, err := c.Create(ctx, o, show)
	end()
	if err != nil {
		return nil, err
	}
	if file != nil {
		if err := file.save(made.Document); err != nil {
			made.Session.Close()
			return nil, vss.E("SaveAsXML", vss.ErrUnexpected, err).On(document).Advise("the set " + made.Set.ID.String() + " was created; see `vss show`, or delete it")
		}
	}
	return made, nil
}

// finish tells writers that the backup is done, or that it failed. The copies don't depend on it.
func (a *app) finish(ctx context.Context, made *requester.Created, well bool) {
	ctx = context.WithoutCancel(ctx)
	var err error
	switch {
	case !well:
		err = made.Session.AbortBackup(ctx)
	case !made.Set.Context.Has(vss.AttrTransportable): // the data of that isn't safe before another host has it
		err = made.Finish(ctx)
	}
	if err != nil {
		a.warn("writers were not told of the end: %v", err)
	}
}

// mountAll makes the copies readable for the session's life. A volume without a file system has no path.
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

// shadowVariables tell a command where the copies are.
func shadowVariables(s requester.SnapshotSet) []string {
	env := []string{"VSS_SHADOW_SET=" + s.ID.String()}
	for i, c := range s.Snapshots {
		env = append(env, fmt.Sprintf("VSS_SHADOW_%d=%v", i+1, c.ID), fmt.Sprintf("VSS_SHADOW_DEVICE_%d=%s", i+1, c.DeviceObject), fmt.Sprintf("VSS_SHADOW_PATH_%d=%s", i+1, c.Path))
	}
	return env
}

// documentFile is a file that appears whole or not at all, readable by its owner only.
type documentFile struct {
	*os.File
	path string
}

func newDocument(path string) (*documentFile, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return nil, vss.E("SaveAsXML", vss.ErrInvalidArg, err).On(path).Advise("name a file in a folder that you may write to")
	}
	return &documentFile{f, path}, nil
}

func (d *documentFile) save(text []byte) error {
	if _, err := d.Write(text); err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return err
	}
	if err := os.Rename(d.Name(), d.path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(d.path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// discard ends it; what was saved stays.
func (d *documentFile) discard() {
	_ = d.Close()
	_ = os.Remove(d.Name())
}
