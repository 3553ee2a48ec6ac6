package writertest

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stillpoint-vss/stillpoint/writer"
)

// Served is a writer behind a socket, in this process.
type Served struct {
	writer.Remote
	Path string
	// Stop ends what serves, as the end of its process would: connections break. It returns when the writer has been told
	// the end of its sessions.
	Stop func()
}

// Socket serves a writer at a unix socket and connects to it, until the test ends.
func Socket(t *testing.T, w writer.Writer) *Served {
	t.Helper()
	dir, err := os.MkdirTemp("", "vss-writer-") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	stop := Serve(t, dir, "w", w)
	path := filepath.Join(dir, "w.sock")
	c, err := writer.Connect(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &Served{c, path, stop}
}

// Serve serves a writer at folder/name.sock until stop is called or the test ends.
func Serve(t *testing.T, folder, name string, w writer.Writer) (stop func()) {
	t.Helper()
	l, err := writer.Listen(folder, name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- writer.Serve(ctx, l, w, slog.New(slog.NewTextHandler(t.Output(), nil))) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}
