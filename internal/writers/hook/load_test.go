package hook_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/internal/writers/hook"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func pidOf(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// alive says whether a process runs; one that was killed may take a moment, and a zombie doesn't count.
func alive(pid string) bool {
	for range 100 {
		b, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(b), ") Z ") {
			return false
		}
		time.Sleep(5 * time.Millisecond)
	}
	return true
}

func kill(t *testing.T, pid string) {
	n, err := strconv.Atoi(pid)
	if err == nil {
		err = syscall.Kill(n, syscall.SIGKILL)
	}
	if err != nil {
		t.Error(err)
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		code  vss.Code
		says  string
	}{
		{"no id", map[string]string{"writer.toml": `name = "x"`}, vss.ErrInvalidArg, "id"},
		{"bad id", map[string]string{"writer.toml": "id = \"7\"\nname = \"x\""}, vss.ErrInvalidArg, "id"},
		{"no name", map[string]string{"writer.toml": `id = "` + id + `"`}, vss.ErrInvalidArg, "name"},
		{"unknown key", map[string]string{"writer.toml": manifest("levle = 1")}, vss.ErrInvalidArg, "levle"},
		{"no TOML", map[string]string{"writer.toml": manifest("[")}, vss.ErrInvalidArg, "line"},
		{"level", map[string]string{"writer.toml": manifest(`level = "top"`)}, vss.ErrInvalidArg, "level"},
		{"limit", map[string]string{"writer.toml": manifest(`freeze_limit = "2m"`)}, vss.ErrInvalidArg, "freeze_limit"},
		{"style", map[string]string{"writer.toml": manifest(`style = "own"`)}, vss.ErrInvalidArg, "style"},
		{"policy", map[string]string{"writer.toml": manifest(`on_failure = "retry"`)}, vss.ErrInvalidArg, "on_failure"},
		{"key of another style", map[string]string{"writer.toml": manifest(`script = "/bin/true"`)}, vss.ErrInvalidArg,
			"script"},
		{"relative path", map[string]string{"writer.toml": manifest(`paths = ["data"]`)}, vss.ErrInvalidArg, "data"},
		{"no script", map[string]string{"writer.toml": manifest(`style = "fsfreeze-hook"`)}, vss.ErrObjectNotFound,
			"fsfreeze-hook"},
		{"no post", map[string]string{"writer.toml": manifest(`style = "pre-post"`), "pre": script("exit 0")},
			vss.ErrObjectNotFound, "post"},
		{"large", map[string]string{"writer.toml": manifest(strings.Repeat("#", 1<<20))}, vss.ErrInvalidArg,
			"more than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			refused(t, folder(t, tc.files), tc.code, tc.says)
		})
	}
	refused(t, "/nowhere/hooks", vss.ErrObjectNotFound, "/nowhere/hooks")
}

func refused(t *testing.T, dir string, code vss.Code, says string) {
	t.Helper()
	all, errs := hook.Load([]string{dir}, t.TempDir(), slog.New(slog.DiscardHandler))
	if len(all) != 0 || len(errs) != 1 || vss.CodeOf(errs[0]) != code || !strings.Contains(errs[0].Error(), says) ||
		vss.Hint(errs[0]) == "" {
		t.Errorf("%d writers, %v; want %s about %s", len(all), errs, code.Name(), says)
	}
}

// What others could change is not run.
func TestLoadUnsafe(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string) error{
		"others may write to the script": func(_ *testing.T,
			dir string) error {
			return os.Chmod(filepath.Join(dir, "freeze"), 0o777)
		},
		"the group may": func(_ *testing.T,
			dir string) error {
			return os.Chmod(filepath.Join(dir, "freeze"), 0o775)
		},
		"others may write to writer.toml": func(_ *testing.T,
			dir string) error {
			return os.Chmod(filepath.Join(dir, "writer.toml"), 0o666)
		},
		"others may write to the folder": func(_ *testing.T, dir string) error { return os.Chmod(dir, 0o777) },
		"a sticky folder doesn't suffice there": func(_ *testing.T,
			dir string) error {
			return os.Chmod(dir, 0o777|os.ModeSticky)
		},
		"others may write to a folder above": func(_ *testing.T,
			dir string) error {
			return os.Chmod(filepath.Dir(dir), 0o777)
		},
		"a link to where others may write": func(t *testing.T, dir string) error {
			other := t.TempDir()
			if err := os.Chmod(other, 0o777); err != nil {
				return err
			}
			target := filepath.Join(other, "freeze")
			if err := os.WriteFile(target, []byte(script("exit 0")), 0o755); err != nil {
				return err
			}
			if err := os.Remove(filepath.Join(dir, "freeze")); err != nil {
				return err
			}
			return os.Symlink(target, filepath.Join(dir, "freeze"))
		},
		"another account's script": func(t *testing.T, dir string) error {
			lane.Host(t) // root alone can give files away
			return os.Chown(filepath.Join(dir, "freeze"), 65534, -1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t, map[string]string{"writer.toml": manifest(""), "freeze": script("exit 0")})
			load(t, dir, t.TempDir())
			if err := spoil(t, dir); err != nil {
				t.Fatal(err)
			}
			refused(t, dir, vss.ErrAccessDenied, "LoadHook")
		})
	}
	t.Run("not executable", func(t *testing.T) {
		dir := folder(t, map[string]string{"writer.toml": manifest(""), "freeze": script("exit 0")})
		if err := os.Chmod(filepath.Join(dir, "freeze"), 0o644); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, vss.ErrInvalidArg, "executable")
	})
}

// A folder of folders: what is wrong with one doesn't matter to the others.
func TestLoadFolders(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a": manifest(""), "b": "broken", "c": strings.Replace(manifest(""), "10}", "11}", 1), "d": manifest(""),
		"e": manifest(`instance_name = "second"`),
	} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "writer.toml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "README"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	all, errs := hook.Load([]string{dir}, t.TempDir(), slog.New(slog.DiscardHandler))
	if len(all) != 3 || len(errs) != 2 || vss.CodeOf(errs[0]) != vss.ErrInvalidArg ||
		vss.CodeOf(errs[1]) != vss.ErrObjectAlreadyExists {
		t.Errorf("%d writers, %v", len(all), errs)
	}
}
