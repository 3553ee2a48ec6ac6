package vsscmd

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/atomicfile"
	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func (b *backup) run(ctx context.Context, c *requester.Client, o requester.Options, command []string) error {
	a := b.app
	// The files are opened first, so that a backup is not made in vain.
	if err := os.MkdirAll(b.wm, 0o700); err != nil {
		return vss.E("SaveAsXML", vss.ErrInvalidArg, err).On(b.wm).Advise("name a writable directory")
	}
	bc, err := newDocument(b.bc)
	if err != nil {
		return err
	}
	defer bc.Discard()
	folder, err := os.MkdirTemp("", "vss-files-") // made before the copies, which then contain it
	if err != nil {
		return vss.E("ListFiles", vss.ErrUnexpected, err).Advise("set TMPDIR to a writable directory")
	}
	defer func() { _ = os.RemoveAll(folder) }()

	show, end := a.Progress()
	made, err := c.Create(ctx, o, show)
	end()
	if err != nil {
		return err
	}
	defer made.Session.Close()
	saved := false
	defer func() {
		if !saved {
			a.finish(ctx, made, false)
		}
	}()
	if err := mountAll(ctx, made); err != nil {
		return err
	}
	metadata, err := b.metadataFiles()
	if err != nil {
		return err
	}
	for _, m := range metadata {
		defer m.Discard()
	}
	task, err := b.task(ctx, made.Session, folder)
	if err != nil {
		return err
	}
	code, err := a.inside(ctx, made, helperTask{Command: command, Names: b.volumes, Lists: task})
	if err != nil {
		return err
	}
	if a.Exit = code; code != 0 {
		return nil
	}
	saved = true
	return b.complete(context.WithoutCancel(ctx), made, folder, bc, metadata)
}

// task returns the task of listing the files of the components that are backed up.
func (b *backup) task(ctx context.Context, s *requester.BackupComponents, folder string) (*listTask, error) {
	components, err := s.GetWriterComponents(ctx)
	if err != nil {
		return nil, err
	}
	task := &listTask{Folder: folder, Type: b.kind}
	for _, w := range components {
		for _, k := range b.chosen {
			if k.Instance != w.InstanceID {
				continue
			}
			xml, err := w.XML()
			if err != nil {
				return nil, err
			}
			task.Writers = append(task.Writers, struct{ Metadata, Components []byte }{k.XML, xml})
		}
	}
	return task, nil
}

// metadataFiles opens a file for each writer that has components in the backup.
func (b *backup) metadataFiles() (out []*atomicfile.File, err error) {
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
				o.Discard()
			}
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// complete ends a backup whose files CMD has saved: it records the result of each component, notifies the writers and
// saves the documents.
func (b *backup) complete(
	ctx context.Context, made *requester.Created, folder string, bc *atomicfile.File, metadata []*atomicfile.File,
) error {
	failed := map[vss.WriterInstanceID]requester.WriterStatus{}
	for _, w := range made.Set.Writers {
		if w.Failure.Failed() {
			failed[w.Instance] = w
		}
	}
	out := backupJSON{Set: cli.NewSet(made.Set), BackupType: b.kind.String(), BC: b.bc}
	var err error
	if out.Components, err = b.results(ctx, made.Session, folder, failed); err != nil {
		return err
	}
	b.warnOfLost(made.Set.Writers, out.Components)
	if err := made.Finish(ctx); err != nil {
		return err
	}
	status, err := made.Session.GetWriterStatus(ctx)
	if err != nil {
		return err
	}
	for _, w := range status {
		if _, known := failed[w.Instance]; w.Failure.Failed() && !known {
			b.app.Exit = cli.ExitFailed
			b.app.Warnf("writer %s failed after the backup: %s", w.Name, cli.WriterFailure(w))
		}
	}
	out.Writers = cli.Each(status, cli.NewWriter)
	text, err := made.Session.SaveAsXML(ctx)
	if err == nil {
		err = bc.Save(text)
	}
	for i, f := range metadata {
		if err == nil {
			err = f.Save(b.chosen[i].XML)
			out.WM = append(out.WM, f.Path())
		}
	}
	if err != nil {
		return vss.E("SaveAsXML", vss.ErrUnexpected, err).On(b.bc).
			Advise("CMD has saved the data, but `vss restore` cannot restore it; make another full backup")
	}
	if b.app.JSON {
		b.app.PrintJSON(out)
	}
	return nil
}

// results determines whether each component was saved, records it in the session and warns of those that were not.
func (b *backup) results(
	ctx context.Context, s *requester.BackupComponents, folder string,
	failed map[vss.WriterInstanceID]requester.WriterStatus,
) ([]componentJSON, error) {
	faults, err := readFaults(folder)
	if err != nil {
		return nil, vss.E("ListFiles", vss.ErrUnexpected, err)
	}
	components, err := s.GetWriterComponents(ctx)
	if err != nil {
		return nil, err
	}
	out := []componentJSON{}
	for _, w := range components {
		for _, c := range w.Components {
			shape := componentShape(b.writerName(w), w, c)
			shape.Stamp = c.BackupStamp
			status, bad := failed[w.InstanceID]
			switch {
			case c.Failure != nil && c.Failure.Code.Failed():
				shape.Failure = c.Failure.Code.Name() + ": " + c.Failure.Message
			case bad && status.Failure != vss.ErrWriterErrorPartialFailure: // that one is of other components
				shape.Failure = cli.WriterFailure(status)
			}
			for _, f := range faults {
				if f.Writer == w.InstanceID && f.FullName == c.FullName() {
					shape.Failure = f.Why
				}
			}
			succeeded := shape.Failure == ""
			if !succeeded {
				b.app.Exit = cli.ExitFailed
				b.app.Warnf("%s of %s was not saved: %s", c.FullName(), shape.Writer, shape.Failure)
			}
			shape.Succeeded = &succeeded
			out = append(out, shape)
			if err := s.SetBackupSucceeded(ctx, componentOf(w, c), succeeded); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// warnOfLost warns of writers that failed for data that are in no component of the backup: those that could not
// identify their data, and those that left out an instance. A backup of selected components does not need these.
func (b *backup) warnOfLost(writers []requester.WriterStatus, components []componentJSON) {
	for _, w := range writers {
		reported := slices.ContainsFunc(components, func(c componentJSON) bool {
			return c.WriterID == w.ID && c.Failure != ""
		})
		if w.Failure.Failed() && !reported && len(b.selectors) == 0 {
			b.app.Exit = cli.ExitFailed
			b.app.Warnf("data of writer %s were not saved: %s", w.Name, cli.WriterFailure(w))
		}
	}
}

func (b *backup) writerName(w *document.WriterComponents) string {
	for _, k := range b.chosen {
		if k.Instance == w.InstanceID {
			return k.Name
		}
	}
	return w.WriterID.String()
}
