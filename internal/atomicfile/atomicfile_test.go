package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// want checks a file's content and permissions, and that it is the only one in its folder.
func want(t *testing.T, path, content string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil || string(b) != content {
		t.Errorf("%s: %q, %v; want %q", path, b, err, content)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o600 {
		t.Errorf("%s: %v, %v", path, fi, err)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("the folder has %v, %v", entries, err)
	}
}

func TestWrite(t *testing.T) {
	for name, write := range map[string]func(string, []byte) error{"write": Write, "one": WriteOne,
		"replace": Replace} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			must(t, write(path, []byte("first")))
			must(t, os.WriteFile(path+Suffix, []byte("left by a crash, and longer"), 0o600))
			must(t, write(path, []byte("second")))
			want(t, path, "second")
			other := filepath.Join(t.TempDir(), "other")
			must(t, os.Symlink(other, path+Suffix))
			if err := write(path, []byte("third")); err == nil {
				t.Error("a symbolic link was followed")
			}
			must(t, os.Remove(path+Suffix))
			want(t, path, "second")
			if _, err := os.Stat(other); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("written through a link: %v", err)
			}
			if err := write(filepath.Join(path, "below"), nil); err == nil {
				t.Error("written below a file")
			}
		})
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	f, err := Create(path)
	must(t, err)
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("there before it is saved: %v", err)
	}
	must(t, f.Save([]byte("first")))
	f.Discard()
	want(t, path, "first")
	f, err = Create(path)
	must(t, err)
	f.Discard()
	want(t, path, "first")
	if err := f.Save([]byte("late")); err == nil {
		t.Error("saved what was discarded")
	}
	if _, err := Create(filepath.Join(path, "below")); err == nil {
		t.Error("created below a file")
	}
}
