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

// patience is the longest time that a case waits for something that must happen.
const patience = 30 * time.Second

// World is a writer and its surroundings, for one case.
type World struct {
	Writer writer.Writer
	// Frozen reports whether the application is frozen now; nil if that cannot be seen.
	Frozen  func() bool
	Volumes []string          // the volumes with the writer's data; default /srv
	Devices map[string]string // the copies of these volumes, for PostSnapshot; default none
	Restore func()            // restores the writer's files between PreRestore and PostRestore; default nothing
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
	c.run(&caseRun{World: w, t: t, w: held, leave: leave})
}

// caseRun is one run of a case.
type caseRun struct {
	*World
	t     conformance.T
	w     writer.Writer // as the service holds it
	leave func()        // ends the service
}

// session is one session of a case.
type session struct {
	*caseRun
	id         vss.SessionID
	set        vss.SnapshotSetID
	components *document.WriterComponents
}

// session begins a session in component mode with all of the writer's components, or one without components.
func (k *caseRun) session(components bool) *session {
	k.t.Helper()
	s := &session{caseRun: k, id: vss.SessionID{GUID: vss.NewGUID()}, set: vss.SnapshotSetID{GUID: vss.NewGUID()}}
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

func (k *caseRun) identify() *document.WriterMetadata {
	k.t.Helper()
	m, err := k.w.Identify(k.t.Context())
	if err != nil {
		k.t.Fatalf("Identify: %v", err)
	}
	return m
}

// send sends one event, filled in as the coordinator does it, and returns the error of the handler or of its veto.
func (s *session) send(ctx context.Context, h writer.Handler) error {
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

// must sends events that have to succeed.
func (s *session) must(handlers ...writer.Handler) {
	s.t.Helper()
	for _, h := range handlers {
		if err := s.send(s.t.Context(), h); err != nil {
			s.t.Fatalf("%s: %v", h, err)
		}
	}
}

// wants sends an event and checks the code of the result.
func (s *session) wants(h writer.Handler, code vss.Code) {
	s.t.Helper()
	if err := s.send(s.t.Context(), h); vss.CodeOf(err) != code {
		s.t.Errorf("%s: %v, want %s", h, err, code.Name())
	}
}

// checkFrozen checks whether the application is frozen.
func (k *caseRun) checkFrozen(when string, want bool) {
	k.t.Helper()
	if k.Frozen != nil && k.Frozen() != want {
		k.t.Errorf("%s: frozen is %v", when, !want)
	}
}

// waitThawed waits until the application is not frozen.
func (k *caseRun) waitThawed(when string) {
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
