package writer_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// counter is an application that keeps a number in a file, and its writer. Base has the handlers that it does not need.
type counter struct {
	writer.Base
	mu     sync.RWMutex // held for reading while the file is written
	frozen map[vss.SessionID]bool
}

// Info returns the identity of the writer. The class id was made once, with uuidgen, and never changes.
func (c *counter) Info(context.Context) (writer.Info, error) {
	class := vss.WriterID{GUID: vss.MustGUID("{0d2b6c0e-6a58-4a26-9b0f-5a0a5c1c6e55}")}
	return writer.Info{ID: class, Name: "Counter", Usage: vss.UsageUserData, Source: vss.SourceOther}, nil
}

// Identify describes the file as a component that requesters can select.
func (c *counter) Identify(context.Context) (*document.WriterMetadata, error) {
	return &document.WriterMetadata{Components: []document.WMComponent{{
		Type: vss.ComponentFileGroup, Name: "counter", Selectable: true,
		Files: []document.FileSet{{Path: "/srv/counter", FileSpec: "*"}},
	}}}, nil
}

// PrepareSnapshot has no slow work to do.
func (c *counter) PrepareSnapshot(context.Context, *writer.Event) error { return nil }

// Freeze waits for the write that is in progress, and refuses further ones.
func (c *counter) Freeze(_ context.Context, e *writer.Event) error { return c.set(e.Session, true) }

// Thaw allows writes again. It may be called twice.
func (c *counter) Thaw(_ context.Context, e *writer.Event) error { return c.set(e.Session, false) }

// Abort undoes Freeze when no copy is made.
func (c *counter) Abort(ctx context.Context, e *writer.Event) error { return c.Thaw(ctx, e) }

func (c *counter) set(session vss.SessionID, frozen bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if frozen {
		c.frozen[session] = true
	} else {
		delete(c.frozen, session)
	}
	return nil
}

// canWrite reports whether the application may write now.
func (c *counter) canWrite() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.frozen) == 0
}

// This writer is served at a socket. The second half does what the service does with it in a backup.
func Example() {
	folder, err := os.MkdirTemp("", "writers") // in production: /run/vss/writers
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	l, err := writer.Listen(folder, "counter")
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &counter{frozen: map[vss.SessionID]bool{}}
	served := make(chan error, 1)
	go func() { served <- writer.Serve(ctx, l, c, slog.New(slog.DiscardHandler)) }()

	remote, err := writer.Connect(ctx, filepath.Join(folder, "counter.sock"), nil)
	if err != nil {
		log.Fatal(err)
	}
	info, err := remote.Info(ctx)
	fmt.Println(info.Name, info.FreezeTimeout, err)
	event := &writer.Event{Session: vss.SessionID{GUID: vss.NewGUID()}, BackupType: vss.BackupFull}
	for _, h := range []writer.Handler{
		writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw, writer.OnPostSnapshot,
	} {
		err := h.Call(ctx, remote, event)
		fmt.Println(h, err, c.canWrite())
	}
	stop()
	fmt.Println(<-served)
	// Output:
	// Counter 1m0s <nil>
	// PrepareBackup <nil> true
	// PrepareSnapshot <nil> true
	// Freeze <nil> false
	// Thaw <nil> true
	// PostSnapshot <nil> true
	// <nil>
}
