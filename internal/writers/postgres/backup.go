package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// checkpointLimit is the longest that a checkpoint may take: what the service grants PrepareSnapshot. Source: writer's
// reference, time limits.
const checkpointLimit = 10 * time.Minute

// PrepareBackup notes which clusters the backup has. For those whose backup goes on from an earlier one it makes sure that all
// WAL since that one is still there; one of which it isn't is a veto (VSS_E_WRITERERROR_NONRETRYABLE).
func (w *Writer) PrepareBackup(ctx context.Context, e *writer.Event) error {
	const op = "PrepareBackup"
	s := w.begin(e.Session)
	s.choose(e, w.schema())
	if !s.builds() {
		return nil
	}
	all, err := w.clusters(ctx)
	if err != nil {
		return err
	}
	_ = each(e.Components.Components, func(c *document.Component) error {
		from, err := parseStamp(c.PreviousBackupStamp)
		if err != nil {
			err = vss.E(op, vss.ErrWriterErrorNonRetryable, err).On(c.Name).Advise("make a full backup, or give the stamp that the last one left (SetPreviousBackupStamp)")
		} else if i := slices.IndexFunc(all, func(k *Cluster) bool { return k.Name == c.Name }); i >= 0 {
			err = w.honour(ctx, all[i], from)
		}
		if err != nil {
			s.fail(c.Name, err)
		}
		s.goesOn(c.Name, from)
		return nil
	})
	s.mu.Lock()
	s.refused = maps.Clone(s.failed)
	s.mu.Unlock()
	w.blame(e, s, func(c *document.Component) *string { return &c.PrepareForBackupFailure })
	w.goOn(e, op, s, len(s.names()))
	return nil
}

// honour makes sure that a backup of a cluster can go on from a stamp.
func (w *Writer) honour(ctx context.Context, c *Cluster, from stamp) error {
	const op = "PrepareBackup"
	system, err := systemIdentifier(c.Data)
	if err == nil && system != from.system {
		return vss.E(op, vss.ErrWriterErrorNonRetryable, fmt.Errorf("the last backup is of a cluster with system identifier %s, not %s", from.system, system)).
			On(c.Name).Advise("make a full backup")
	}
	if err == nil {
		err = w.with(ctx, c, func(conn *pgx.Conn) error {
			l, err := c.layout()
			if err != nil {
				return err
			}
			files, err := askWAL(ctx, conn, c, l)
			if err != nil {
				return err
			}
			if files.whole() == "" {
				var text string
				if err := conn.QueryRow(ctx, "SELECT pg_current_wal_flush_lsn()::text").Scan(&text); err != nil {
					return err
				}
				at, err := parsePosition(text)
				if err != nil {
					return err
				}
				_, err = files.since(op, from, at)
				return err
			}
			_, err = files.since(op, from, from.at)
			return err
		})
	}
	if err != nil {
		return c.failure(op, err)
	}
	return nil
}

// PrepareSnapshot makes sure that the set has all volumes of each cluster that it touches, and has them write their
// checkpoints. It vetoes with VSS_E_WRITERERROR_INCONSISTENTSNAPSHOT for a missing volume, VSS_E_WRITERERROR_NONRETRYABLE for
// a cluster that doesn't let the writer in or runs with fsync off, VSS_E_WRITERERROR_RETRYABLE for others that fail.
func (w *Writer) PrepareSnapshot(ctx context.Context, e *writer.Event) error {
	s := w.begin(e.Session)
	s.next()
	touched, err := w.touched(ctx, s, e.Volumes)
	if err != nil {
		return err
	}
	s.hold(touched)
	s.each(func(h *held) error { return h.prepare(ctx, w, s) })
	w.goOn(e, "PrepareSnapshot", s, len(s.clusters()))
	return nil
}

