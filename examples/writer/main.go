// Command writer is a complete writer of an application that keeps notes in one folder: while it is frozen it writes
// none. Run it as root: writer --sockets /run/vss/writers --data /srv/notes
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// notes is the application and its writer in one. Base has the handlers that it needn't care for.
type notes struct {
	writer.Base
	folder string
	mu     sync.RWMutex           // held for reading while a note is written
	frozen map[vss.SessionID]bool // no note is written while anybody is in here
}

// Info returns the writer's identity. Its class must not change; create one with uuidgen.
func (n *notes) Info(context.Context) (writer.Info, error) {
	class := vss.WriterID{GUID: vss.MustGUID("{6f1f6b52-5c0e-4a3c-9a86-2f0f8a0a7d11}")}
	return writer.Info{ID: class, Name: "Notes", Usage: vss.UsageUserData, Source: vss.SourceOther,
		FreezeTimeout: 20 * time.Second}, nil
}

// Identify says which files belong together, and how they are restored.
func (n *notes) Identify(context.Context) (*document.WriterMetadata, error) {
	files := []document.FileSet{{Path: n.folder, FileSpec: "*.txt"}}
	return &document.WriterMetadata{
		RestoreMethod: &document.RestoreMethod{Method: vss.RestoreIfCanReplace, WriterRestore: vss.WriterRestoreNever},
		Components: []document.WMComponent{{Type: vss.ComponentFileGroup, Name: "notes", Selectable: true,
			Files: files}},
	}, nil
}

// PrepareSnapshot is for slow work: a checkpoint, a flush. Notes have none.
func (n *notes) PrepareSnapshot(context.Context, *writer.Event) error { return nil }

// Freeze waits for the note that is being written, and lets no other begin.
func (n *notes) Freeze(_ context.Context, e *writer.Event) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.frozen[e.Session] = true
	return nil
}

// Thaw lets notes be written again. It may come twice, and so may Abort.
func (n *notes) Thaw(_ context.Context, e *writer.Event) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.frozen, e.Session)
	return nil
}

// Abort comes in place of Thaw when no copy is made.
func (n *notes) Abort(ctx context.Context, e *writer.Event) error { return n.Thaw(ctx, e) }

// write writes a note, or says that it can't just now.
func (n *notes) write(now time.Time) (bool, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if len(n.frozen) > 0 {
		return false, nil
	}
	return true, os.WriteFile(filepath.Join(n.folder, now.Format("150405.000")+".txt"), []byte("a note\n"), 0o644)
}

func main() {
	sockets := flag.String("sockets", "/run/vss/writers", "folder for the socket")
	n := &notes{frozen: map[vss.SessionID]bool{}}
	flag.StringVar(&n.folder, "data", "/srv/notes", "folder of the notes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		for now := range time.Tick(100 * time.Millisecond) {
			if _, err := n.write(now); err != nil {
				slog.Error("a note is lost", "error", err)
			}
		}
	}()
	l, err := writer.Listen(*sockets, "notes")
	if err == nil {
		err = writer.Serve(ctx, l, n, slog.Default()) // until a signal comes; it thaws before it returns
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
