package redis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// Settings that are changed, with their new values.
const (
	setRewrite, never = "auto-aof-rewrite-percentage", "0" // from PrepareSnapshot on
	setSync, always   = "appendfsync", "always"            // from Freeze on
)

const undoLimit = 2 * time.Second // for a server to restore its settings

// key identifies one run of one server.
type key struct {
	PID     int    `json:"pid"`
	Started uint64 `json:"started"`
}

// tuning holds the former settings of a server. Several sessions may use it at once; the last one restores the
// settings.
type tuning struct {
	key
	Rewrite string `json:"rewrite"`
	Sync    string `json:"sync"`
	users   int
}

func (s *servers) mark(k key) string {
	return filepath.Join(s.Marks, fmt.Sprintf("%d.%d.settings", k.PID, k.Started))
}

func (i *instance) key() key { return key{i.PID, i.Started} }

// tune records the settings of a server in a file that lasts as long as the machine runs, and suspends rewrites.
func (i *instance) tune(ctx context.Context, c *client) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	t := i.tuned[i.key()]
	if t == nil {
		var err error
		if t, err = i.note(ctx, c); err != nil {
			return err
		}
		i.tuned[i.key()] = t
	}
	t.users++
	if err := c.ConfigSet(ctx, setRewrite, never).Err(); err != nil {
		return errors.Join(err, i.done(t))
	}
	return nil
}

// note records the settings in a file. A file that exists was left by a process that was killed, and has the former
// settings.
func (i *instance) note(ctx context.Context, c *client) (*tuning, error) {
	if t, err := readMark(i.mark(i.key())); err == nil && t.key == i.key() {
		return t, nil
	}
	t := &tuning{key: i.key()}
	var err error
	if t.Rewrite, err = c.setting(ctx, setRewrite); err != nil {
		return nil, err
	}
	if t.Sync, err = c.setting(ctx, setSync); err != nil {
		return nil, err
	}
	text, err := json.Marshal(t)
	if err == nil {
		err = os.MkdirAll(i.Marks, 0o700)
	}
	if err == nil {
		err = os.WriteFile(i.mark(t.key), text, 0o600)
	}
	if err != nil {
		return nil, vss.E("PrepareSnapshot", vss.ErrWriterErrorRetryable, err).On(i.name).
			Advise("the former settings must be recorded before they are changed; make the file writable")
	}
	return t, nil
}

func readMark(path string) (*tuning, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t := &tuning{}
	return t, json.Unmarshal(text, t)
}

// untune ends one use of the changed settings, and restores them after the last one.
func (i *instance) untune() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if t := i.tuned[i.key()]; t != nil {
		return i.done(t)
	}
	return nil
}

// done is untune with the lock held.
func (i *instance) done(t *tuning) error {
	if t.users--; t.users > 0 {
		return nil
	}
	delete(i.tuned, t.key)
	return i.putBack(t)
}

// putBack restores a server's settings where they still have the changed values: an administrator may have chosen
// others. On failure the file stays, for the next start. It uses a connection of its own, since the session's may
// hang.
func (i *instance) putBack(t *tuning) error {
	ctx, cancel := context.WithTimeout(context.Background(), undoLimit)
	defer cancel()
	err := func() error {
		if !i.Runs() {
			return nil // a restarted server has the settings of its configuration file
		}
		c, err := i.connect(ctx)
		if err != nil {
			return err
		}
		defer c.close()
		var errs []error
		for _, s := range []struct{ name, set, was string }{{setSync, always, t.Sync}, {setRewrite, never, t.Rewrite}} {
			now, err := c.setting(ctx, s.name)
			if err == nil && now == s.set && s.was != s.set {
				err = c.ConfigSet(ctx, s.name, s.was).Err()
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}()
	if err != nil {
		i.Logger.Error(
			"settings of a server remain changed until the next start of this writer",
			"server",
			i.name,
			"error",
			err,
		)
		return err
	}
	if err := os.Remove(i.mark(t.key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		i.Logger.Error("can't remove a file of former settings", "server", i.name, "error", err)
	}
	return nil
}

// recover restores the settings that a killed process left changed.
func (s *servers) recover() {
	marks, _ := filepath.Glob(filepath.Join(s.Marks, "*.settings")) // the pattern is well-formed
	if len(marks) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), undoLimit)
	defer cancel()
	all, _, err := s.running(ctx)
	if err != nil {
		s.Logger.Error("settings of servers may remain changed", "error", err)
		return
	}
	for _, path := range marks {
		t, err := readMark(path)
		if err != nil {
			s.Logger.Error("can't read a file of former settings", "file", path, "error", err)
			continue
		}
		found := false
		for _, i := range all {
			if i.key() == t.key {
				found = true
				s.Logger.Warn(
					"an earlier service was killed while the settings of a server were changed; restoring them",
					"server",
					i.name,
				)
				_ = i.putBack(t) // it logs errors
			}
		}
		if !found {
			_ = os.Remove(path) // the server has ended, and its settings with it
		}
	}
}
