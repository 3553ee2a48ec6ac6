package postgres

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// dataFolder creates a data directory with some of its folders, and returns its cluster.
func dataFolder(t *testing.T) *Cluster {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"base", "global", "pg_wal", "pg_tblspc"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return &Cluster{Name: "test", Data: dir, Major: "15"}
}

func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
}

// Links in the data directory to logs, keys and nowhere aren't data that a copy needs (apps 03); a tablespace that was
// lost with a RAM disk doesn't matter to a server that runs (apps 04).
func TestLinks(t *testing.T) {
	c, elsewhere := dataFolder(t), t.TempDir()
	key := filepath.Join(elsewhere, "server.key")
	if err := os.WriteFile(key, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link(t, elsewhere, filepath.Join(c.Data, "log"))
	link(t, key, filepath.Join(c.Data, "server.key"))
	link(t, "/nowhere/at/all", filepath.Join(c.Data, "old.conf"))
	link(t, "/nowhere/ram", filepath.Join(c.Data, "pg_tblspc", "16384"))
	l, err := c.layout()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range l.needed() {
		if !within(path, c.Data) {
			t.Errorf("a copy needs %s", path)
		}
	}
	sets, err := l.fileSets()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, s := range sets {
		if s.Path == elsewhere {
			found = s.FileSpec == "server.key" && s.Mask == vss.AllBackupRequired
		}
	}
	if !found {
		t.Errorf("the key isn't saved from its place: %+v", sets)
	}
	if err := os.Remove(filepath.Join(c.Data, "base")); err != nil {
		t.Fatal(err)
	}
	link(t, elsewhere, filepath.Join(c.Data, "base"))
	if l, err = c.layout(); err != nil || !slices.Contains(l.needed(), elsewhere) {
		t.Errorf("a folder of data that is a link isn't needed: %v", err)
	}
}

// A file that steers the start of a server on the copy is a failure that names it (apps 05).
func TestSteeringFiles(t *testing.T) {
	c := dataFolder(t)
	if err := c.checkStartable(false); err != nil {
		t.Fatal(err)
	}
	for _, name := range steering {
		path := filepath.Join(c.Data, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		err := c.checkStartable(false)
		if !errors.Is(err, vss.ErrWriterErrorNonRetryable) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if err := c.checkStartable(true); (err == nil) != (name != "backup_label") {
			t.Errorf("%s of a standby: %v", name, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}
