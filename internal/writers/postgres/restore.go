package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// restoring is the restore metadata of a component: what PreRestore tells PostRestore.
type restoring struct {
	Running bool    `json:"running"` // the server ran, and was stopped
	Aside   []moved `json:"aside"`
}

// PreRestore stops the servers whose clusters are to be restored and sets their files aside. A cluster is known by its backup
// metadata: it needn't exist any more. One whose files can't be set aside goes on as it was, and is a veto
// (VSS_E_WRITERERROR_NONRETRYABLE, or RETRYABLE where the server didn't stop).
func (w *Writer) PreRestore(ctx context.Context, e *writer.Event) error {
	for _, c := range selected(e) {
		if err := w.makeRoom(ctx, e, c); err != nil {
			w.fail(e, "PreRestore", c, &c.PreRestoreFailure, err)
		}
	}
	return nil
}

func (w *Writer) makeRoom(ctx context.Context, e *writer.Event, c *document.Component) error {
	const op = "PreRestore"
	r, err := readRecord(c.BackupMetadata)
	if err != nil {
		return err
	}
	running, err := find(ctx, r.Data)
	if err != nil {
		return err
	}
	if running != nil {
		w.log.Info("stopping the server", "cluster", c.Name, "session", e.Session)
		if err := running.stop(ctx); err != nil {
			return vss.E(op, vss.ErrWriterErrorRetryable, err).Advise("stop the server by hand and try again")
		}
	}
	state := restoring{Running: running != nil}
	for _, dir := range r.Layout.roots() {
		aside, err := r.setAside(dir, e.Session.Plain()[:8])
		state.Aside = append(state.Aside, aside...)
		if err != nil {
			err = errors.Join(err, r.putBack(state.Aside))
			if running != nil {
				err = errors.Join(err, w.start(ctx, running))
			}
			return vss.E(op, vss.ErrWriterErrorNonRetryable, err).Advise("make " + dir + " a folder of the account that owns the cluster")
		}
	}
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return c.SetRestoreMetadata(string(text))
}

// PostRestore starts the servers on what was restored and deletes what was set aside for it. Where nothing was restored all
// is put back; where a part was, the server stays down and the former files stay aside. The server isn't started while more
// restores follow.
func (w *Writer) PostRestore(ctx context.Context, e *writer.Event) error {
	for _, c := range selected(e) {
		if err := w.bringUp(ctx, e, c); err != nil {
			w.fail(e, "PostRestore", c, &c.PostRestoreFailure, err)
		}
	}
	return nil
}

func (w *Writer) bringUp(ctx context.Context, e *writer.Event, c *document.Component) error {
	const op = "PostRestore"
	r, err := readRecord(c.BackupMetadata)
	if err != nil {
		return err
	}
	var state restoring
	if err := json.Unmarshal([]byte(c.RestoreMetadata), &state); err != nil {
		return vss.E(op, vss.ErrWriterErrorNonRetryable, fmt.Errorf("PreRestore hasn't prepared it: %w", err)).Advise("see the failure of PreRestore; then restore again")
	}
	if c.FileRestoreStatus != vss.RestoredAll {
		if !empty(&r.Layout) {
			return vss.E(op, vss.ErrWriterErrorNonRetryable, errors.New("only a part of its files was restored: the server stays down")).
				Advise("restore again; the files from before are in " + places(state.Aside))
		}
		err := r.putBack(state.Aside)
		if err == nil && state.Running {
			err = w.start(ctx, &r.Cluster)
		}
		if err != nil {
			return vss.E(op, vss.ErrWriterErrorNonRetryable, err).Advise("nothing was restored; move the files in " + places(state.Aside) + " back and start the server")
		}
		return nil
	}
	if err := r.fill(); err != nil {
		return vss.E(op, vss.ErrWriterErrorNonRetryable, err).Advise("restore again, as root; the files from before are in " + places(state.Aside))
	}
	if c.AdditionalRestores {
		return nil
	}
	if r.Config != "" {
		if _, err := os.Stat(filepath.Join(r.Config, "postgresql.conf")); err != nil {
			return vss.E(op, vss.ErrWriterErrorNonRetryable, err).Advise("restore " + r.Config + ", too, and start the cluster; the files from before are in " + places(state.Aside))
		}
	}
	w.log.Info("starting the server", "cluster", c.Name, "session", e.Session)
	if err := w.start(ctx, &r.Cluster); err != nil {
		return vss.E(op, vss.ErrWriterErrorNonRetryable, err).Advise("see the server's log; the files from before are in " + places(state.Aside))
	}
	if err := r.drop(state.Aside); err != nil {
		w.log.Warn("what was set aside can't be deleted", "cluster", c.Name, "error", err)
	}
	return nil
}

// selected are the components that are restored.
func selected(e *writer.Event) []*document.Component {
	var out []*document.Component
	if e.Components != nil {
		for _, c := range e.Components.Components {
			if c.SelectedForRestore {
				out = append(out, c)
			}
		}
	}
	return out
}

// fail notes a component's failure, in its own text and as the writer's status.
func (w *Writer) fail(e *writer.Event, op string, c *document.Component, text *string, err error) {
	var known *vss.Error
	if errors.As(err, &known) && known.Object == "" {
		known.Object = c.Name
	}
	w.veto(e, op, err)
	*text = e.Failure.Message
}

func places(all []moved) string {
	var out []string
	for _, m := range all {
		out = append(out, m.To)
	}
	return strings.Join(out, ", ")
}
