package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	saveLimit    = 10 * time.Minute       // for a dump or a rewrite to end. Source: writer's reference, time limits
	pollInterval = 100 * time.Millisecond // interval of checks whether it has ended
)

// held is a server between PrepareSnapshot and Thaw.
type held struct {
	*instance
	engine.Line[*client]
	record record
	tuned  bool // used only within Ask and HangUp
}

// Prepare implements engine.Instance. With an append-only file it suspends rewrites and waits for one in progress;
// otherwise it makes a dump.
func (i *instance) Prepare(ctx context.Context, _ engine.Backup) (engine.Held, error) {
	const op = "PrepareSnapshot"
	h := &held{instance: i}
	err := h.Begin(ctx, i.connect, saveLimit, func(ctx context.Context, c *client) error {
		l, info, err := c.ask(ctx)
		if err != nil {
			return err
		}
		h.record = record{
			Format:  recordFormat,
			Process: *i.Process,
			Layout:  *l,
			Name:    i.name,
			Server:  info["redis_version"],
			Run:     c.run,
		}
		h.record.begin(info["config_file"])
		if l.Appends {
			if err := i.tune(ctx, c); err != nil {
				return err
			}
			h.tuned = true
			return c.awaitRewrites(ctx)
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

// ask returns where the server's files are, and what it says about itself.
func (c *client) ask(ctx context.Context) (l *layout, info map[string]string, err error) {
	if l, err = c.layout(ctx); err == nil {
		info, err = c.info(ctx, "server")
	}
	return l, info, err
}

// awaitRewrites waits until no rewrite of the append-only file is in progress.
func (c *client) awaitRewrites(ctx context.Context) error {
	return c.until(ctx, func(p map[string]string) (bool, error) {
		return p["aof_rewrite_in_progress"] == "0" && p["aof_rewrite_scheduled"] == "0", nil
	})
}

// dump makes a dump and returns the time it represents. It waits for a dump in progress first, which may lack the last
// writes.
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
	for wait := true; wait; { // LASTSAVE is in seconds: a new dump shows only in a later second
		now, err := c.Time(ctx).Result()
		if err != nil {
			return from, err
		}
		if wait = now.Unix() <= before; wait {
			if err := server.Pause(ctx, pollInterval); err != nil {
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
			return false, errors.New("the server failed to write its dump")
		}
		last, err := c.LastSave(ctx).Result()
		return last > before, err
	})
}

// until polls the state of persistence until done returns true.
func (c *client) until(ctx context.Context, done func(persistence map[string]string) (bool, error)) error {
	for {
		p, err := c.info(ctx, "persistence")
		if err != nil {
			return err
		}
		if ok, err := done(p); ok || err != nil {
			return err
		}
		if err := server.Pause(ctx, pollInterval); err != nil {
			return err
		}
	}
}

// Freeze implements engine.Engine. Servers are independent of each other.
func (s *servers) Freeze(ctx context.Context, all []engine.Taken) engine.Failures {
	return engine.Each("Freeze", all, func(h engine.Held) error { return h.(*held).freeze(ctx) })
}

// freeze makes the server sync each write before it acknowledges it. When the server has answered, earlier writes are
// on disk, too.
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
				return vss.E("Freeze", vss.ErrWriterErrorRetryable,
					fmt.Errorf("the append-only file isn't up to date: enabled %s, last write %s", p["aof_enabled"],
						p["aof_last_write_status"])).
					On(h.name).
					Advise("see the server's log; its volume may be full")
			}
		}
		h.record.Frozen = time.Now().UTC()
		r, err := c.info(ctx, "replication")
		h.record.Replication, h.record.Offset = r["master_replid"], r["master_repl_offset"]
		return err
	})
	return h.failure("Freeze", err)
}

// Thaw implements engine.Held. It checks that the server is the same and has kept the settings.
func (h *held) Thaw(ctx context.Context) error {
	return h.failure("Thaw", h.Ask(ctx, answerLimit, func(ctx context.Context, c *client) error {
		info, err := c.info(ctx, "server")
		if err != nil {
			return err
		}
		if info["run_id"] != h.record.Run {
			return errors.New("the server was restarted meanwhile")
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
			return fmt.Errorf(
				"its settings were changed meanwhile, or a write failed: appendfsync %s, enabled %s, last write %s",
				now,
				p["aof_enabled"],
				p["aof_last_write_status"],
			)
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
			_ = h.untune() // untune logs errors
		}
	})
}

// Metadata implements engine.Held.
func (h *held) Metadata() (engine.Metadata, error) {
	return engine.NewMetadata(&h.record, h.record.stamp())
}

// begin records how to start the server again. The server overwrites its arguments with a title, so they come from its
// configuration file.
func (r *record) begin(config string) {
	r.Args, r.Config = nil, config
	if config != "" {
		r.Args = []string{config}
	}
}