// touched are the clusters of the backup that the set has, without those that fail.
func (w *Writer) touched(ctx context.Context, s *session, volumes []string) ([]*Cluster, error) {
	all, err := w.clusters(ctx)
	if err != nil {
		return nil, err
	}
	var out []*Cluster
	for _, c := range all {
		if !s.takes(c.Name) {
			continue
		}
		on, err := c.complete(ctx, volumes, s.builds())
		if err != nil {
			s.fail(c.Name, c.failure("PrepareSnapshot", err))
		} else if on {
			out = append(out, c)
		}
	}
	for _, name := range s.names() {
		if !slices.ContainsFunc(all, func(c *Cluster) bool { return c.Name == name }) {
			s.fail(name, vss.E("PrepareSnapshot", vss.ErrWriterErrorRetryable, errors.New("the server has ended since the backup began")).
				On(name).Advise("start it, or leave its component out of the backup"))
		}
	}
	return out, nil
}

// prepare connects to the cluster, looks at its settings, and has it write what recovery would have to replay. Where only WAL
// is saved recovery replays all of it, whatever checkpoints there are; and a checkpoint may remove WAL.
func (h *held) prepare(ctx context.Context, w *Writer, s *session) error {
	const op = "PrepareSnapshot"
	l, err := h.layout()
	if err != nil {
		return h.failure(op, err)
	}
	h.record = record{Format: recordFormat, Cluster: *h.Cluster, Layout: *l}
	from, builds := s.base(h.Name)
	if builds {
		h.record.After = from.String()
	}
	if err := h.open(ctx, w.connect); err != nil {
		return h.failure(op, err)
	}
	var fsync bool
	err = h.ask(ctx, checkpointLimit, func(ctx context.Context, conn *pgx.Conn) (err error) {
		const settings = `SELECT current_setting('fsync')::bool, current_setting('full_page_writes')::bool, current_setting('server_version'),
			(SELECT system_identifier::text FROM pg_control_system()), pg_is_in_recovery()`
		if err := conn.QueryRow(ctx, settings).Scan(&fsync, &h.record.FullPageWrites, &h.record.Server, &h.record.System, &h.record.Standby); err != nil {
			return err
		}
		if !fsync {
			return vss.E(op, vss.ErrWriterErrorNonRetryable, errors.New("the server runs with fsync off: after a crash, and on a copy, its data may be damaged")).
				On(h.Name).Advise("set fsync = on and reload the server")
		}
		if h.files, err = askWAL(ctx, conn, h.Cluster, l); err != nil {
			return err
		}
		h.record.Segment = h.files.segment
		if s.stamps() && h.files.whole() == "" && w.holdWAL {
			if err := reserve(ctx, conn); err != nil { // this backup is good without it
				w.log.Warn("WAL isn't held: the next backup may have to be a full one", "cluster", h.Name, "error", err)
			}
		}
		if !builds {
			start := time.Now()
			if _, err := conn.Exec(ctx, "CHECKPOINT"); err != nil {
				return err
			}
			w.log.Info("checkpoint", "cluster", h.Name, "took", time.Since(start))
		}
		return conn.QueryRow(ctx, "SELECT timeline_id::text FROM pg_control_checkpoint()").Scan(&h.record.Line)
	})
	if err != nil {
		return h.failure(op, err)
	}
	return nil
}

// Freeze notes how far each cluster's WAL is on disk. The databases go on: the volumes are held by the service, all at once.
// A server that can't tell is a veto.
func (w *Writer) Freeze(ctx context.Context, e *writer.Event) error {
	s := w.begin(e.Session)
	s.each(func(h *held) (err error) {
		h.record.Frozen = time.Now().UTC()
		if h.record.LSN, err = h.position(ctx); err != nil {
			return err
		}
		return h.there("Freeze", s)
	})
	if w.goOn(e, "Freeze", s, len(s.clusters())) {
		s.step(true, false)
	}
	return nil
}

