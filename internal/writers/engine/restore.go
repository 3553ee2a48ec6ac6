package engine

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/aside"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// restoring is a component between PreRestore and PostRestore. It is kept in memory, since a document may say anything;
// the component's restore metadata show it to the requester.
type restoring struct {
	session vss.SessionID
	name    string
	saved   Saved

	Running bool          `json:"running"`           // the server was running and was stopped
	Aside   []aside.Moved `json:"aside"`             // in this restore
	Earlier []aside.Moved `json:"earlier,omitempty"` // by restores that this one continues or repeats
}

// maxRestores limits the components between PreRestore and PostRestore. A session may end without PostRestore.
const maxRestores = 1000

// remember adds a restore in progress in place of an earlier one of the same component and session.
func (w *Writer) remember(r *restoring) {
	w.forgetRestore(r.session, r.name)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.restores = append(w.restores, r)
	if n := len(w.restores) - maxRestores; n > 0 {
		w.restores = slices.Delete(w.restores, 0, n)
	}
}

func (w *Writer) forgetRestore(session vss.SessionID, name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.restores = slices.DeleteFunc(w.restores, func(r *restoring) bool {
		return r.session == session && r.name == name
	})
}

// remembered returns the restore of a component in a session; nil if PreRestore hasn't prepared it.
func (w *Writer) remembered(session vss.SessionID, name string) *restoring {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.restores {
		if r.session == session && r.name == name {
			return r
		}
	}
	return nil
}

// PreRestore stops the servers whose files are to be restored and sets these files aside. Backup metadata identify an
// instance; it need not exist any more. If files can't be set aside, the instance continues as before and is a veto
// (VSS_E_WRITERERROR_NONRETRYABLE, or RETRYABLE if the server didn't stop).
func (w *Writer) PreRestore(ctx context.Context, e *writer.Event) error {
	text := func(c *document.Component) *string { return &c.PreRestoreFailure }
	w.restored(e, "PreRestore", text, func(c *document.Component) error { return w.makeRoom(ctx, e, c) })
	return nil
}

func (w *Writer) makeRoom(ctx context.Context, e *writer.Event, c *document.Component) error {
	const op = "PreRestore"
	w.forgetRestore(e.Session, c.Name)
	c.RestoreMetadata = "" // of an earlier restore
	saved, err := w.recall(ctx, c.BackupMetadata)
	if err != nil {
		return err
	}
	w.log.Info("stopping the server", "instance", c.Name, "session", e.Session)
	ran, err := saved.Stop(ctx)
	if err != nil {
		if vss.IsWriterError(vss.CodeOf(err)) { // the engine has given advice
			return err
		}
		return vss.E(op, vss.ErrWriterErrorRetryable, err).Advise("stop the server manually and try again")
	}
	state, tag := &restoring{session: e.Session, name: c.Name, saved: saved, Running: ran}, e.Session.Plain()[:8]
	if l, ok := saved.(Layer); ok && !ran {
		if state.Running, state.Earlier, err = l.Resume(tag); err != nil {
			return err
		}
	}
	files, owner := saved.Files()
	for _, set := range files {
		moved, err := owner.Set(set, tag)
		state.Aside = append(state.Aside, moved...)
		if err != nil {
			err = errors.Join(err, owner.Back(state.Aside))
			if ran {
				err = errors.Join(err, saved.Start(ctx))
			}
			return vss.E(op, vss.ErrWriterErrorNonRetryable, err).
				Advise("make " + set.Path + " a folder of the account that owns the files")
		}
	}
	w.remember(state)
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return c.SetRestoreMetadata(string(text))
}

// PostRestore starts the servers on the restored files and deletes what was set aside. If no file was restored,
// everything is put back; if a part was, the server stays stopped and the former files stay aside. With more restores
// to follow, the server isn't started yet.
func (w *Writer) PostRestore(ctx context.Context, e *writer.Event) error {
	text := func(c *document.Component) *string { return &c.PostRestoreFailure }
	w.restored(e, "PostRestore", text, func(c *document.Component) error { return w.bringUp(ctx, e, c) })
	return nil
}

