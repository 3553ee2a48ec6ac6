package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/aside"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// restoring is the restore metadata of a component: what PreRestore tells PostRestore.
type restoring struct {
	Running bool          `json:"running"` // the server ran, and was stopped
	Aside   []aside.Moved `json:"aside"`
}

// PreRestore stops the servers whose files are to be restored and sets these aside. An instance is known by its backup metadata:
// it needn't exist any more. One whose files can't be set aside goes on as it was, and is a veto (VSS_E_WRITERERROR_NONRETRYABLE,
// or RETRYABLE where the server didn't stop).
func (w *Writer) PreRestore(ctx context.Context, e *writer.Event) error {
	text := func(c *document.Component) *string { return &c.PreRestoreFailure }
	w.Restored(e, "PreRestore", text, func(c *document.Component) error { return w.makeRoom(ctx, e, c) })
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
		return advised(op, vss.ErrWriterErrorRetryable, err, "stop the server by hand and try again")
	}
	state := restoring{Running: ran}
	files, owner := saved.Files()
	for _, set := range files {
		moved, err := owner.Set(set, e.Session.Plain()[:8])
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
	w.Restored(e, "PostRestore", text, func(c *document.Component) error { return w.bringUp(ctx, e, c) })
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
	before := "the files from before are in " + aside.Places(state.Aside)
	if c.FileRestoreStatus != vss.RestoredAll {
		if !aside.Empty(files) {
			return vss.E(op, vss.ErrWriterErrorNonRetryable, errors.New("only a part of its files was restored: the server stays down")).Advise("restore again; " + before)
		}
		err := owner.Back(state.Aside)
		if err == nil && state.Running {
			err = saved.Start(ctx)
		}
		if err != nil {
			return vss.E(op, vss.ErrWriterErrorNonRetryable, err).Advise("nothing was restored; move the files in " + aside.Places(state.Aside) + " back and start the server")
		}
		return nil
	}
	if err := owner.Owns(files); err != nil {
		return vss.E(op, vss.ErrWriterErrorNonRetryable, err).Advise("restore again, as root; " + before)
	}
	if c.AdditionalRestores {
		return nil
	}
	w.log.Info("starting the server", "instance", c.Name, "session", e.Session)
	if err := saved.Start(ctx); err != nil {
		return advised(op, vss.ErrWriterErrorNonRetryable, err, "see the server's log; "+before)
	}
	if err := owner.Drop(state.Aside); err != nil {
		w.log.Warn("what was set aside can't be deleted", "instance", c.Name, "error", err)
	}
	return nil
}

// advised gives an error code and advice, unless the engine has.
func advised(op string, code vss.Code, err error, advice string) error {
	if vss.IsWriterError(vss.CodeOf(err)) {
		return err
	}
	return vss.E(op, code, err).Advise(advice)
}

// Restored does something for each component that is restored. What fails is noted in its text, and is the writer's status.
func (w *Writer) Restored(e *writer.Event, op string, text func(*document.Component) *string, f func(*document.Component) error) {
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