// Thaw makes sure that the servers lived through the copy, and that no WAL which the backup needs went meanwhile, and lets
// them go. One that didn't is a veto.
func (w *Writer) Thaw(ctx context.Context, e *writer.Event) error {
	s := w.begin(e.Session)
	if frozen, _ := s.at(); !frozen {
		return nil
	}
	s.each(func(h *held) (err error) {
		if h.record.Thaw, err = h.position(ctx); err != nil {
			return err
		}
		if err := h.there("Thaw", s); err != nil {
			return err
		}
		h.leave(w, s)
		return nil
	})
	s.step(false, len(s.clusters()) > 0)
	s.release()
	w.goOn(e, "Thaw", s, len(s.clusters()))
	return nil
}

// there makes sure that the WAL which a backup goes on with is there up to the position of Freeze, and notes since when.
func (h *held) there(op string, s *session) error {
	from, builds := s.base(h.Name)
	if !builds {
		return nil
	}
	to, err := parsePosition(h.record.LSN)
	if err != nil {
		return h.failure(op, err)
	}
	oldest, err := h.files.since(op, from, to)
	if h.oldest.IsZero() || oldest.Before(h.oldest) {
		h.oldest = oldest
	}
	return err
}

// leave makes the stamp from which later backups go on. Where there can't be one the next backup has to be a full one.
func (h *held) leave(w *Writer, s *session) {
	if !s.stamps() {
		return
	}
	why := h.files.whole()
	if why == "" {
		at, err := parsePosition(h.record.LSN)
		if err == nil {
			var next stamp
			if next, err = h.files.stamp(h.record.System, at); err == nil {
				h.record.Stamp = next.String()
				return
			}
		}
		why = err.Error()
	}
	w.log.Info("no incremental backup can go on from this one", "cluster", h.Name, "reason", why)
}

// position is the WAL position up to which the cluster is on disk; of a standby, up to which it has replayed.
func (h *held) position(ctx context.Context) (lsn string, err error) {
	const query = `SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END)::text`
	err = h.ask(ctx, answerLimit, func(ctx context.Context, conn *pgx.Conn) error { return conn.QueryRow(ctx, query).Scan(&lsn) })
	if err != nil {
		return "", h.failure("Freeze", err)
	}
	return lsn, nil
}

// PostSnapshot notes with each component what the copy holds, where the next backup goes on, and for one that goes on itself
// since when files count. Components that failed have their failure; the writer's is VSS_E_WRITERERROR_PARTIAL_FAILURE then.
func (w *Writer) PostSnapshot(_ context.Context, e *writer.Event) error {
	const op = "PostSnapshot"
	s := w.begin(e.Session)
	if _, done := s.at(); !done || e.Components == nil {
		return nil
	}
	for _, h := range s.clusters() {
		c := e.Components.Component("", h.Name)
		if c == nil || c.BackupMetadata != "" {
			continue
		}
		text, err := h.record.text()
		if err == nil {
			err = c.SetBackupMetadata(text)
		}
		if err != nil {
			return vss.E(op, vss.ErrWriterErrorNonRetryable, err).On(h.Name).Advise("the session is out of order; begin a new one")
		}
		c.BackupStamp = h.record.Stamp
		if h.record.After != "" {
			f := h.record.Layout.walSet()
			c.DifferencedFiles = []document.DifferencedFiles{{Path: f.Path, FileSpec: f.FileSpec, Recursive: f.Recursive, Since: document.FileTime(h.oldest)}}
		}
	}
	if w.blame(e, s, func(c *document.Component) *string { return &c.PostSnapshotFailure }) {
		_, message := told(s.failures())
		e.SetFailure(vss.ErrWriterErrorPartialFailure, message)
	}
	return nil
}

// BackupShutdown ends the session.
func (w *Writer) BackupShutdown(_ context.Context, e *writer.Event) error {
	w.forget(e.Session)
	return nil
}

// Abort ends the session, whatever it is at.
func (w *Writer) Abort(_ context.Context, e *writer.Event) error {
	w.forget(e.Session)
	return nil
}
