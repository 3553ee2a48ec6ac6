package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/vss"
)

func TestSample(t *testing.T) {
	got, err := Load("../../docs/vss.toml")
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Host: Host{Name: "db1"},
		Volumes: map[string]string{
			"C:": "/srv/data",
			`\\?\Volume{3f1b0c2e-0000-0000-0000-100000000000}\`: "/dev/vg0/log",
		},
		Letters: Letters{Root: "/run/vss/letters"},
		Writers: Writers{
			Hooks: []string{
				"/etc/vss/writers.d",
			}, Policy: map[string]Policy{"PostgreSQL Writer": PolicyRequire,
				"{6f1f6b52-5c0e-4a3c-9a86-2f0f8a0a7d11}": PolicyReport},
			Limits: Limits{
				Identify:        Duration{time.Minute},
				PrepareSnapshot: Duration{10 * time.Minute},
				Work:            Duration{15 * time.Minute},
			},
			Accounts: []string{"appuser"},
			Postgres: Postgres{
				Clusters: []string{"15/main", "/srv/db"},
				Connections: map[string]string{
					"15/main": "host=/run/postgresql user=vss dbname=postgres passfile=/etc/vss/postgres.pass",
				},
				HoldWAL: true,
			},
			MariaDB: MariaDB{
				Servers: []string{
					"/var/lib/mysql",
				}, LockWait: Duration{10 * time.Second},
				Defaults: map[string]string{"/var/lib/mysql": "/etc/vss/mariadb.cnf"},
			},
			Redis: Redis{
				Servers:     []string{"/var/lib/redis"},
				Credentials: map[string]string{"/var/lib/redis": "/etc/vss/redis.toml"},
			},
			SQLite: SQLite{Databases: []string{"/var/lib/app/*.db"}, LockWait: Duration{10 * time.Second}},
		},
		Providers: Providers{Accounts: []string{"vss-provider"}},
		Accounts:  map[string]Access{"postgres": AccessWriter, "bareos": AccessRequester},
		Service: Service{
			ExposeRoots: []string{
				"/run/vss/exposed",
			}, IdleExit: Duration{10 * time.Second}, HoldLimit: Duration{10 * time.Second}, Group: "backup",
		},
		Array: Array{Pools: []Pool{{Name: "fast", Type: "reflink", Path: "/srv/pool"}}, LowWater: 2 << 30},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// The sample has every key that there is.
func TestSampleIsComplete(t *testing.T) {
	text, err := os.ReadFile("../../docs/vss.toml")
	if err != nil {
		t.Fatal(err)
	}
	var walk func(reflect.Type)
	walk = func(s reflect.Type) {
		for i := range s.NumField() {
			f := s.Field(i)
			key := f.Tag.Get("toml")
			if key == "" {
				continue
			}
			if !strings.Contains(string(text), "\n"+key+" = ") && !strings.Contains(string(text), "["+key+"]") &&
				!strings.Contains(string(text), "."+key+"]") {
				t.Errorf("the sample lacks %s", key)
			}
			switch f.Type.Kind() {
			case reflect.Struct:
				walk(f.Type)
			case reflect.Slice:
				if f.Type.Elem().Kind() == reflect.Struct {
					walk(f.Type.Elem())
				}
			}
		}
	}
	walk(reflect.TypeFor[Config]())
}

func TestDefaults(t *testing.T) {
	c, err := Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(Default(), c); d != "" {
		t.Error(d)
	}
	name, _ := os.Hostname()
	if c.Host.Name != name || c.Service.Group != "backup" || c.Service.HoldLimit.Duration != 10*time.Second ||
		c.Service.IdleExit.Duration != 10*time.Second {
		t.Errorf("%+v", c)
	}
	if got := c.ExposeRoots("/run/x"); !cmp.Equal(got, []string{"/run/x/exposed"}) {
		t.Error(got)
	}
	if got := c.LettersRoot("/run/x"); got != "/run/x/letters" {
		t.Error(got)
	}
	c.Service.ExposeRoots, c.Letters.Root = []string{"/a", "/b"}, "/l"
	if got := c.ExposeRoots("/run/x"); !cmp.Equal(got, []string{"/a", "/b"}) {
		t.Error(got)
	}
	if got := c.LettersRoot("/run/x"); got != "/l" {
		t.Error(got)
	}
}

func TestRequired(t *testing.T) {
	c, err := Parse([]byte("[writers.policy]\nb = \"require\"\nc = \"report\"\na = \"require\"\n"))
	if err != nil || !cmp.Equal(c.Writers.Required(), []string{"a", "b"}) {
		t.Errorf("%v, %v", c.Writers.Required(), err)
	}
}

// A key that is given leaves the other defaults alone.
func TestPartial(t *testing.T) {
	c, err := Parse([]byte("[service]\nidle_exit = \"1m30s\"\n[array]\nlow_water = 4096\n"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Service.IdleExit.Duration != 90*time.Second || c.Service.Group != "backup" ||
		c.Service.HoldLimit.Duration != 10*time.Second ||
		c.Array.LowWater != 4096 {
		t.Errorf("%+v", c)
	}
}

func TestMistakes(t *testing.T) {
	for _, tc := range []struct{ name, text, line, says string }{
		{"unknown key", "[host]\nname = \"a\"\n\n[service]\ngroup = \"g\"\nholdlimit = \"2s\"\n", "line 6",
			"service.holdlimit"},
		{"unknown section", "# c\n[servcie]\ngroup = \"g\"\n", "line 2", "servcie"},
		{"unknown key in a pool", "[[array.pools]]\nname = \"a\"\ntype = \"reflink\"\npath = \"/p\"\nsize = 3\n",
			"line 5", "array.pools.size"},
		{"syntax", "[host]\nname = \n", "line 2", "expected value"},
		{"same key twice", "[host]\nname = \"a\"\nname = \"b\"\n", "line 3", "name"},
		{"wrong type", "[host]\nname = 5\n", "", "host.name"},
		{"duration without unit", "[service]\nhold_limit = 5\n", "line 2", "missing unit"},
		{"a lock wait that is too long", "[writers.mariadb]\nlock_wait = \"31s\"\n", "line 2", "1s to 30s"},
		{"a pattern that is none", "[writers.sqlite]\ndatabases = [\"/a/[\"]\n", "line 2", "syntax error"},
		{"a relative database", "[writers.sqlite]\ndatabases = [\"a.db\"]\n", "line 2", "absolute"},
		{"a relative password file", "[writers.redis.credentials]\n\"/var/lib/redis\" = \"redis.toml\"\n", "line 2",
			"absolute"},
		{"hold limit 0", "[service]\nhold_limit = \"0s\"\n", "line 2", "at most 10s"},
		{"hold limit too long", "\n[service]\nhold_limit = \"10.001s\"\n", "line 3", "at most 10s"},
		{"negative idle time", "[service]\nidle_exit = \"-1s\"\n", "line 2", "negative"},
		{"relative expose root", "[service]\nexpose_roots = [\n \"/a\",\n \"b\",\n]\n", "line 5", "absolute"},
		{"relative hook", "[writers]\nhooks = [\"a\"]\n", "line 2", "absolute"},
		{"relative letters", "[letters]\nroot = \"a\"\n", "line 2", "absolute"},
		{"policy", "[writers.policy]\nMariaDB = \"perhaps\"\n", "line 2", "require"},
		{"no limit", "[writers.limits]\nwork = \"0s\"\n", "line 2", "more than 0s"},
		{"connection with a password",
			"[writers.postgres.connections]\n\"15/main\" = \"host=/run PassWord = secret\"\n", "line 2", "passfile"},
		{"password in a URI", "[writers.postgres.connections]\n\"15/main\" = \"postgres://u:secret@/postgres\"\n",
			"line 2", "passfile"},
		{"a URI with a port that is none",
			"[writers.postgres.connections]\n\"15/main\" = \"postgres://u:secret@h:x/postgres\"\n", "line 2",
			"invalid URL"},
		{"empty connection", "[writers.postgres.connections]\n\"15/main\" = \"\"\n", "line 2", "connection string"},
		{"cluster without a name", "[writers.postgres]\nclusters = [\"\"]\n", "line 2", "name"},
		{"access", "[accounts]\npostgres = 4\n", "line 2", "accounts.postgres"},
		{"negative access", "[accounts]\npostgres = -1\n", "line 2", "accounts.postgres"},
		{"no account", "[providers]\naccounts = [\"\"]\n", "line 2", "name"},
		{"host with a blank", "[host]\nname = \"a b\"\n", "line 2", "blanks"},
		{"no host", "[host]\nname = \"\"\n", "line 2", "253"},
		{"empty volume", "[volumes]\n\"C:\" = \"\"\n", "line 2", "empty"},
		{"pool twice",
			"[array]\npools = [{name=\"a\",type=\"reflink\",path=\"/a\"},{name=\"a\",type=\"reflink\",path=\"/b\"}]\n",
			"line 2", "two pools"},
		{"pool type", "[array]\npools = [{name=\"a\",type=\"zfs\",path=\"/a\"}]\n", "line 2", "reflink"},
		{"pool path", "[array]\npools = [{name=\"a\",type=\"reflink\",path=\"a\"}]\n", "line 2", "folder"},
		{"thin path", "[array]\npools = [{name=\"a\",type=\"thin\",path=\"/dev/vg/pool\"}]\n", "line 2", "VG/POOL"},
		{"size", "[array]\nlow_water = \"2X\"\n", "line 2", "2X"},
		{"negative size", "[array]\nlow_water = -1\n", "line 2", "negative"},
		{"size by a fraction", "[array]\nlow_water = 1.5\n", "line 2", "2G"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "vss.toml")
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Load(path)
			if !errors.Is(err, vss.ErrInvalidArg) {
				t.Fatalf("got %v, want E_INVALIDARG", err)
			}
			if !strings.Contains(err.Error(), tc.line) || !strings.Contains(err.Error(), tc.says) ||
				!strings.Contains(err.Error(), path) {
				t.Errorf("%q lacks %q or %q", err, tc.line, tc.says)
			}
		})
	}
}

func TestMissingFile(t *testing.T) {
	if _, err := Load(filepath.Join(t.TempDir(), "none.toml")); !errors.Is(err, vss.ErrObjectNotFound) ||
		vss.Hint(err) == "" {
		t.Errorf("an explicit file: %v", err)
	}
	if _, err := os.Stat(DefaultPath); err == nil {
		t.Logf("%s exists here; its absence can't be tried", DefaultPath)
		return
	}
	for _, path := range []string{"", DefaultPath} {
		c, err := Load(path)
		if err != nil || !cmp.Equal(c, Default()) {
			t.Errorf("%q: %v, %v", path, c, err)
		}
	}
}

func TestTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vss.toml")
	if err := os.WriteFile(path, []byte(strings.Repeat("# long\n", 200_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); !errors.Is(err, vss.ErrInvalidArg) {
		t.Error(err)
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "512": 512, "512B": 512, "1K": 1024, "1k": 1024, "3KiB": 3072, "3KB": 3072, "512M": 512 << 20,
		"2G": 2 << 30, "2GiB": 2 << 30,
		" 2 G ": 2 << 30, "4T": 4 << 40, "1P": 1 << 50, "9223372036854775807": 1<<63 - 1,
		"": -1, "G": -1, "-1": -1, "+1": -1, "2X": -1, "1.5G": -1, "5iB": -1, "2GG": -1, "0x10": -1, "8192P": -1,
		"9223372036854775808": -1, "B": -1,
	} {
		got, err := ParseSize(text)
		switch {
		case want < 0 && !errors.Is(err, vss.ErrInvalidArg):
			t.Errorf("%q: got %d, %v; want E_INVALIDARG", text, got, err)
		case want >= 0 && (err != nil || got != want):
			t.Errorf("%q: got %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestAccess(t *testing.T) {
	c, err := Parse([]byte("[accounts]\na = 0\nb = 1\nc = 2\nd = 3\n"))
	if err != nil {
		t.Fatal(err)
	}
	for account, want := range map[string][2]bool{
		"a": {false, false}, "b": {true, false}, "c": {false, true}, "d": {true, true}, "root": {true, true},
		"x": {false, false},
	} {
		if a := c.AccessOf(account); a.Writer() != want[0] || a.Requester() != want[1] {
			t.Errorf("%s: %d", account, a)
		}
	}
	c.Accounts["root"] = AccessNone
	if a := c.AccessOf("root"); a != AccessNone {
		t.Errorf("an explicit 0 must shut out root, got %d", a)
	}
}

// FuzzParse: any text is an error or a valid configuration.
func FuzzParse(f *testing.F) {
	sample, err := os.ReadFile("../../docs/vss.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	f.Add([]byte("[service]\nhold_limit = \"3s\"\n"))
	f.Add([]byte("[array]\npools = [{name=\"a\"}]\nlow_water = \"1K\"\n"))
	f.Add([]byte("[writers.postgres.connections]\na = \"postgres://h:x\"\n"))
	f.Add([]byte("[accounts]\na = 3\n\"\" = 1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse(text)
		if err != nil {
			return
		}
		if d := c.Service.HoldLimit.Duration; d <= 0 || d > MaxHoldLimit || c.Array.LowWater < 0 || c.Host.Name == "" {
			t.Errorf("%+v", c)
		}
	})
}
