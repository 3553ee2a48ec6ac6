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
	// checkpointLimit is the longest time that a checkpoint may take, which is what the service grants
	// PrepareSnapshot. Source: writer's reference, time limits.
	checkpointLimit = 10 * time.Minute
	// answerLimit is for requests in Freeze and Thaw that a server answers immediately unless it hangs.
	answerLimit = 10 * time.Second
)

// held is a cluster between PrepareSnapshot and Thaw, with its session.
type held struct {
	*Cluster
	engine.Line[*pgx.Conn]
	all    *clusters
	kind   vss.BackupType
	named  bool  // components were chosen: later backups may build on this one
	from   stamp // where an incremental or differential backup continues
	record record
	files  *wal
	oldest time.Time // of the oldest change that an incremental or differential backup saves
}

// incremental reports whether the backup builds on an earlier one.
func (h *held) incremental() bool { return h.record.After != "" }

// leavesStamp reports whether later backups can build on this one.
func (h *held) leavesStamp() bool { return h.kind == vss.BackupFull || h.kind == vss.BackupIncremental }

// Follow implements engine.Builder. It checks that all WAL since the earlier backup is available. Errors:
// VSS_E_WRITERERROR_NONRETRYABLE if it isn't.
func (s *clusters) Follow(ctx context.Context, name string, i engine.Instance, text string) error {
	const op = "PrepareBackup"
	from, err := parseStamp(text)
	if err != nil {
		return vss.E(op, vss.ErrWriterErrorNonRetryable, err).
			On(name).
			Advise("make a full backup, or set the stamp of the last backup (SetPreviousBackupStamp)")
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
		return vss.E(op, vss.ErrWriterErrorNonRetryable,
			fmt.Errorf("the last backup is of another cluster, with system identifier %s; this one has %s", from.system,
				system)).
			On(name).
			Advise("make a full backup")
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
		if files.whyIncomplete() == "" {
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

// Prepare implements engine.Instance. It connects to the cluster, checks its settings, and executes a checkpoint,
// which shortens recovery. A backup of WAL alone needs no checkpoint: recovery replays all of the WAL anyway, and a
// checkpoint may remove WAL. Errors: VSS_E_WRITERERROR_NONRETRYABLE for a cluster that refuses the connection or runs
// with fsync off, VSS_E_WRITERERROR_RETRYABLE for other failures.
func (i *instance) Prepare(ctx context.Context, b engine.Backup) (engine.Held, error) {
	const op = "PrepareSnapshot"
	c := i.cluster
	l, err := c.layout()
	if err != nil {
		return nil, err
	}
	h := &held{Cluster: c, all: i.all, kind: b.Kind, named: b.Named}
	h.record = record{Format: recordFormat, Cluster: *c, Layout: *l, After: b.After}
	if h.incremental() {
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
	const settings = `SELECT current_setting('fsync')::bool, current_setting('full_page_writes')::bool,
		current_setting('server_version'),
		(SELECT system_identifier::text FROM pg_control_system()), pg_is_in_recovery()`
	var fsync bool
	if err := conn.QueryRow(ctx, settings).Scan(&fsync, &h.record.FullPageWrites, &h.record.Server, &h.record.System,
		&h.record.Standby); err != nil {
		return err
	}
	if !fsync {
		return vss.E(op, vss.ErrWriterErrorNonRetryable,
			errors.New("the server runs with fsync = off, so its data may be damaged after a crash and on a copy")).
			On(h.Name).
			Advise("set fsync = on and reload the server")
	}
	if err := h.checkStartable(h.record.Standby); err != nil {
		return err
	}
	if h.files, err = askWAL(ctx, conn, h.Cluster, &h.record.Layout); err != nil {
		return err
	}
	h.record.Segment = h.files.segment
	if err := h.manageSlot(ctx, conn); err != nil { // the backup itself doesn't need it
		h.all.log.Warn("can't reserve or release WAL; the next backup may have to be a full one", "cluster", h.Name,
			"error", err)
	}
	if !h.incremental() {
		start := time.Now()
		if _, err := conn.Exec(ctx, "CHECKPOINT"); err != nil {
			return err
		}
		h.all.log.Info("checkpoint", "cluster", h.Name, "took", time.Since(start))
	}
	return conn.QueryRow(ctx, "SELECT timeline_id::text FROM pg_control_checkpoint()").Scan(&h.record.Line)
}

// Freeze implements engine.Engine. It records the WAL position up to which each cluster is on disk. The databases
// continue: the service holds the volumes. A cluster whose position can't be determined fails.
func (s *clusters) Freeze(ctx context.Context, all []engine.Taken) engine.Failures {
	const op = "Freeze"
	return engine.Each(op, all, func(one engine.Held) (err error) {
		h := one.(*held)
		h.record.Frozen = time.Now().UTC()
		if h.record.LSN, err = h.position(ctx, op); err != nil {
			return err
		}
		return h.checkWALAvailable(op)
	})
}

// Thaw implements engine.Held. It checks that the server ran throughout the copy, and that no WAL that the backup
// needs was removed meanwhile.
func (h *held) Thaw(ctx context.Context) (err error) {
	const op = "Thaw"
	if h.record.Thaw, err = h.position(ctx, op); err != nil {
		return err
	}
	if err := h.checkWALAvailable(op); err != nil {
		return err
	}
	h.recordStamp()
	return nil
}

// Release implements engine.Held.
func (h *held) Release() { h.HangUp(func(conn *pgx.Conn, _ bool) { hangUp(conn) }) }

// checkWALAvailable checks that the WAL from the earlier backup to the position of Freeze is available, and records
// the time of its oldest change.
func (h *held) checkWALAvailable(op string) error {
	if !h.incremental() {
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

// recordStamp sets the stamp that later backups build on. Without a stamp the next backup must be a full one.
func (h *held) recordStamp() {
	if !h.leavesStamp() {
		return
	}
	why := h.files.whyIncomplete()
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
	h.all.log.Info("no incremental backup can build on this one", "cluster", h.Name, "reason", why)
}

// position returns the WAL position up to which the cluster is on disk; for a standby, the position up to which it has
// replayed.
func (h *held) position(ctx context.Context, op string) (lsn string, err error) {
	const query = `SELECT (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
		ELSE pg_current_wal_flush_lsn() END)::text`
	err = h.Ask(
		ctx,
		answerLimit,
		func(ctx context.Context, conn *pgx.Conn) error { return conn.QueryRow(ctx, query).Scan(&lsn) },
	)
	return lsn, h.failure(op, err)
}

// Metadata implements engine.Held. It describes what the copy holds and where the next backup continues; for an
// incremental or differential backup also since when changed files count.
func (h *held) Metadata() (engine.Metadata, error) {
	m, err := engine.NewMetadata(&h.record, h.record.Stamp)
	if h.incremental() {
		f := h.record.Layout.walSet()
		m.Differenced = []document.DifferencedFiles{
			{Path: f.Path, FileSpec: f.FileSpec, Recursive: f.Recursive, Since: document.FileTime(h.oldest)},
		}
	}
	return m, err
}
