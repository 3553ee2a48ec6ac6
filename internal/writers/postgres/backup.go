package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	// checkpointLimit is the longest that a checkpoint may take: what the service grants PrepareSnapshot. Source: writer's
	// reference, time limits.
	checkpointLimit = 10 * time.Minute
	// answerLimit is the longest that a server may take to tell its position in Freeze and Thaw: a moment, unless it hangs.
	answerLimit = 10 * time.Second
)

// held is a cluster from PrepareSnapshot to Thaw, and its one session.
type held struct {
	*Cluster
	engine.Line[*pgx.Conn]
	all    *clusters
	kind   vss.BackupType
	from   stamp // where an incremental or differential backup goes on
	record record
	files  *wal
	oldest time.Time // of the changes that an incremental or differential backup saves
}

// builds says whether the backup goes on from an earlier one.
func (h *held) builds() bool { return h.record.After != "" }

// stamps says whether later backups go on from this one.
func (h *held) stamps() bool { return h.kind == vss.BackupFull || h.kind == vss.BackupIncremental }

// Follow implements engine.Builder: it makes sure that all WAL since the earlier backup is still there. Errors:
// VSS_E_WRITERERROR_NONRETRYABLE where it isn't.
func (s *clusters) Follow(ctx context.Context, name string, i engine.Instance, text string) error {
	const op = "PrepareBackup"
	from, err := parseStamp(text)
	if err != nil {
		return vss.E(op, vss.ErrWriterErrorNonRetryable, err).On(name).Advise("make a full backup, or give the stamp that the last one left (SetPreviousBackupStamp)")
	}
	if i == nil {
		return nil
	}
	c := i.(*instance).cluster
	system, err := systemIdentifier(c.Data)
	if err != nil {
		return err
	}
	if system != from.system {
		return vss.E(op, vss.ErrWriterErrorNonRetryable, fmt.Errorf("the last backup is of a cluster with system identifier %s, not %s", from.system, system)).
			On(name).Advise("make a full backup")
	}
	return c.failure(op, s.with(ctx, c, func(conn *pgx.Conn) error {
		l, err := c.layout()
		if err != nil {
			return err
		}
		files, err := askWAL(ctx, conn, c, l)
		if err != nil {
			return err
		}
		at := from.at
		if files.whole() == "" {
			var text string
			if err := conn.QueryRow(ctx, "SELECT pg_current_wal_flush_lsn()::text").Scan(&text); err != nil {
				return err
			}
			if at, err = parsePosition(text); err != nil {
				return err
			}
		}
		_, err = files.since(op, from, at)
		return err
	}))
}

// Prepare implements engine.Instance: it connects to the cluster, looks at its settings, and has it write what recovery would have to
// replay. Where only WAL is saved recovery replays all of it, whatever checkpoints there are; and a checkpoint may remove WAL.
// Errors: VSS_E_WRITERERROR_NONRETRYABLE for a cluster that doesn't let the writer in or runs with fsync off,
// VSS_E_WRITERERROR_RETRYABLE for others that fail.
func (i *instance) Prepare(ctx context.Context, b engine.Backup) (engine.Held, error) {
	const op = "PrepareSnapshot"
	c := i.cluster
	l, err := c.layout()
	if err != nil {
		return nil, err
	}
	h := &held{Cluster: c, all: i.all, kind: b.Kind}
	h.record = record{Format: recordFormat, Cluster: *c, Layout: *l, After: b.After}
	if h.builds() {
		if h.from, err = parseStamp(b.After); err != nil {
			return nil, err
		}
	}
	conn, err := i.all.connect(ctx, c)
	if err != nil {
		return nil, c.failure(op, err)
	}
	h.Open(conn)
	if err := h.Ask(ctx, checkpointLimit, h.prepare); err != nil {
		h.Release()
		return nil, c.failure(op, err)
	}
	return h, nil
}

