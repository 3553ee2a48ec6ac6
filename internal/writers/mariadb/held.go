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

// answerLimit is for what a server answers in a moment, unless it hangs.
const answerLimit = 10 * time.Second

// held is a server from PrepareSnapshot to Thaw, and its one session, which has the backup lock.
type held struct {
	*instance
	record record
	stages bool     // the lock is BACKUP STAGE
	flush  []string // statements that write InnoDB's redo log, where the server doesn't at each commit
	engine.Line[*client]
}

// flush writes InnoDB's redo log where what was committed in the last second may be in memory alone. A server with that setting
// ignores FLUSH ENGINE LOGS (tried with 10.11), so it is changed for the moment; no commit runs meanwhile.
var flush = []string{
	"SET GLOBAL innodb_flush_log_at_trx_commit = 1", "FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS", "SET GLOBAL innodb_flush_log_at_trx_commit = 0",
}

// Prepare implements engine.Instance. Where the server knows BACKUP STAGE it waits here for changes of tables under way.
func (i *instance) Prepare(ctx context.Context, _ engine.Backup) (engine.Held, error) {
	const op = "PrepareSnapshot"
	h := &held{instance: i}
	c, err := i.connect(ctx)
	if err != nil {
		return nil, err
	}
	h.Open(c)
	err = h.Ask(ctx, startWait, func(ctx context.Context, c *client) error {
		v, err := c.variables(ctx)
		if err != nil {
			return err
		}
		l, err := c.layout(ctx, i.Dir)
		if err != nil {
			return err
		}
		h.record = record{Format: recordFormat, Process: *i.Process, Layout: *l, Server: v["version"], ServerID: v["server_id"]}
		if v["innodb_flush_log_at_trx_commit"] == "0" {
			h.flush = flush
		}
		h.stages = stages(v["version"]) && !i.readLock
		if !h.stages {
			return nil
		}
		if err := c.wait(ctx, startWait); err != nil {
			return err
		}
		return c.do(ctx, "BACKUP STAGE START")
	})
	if err != nil {
		h.Release()
		return nil, i.failure(op, err)
	}
	return h, nil
}

// stages says whether a server of a version has BACKUP STAGE: MariaDB from 10.4.1 on.
func stages(version string) bool {
	number, _, _ := strings.Cut(version, "-")
	if !strings.Contains(version, "MariaDB") {
		return false
	}
	var n [3]int
	for i, s := range strings.SplitN(number, ".", 3) {
		n[i], _ = strconv.Atoi(s) // none counts as 0
	}
	return n[0] > 10 || n[0] == 10 && (n[1] > 4 || n[1] == 4 && n[2] >= 1)
}

// Freeze implements engine.Engine: servers know nothing of each other.
func (s *servers) Freeze(ctx context.Context, all []engine.Taken) engine.Failures {
	return engine.Each("Freeze", all, func(h engine.Held) error { return h.(*held).freeze(ctx) })
}

// freeze takes the lock and notes the position.
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
					h.relax()
				}
				return fmt.Errorf("%s: %w", s, err)
			}
		}
		h.record.Frozen = time.Now().UTC()
		return h.record.note(ctx, c.conn)
	})
	return h.failure("Freeze", err)
}

// relax puts back what flush has changed, when that was left half done.
func (h *held) relax() {
	ctx, cancel := context.WithTimeout(context.Background(), killLimit)
	defer cancel()
	c, err := h.connect(ctx)
	if err == nil {
		err = c.do(ctx, flush[len(flush)-1])
		c.close()
	}
	if err != nil {
		h.Logger.Error("innodb_flush_log_at_trx_commit is 1 now, and was 0", "instance", h.Dir, "error", err)
	}
}

// Thaw implements engine.Held: it makes sure that the session is the one which took the lock, and gives the lock back.
func (h *held) Thaw(ctx context.Context) error {
	err := h.Ask(ctx, answerLimit, func(ctx context.Context, c *client) error {
		var id uint64
		if err := c.conn.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&id); err != nil {
			return err
		}
		if id != c.id {
			return fmt.Errorf("the session is number %d, the lock is that of %d", id, c.id)
		}
		if h.stages {
			return c.do(ctx, "BACKUP STAGE END")
		}
		return c.do(ctx, "UNLOCK TABLES")
	})
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return vss.E("Thaw", vss.ErrWriterErrorRetryable, fmt.Errorf("the lock wasn't held all the time: %w", err)).On(h.Dir).
			Advise("see the server's log for why it ended the session; wait ten minutes and try again, at most three times")
	}
	return err
}

// Release implements engine.Held: it ends the session, and with it the lock.
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

// note notes the position of the binary log, of a server that has one.
func (r *record) note(ctx context.Context, conn *sql.Conn) error {
	rows, err := conn.QueryContext(ctx, "SHOW MASTER STATUS")
	if numbered(err, 1064) { // MySQL from 8.4 on
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
	err = conn.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_binlog_pos, @@GLOBAL.gtid_current_pos").Scan(&r.GTID, &r.Current)
	if numbered(err, 1193) { // it is MySQL
		return nil
	}
	return err
}
