package sqlite

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
)

// empty creates a file that begins like a database in rollback mode.
func empty(t *testing.T, path string) string {
	t.Helper()
	if err := os.WriteFile(path, append([]byte(magic), make([]byte, headerSize)...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// With 200 databases, each of which has a transaction a quarter of the time, there is no moment at which all of them
// are free, but each is free many times a second (apps 14).
func TestManyBusyDatabases(t *testing.T) {
	dir := t.TempDir()
	var all []engine.Taken
	end := make(chan struct{})
	for i := range 200 {
		path := empty(t, filepath.Join(dir, strconv.Itoa(i)))
		h, err := (&database{path}).Prepare(t.Context(), engine.Backup{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(h.Release)
		all = append(all, engine.Taken{Name: path, Held: h})
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		client := &held{database: &database{path}, file: f}
		go func() {
			for n := 0; ; n++ {
				if client.lock(unix.F_WRLCK, reservedByte, 1) == nil {
					time.Sleep(20 * time.Millisecond)
					_ = client.lock(unix.F_UNLCK, reservedByte, 1)
				}
				select {
				case <-end:
					return
				case <-time.After(time.Duration(40+(i+n)%40) * time.Millisecond):
				}
			}
		}()
	}
	t.Cleanup(func() { close(end) })
	time.Sleep(200 * time.Millisecond)
	engine := &files{Config{LockWait: 5 * time.Second}}
	if failed := engine.Freeze(t.Context(), all); len(failed) > 0 {
		t.Fatal(failed.Err())
	}
	for _, one := range all {
		if err := one.Thaw(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// Brackets in the configured names of folders stand for themselves (apps 32).
func TestBrackets(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "app[1]")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	want := empty(t, filepath.Join(dir, "b.db"))
	f := &files{Config{Databases: []string{filepath.Join(dir, "*.db")}}}
	paths, left, err := f.paths(t.Context())
	if err != nil || len(left) > 0 || len(paths) != 1 || paths[0] != want {
		t.Errorf("found %q, left out %v, %v", paths, left, err)
	}
}

// A database whose path can't be the name of a component is named, not omitted silently (trust 4, apps 32).
func TestOddPath(t *testing.T) {
	path := empty(t, filepath.Join(t.TempDir(), `a\b.db`))
	_, left, err := (&files{Config{Databases: []string{filepath.Dir(path) + "/*.db"}}}).paths(t.Context())
	if err != nil || len(left) != 1 || left[0].Name != path {
		t.Errorf("left out %v, %v", left, err)
	}
}