func (h *held) prepare(ctx context.Context, conn *pgx.Conn) (err error) {
	const op = "PrepareSnapshot"
	const settings = `SELECT current_setting('fsync')::bool, current_setting('full_page_writes')::bool, current_setting('server_version'),
		(SELECT system_identifier::text FROM pg_control_system()), pg_is_in_recovery()`
	var fsync bool
	if err := conn.QueryRow(ctx, settings).Scan(&fsync, &h.record.FullPageWrites, &h.record.Server, &h.record.System, &h.record.Standby); err != nil {
		return err
	}
	if !fsync {
		return vss.E(op, vss.ErrWriterErrorNonRetryable, errors.New("the server runs with fsync off: after a crash, and on a copy, its data may be damaged")).
			On(h.Name).Advise("set fsync = on and reload the server")
	}
	if h.files, err = askWAL(ctx, conn, h.Cluster, &h.record.Layout); err != nil {
		return err
	}
	h.record.Segment = h.files.segment
	if h.stamps() && h.files.whole() == "" && h.all.holdWAL {
		if err := reserve(ctx, conn); err != nil { // this backup is good without it
			h.all.log.Warn("WAL isn't held: the next backup may have to be a full one", "cluster", h.Name, "error", err)
		}
	}
	if !h.builds() {
		start := time.Now()
		if _, err := conn.Exec(ctx, "CHECKPOINT"); err != nil {
			return err
		}
		h.all.log.Info("checkpoint", "cluster", h.Name, "took", time.Since(start))
	}
	return conn.QueryRow(ctx, "SELECT timeline_id::text FROM pg_control_checkpoint()").Scan(&h.record.Line)
}

// Freeze implements engine.Engine: it notes how far each cluster's WAL is on disk. The databases go on: the volumes are held by the
// service, all at once. A server that can't tell fails.
func (s *clusters) Freeze(ctx context.Context, all []engine.Taken) engine.Failures {
	const op = "Freeze"
	return engine.Each(op, all, func(one engine.Held) (err error) {
		h := one.(*held)
		h.record.Frozen = time.Now().UTC()
		if h.record.LSN, err = h.position(ctx, op); err != nil {
			return err
		}
		return h.there(op)
	})
}

// Thaw implements engine.Held: it makes sure that the server lived through the copy, and that no WAL which the backup needs went
// meanwhile.
func (h *held) Thaw(ctx context.Context) (err error) {
	const op = "Thaw"
	if h.record.Thaw, err = h.position(ctx, op); err != nil {
		return err
	}
	if err := h.there(op); err != nil {
		return err
	}
	h.leave()
	return nil
}

// Release implements engine.Held.
func (h *held) Release() { h.HangUp(func(conn *pgx.Conn, _ bool) { hangUp(conn) }) }

// there makes sure that the WAL which a backup goes on with is there up to the position of Freeze, and notes since when.
func (h *held) there(op string) error {
	if !h.builds() {
		return nil
	}
	to, err := parsePosition(h.record.LSN)
	if err != nil {
		return err
	}
	oldest, err := h.files.since(op, h.from, to)
	if h.oldest.IsZero() || oldest.Before(h.oldest) {
		h.oldest = oldest
	}
	return err
}

// leave makes the stamp from which later backups go on. Where there can't be one the next backup has to be a full one.
func (h *held) leave() {
	if !h.stamps() {
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
	h.all.log.Info("no incremental backup can go on from this one", "cluster", h.Name, "reason", why)
}

// position is the WAL position up to which the cluster is on disk; of a standby, up to which it has replayed.
func (h *held) position(ctx context.Context, op string) (lsn string, err error) {
	const query = `SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END)::text`
	err = h.Ask(ctx, answerLimit, func(ctx context.Context, conn *pgx.Conn) error { return conn.QueryRow(ctx, query).Scan(&lsn) })
	return lsn, h.failure(op, err)
}

// Metadata implements engine.Held: what the copy holds, where the next backup goes on, and for one that goes on itself since when
// files count.
func (h *held) Metadata() (engine.Metadata, error) {
	m, err := engine.NewMetadata(&h.record, h.record.Stamp)
	if h.builds() {
		f := h.record.Layout.walSet()
		m.Differenced = []document.DifferencedFiles{{Path: f.Path, FileSpec: f.FileSpec, Recursive: f.Recursive, Since: document.FileTime(h.oldest)}}
	}
	return m, err
}
