package engine

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// fleet is an engine with instances of given names, all with their files in one folder.
type fleet struct {
	host
	dir   string
	names []string
}

func (f *fleet) Find(context.Context) ([]Instance, []server.Left, error) {
	var out []Instance
	for i, name := range f.names {
		out = append(out, &ship{name, document.FileSet{Path: f.dir, FileSpec: string(rune('a' + i))}})
	}
	return out, nil, nil
}

// ship is an instance with one file.
type ship struct {
	name string
	file document.FileSet
}

func (s *ship) Name() string { return s.name }
func (s *ship) Describe(context.Context) (*Description, error) {
	return &Description{Files: []document.FileSet{s.file}}, nil
}
func (s *ship) Prepare(context.Context, Backup) (Held, error) { return s, nil }
func (s *ship) Thaw(context.Context) error                    { return nil }
func (s *ship) Release()                                      {}
func (s *ship) Metadata() (Metadata, error)                   { return Metadata{Text: `{"Format":1}`}, nil }

// An instance whose name no component can have is left out; the others are backed up, and the writer's status names
// what is missing in a copy of its volume (trust 4).
func TestBadNameCostsOnlyItself(t *testing.T) {
	f := &fleet{dir: t.TempDir(), names: []string{"/srv/good", `/srv/a\b`, "/srv/better"}}
	w := New(writer.Info{ID: vss.WriterID{GUID: vss.NewGUID()}, Name: "fleet"}, f, nil)
	m, err := w.Identify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range m.Components {
		names = append(names, c.Name)
	}
	if !slices.Equal(names, []string{"/srv/good", "/srv/better"}) {
		t.Errorf("components %q", names)
	}
	for _, c := range []struct {
		volume string
		failed bool
	}{{f.dir, true}, {"/proc", false}} {
		e := &writer.Event{Session: vss.SessionID{GUID: vss.NewGUID()}, Volumes: []string{c.volume}}
		for _, event := range []func(context.Context, *writer.Event) error{
			w.PrepareBackup, w.PrepareSnapshot, w.Freeze, w.Thaw, w.PostSnapshot,
		} {
			if err := event(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		switch {
		case !c.failed && e.Failure != nil:
			t.Errorf("a set of another volume: %+v", e.Failure)
		case c.failed && (e.Failure == nil || e.Failure.Code != vss.ErrWriterErrorPartialFailure ||
			!strings.Contains(e.Failure.Message, `a\b`)):
			t.Errorf("a set of its volume: %+v", e.Failure)
		}
	}
}
