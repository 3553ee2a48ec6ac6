package postgres

import (
	"context"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"github.com/stillpoint-vss/stillpoint/internal/atomicfile"
	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
)

// slotName is the replication slot that retains WAL for incremental backups. While it exists, the server also refuses
// to start with wal_level = minimal, which would omit changes from the WAL.
const slotName = "vss"

// reserve makes the server retain its WAL from here on, unless it does already. A slot that has lost WAL is created
// anew.
func reserve(ctx context.Context, conn *pgx.Conn) error {
	const drop = `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
		WHERE slot_name = $1 AND wal_status = 'lost'`
	if _, err := conn.Exec(ctx, drop, slotName); err != nil {
		return err
	}
	const create = `SELECT pg_create_physical_replication_slot($1, true)
		WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)`
	_, err := conn.Exec(ctx, create, slotName)
	return err
}

// manageSlot reserves WAL for a backup on which others can build. A slot that this writer made for earlier ones is
// dropped when the configuration no longer wants it: it would retain WAL without end.
func (h *held) manageSlot(ctx context.Context, conn *pgx.Conn) error {
	switch {
	case h.all.holdWAL && h.named && h.leavesStamp() && h.files.whyIncomplete() == "":
		if err := h.all.recordSlot(h.record.System); err != nil {
			return err
		}
		return reserve(ctx, conn)
	case !h.all.holdWAL && h.all.madeSlot(h.record.System):
		const drop = `SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
			WHERE slot_name = $1 AND slot_type = 'physical' AND NOT active`
		if _, err := conn.Exec(ctx, drop, slotName); err != nil {
			return err
		}
		return h.all.forgetSlot(h.record.System)
	}
	return nil
}

// slotFile returns the path of the record that this writer made its slot in a cluster.
func (s *clusters) slotFile(system string) string {
	return filepath.Join(s.records, ID.Plain(), "slot-"+system)
}

func (s *clusters) recordSlot(system string) error {
	if s.records == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(s.slotFile(system)), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(s.slotFile(system), nil)
}

func (s *clusters) madeSlot(system string) bool {
	_, err := os.Stat(s.slotFile(system))
	return err == nil && s.records != ""
}

func (s *clusters) forgetSlot(system string) error { return os.Remove(s.slotFile(system)) }

// advance releases the WAL before a position; the server removes it at its next checkpoint.
func advance(ctx context.Context, conn *pgx.Conn, before position) error {
	const query = `SELECT pg_replication_slot_advance(slot_name, $2::pg_lsn) FROM pg_replication_slots
		WHERE slot_name = $1 AND slot_type = 'physical' AND restart_lsn < $2::pg_lsn`
	_, err := conn.Exec(ctx, query, slotName, before.String())
	return err
}

// Complete implements engine.Builder. It releases the WAL that was retained for the backup, as later backups build on
// that one.
func (s *clusters) Complete(ctx context.Context, t engine.Taken) error {
	h := t.Held.(*held)
	if !s.holdWAL || h.record.Stamp == "" {
		return nil
	}
	from, err := parseStamp(h.record.Stamp)
	if err != nil {
		return err
	}
	return s.with(ctx, h.Cluster, func(conn *pgx.Conn) error { return advance(ctx, conn, from.at-1) })
}

// with opens a session with a cluster for one call.
func (s *clusters) with(ctx context.Context, c *Cluster, use func(*pgx.Conn) error) error {
	conn, err := s.connect(ctx, c)
	if err != nil {
		return err
	}
	defer hangUp(conn)
	return use(conn)
}
