package rpc

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/coordinator"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/copies/copiestest"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/hold"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

// world is a service on a host in memory, with a volume /srv on an array, reached through its socket.
type world struct {
	t      *testing.T
	dir    string
	host   *copiestest.World
	k      *coordinator.Coordinator
	events *events.Log
	client *requester.Client
	rpc    vssv1.CoordinatorClient // for what requesters do not send
}

var providerID = vss.ProviderID{GUID: vss.NewGUID()}

func newWorld(t *testing.T, writers ...*writer.Instance) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "rpc") // short: a socket's path is limited
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	store, err := catalog.Open(filepath.Join(dir, "catalog.db"))
	must(t, err)
	t.Cleanup(func() { store.Close() })
	logger := slog.New(slog.DiscardHandler)
	w := &world{t: t, dir: dir, host: copiestest.New(), events: events.New(store, logger)}
	array, originals := w.host.Array(1, disk.StyleGPT)
	host, err := copies.NewHost(w.host.Config(dir, store, w.events))
	must(t, err)
	w.k, err = coordinator.New(t.Context(), coordinator.Config{
		Name: copiestest.Name, HoldLimit: 10 * time.Second, Catalog: store, Events: w.events, Holder: holder{},
		Host:      host,
		Volumes:   &volumes{dir, []*volume.Volume{w.host.Volume("/srv", "xfs", originals...)}},
		Providers: []provider.Provider{w.host.Hardware(providerID, "memory", array)},
		Writers:   func(context.Context) []*writer.Instance { return writers }, Quiet: quiet{}, Logger: logger,
	})
	must(t, err)
	socket := filepath.Join(dir, "vssd.sock")
	l, err := wire.Listen(socket, 0o600, "")
	must(t, err)
	s := wire.NewServer(logger)
	vssv1.RegisterCoordinatorServer(s, New(w.k, logger))
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	conn, err := wire.Dial(t.Context(), socket)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	w.client, w.rpc = requester.NewClient(conn), vssv1.NewCoordinatorClient(conn)
	return w
}

// open opens a session, which ends with the test.
func (w *world) open() *requester.BackupComponents {
	w.t.Helper()
	b, err := w.client.Open(w.t.Context(), "test")
	must(w.t, err)
	w.t.Cleanup(b.Close)
	return b
}

// volumes are the volumes of the host.
type volumes struct {
	dir string
	all []*volume.Volume
}

func (v *volumes) Find(_ context.Context, name string) (*volume.Volume, error) {
	for _, one := range v.all {
		if one.Name == name {
			return one, nil
		}
	}
	return nil, vss.E("FindVolume", vss.ErrObjectNotFound, nil).On(name)
}

func (v *volumes) List(context.Context) ([]*volume.Volume, error) { return v.all, nil }

func (v *volumes) Open(*volume.Volume) (*os.File, error) { return os.Open(v.dir) }

func (v *volumes) CheckNesting(context.Context, []*volume.Volume, []string) error { return nil }
func (v *volumes) CheckAdded(context.Context, []*volume.Volume, *volume.Volume, []string) error {
	return nil
}

// holder holds nothing.
type holder struct{}

func (holder) Start(context.Context, time.Duration, []coordinator.HeldVolume, []string) (coordinator.Guard, error) {
	return holder{}, nil
}
func (holder) CanSuspend() bool               { return false }
func (holder) Left() ([]string, error)        { return nil, nil }
func (holder) Thaw() ([]string, error)        { return nil, nil }
func (holder) Preflush(context.Context) error { return nil }
func (holder) Flush(context.Context) error    { return nil }
func (holder) Hold(context.Context) error     { return nil }
func (holder) Close() error                   { return nil }
func (holder) Release() (hold.Result, error) {
	now := time.Now()
	return hold.Result{Start: now, Frozen: now, End: now}, nil
}

// quiet buffers no log.
type quiet struct{}

func (quiet) Hold()    {}
func (quiet) Release() {}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// ended waits for an operation.
func ended(ctx context.Context) func(*requester.Async, error) error {
	return func(a *requester.Async, err error) error {
		if err == nil {
			_, err = a.Wait(ctx, nil)
		}
		return err
	}
}

const allSchema = vss.SchemaNewTarget | vss.SchemaRestoreWithMove | vss.SchemaRollForwardRestore |
	vss.SchemaRestoreRename | vss.SchemaAuthoritativeRestore

// recorder returns a writer with a database that has a member.
func recorder() (*writertest.Recorder, *writer.Instance) {
	r := writertest.NewRecorder("db")
	r.Metadata.BackupSchema |= allSchema
	file := func(dir string) []document.FileSet { return []document.FileSet{{Path: dir, FileSpec: "*.db"}} }
	r.Metadata.Components = []document.WMComponent{
		{Type: vss.ComponentDatabase, Name: "data", Caption: "Data", Selectable: true,
			DatabaseFiles: file("/srv/data")},
		{Type: vss.ComponentDatabase, LogicalPath: "data", Name: "part", SelectableForRestore: true,
			DatabaseFiles: file("/srv/part")},
	}
	r.Metadata.RestoreMethod.AlternateLocations = []document.FileSet{
		{Path: "/srv/data", FileSpec: "*.db", AlternatePath: "/srv/aside"},
	}
	return r, &writer.Instance{ID: vss.WriterInstanceID{GUID: vss.NewGUID()}, Info: r.Who, Writer: r}
}

// differ compares field by field and reports each one that differs by its name.
func differ(t *testing.T, what string, fields map[string][2]any) {
	t.Helper()
	for name, v := range fields {
		if v[0] != v[1] {
			t.Errorf("%s: %s is %v, want %v", what, name, v[0], v[1])
		}
	}
}
