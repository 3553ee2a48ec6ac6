package mariadb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// answerLimit is for requests that a server answers immediately unless it hangs.
const answerLimit = 10 * time.Second

// held is a server between PrepareSnapshot and Thaw. Its session holds the backup lock.
type held struct {
	*instance
	record record
	stages bool     // the lock is BACKUP STAGE
	flush  []string // statements that flush InnoDB's redo log, if the server doesn't at each commit
	engine.Line[*client]
}

// flush flushes InnoDB's redo log, for servers where the last second of commits may be in memory only. A server with
// that setting ignores FLUSH ENGINE LOGS (tried with 10.11), so the setting is changed for the moment; no commit runs
// meanwhile.
var flush = []string{
	"SET GLOBAL innodb_flush_log_at_trx_commit = 1", "FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS",
	"SET GLOBAL innodb_flush_log_at_trx_commit = 0",
}

// Prepare implements engine.Instance. If the server supports BACKUP STAGE, it waits for changes of tables in progress.
func (i *instance) Prepare(ctx context.Context, _ engine.Backup) (engine.Held, error) {
	const op = "PrepareSnapshot"
	h := &held{instance: i}
	err := h.Begin(ctx, i.connect, startWait, func(ctx context.Context, c *client) error {
		v, err := c.variables(ctx)
		if err != nil {
			return err
		}
		l, err := c.layout(ctx, i.Dir)
		if err != nil {
			return err
		}
		h.record = record{
			Format:   recordFormat,
			Process:  *i.Process,
			Layout:   *l,
			Server:   v["version"],
			ServerID: v["server_id"],
		}
		if v["innodb_flush_log_at_trx_commit"] == "0" {
			h.flush = flush
		}
		h.stages = stages(v["version"]) && !i.readLock
		if err := c.checkEngines(ctx); err != nil {
			return err
		}
		if err := c.wait(ctx, startWait); err != nil {
			return err
		}
		switch {
		case h.stages:
			return c.do(ctx, "BACKUP STAGE START")
		case locksInstance(v["version"]):
			return c.do(ctx, "LOCK INSTANCE FOR BACKUP")
		}
		return nil
	})
	if err != nil {
		h.Release()
		return nil, i.failure(op, err)
	}
	return h, nil
}

// stages reports whether a server version supports BACKUP STAGE: MariaDB 10.4.1 and later.
func stages(version string) bool {
	number, _, _ := strings.Cut(version, "-")
	if !strings.Contains(version, "MariaDB") {
		return false
	}
	var n [3]int
	for i, s := range strings.SplitN(number, ".", 3) {
		n[i], _ = strconv.Atoi(s) // a missing number counts as 0
	}
	return n[0] > 10 || n[0] == 10 && (n[1] > 4 || n[1] == 4 && n[2] >= 1)
}

// locksInstance reports whether a server version has LOCK INSTANCE FOR BACKUP, which keeps changes of tables away while
// writes continue: MySQL 8 and later. FLUSH TABLES WITH READ LOCK then needs to wait for statements only, and remains
// necessary for tables without transactions and for the position of the binary log.
func locksInstance(version string) bool {
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	return err == nil && n >= 8 && !strings.Contains(version, "MariaDB")
}

// engines are the storage engines whose tables are complete in a copy that is made under the lock, or keep nothing in
// files of their own.
var engines = []string{"InnoDB", "Aria", "MyISAM", "MRG_MyISAM", "MRG_MYISAM", "CSV", "MEMORY", "ARCHIVE", "BLACKHOLE",
	"SEQUENCE", "PERFORMANCE_SCHEMA", "FEDERATED", "SPHINX", "wsrep", "binlog", "partition", "SQL_SEQUENCE",
	"ndbcluster", "ndbinfo"}

// checkEngines checks that the server has no storage engine that this writer doesn't know. Errors:
// VSS_E_WRITERERROR_NONRETRYABLE.
func (c *client) checkEngines(ctx context.Context) error {
	const query = `SELECT ENGINE FROM information_schema.ENGINES WHERE SUPPORT IN ('YES', 'DEFAULT')`
	rows, err := c.conn.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return err
		}
		if !slices.ContainsFunc(engines, func(known string) bool { return strings.EqualFold(known, name) }) {
			return vss.E("PrepareSnapshot", vss.ErrWriterErrorNonRetryable,
				fmt.Errorf("the writer doesn't know whether a copy has all data of the storage engine %s", name)).
				Advise("uninstall the engine if no table uses it; otherwise back the server up by its own means")
		}
	}
	return rows.Err()
}

