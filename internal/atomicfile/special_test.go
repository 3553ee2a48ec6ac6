package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSpecialFiles: what isn't a regular file is written into and never replaced, and a pipe without a reader is an
// error at once (trust 7).
func TestSpecialFiles(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	must(t, unix.Mkfifo(pipe, 0o600))
	if _, err := Create(pipe); !errors.Is(err, unix.ENXIO) {
		t.Errorf("a pipe without a reader: %v", err)
	}
	reader, err := os.OpenFile(pipe, os.O_RDONLY|unix.O_NONBLOCK, 0)
	must(t, err)
	defer reader.Close()
	for _, path := range []string{pipe, "/dev/null"} {
		before, err := os.Stat(path)
		must(t, err)
		f, err := Create(path)
		must(t, err)
		must(t, f.Save([]byte("text")))
		f.Discard()
		after, err := os.Stat(path)
		if err != nil || !os.SameFile(before, after) || after.Mode() != before.Mode() {
			t.Errorf("%s was replaced: %v, %v", path, after.Mode(), err)
		}
	}
	b := make([]byte, 10)
	if n, err := reader.Read(b); err != nil || string(b[:n]) != "text" {
		t.Errorf("the pipe's reader got %q, %v", b[:n], err)
	}
}
