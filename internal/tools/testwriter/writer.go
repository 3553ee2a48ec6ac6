package testwriter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

// died is the exit code of the fault "die".
const died = 9

// Writer is a test writer.
type Writer struct {
	writer.HandlerFunc // handle
	settings
	out  *record
	exit func(code int) // os.Exit

	mu       sync.Mutex // the fields below, and fault.seen
	sessions map[vss.SessionID]*watched
	infos    int
}

var _ writer.Writer = (*Writer)(nil)

func newWriter(s *settings, out *record) *Writer {
	w := &Writer{settings: *s, out: out, exit: os.Exit, sessions: map[vss.SessionID]*watched{}}
	w.HandlerFunc = w.handle
	return w
}

// eventName returns the name of a handler in configurations and records, which is that of a hook writer's executable.
func eventName(h writer.Handler) string {
	var b strings.Builder
	for i, r := range h.String() {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// fault returns the fault to commit at an event, or nil.
func (w *Writer) fault(event string) *fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.Faults {
		f := &w.Faults[i]
		if f.Event != event {
			continue
		}
		f.seen++
		if f.seen > f.Skip && (f.Times == 0 || f.seen <= f.Skip+f.Times) {
			return f
		}
	}
	return nil
}

// commit commits a fault. E is nil in Info and Identify.
func (w *Writer) commit(ctx context.Context, f *fault, e *writer.Event) error {
	switch f.Do {
	case "fail":
		if e != nil && (f.Application != 0 || f.Message != "") {
			e.Failure = &writer.Failure{Code: f.code, Application: f.Application, Message: f.Message}
		}
		return vss.E(f.Event, f.code, errors.New(f.why()))
	case "veto":
		e.Failure = &writer.Failure{Code: f.code, Application: f.Application, Message: f.why()}
	case "stall":
		<-ctx.Done()
		return ctx.Err()
	case "hang":
		if f.last == 0 {
			select {}
		}
		<-time.After(f.last)
	case "delay":
		select {
		case <-time.After(f.last):
		case <-ctx.Done():
			return ctx.Err()
		}
	case "die":
		w.exit(died)
	case "panic":
		panic(f.why())
	case "lie":
		return f.lie(e)
	}
	return nil
}

func (f *fault) why() string {
	if f.Message != "" {
		return f.Message
	}
	return "a fault of the test writer's configuration"
}

// lie commits a lie in a handler of an event. Those of Info and Identify are committed there.
func (f *fault) lie(e *writer.Event) error {
	switch {
	case f.Lie == "code":
		return vss.E(f.Event, vss.ErrProviderVeto, errors.New(f.why()))
	case f.Lie == "components" && e.Components != nil:
		for _, c := range e.Components.Components {
			c.BackupSucceeded, c.BackupOptions, c.PreviousBackupStamp, c.SelectedForRestore = !c.BackupSucceeded,
				"forged", "forged", !c.SelectedForRestore
		}
		e.Components.Components = append(e.Components.Components, &document.Component{Type: vss.ComponentFileGroup,
			Name: "forged"})
	}
	return nil
}

// Info implements writer.Writer. The first result is always correct, as the writer could not register otherwise.
func (w *Writer) Info(ctx context.Context) (writer.Info, error) {
	w.mu.Lock()
	w.infos++
	first := w.infos == 1
	w.mu.Unlock()
	if first {
		return w.info, nil
	}
	f := w.fault("info")
	if f == nil {
		return w.info, nil
	}
	w.out.line(line{Event: "info", Did: f.did()})
	err := w.commit(ctx, f, nil)
	i := w.info
	if f.Lie == "class" {
		i.ID = vss.WriterID{GUID: vss.NewGUID()}
	}
	return i, err
}

// Identify implements writer.Writer.
func (w *Writer) Identify(ctx context.Context) (*document.WriterMetadata, error) {
	m := w.metadata
	m.Components = slices.Clone(m.Components)
	f := w.fault("identify")
	if f == nil {
		w.out.line(line{Event: "identify"})
		return &m, nil
	}
	w.out.line(line{Event: "identify", Did: f.did()})
	if err := w.commit(ctx, f, nil); err != nil {
		return nil, err
	}
	switch f.Lie {
	case "class":
		m.WriterID = vss.WriterID{GUID: vss.NewGUID()}
	case "metadata":
		m.Components = append(m.Components, document.WMComponent{Type: vss.ComponentDatabase, Name: `a\b`})
	case "nothing":
		return nil, nil
	}
	return &m, nil
}

// handle handles an event of a session: it records and checks it, and commits the fault for it.
func (w *Writer) handle(ctx context.Context, h writer.Handler, e *writer.Event) error {
	l := describe(h, e)
	f := w.fault(l.Event)
	if f != nil {
		l.Did = f.did()
	}
	w.out.line(l)
	for _, c := range w.watch(h, e) {
		w.out.complain(l.Event, e.Session, c)
	}
	var err error
	if f != nil {
		defer func() { // for the fault "panic"
			if p := recover(); p != nil {
				w.failed(e.Session)
				panic(p)
			}
		}()
		err = w.commit(ctx, f, e)
	} else {
		err = writertest.Work(h, e)
	}
	if err != nil || e.Failure != nil {
		w.failed(e.Session)
	}
	end := line{At: "end", Event: l.Event, Session: l.Session, SetID: l.SetID}
	if err != nil {
		end.Error = err.Error()
	}
	w.out.line(end)
	return err
}

// did describes the fault in the record.
func (f *fault) did() string {
	switch f.Do {
	case "fail", "veto":
		return fmt.Sprintf("%s %s", f.Do, f.code.Name())
	case "lie":
		return "lie " + f.Lie
	}
	return f.Do
}
