package writer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

func same(t *testing.T, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// An event arrives as it was sent.
func TestEventOverSocket(t *testing.T) {
	r := writertest.NewRecorder("r")
	r.Who.InstanceName, r.Who.Level, r.Who.FreezeTimeout = "first", vss.LevelBackEnd, 20*time.Second
	w := writertest.Socket(t, r)
	i, err := w.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	same(t, r.Who, i)
	m, err := w.Identify(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	same(t, r.Metadata.Components, m.Components)
	id := vss.SessionID{GUID: vss.NewGUID()}
	for _, h := range []writer.Handler{writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze,
		writer.OnThaw, writer.OnPostSnapshot, writer.OnBackupComplete, writer.OnBackupShutdown} {
		e := &writer.Event{
			Session: id, SetID: vss.SnapshotSetID{GUID: vss.NewGUID()}, Volumes: []string{"/srv/å", "/var"},
			Devices:  map[string]string{"/srv/å": "/dev/vss/1"},
			Writable: true, Context: vss.ContextAppRollback | vss.AttrPlex, BackupType: vss.BackupDifferential,
			RestoreType: vss.RestoreOther,
			Partial:     true, Bootable: true,
			Components: &document.WriterComponents{WriterID: r.Who.ID,
				InstanceID: vss.WriterInstanceID{GUID: vss.NewGUID()}, InstanceName: "first",
				Components: []*document.Component{{Type: vss.ComponentDatabase, LogicalPath: "memory", Name: "data",
					PreviousBackupStamp: "s", BackupOptions: "o"}}},
		}
		sent := *e
		sent.Components = e.Components.Clone()
		if err := h.Call(t.Context(), w, e); err != nil {
			t.Fatalf("%s: %v", h, err)
		}
		seen := r.Seen()
		same(t, writertest.Seen{Handler: h, Event: sent}, seen[len(seen)-1])
	}
}

// Errors are the same on both sides.
func TestErrorsOverSocket(t *testing.T) {
	r := writertest.NewRecorder("r")
	w := writertest.Socket(t, r)
	for _, tc := range []struct {
		act  writertest.Act
		code vss.Code
	}{
		{writertest.Fail(vss.ErrWriterErrorRetryable, vss.VDSErrNotEnoughSpace), vss.ErrWriterErrorRetryable},
		{writertest.Fail(vss.ErrAccessDenied, vss.VDSErrNotEnoughSpace), vss.ErrWriterErrorNonRetryable},
		{func(context.Context, *writer.Event) error {
			return fmt.Errorf("wrapped: %w", vss.VDSErrNotEnoughSpace)
		}, vss.ErrWriterErrorNonRetryable},
		{writertest.Panic, vss.ErrWriterErrorNonRetryable},
	} {
		r.At(writer.OnFreeze, tc.act)
		id := vss.SessionID{GUID: vss.NewGUID()}
		if err := w.PrepareSnapshot(t.Context(), &writer.Event{Session: id}); err != nil {
			t.Fatal(err)
		}
		err := w.Freeze(t.Context(), &writer.Event{Session: id})
		var e *vss.Error
		if vss.CodeOf(err) != tc.code || !errors.As(err, &e) || e.Op == "" {
			t.Errorf("%v, want %s", err, tc.code.Name())
		}
	}
	// A failure and an error travel together, and so does what was noted about components.
	r.At(writer.OnPrepareBackup, func(_ context.Context, e *writer.Event) error {
		e.Failure = &writer.Failure{Code: vss.ErrWriterErrorPartialFailure, Application: 42, Message: "one of two"}
		e.Components.Components[0].PrepareForBackupFailure = "gone"
		return io.EOF
	})
	e := &writer.Event{Session: vss.SessionID{GUID: vss.NewGUID()},
		Components: &document.WriterComponents{WriterID: r.Who.ID,
			Components: []*document.Component{{Type: vss.ComponentDatabase, Name: "c"}}}}
	if err := w.PrepareBackup(t.Context(), e); vss.CodeOf(err) != vss.ErrWriterErrorPartialFailure {
		t.Errorf("%v", err)
	}
	same(t, &writer.Failure{Code: vss.ErrWriterErrorPartialFailure, Application: 42, Message: "one of two"}, e.Failure)
	if e.Components.Components[0].PrepareForBackupFailure != "gone" {
		t.Error("what the writer noted is lost")
	}
}

// A process that dies in a handler, or that doesn't answer, is a writer that doesn't respond.
func TestDeathOverSocket(t *testing.T) {
	way := []writer.Handler{writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw,
		writer.OnPostSnapshot, writer.OnBackupComplete, writer.OnBackupShutdown}
	for n, h := range way {
		for _, how := range []string{"dies", "stalls"} {
			t.Run(h.String()+"/"+how, func(t *testing.T) {
				r := writertest.NewRecorder("r")
				w := writertest.Socket(t, r)
				id := vss.SessionID{GUID: vss.NewGUID()}
				for _, h := range way[:n] {
					if err := h.Call(t.Context(), w, &writer.Event{Session: id}); err != nil {
						t.Fatal(err)
					}
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				r.At(h, writertest.Die(func() { go w.Stop() }))
				if how == "stalls" {
					ctx, cancel = context.WithTimeout(ctx, 200*time.Millisecond)
					defer cancel()
					r.At(h, writertest.Stall)
				}
				if err := h.Call(ctx, w, &writer.Event{Session: id}); vss.CodeOf(err) != vss.ErrWriterNotResponding ||
					vss.Hint(err) == "" {
					t.Errorf("%v", err)
				}
				if how == "dies" {
					<-w.Gone()
					if err := w.Abort(t.Context(),
						&writer.Event{Session: id}); vss.CodeOf(err) != vss.ErrWriterNotResponding {
						t.Errorf("after its death: %v", err)
					}
				}
				w.Stop()
				if r.Frozen() {
					t.Errorf("frozen when Serve has returned: %v", r.Names(id))
				}
			})
		}
	}
}

// A connection does not reach another process that serves at the same socket later.
func TestSuccessor(t *testing.T) {
	r := writertest.NewRecorder("r")
	w := writertest.Socket(t, r)
	w.Stop()
	<-w.Gone()
	next := writertest.NewRecorder("r")
	writertest.Serve(t, filepath.Dir(w.Path), "w", next)
	if _, err := w.Info(t.Context()); vss.CodeOf(err) != vss.ErrWriterNotResponding {
		t.Errorf("the old connection: %v", err)
	}
	c, err := writer.Connect(t.Context(), w.Path, func(uid uint32) error {
		if int(uid) != os.Geteuid() {
			return errors.New("a stranger")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if i, err := c.Info(t.Context()); err != nil || i.ID != next.Who.ID {
		t.Errorf("%+v, %v", i, err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

func TestConnectRefused(t *testing.T) {
	w := writertest.Socket(t, writertest.NewRecorder("r"))
	_, err := writer.Connect(t.Context(), w.Path, func(uint32) error { return errors.New("a stranger") })
	if vss.CodeOf(err) != vss.ErrAccessDenied {
		t.Errorf("not trusted: %v", err)
	}
	if _, err := writer.Connect(t.Context(), w.Path+".none", nil); err == nil {
		t.Error("a socket without a process accepted the connection")
	}
	// A process that accepts and does not answer.
	mute := filepath.Join(filepath.Dir(w.Path), "mute.sock")
	l, err := net.Listen("unix", mute)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := writer.Connect(ctx, mute, nil); err == nil {
		t.Error("a mute one is connected")
	}
}
