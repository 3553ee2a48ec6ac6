package postgres

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// checkpointLimit is the longest that a checkpoint may take: what the service grants PrepareSnapshot. Source: writer's
// reference, time limits.
const checkpointLimit = 10 * time.Minute

// PrepareBackup notes which clusters the backup has.
func (w *Writer) PrepareBackup(_ context.Context, e *writer.Event) error {
	w.begin(e.Session).choose(e)
	return nil
}

// PrepareSnapshot makes sure that the set has all volumes of each cluster that it touches, and has them write their
// checkpoints. It vetoes with VSS_E_WRITERERROR_INCONSISTENTSNAPSHOT for a missing volume, VSS_E_WRITERERROR_NONRETRYABLE for
// a cluster that doesn't let the writer in or runs with fsync off, VSS_E_WRITERERROR_RETRYABLE for others that fail.
func (w *Writer) PrepareSnapshot(ctx context.Context, e *writer.Event) error {
	const op = "PrepareSnapshot"
	s := w.begin(e.Session)
	touched, err := w.touched(ctx, s, e.Volumes)
	if err == nil {
		err = each(s.hold(touched), func(h *held) error { return h.checkpoint(ctx, w) })
	}
	if err != nil {
		s.release()
		w.veto(e, op, err)
	}
	return nil
}

// touched are the clusters of the backup that the set has.
func (w *Writer) touched(ctx context.Context, s *session, volumes []string) ([]*Cluster, error) {
	all, err := w.clusters(ctx)
	if err != nil {
		return nil, err
	}
	var out []*Cluster
	var failures []error
	for _, c := range all {
		if !s.takes(c.Name) {
			continue
		}
		on, err := c.complete(ctx, volumes)
		if err != nil {
			failures = append(failures, c.failure("PrepareSnapshot", err))
		} else if on {
			out = append(out, c)
		}
	}
	for _, name := range s.names() {
		if !slices.ContainsFunc(all, func(c *Cluster) bool { return c.Name == name }) {
			failures = append(failures, vss.E("PrepareSnapshot", vss.ErrWriterErrorRetryable, errors.New("the server has ended since the backup began")).
				On(name).Advise("start it, or leave its component out of the backup"))
		}
	}
	return out, errors.Join(failures...)
}

// checkpoint connects to the cluster, looks at its settings, and has it write what recovery would have to replay.
func (h *held) checkpoint(ctx context.Context, w *Writer) error {
	const op = "PrepareSnapshot"
	l, err := h.layout()
	if err != nil {
		return h.failure(op, err)
	}
	h.record = record{Format: recordFormat, Cluster: *h.Cluster, Layout: *l}
	if err := h.open(ctx, w.connect); err != nil {
		return h.failure(op, err)
	}
	var fsync bool
	err = h.ask(ctx, checkpointLimit, func(ctx context.Context, conn *pgx.Conn) error {
		const settings = `SELECT current_setting('fsync')::bool, current_setting('full_page_writes')::bool, current_setting('server_version'),
			(SELECT system_identifier::text FROM pg_control_system()), pg_is_in_recovery()`
		if err := conn.QueryRow(ctx, settings).Scan(&fsync, &h.record.FullPageWrites, &h.record.Server, &h.record.System, &h.record.Standby); err != nil {
			return err
		}
		if !fsync {
			return vss.E(op, vss.ErrWriterErrorNonRetryable, errors.New("the server runs with fsync off: after a crash, and on a copy, its data may be damaged")).
				On(h.Name).Advise("set fsync = on and reload the server")
		}
		start := time.Now()
		if _, err := conn.Exec(ctx, "CHECKPOINT"); err != nil {
			return err
		}
		w.log.Info("checkpoint", "cluster", h.Name, "took", time.Since(start))
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
	err := each(s.clusters(), func(h *held) (err error) {
		h.record.Frozen = time.Now().UTC()
		h.record.LSN, err = h.position(ctx)
		return err
	})
	if err != nil {
		s.release()
		w.veto(e, "Freeze", err)
		return nil
	}
	s.step(true, false)
	return nil
}

// Thaw makes sure that the servers lived through the copy, and lets them go. One that didn't is a veto.
func (w *Writer) Thaw(ctx context.Context, e *writer.Event) error {
	s := w.begin(e.Session)
	if frozen, _ := s.at(); !frozen {
		return nil
	}
	err := each(s.clusters(), func(h *held) (err error) {
		h.record.Thaw, err = h.position(ctx)
		return err
	})
	s.step(false, err == nil)
	s.release()
	if err != nil {
		w.veto(e, "Thaw", err)
	}
	return nil
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

// PostSnapshot notes with each component what the copy holds. Kinds of backups on which no other builds leave no stamp.
func (w *Writer) PostSnapshot(_ context.Context, e *writer.Event) error {
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
			return vss.E("PostSnapshot", vss.ErrWriterErrorNonRetryable, err).On(h.Name).Advise("the session is out of order; begin a new one")
		}
		if e.BackupType != vss.BackupCopy && e.BackupType != vss.BackupDifferential {
			c.BackupStamp = h.record.stamp()
		}
	}
	return nil
}

// BackupComplete has nothing to do: the server removes its WAL by itself.
func (w *Writer) BackupComplete(context.Context, *writer.Event) error { return nil }

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
