package engine

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/aside"
	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// daemon is a server that is started by a program. It is its own record.
type daemon struct {
	Format  int
	Program string
	host    *host
}

// host is an engine. It notes the programs that restores execute.
type host struct {
	running  string // program of the server that runs; "" if none does
	executed []string
}

func (*host) Find(context.Context) ([]Instance, []server.Left, error) { return nil, nil, nil }
func (h *host) Freeze(context.Context, []Taken) Failures              { return nil }
func (d *daemon) Decisive() any                                       { return map[string]string{"program": d.Program} }
func (d *daemon) Files() ([]document.FileSet, aside.Owner)            { return nil, aside.Owner{} }
func (d *daemon) Stop(context.Context) (bool, error)                  { return d.host.running != "", nil }
func (h *host) Recall(metadata string) (Saved, error) {
	d := &daemon{host: h}
	return d, json.Unmarshal([]byte(metadata), d)
}

func (d *daemon) Decide(text []byte) error {
	var v map[string]string
	err := json.Unmarshal(text, &v)
	d.Program = v["program"]
	return err
}

func (d *daemon) Adopt(context.Context) error {
	if d.host.running == "" {
		return errors.New("no server runs")
	}
	d.Program = d.host.running
	return nil
}

func (d *daemon) Start(context.Context) error {
	d.host.executed = append(d.host.executed, d.Program)
	return nil
}

// restore restores by a document with the given backup metadata, and returns the failures of both events.
func restore(t *testing.T, w *Writer, backup, restoreMetadata string) []*writer.Failure {
	t.Helper()
	e := &writer.Event{
		Session: vss.SessionID{GUID: vss.NewGUID()},
		Components: &document.WriterComponents{Components: []*document.Component{{
			Name: "/srv/data", SelectedForRestore: true, FileRestoreStatus: vss.RestoredAll,
			BackupMetadata: backup, RestoreMetadata: restoreMetadata,
		}}},
	}
	var out []*writer.Failure
	for _, event := range []func(context.Context, *writer.Event) error{w.PreRestore, w.PostRestore} {
		e.Failure = nil
		if err := event(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		out = append(out, e.Failure)
	}
	return out
}

// What a restore executes comes from a record that this host made at the backup, or from the server that runs, never
// from the document (trust 1, spec 1).
func TestDocumentsAreNotExecuted(t *testing.T) {
	const made, forged = `{"Format":1,"Program":"/usr/sbin/server"}`, `{"Format":1,"Program":"/home/x/evil"}`
	for _, c := range []struct {
		name, metadata, running string
		recorded                bool
		want                    []string
	}{
		{"a backup of this host", made, "", true, []string{"/usr/sbin/server"}},
		{"a backup of another host", made, "", false, nil},
		{"a backup of another host, the server runs", made, "/opt/server", false, []string{"/opt/server"}},
		{"a forged document", forged, "", true, nil},
		{"a forged document, the server runs", forged, "/usr/sbin/server", true, []string{"/usr/sbin/server"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := &host{running: c.running}
			w := New(writer.Info{ID: vss.WriterID{GUID: vss.NewGUID()}}, h, nil)
			w.Records = t.TempDir()
			if c.recorded {
				if err := w.keep(made); err != nil {
					t.Fatal(err)
				}
			}
			failed := restore(t, w, c.metadata, `{"running":true,"aside":[{"dir":"/etc","to":"/etc"}]}`)
			if !slices.Equal(h.executed, c.want) {
				t.Errorf("executed %q, want %q", h.executed, c.want)
			}
			for _, f := range failed {
				if (f == nil) != (c.want != nil) {
					t.Errorf("failure %+v", f)
				}
			}
		})
	}
}