func (w *Writer) bringUp(ctx context.Context, e *writer.Event, c *document.Component) error {
	state := w.remembered(e.Session, c.Name)
	if state == nil {
		return vss.E("PostRestore", vss.ErrWriterErrorNonRetryable, errors.New("PreRestore hasn't prepared it")).
			Advise("see the failure of PreRestore; then restore again")
	}
	saved := state.saved
	all := slices.Concat(state.Earlier, state.Aside)
	if c.FileRestoreStatus != vss.RestoredAll {
		return putBack(ctx, state)
	}
	files, owner := saved.Files()
	if err := owner.Owns(files); err != nil {
		return restoreFailure(err, "restore again, as root", all)
	}
	if layer, ok := saved.(Layer); ok {
		err := layer.CheckRestored(true)
		if err == nil {
			err = layer.Next(c.AdditionalRestores, state.Running, all)
		}
		if err != nil {
			return restoreFailure(err, "restore again, as root", all)
		}
	}
	if c.AdditionalRestores {
		return nil
	}
	w.log.Info("starting the server", "instance", c.Name, "session", e.Session)
	if err := saved.Start(ctx); err != nil {
		return restoreFailure(err, "see the server's log", all)
	}
	w.forgetRestore(e.Session, c.Name)
	if err := owner.Drop(all); err != nil {
		w.log.Warn("can't delete the files that were set aside", "instance", c.Name, "error", err)
	}
	return nil
}

// putBack ends a restore that brought not all files: it puts the former files back and starts the server again if no
// file was restored, and fails otherwise.
func putBack(ctx context.Context, state *restoring) error {
	saved, all := state.saved, slices.Concat(state.Earlier, state.Aside)
	if layer, ok := saved.(Layer); ok {
		if err := layer.CheckRestored(false); err != nil {
			return restoreFailure(err, "restore this backup again", all)
		}
	}
	files, owner := saved.Files()
	if !aside.Empty(files) {
		err := errors.New("only a part of its files was restored, so the server stays stopped")
		return restoreFailure(err, "restore again", all)
	}
	err := owner.Back(state.Aside)
	if err == nil && state.Running && len(state.Earlier) == 0 {
		err = saved.Start(ctx)
	}
	if err != nil {
		return vss.E("PostRestore", vss.ErrWriterErrorNonRetryable, err).
			Advise("nothing was restored; move the files in " + aside.Places(state.Aside) +
				" back and start the server")
	}
	return nil
}

// restoreFailure returns err as a failure of PostRestore, with advice unless the engine has given its own. The hint
// says where the former files are.
func restoreFailure(err error, advice string, all []aside.Moved) error {
	failed := vss.E("PostRestore", vss.ErrWriterErrorNonRetryable, err)
	var own *vss.Error
	if vss.IsWriterError(vss.CodeOf(err)) && errors.As(err, &own) {
		advice = own.Hint
		copied := *own
		failed = &copied
	}
	failed.Hint = advice + "; the files from before are in " + aside.Places(all)
	return failed
}

// restored calls f for each component selected for restore. A failure is recorded in the component's text and becomes
// the writer's status.
func (w *Writer) restored(
	e *writer.Event,
	op string,
	text func(*document.Component) *string,
	f func(*document.Component) error,
) {
	if e.Components == nil {
		return
	}
	for _, c := range e.Components.Components {
		if !c.SelectedForRestore {
			continue
		}
		err := f(c)
		if err == nil {
			continue
		}
		var known *vss.Error
		if errors.As(err, &known) && known.Object == "" {
			err = about(err, known, c.Name)
		}
		w.veto(e, op, err)
		*text(c) = e.Failure.Message
	}
}
