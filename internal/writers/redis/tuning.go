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

// Settings that are changed, and to what.
const (
	setRewrite, never = "auto-aof-rewrite-percentage", "0" // from PrepareSnapshot on
	setSync, always   = "appendfsync", "always"            // from Freeze on
)

const undoLimit = 2 * time.Second // for a server to take its settings back

// key is one run of one server.
type key struct {
	PID     int    `json:"pid"`
	Started uint64 `json:"started"`
}

// tuning is what the settings of a server were. Several sessions may want them changed at once; the last one puts them back.
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

// tune notes the settings of a server, durably as long as the machine runs, and puts rewrites off.
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

// note writes down what the settings are. A note that is there is of a process that was killed: it tells what they were before.
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
			Advise("without a note of what the server's settings were they aren't changed; see why it can't be written")
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

// untune gives the settings up, and puts them back for the last one who wanted them.
func (i *instance) untune() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if t := i.tuned[i.key()]; t != nil {
		return i.done(t)
	}
	return nil
}

// done is untune while the lock is held.
func (i *instance) done(t *tuning) error {
	if t.users--; t.users > 0 {
		return nil
	}
	delete(i.tuned, t.key)
	return i.putBack(t)
}

// putBack puts a server's settings back, where they are still those that were set: an administrator may have chosen others. The
// note stays where that fails, for the next start. It uses a connection of its own, since the session's may hang.
func (i *instance) putBack(t *tuning) error {
	ctx, cancel := context.WithTimeout(context.Background(), undoLimit)
	defer cancel()
	err := func() error {
		if !i.Runs() {
			return nil // the next one begins with the settings of its file
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
		i.Logger.Error("settings of a server are still changed; the next start of this writer puts them back", "server", i.name, "error", err)
		return err
	}
	if err := os.Remove(i.mark(t.key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		i.Logger.Error("a note of settings can't be removed", "server", i.name, "error", err)
	}
	return nil
}

// recover puts back what a process that was killed has left changed.
func (s *servers) recover() {
	marks, _ := filepath.Glob(filepath.Join(s.Marks, "*.settings")) // the pattern is well formed
	if len(marks) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), undoLimit)
	defer cancel()
	all, err := s.running(ctx)
	if err != nil {
		s.Logger.Error("settings of servers may still be changed", "error", err)
		return
	}
	for _, path := range marks {
		t, err := readMark(path)
		if err != nil {
			s.Logger.Error("a note of settings can't be read", "note", path, "error", err)
			continue
		}
		found := false
		for _, i := range all {
			if i.key() == t.key {
				found = true
				s.Logger.Warn("an earlier service was killed while the settings of a server were changed; they are put back", "server", i.name)
				_ = i.putBack(t) // it has said so
			}
		}
		if !found {
			_ = os.Remove(path) // the server has ended, and its settings with it
		}
	}
}
