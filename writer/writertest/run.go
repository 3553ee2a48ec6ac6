package writertest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/conformance"
	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// patience is how long a case waits for what must come.
const patience = 30 * time.Second

// World is a writer and what is around it, for one case.
type World struct {
	Writer writer.Writer
	// Frozen reports whether the application is frozen at this moment. Nil where that can't be seen.
	Frozen  func() bool
	Volumes []string          // that have the writer's data; default /srv
	Devices map[string]string // copies of these volumes, for PostSnapshot; default none
	Restore func()            // puts the writer's files back, from PreRestore to PostRestore; default nothing
}

// Run tests a writer, in process and over a socket. It calls makeWorld for each case, which makes the writer with fresh
// data.
func Run(t *testing.T, makeWorld func(t *testing.T) *World) {
	for _, way := range []struct {
		name string
		hold func(t *testing.T, w writer.Writer) (writer.Writer, func())
	}{
		{"in process", func(t *testing.T, w writer.Writer) (writer.Writer, func()) {
			h := writer.Watch(w, slog.New(slog.NewTextHandler(t.Output(), nil)))
			t.Cleanup(func() { _ = h.Close() })
			return h, func() { _ = h.Close() }
		}},
		{"socket", func(t *testing.T, w writer.Writer) (writer.Writer, func()) {
			s := Socket(t, w)
			return s, func() { _ = s.Close() }
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) {
					w := makeWorld(t)
					held, leave := way.hold(t, c.dress(w.Writer))
					c.start(t, w, held, leave)
				})
			}
		})
	}
}

// Cases returns the cases for a writer in another process, which connect connects to anew for each case. Cases that
// need the writer in this process are skipped.
func Cases(connect func(t conformance.T) (*World, writer.Remote)) []conformance.Case {
	var out []conformance.Case
	for _, c := range cases {
		out = append(out, conformance.Case{Name: c.name, Run: func(t conformance.T) {
			if c.inProcess {
				t.Skipf("the case needs a writer with a short freeze window")
			}
			w, remote := connect(t)
			t.Cleanup(func() { _ = remote.Close() })
			c.start(t, w, remote, func() { _ = remote.Close() })
		}})
	}
	return out
}

// start runs a case with a writer as the service holds it.
func (c *testCase) start(t conformance.T, w *World, held writer.Writer, leave func()) {
	if len(w.Volumes) == 0 {
		w.Volumes = []string{"/srv"}
	}
	c.run(&cased{World: w, t: t, w: held, leave: leave})
}

// cased is a case that runs.
type cased struct {
	*World
	t     conformance.T
	w     writer.Writer // as the service holds it
	leave func()        // the service ends
}

// session is one session of a case.
type session struct {
	*cased
	id         vss.SessionID
	set        vss.SnapshotSetID
	components *document.WriterComponents
}

// session begins a session in component mode with all of the writer's components, or one without components.
func (k *cased) session(components bool) *session {
	k.t.Helper()
	s := &session{cased: k, id: vss.SessionID{GUID: vss.NewGUID()}, set: vss.SnapshotSetID{GUID: vss.NewGUID()}}
	if components {
		m := k.identify()
		s.components = &document.WriterComponents{
			WriterID:     m.WriterID,
			InstanceID:   vss.WriterInstanceID{GUID: vss.NewGUID()},
			InstanceName: m.InstanceName,
		}
		for _, c := range m.Top() {
			s.components.Components = append(
				s.components.Components,
				&document.Component{Type: c.Type, LogicalPath: c.LogicalPath, Name: c.Name},
			)
		}
	}
	return s
}

func (k *cased) identify() *document.WriterMetadata {
	k.t.Helper()
	m, err := k.w.Identify(k.t.Context())
	if err != nil {
		k.t.Fatalf("Identify: %v", err)
	}
	return m
}

// tell tells one event, as the coordinator fills it in, and gives what came of it: the error, or the veto's code.
func (s *session) tell(ctx context.Context, h writer.Handler) error {
	e := &writer.Event{Session: s.id, Context: vss.ContextBackup, BackupType: vss.BackupFull, Components: s.components}
	switch h {
	case writer.OnPostSnapshot:
		e.Devices = s.Devices
		fallthrough
	case writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw, writer.OnAbort:
		e.SetID, e.Volumes = s.set, s.Volumes
	}
	err := h.Call(ctx, s.w, e)
	if err == nil && e.Failure != nil && e.Failure.Code != vss.OK {
		return vss.E(h.String(), e.Failure.Code, nil).On(e.Failure.Message)
	}
	return err
}

// must tells events that have to go well.
func (s *session) must(handlers ...writer.Handler) {
	s.t.Helper()
	for _, h := range handlers {
		if err := s.tell(s.t.Context(), h); err != nil {
			s.t.Fatalf("%s: %v", h, err)
		}
	}
}

// wants tells an event and checks the result's code.
func (s *session) wants(h writer.Handler, code vss.Code) {
	s.t.Helper()
	if err := s.tell(s.t.Context(), h); vss.CodeOf(err) != code {
		s.t.Errorf("%s: %v, want %s", h, err, code.Name())
	}
}

// frozen checks whether the application is frozen.
func (k *cased) frozen(when string, want bool) {
	k.t.Helper()
	if k.Frozen != nil && k.Frozen() != want {
		k.t.Errorf("%s: frozen is %v", when, !want)
	}
}

// thaws waits until the application isn't frozen any more.
func (k *cased) thaws(when string) {
	k.t.Helper()
	if k.Frozen == nil {
		return
	}
	for end := time.Now().Add(patience); k.Frozen(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			k.t.Fatalf("%s: still frozen after %v", when, patience)
		}
	}
}
