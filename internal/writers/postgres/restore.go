package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/jackc/pgx/v5"

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
	if r.After != "" {
		return r.makeRoomForWAL(c, running != nil, tag(e))
	}
	state := restoring{Running: running != nil}
	if n, err := r.chain(); err == nil && running == nil { // a restore that is begun anew
		state.Running, state.Earlier = n.Running, n.Aside
	}
	if running != nil {
		w.log.Info("stopping the server", "cluster", c.Name, "session", e.Session)
		if err := running.stopFast(ctx); err != nil {
			return vss.E(op, vss.ErrWriterErrorRetryable, err).Advise("stop the server by hand and try again")
		}
	}
	for _, set := range r.Layout.replaced() {
		moved, err := r.owner().Set(set, tag(e))
		state.Aside = append(state.Aside, moved...)
		if err != nil {
			err = errors.Join(err, r.owner().Back(state.Aside))
			if running != nil {
				err = errors.Join(err, w.start(ctx, running))
			}
			return vss.E(op, vss.ErrWriterErrorNonRetryable, err).Advise("make " + set.Path + " a folder of the account that owns the cluster")
		}
	}
	return state.note(c)
}

// makeRoomForWAL leaves what was restored where it is: WAL comes on top of it.
func (r *record) makeRoomForWAL(c *document.Component, running bool, tag string) error {
	const op = "PreRestore"
	if running {
		return vss.E(op, vss.ErrWriterErrorNonRetryable, errors.New("the server runs, and the backup has only WAL")).
			Advise("restore the full backup that it goes on from first, and say that more restores follow (SetAdditionalRestores)")
	}
	n, err := r.follows()
	if err != nil {
		return err
	}
	err = r.newSpaces(n, tag)
	if err == nil {
		err = r.setChain(*n)
	}
	if err != nil {
		return vss.E(op, vss.ErrWriterErrorNonRetryable, err).Advise("make the folders of all tablespaces ones of the account that owns the cluster")
	}
	return restoring{Running: n.Running, Earlier: n.Aside}.note(c)
}

// tag tells the folders of one restore from those of others.
func tag(e *writer.Event) string { return e.Session.Plain()[:8] }

func (s restoring) note(c *document.Component) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return c.SetRestoreMetadata(string(text))
}

// PostRestore starts the servers on what was restored and deletes what was set aside for it. Where nothing was restored all
// is put back; where a part was, the server stays down and the former files stay aside. The server isn't started while more
// restores follow, nor where WAL of the backup is missing: it would start without a word, with the data of a time before.
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
		return w.notRestored(ctx, r, &state)
	}
	if err := r.fill(); err != nil {
		return vss.E(op, vss.ErrWriterErrorNonRetryable, err).Advise("restore again, as root; the files from before are in " + aside.Places(state.Aside))
	}
	all := slices.Concat(state.Earlier, state.Aside)
	if r.After != "" {
		if err := r.complete(); err != nil {
			return vss.E(op, vss.ErrWriterErrorNonRetryable, err).Advise("the server stays down: restore the WAL of this backup again, all of it; the files from before are in " + aside.Places(all))
		}
	}
	if c.AdditionalRestores {
		if err := r.setChain(chain{Stamp: r.Stamp, Running: state.Running, Aside: all}); err != nil {
			return vss.E(op, vss.ErrWriterErrorNonRetryable, err).Advise("restore again, as root; the files from before are in " + aside.Places(all))
		}
		return nil
	}
	if r.Config != "" {
		if _, err := os.Stat(filepath.Join(r.Config, "postgresql.conf")); err != nil {
			return vss.E(op, vss.ErrWriterErrorNonRetryable, err).Advise("restore " + r.Config + ", too, and start the cluster; the files from before are in " + aside.Places(all))
		}
	}
	w.log.Info("starting the server", "cluster", c.Name, "session", e.Session)
	err = r.endChain()
	if err == nil {
		err = w.start(ctx, &r.Cluster)
	}
	if err == nil && r.After != "" {
		err = w.reached(ctx, r)
	}
	if err != nil {
		return vss.E(op, vss.ErrWriterErrorNonRetryable, err).Advise("see the server's log; the files from before are in " + aside.Places(all))
	}
	if err := r.owner().Drop(all); err != nil {
		w.log.Warn("what was set aside can't be deleted", "cluster", c.Name, "error", err)
	}
	return nil
}

// notRestored is what is left to do when the requester hasn't restored all files.
func (w *Writer) notRestored(ctx context.Context, r *record, state *restoring) error {
	const op = "PostRestore"
	if r.After != "" {
		return vss.E(op, vss.ErrWriterErrorNonRetryable, errors.New("not all of its WAL was restored: the server stays down")).
			Advise("restore this backup again; the files from before are in " + aside.Places(state.Earlier))
	}
	if !aside.Empty(r.Layout.replaced()) {
		return vss.E(op, vss.ErrWriterErrorNonRetryable, errors.New("only a part of its files was restored: the server stays down")).
			Advise("restore again; the files from before are in " + aside.Places(state.Aside))
	}
	err := r.owner().Back(state.Aside)
	if err == nil && state.Running && len(state.Earlier) == 0 {
		err = w.start(ctx, &r.Cluster)
	}
	if err != nil {
		return vss.E(op, vss.ErrWriterErrorNonRetryable, err).Advise("nothing was restored; move the files in " + aside.Places(state.Aside) + " back and start the server")
	}
	return nil
}

// reached makes sure that recovery came to where the backup ends. A record that was being written then may be cut off.
func (w *Writer) reached(ctx context.Context, r *record) error {
	want, err := parsePosition(r.LSN)
	if err != nil {
		return err
	}
	running, err := find(ctx, r.Data)
	if err == nil && running == nil {
		err = errors.New("the server has ended")
	}
	if err != nil {
		return err
	}
	return w.with(ctx, running, func(conn *pgx.Conn) error {
		var text string
		if err := conn.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text").Scan(&text); err != nil {
			return err
		}
		at, err := parsePosition(text)
		if err == nil && uint64(at)+r.Segment < uint64(want) {
			err = fmt.Errorf("recovery ended at %s, the backup at %s: its WAL is damaged", at, want)
		}
		return err
	})
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