// Freeze implements engine.Engine. Servers are independent of each other.
func (s *servers) Freeze(ctx context.Context, all []engine.Taken) engine.Failures {
	return engine.Each("Freeze", all, func(h engine.Held) error { return h.(*held).freeze(ctx) })
}

// freeze takes the lock and records the position.
func (h *held) freeze(ctx context.Context) error {
	err := h.Ask(ctx, h.LockWait+answerLimit, func(ctx context.Context, c *client) error {
		if err := c.wait(ctx, h.LockWait); err != nil {
			return err
		}
		lock := []string{"FLUSH TABLES WITH READ LOCK"}
		if h.stages {
			lock = []string{"BACKUP STAGE FLUSH", "BACKUP STAGE BLOCK_DDL", "BACKUP STAGE BLOCK_COMMIT"}
		}
		for _, s := range slices.Concat(lock, h.flush) {
			if err := c.do(ctx, s); err != nil {
				if slices.Contains(h.flush, s) {
					h.restoreFlush()
				}
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		h.record.Frozen = time.Now().UTC()
		return h.record.note(ctx, c.conn)
	})
	return h.failure("Freeze", err)
}

// restoreFlush restores the setting that flush changed, after flush failed.
func (h *held) restoreFlush() {
	ctx, cancel := context.WithTimeout(context.Background(), killLimit)
	defer cancel()
	c, err := h.connect(ctx)
	if err == nil {
		err = c.do(ctx, flush[len(flush)-1])
		c.close()
	}
	if err != nil {
		h.Logger.Error("can't restore innodb_flush_log_at_trx_commit from 1 to 0", "instance", h.Dir, "error", err)
	}
}

// Thaw implements engine.Held. It checks that the session is the one that took the lock, and releases the lock.
func (h *held) Thaw(ctx context.Context) error {
	err := h.Ask(ctx, answerLimit, func(ctx context.Context, c *client) error {
		var id uint64
		if err := c.conn.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&id); err != nil {
			return err
		}
		if id != c.id {
			return fmt.Errorf("the session has number %d, the lock belongs to %d", id, c.id)
		}
		if h.stages {
			return c.do(ctx, "BACKUP STAGE END")
		}
		err := c.do(ctx, "UNLOCK TABLES")
		if err == nil && locksInstance(h.record.Server) {
			err = c.do(ctx, "UNLOCK INSTANCE")
		}
		return err
	})
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return vss.E("Thaw", vss.ErrWriterErrorRetryable, fmt.Errorf("the lock was lost: %w", err)).On(h.Dir).
			Advise("see the server's log for why it ended the session; wait ten minutes and try again, at most three " +
				"times")
	}
	return err
}

// Release implements engine.Held. It ends the session, which releases the lock.
func (h *held) Release() {
	h.HangUp(func(c *client, busy bool) {
		c.close()
		if busy {
			h.kill(c.id)
		}
	})
}

// Metadata implements engine.Held.
func (h *held) Metadata() (engine.Metadata, error) {
	return engine.NewMetadata(&h.record, h.record.stamp())
}

// note records the position of the binary log, if the server has one.
func (r *record) note(ctx context.Context, conn *sql.Conn) error {
	rows, err := conn.QueryContext(ctx, "SHOW MASTER STATUS")
	if numbered(err, 1064) { // MySQL 8.4 and later
		rows, err = conn.QueryContext(ctx, "SHOW BINARY LOG STATUS")
	}
	if err != nil {
		return err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	values := make([]sql.NullString, len(columns))
	into := make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	if rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		for i, name := range columns {
			switch name {
			case "File":
				r.File = values[i].String
			case "Position":
				if r.Position, err = strconv.ParseUint(values[i].String, 10, 64); err != nil {
					return err
				}
			case "Executed_Gtid_Set":
				r.GTID = values[i].String
			}
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil || r.GTID != "" {
		return err
	}
	err = conn.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_binlog_pos, @@GLOBAL.gtid_current_pos").
		Scan(&r.GTID, &r.Current)
	if numbered(err, 1193) { // MySQL
		return nil
	}
	return err
}
