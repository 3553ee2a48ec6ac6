package writerset

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

// world is a set in a service that has only writers.
type world struct {
	*Set
	t   *testing.T
	cfg *Config
}

// newWorld returns a new session's set; the writers run, and none was gathered.
func newWorld(t *testing.T, running ...*writer.Instance) *world {
	t.Helper()
	store, err := catalog.Open(filepath.Join(t.TempDir(), "catalog.db"))
	must(t, err)
	t.Cleanup(func() { store.Close() })
	logger := slog.New(slog.DiscardHandler)
	cfg := &Config{
		Writers: func(context.Context) []*writer.Instance { return running },
		Events:  events.New(store, logger), Logger: logger,
	}
	return &world{New(cfg, vss.SessionID{GUID: vss.NewGUID()}), t, cfg}
}

// gathered returns a set that all running writers are in.
func gathered(t *testing.T, running ...*writer.Instance) *world {
	t.Helper()
	w := newWorld(t, running...)
	must(t, w.Gather(t.Context()))
	return w
}

// events returns what was recorded.
func (w *world) events() []catalog.Event {
	w.t.Helper()
	all, err := w.cfg.Events.List(time.Time{})
	must(w.t, err)
	return all
}

// status returns the status of the only writer.
func (w *world) status() catalog.Writer {
	w.t.Helper()
	all := w.Status()
	if len(all) != 1 {
		w.t.Fatalf("%d writers, want 1", len(all))
	}
	return all[0]
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// target is a set of one volume.
func target() Target {
	return Target{Context: vss.ContextBackup, Set: vss.SnapshotSetID{GUID: vss.NewGUID()}, Volumes: []string{"/srv"}}
}

const allSchema = vss.SchemaNewTarget | vss.SchemaRestoreWithMove | vss.SchemaRollForwardRestore |
	vss.SchemaRestoreRename | vss.SchemaAuthoritativeRestore |
	vss.SchemaTimestamped | vss.SchemaIncremental | vss.SchemaDifferential

// recorder returns a writer with a database that has a member, and a second database.
func recorder(name string) (*writertest.Recorder, *writer.Instance) {
	r := writertest.NewRecorder(name)
	r.Metadata.BackupSchema = allSchema
	named(r, "main")
	file := func(dir string) []document.FileSet { return []document.FileSet{{Path: dir, FileSpec: "*.db"}} }
	r.Metadata.Components = []document.WMComponent{
		{Type: vss.ComponentDatabase, Name: "data", Selectable: true, DatabaseFiles: file("/srv/data")},
		{Type: vss.ComponentDatabase, LogicalPath: "data", Name: "part", SelectableForRestore: true,
			DatabaseFiles: file("/srv/part")},
		{Type: vss.ComponentDatabase, Name: "other", Selectable: true, DatabaseFiles: file("/srv/other")},
	}
	r.Metadata.RestoreMethod.AlternateLocations = []document.FileSet{
		{Path: "/srv/data", FileSpec: "*.db", AlternatePath: "/srv/aside"},
	}
	return r, instanceOf(r)
}

func named(r *writertest.Recorder, instance string) {
	r.Who.InstanceName, r.Metadata.InstanceName = instance, instance
}

func instanceOf(r *writertest.Recorder) *writer.Instance {
	return &writer.Instance{ID: vss.WriterInstanceID{GUID: vss.NewGUID()}, Info: r.Who, Writer: r}
}

// database returns the name of a database of a writer.
func database(i *writer.Instance, logicalPath, name string) ComponentName {
	return ComponentName{Writer: i.Info.ID, Type: vss.ComponentDatabase, LogicalPath: logicalPath, Name: name}
}

// saved returns what a backup of these databases of a writer saves.
func saved(t *testing.T, i *writer.Instance, r *writertest.Recorder, names ...string) (doc, meta []byte) {
	t.Helper()
	w := &document.WriterComponents{
		WriterID: i.Info.ID, InstanceID: i.ID, InstanceName: i.Info.InstanceName, BackupSchema: r.Metadata.BackupSchema,
	}
	for _, n := range names {
		w.Components = append(w.Components, &document.Component{
			Type: vss.ComponentDatabase, Name: n, BackupSucceeded: true, BackupMetadata: "as of the backup",
			PartialFiles: []document.PartialFile{{Path: "/srv/data", FileName: "a.db", Ranges: "File=/srv/ranges"}},
		})
	}
	m := r.Metadata
	m.WriterID, m.InstanceID, m.Name = i.Info.ID, i.ID, i.Info.Name
	c := document.Components{SelectComponents: true, BackupType: vss.BackupFull,
		Writers: []*document.WriterComponents{w}}
	doc, err := c.XML()
	must(t, err)
	meta, err = m.XML()
	must(t, err)
	return doc, meta
}
