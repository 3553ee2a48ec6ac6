package writertest

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/stillpoint-vss/stillpoint/conformance"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// Served is a writer of this process behind a socket.
type Served struct {
	writer.Remote
	Path string
	// Stop ends the server, as the end of its process would: connections break. It returns when the writer's sessions
	// have ended.
	Stop func()
}

// Socket serves a writer at a unix socket and connects to it, until the test ends.
func Socket(t conformance.T, w writer.Writer) *Served {
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
func Serve(t conformance.T, folder, name string, w writer.Writer) (stop func()) {
	t.Helper()
	l, err := writer.Listen(folder, name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- writer.Serve(ctx, l, w, slog.New(slog.NewTextHandler(conformance.LogWriter(t), nil))) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}
