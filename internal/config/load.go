package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	op      = "LoadConfiguration"
	maxFile = 1 << 20 // bytes
)

// Load reads the file at path, or at DefaultPath if path is "". A missing file is an error (VSS_E_OBJECT_NOT_FOUND)
// unless path is "". An invalid file is E_INVALIDARG, with the line.
func Load(path string) (*Config, error) {
	named := path != "" && path != DefaultPath
	if path == "" {
		path = DefaultPath
	}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !named:
		return Default(), nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, vss.E(op, vss.ErrObjectNotFound, err).
			On(path).
			Advise("name an existing file with --config, or omit it")
	case errors.Is(err, fs.ErrPermission):
		return nil, vss.E(op, vss.ErrAccessDenied, err).On(path)
	case err != nil:
		return nil, vss.E(op, vss.ErrUnexpected, err).On(path)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, vss.E(op, vss.ErrUnexpected, err).On(path)
	}
	if len(text) > maxFile {
		return nil, vss.E(op, vss.ErrInvalidArg, errors.New("more than 1 MiB")).On(path)
	}
	c, err := Parse(text)
	if err != nil {
		return nil, vss.E(op, vss.ErrInvalidArg, err).On(path).Advise("see docs/vss.toml for all keys")
	}
	return c, nil
}

// Parse parses a configuration. Errors name line and key.
func Parse(text []byte) (*Config, error) {
	c := Default()
	meta, err := toml.Decode(string(text), c)
	if err != nil {
		return nil, err // toml names the line
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return nil, at(text, unknown[0], "unknown key")
	}
	if key, why := c.check(); why != "" {
		return nil, at(text, key, why)
	}
	return c, nil
}

// at returns an error with the line of a key: as toml doesn't keep it, the first line up to which the text has the
// key.
func at(text []byte, key toml.Key, why string) error {
	lines := bytes.SplitAfter(text, []byte("\n"))
	end := 0
	for i, l := range lines[:min(len(lines), 2000)] {
		end += len(l)
		var any map[string]any
		meta, err := toml.Decode(string(text[:end]), &any)
		if err == nil && slices.ContainsFunc(meta.Keys(), func(k toml.Key) bool { return slices.Equal(k, key) }) {
			return fmt.Errorf("line %d, key %s: %s", i+1, key, why)
		}
	}
	return fmt.Errorf("key %s: %s", key, why)
}

// check returns the first key with an invalid value, and the reason.
func (c *Config) check() (toml.Key, string) {
	if why := badName(c.Host.Name); why != "" {
		return toml.Key{"host", "name"}, why
	}
	for name, target := range c.Volumes {
		if name == "" || target == "" {
			return toml.Key{"volumes", name}, "a volume's name and its meaning must not be empty"
		}
	}
	if c.Letters.Root != "" && !filepath.IsAbs(c.Letters.Root) {
		return toml.Key{"letters", "root"}, "want an absolute path"
	}
	for key, paths := range map[string][]string{"writers.hooks": c.Writers.Hooks,
		"service.expose_roots": c.Service.ExposeRoots} {
		if slices.ContainsFunc(paths, func(p string) bool { return !filepath.IsAbs(p) }) {
			return strings.Split(key, "."), "want absolute paths"
		}
	}
	for name, p := range c.Writers.Policy {
		if name == "" || p != PolicyReport && p != PolicyRequire {
			return toml.Key{"writers", "policy", name}, `want a writer's name or class id = "report" or "require"`
		}
	}
	for key, d := range map[string]Duration{"identify": c.Writers.Limits.Identify,
		"prepare_snapshot": c.Writers.Limits.PrepareSnapshot, "work": c.Writers.Limits.Work} {
		if d.Duration <= 0 {
			return toml.Key{"writers", "limits", key}, "want more than 0s"
		}
	}
	for _, w := range []interface{ check() (toml.Key, string) }{&c.Writers.Postgres, &c.Writers.MariaDB,
		&c.Writers.Redis, &c.Writers.SQLite} {
		if key, why := w.check(); why != "" {
			return key, why
		}
	}
	for account, a := range c.Accounts {
		if a < AccessNone || a > AccessBoth {
			return toml.Key{"accounts", account}, "want 0 (neither), 1 (writer), 2 (requester) or 3 (both)"
		}
	}
	for section, accounts := range map[string][]string{"writers": c.Writers.Accounts,
		"providers": c.Providers.Accounts} {
		if slices.Contains(accounts, "") {
			return toml.Key{section, "accounts"}, "the name of an account must not be empty"
		}
	}
	if c.Service.IdleExit.Duration < 0 {
		return toml.Key{"service", "idle_exit"}, "must not be negative"
	}
	if d := c.Service.HoldLimit.Duration; d <= 0 || d > MaxHoldLimit {
		return toml.Key{"service", "hold_limit"}, "want more than 0s and at most 10s"
	}
	return c.Array.check()
}

func (a *Array) check() (toml.Key, string) {
	seen := map[string]bool{}
	for _, p := range a.Pools {
		vg, lv, thin := strings.Cut(p.Path, "/")
		why := ""
		switch {
		case badName(p.Name) != "":
			why = "name: " + badName(p.Name)
		case seen[p.Name]:
			why = "two pools have the name " + p.Name
		case p.Type != "reflink" && p.Type != "thin":
			why = `type: want "reflink" or "thin"`
		case p.Type == "reflink" && !filepath.IsAbs(p.Path):
			why = "path: want the absolute path of a folder for a reflink pool"
		case p.Type == "thin" && (!thin || vg == "" || lv == "" || strings.Contains(lv, "/")):
			why = "path: want VG/POOL for a thin pool"
		}
		if why != "" {
			return toml.Key{"array", "pools"}, why
		}
		seen[p.Name] = true
	}
	return nil, ""
}

func badName(s string) string {
	switch {
	case s == "" || len(s) > 253:
		return "want 1 to 253 bytes"
	case strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '/' || r == 0x7f || r == 0xfffd }):
		return "must not contain blanks, control characters or slashes"
	}
	return ""
}
