package redis

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	saveLimit = 10 * time.Minute       // for a dump or a rewrite to end. Source: writer's reference, time limits
	lookAgain = 100 * time.Millisecond // how often it is asked for
)

// held is a server from PrepareSnapshot to Thaw.
type held struct {
	*instance
	engine.Line[*client]
	record record
	tuned  bool // only while the line is asked, or hung up
}

// Prepare implements engine.Instance: it puts rewrites off and waits for the one under way, or has a dump made.
func (i *instance) Prepare(ctx context.Context, _ engine.Backup) (engine.Held, error) {
	const op = "PrepareSnapshot"
	h := &held{instance: i}
	c, err := i.connect(ctx)
	if err != nil {
		return nil, err
	}
	h.Open(c)
	err = h.Ask(ctx, saveLimit, func(ctx context.Context, c *client) error {
		l, err := c.layout(ctx)
		if err != nil {
			return err
		}
		info, err := c.info(ctx, "server")
		if err != nil {
			return err
		}
		h.record = record{Format: recordFormat, Process: *i.Process, Layout: *l, Name: i.name, Server: info["redis_version"], Run: c.run}
		h.record.begin(i, info["config_file"])
		if l.Appends {
			if err := i.tune(ctx, c); err != nil {
				return err
			}
			h.tuned = true
			return c.quiet(ctx)
		}
		h.record.Dumped, err = c.dump(ctx)
		return err
	})
	if err != nil {
		h.Release()
		return nil, i.failure(op, err)
	}
	return h, nil
}

// quiet waits until no rewrite of the append-only file is under way.
func (c *client) quiet(ctx context.Context) error {
	return c.until(ctx, func(p map[string]string) (bool, error) {
		return p["aof_rewrite_in_progress"] == "0" && p["aof_rewrite_scheduled"] == "0", nil
	})
}

// dump has a dump made and tells from when it is. One that is under way may have begun before what was last written: it is waited
// for.
func (c *client) dump(ctx context.Context) (from time.Time, err error) {
	none := func(p map[string]string) (bool, error) {
		return p["rdb_bgsave_in_progress"] == "0" && p["aof_rewrite_in_progress"] == "0", nil
	}
	if err := c.until(ctx, none); err != nil {
		return from, err
	}
	before, err := c.LastSave(ctx).Result()
	if err != nil {
		return from, err
	}
	for wait := true; wait; { // LASTSAVE is in seconds: one that has moved shows in the next one only
		now, err := c.Time(ctx).Result()
		if err != nil {
			return from, err
		}
		if wait = now.Unix() <= before; wait {
			if err := pause(ctx); err != nil {
				return from, err
			}
		}
	}
	from = time.Now().UTC()
	if err := c.BgSave(ctx).Err(); err != nil {
		return from, err
	}
	return from, c.until(ctx, func(p map[string]string) (bool, error) {
		if p["rdb_bgsave_in_progress"] != "0" {
			return false, nil
		}
		if p["rdb_last_bgsave_status"] != "ok" {
			return false, errors.New("the server couldn't write its dump")
		}
		last, err := c.LastSave(ctx).Result()
		return last > before, err
	})
}

// until asks for the state of what is on disk until done says so.
func (c *client) until(ctx context.Context, done func(persistence map[string]string) (bool, error)) error {
	for {
		p, err := c.info(ctx, "persistence")
		if err != nil {
			return err
		}
		if ok, err := done(p); ok || err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(lookAgain):
		return nil
	}
}

// Freeze implements engine.Engine: servers know nothing of each other.
func (s *servers) Freeze(ctx context.Context, all []engine.Taken) engine.Failures {
	return engine.Each("Freeze", all, func(h engine.Held) error { return h.(*held).freeze(ctx) })
}

// freeze has the server write at once what it acknowledges: when it has answered, what it held back before is on disk, too.
func (h *held) freeze(ctx context.Context) error {
	err := h.Ask(ctx, answerLimit, func(ctx context.Context, c *client) error {
		if h.record.Layout.Appends {
			if err := c.ConfigSet(ctx, setSync, always).Err(); err != nil {
				return err
			}
			p, err := c.info(ctx, "persistence")
			if err != nil {
				return err
			}
			if p["aof_last_write_status"] != "ok" || p["aof_enabled"] != "1" {
				return vss.E("Freeze", vss.ErrWriterErrorRetryable, fmt.Errorf("the append-only file isn't written: enabled %s, last write %s", p["aof_enabled"], p["aof_last_write_status"])).
					On(h.name).Advise("see the server's log; its volume may be full")
			}
		}
		h.record.Frozen = time.Now().UTC()
		r, err := c.info(ctx, "replication")
		h.record.Replication, h.record.Offset = r["master_replid"], r["master_repl_offset"]
		return err
	})
	return h.failure("Freeze", err)
}

// Thaw implements engine.Held: it makes sure that the server is the same and has kept to what was set.
func (h *held) Thaw(ctx context.Context) error {
	return h.failure("Thaw", h.Ask(ctx, answerLimit, func(ctx context.Context, c *client) error {
		info, err := c.info(ctx, "server")
		if err != nil {
			return err
		}
		if info["run_id"] != h.record.Run {
			return errors.New("the server was started anew meanwhile")
		}
		if !h.record.Layout.Appends {
			return nil
		}
		p, err := c.info(ctx, "persistence")
		if err != nil {
			return err
		}
		now, err := c.setting(ctx, setSync)
		if err != nil {
			return err
		}
		if now != always || p["aof_enabled"] != "1" || p["aof_last_write_status"] != "ok" {
			return fmt.Errorf("its settings were changed meanwhile, or it couldn't write: appendfsync %s, enabled %s, last write %s", now, p["aof_enabled"], p["aof_last_write_status"])
		}
		h.tuned = false
		return h.untune()
	}))
}

// Release implements engine.Held.
func (h *held) Release() {
	h.HangUp(func(c *client, _ bool) {
		c.close()
		if h.tuned {
			h.tuned = false
			_ = h.untune() // it has said so
		}
	})
}

// Metadata implements engine.Held.
func (h *held) Metadata() (engine.Metadata, error) {
	return engine.NewMetadata(&h.record, h.record.stamp())
}

// begin notes how to start the server again: it overwrites its arguments with a title, but knows its file of settings.
func (r *record) begin(i *instance, config string) {
	r.Args, r.Config = nil, config
	if config != "" {
		r.Args = []string{config}
	}
	for _, name := range programs { // one program under several names does what its name says
		if p := filepath.Join(filepath.Dir(i.Program), name); isProgram(p, i.Program) {
			r.Program = p
		}
	}
}
