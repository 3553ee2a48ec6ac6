package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/aside"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// restoring is the restore metadata of a component: what PreRestore tells PostRestore.
type restoring struct {
	Running bool          `json:"running"`           // the server ran, and was stopped
	Aside   []aside.Moved `json:"aside"`             // in this restore
	Earlier []aside.Moved `json:"earlier,omitempty"` // in restores that this one goes on from, or takes the place of
}

// PreRestore stops the servers whose files are to be restored and sets these aside. An instance is known by its backup metadata:
// it needn't exist any more. One whose files can't be set aside goes on as it was, and is a veto (VSS_E_WRITERERROR_NONRETRYABLE,
// or RETRYABLE where the server didn't stop).
func (w *Writer) PreRestore(ctx context.Context, e *writer.Event) error {
	text := func(c *document.Component) *string { return &c.PreRestoreFailure }
	w.restored(e, "PreRestore", text, func(c *document.Component) error { return w.makeRoom(ctx, e, c) })
	return nil
}

func (w *Writer) makeRoom(ctx context.Context, e *writer.Event, c *document.Component) error {
	const op = "PreRestore"
	saved, err := w.engine.Recall(c.BackupMetadata)
	if err != nil {
		return err
	}
	w.log.Info("stopping the server", "instance", c.Name, "session", e.Session)
	ran, err := saved.Stop(ctx)
	if err != nil {
		if vss.IsWriterError(vss.CodeOf(err)) { // the engine has advised
			return err
		}
		return vss.E(op, vss.ErrWriterErrorRetryable, err).Advise("stop the server by hand and try again")
	}
	state, tag := restoring{Running: ran}, e.Session.Plain()[:8]
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
			return vss.E(op, vss.ErrWriterErrorNonRetryable, err).Advise("make " + set.Path + " a folder of the account that owns the files")
		}
	}
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return c.SetRestoreMetadata(string(text))
}

// PostRestore starts the servers on what was restored and deletes what was set aside for it. Where nothing was restored all is
// put back; where a part was, the server stays down and the former files stay aside. The server isn't started while more restores
// follow.
func (w *Writer) PostRestore(ctx context.Context, e *writer.Event) error {
	text := func(c *document.Component) *string { return &c.PostRestoreFailure }
	w.restored(e, "PostRestore", text, func(c *document.Component) error { return w.bringUp(ctx, e, c) })
	return nil
}

func (w *Writer) bringUp(ctx context.Context, e *writer.Event, c *document.Component) error {
	const op = "PostRestore"
	saved, err := w.engine.Recall(c.BackupMetadata)
	if err != nil {
		return err
	}
	var state restoring
	if err := json.Unmarshal([]byte(c.RestoreMetadata), &state); err != nil {
		return vss.E(op, vss.ErrWriterErrorNonRetryable, fmt.Errorf("PreRestore hasn't prepared it: %w", err)).Advise("see the failure of PreRestore; then restore again")
	}
	files, owner := saved.Files()
	layer, _ := saved.(Layer)
	all := slices.Concat(state.Earlier, state.Aside)
	before := "the files from before are in " + aside.Places(all)
	fail := func(err error, advice string) error {
		var own *vss.Error
		if !vss.IsWriterError(vss.CodeOf(err)) || !errors.As(err, &own) { // else the engine has advised
			own = vss.E(op, vss.ErrWriterErrorNonRetryable, err).Advise(advice)
			err = own
		}
		own.Hint += "; " + before
		return err
	}
	if c.FileRestoreStatus != vss.RestoredAll {
		if layer != nil {
			if err := layer.Whole(false); err != nil {
				return fail(err, "restore this backup again")
			}
		}
		if !aside.Empty(files) {
			return fail(errors.New("only a part of its files was restored: the server stays down"), "restore again")
		}
		err := owner.Back(state.Aside)
		if err == nil && state.Running && len(state.Earlier) == 0 {
			err = saved.Start(ctx)
		}
		if err != nil {
			return vss.E(op, vss.ErrWriterErrorNonRetryable, err).Advise("nothing was restored; move the files in " + aside.Places(state.Aside) + " back and start the server")
		}
		return nil
	}
	if err := owner.Owns(files); err != nil {
		return fail(err, "restore again, as root")
	}
	if layer != nil {
		err := layer.Whole(true)
		if err == nil {
			err = layer.Next(c.AdditionalRestores, state.Running, all)
		}
		if err != nil {
			return fail(err, "restore again, as root")
		}
	}
	if c.AdditionalRestores {
		return nil
	}
	w.log.Info("starting the server", "instance", c.Name, "session", e.Session)
	if err := saved.Start(ctx); err != nil {
		return fail(err, "see the server's log")
	}
	if err := owner.Drop(all); err != nil {
		w.log.Warn("what was set aside can't be deleted", "instance", c.Name, "error", err)
	}
	return nil
}

// restored does something for each component that is restored. What fails is noted in its text, and is the writer's status.
func (w *Writer) restored(e *writer.Event, op string, text func(*document.Component) *string, f func(*document.Component) error) {
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
			known.Object = c.Name
		}
		w.veto(e, op, err)
		*text(c) = e.Failure.Message
	}
}
