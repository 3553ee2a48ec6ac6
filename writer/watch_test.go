package writer_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

// watched is a recorder under watch, and one session.
type watched struct {
	*testing.T
	r  *writertest.Recorder
	w  *writer.Watched
	id vss.SessionID
}

// bubble runs a test in fake time; no session is left frozen at its end.
func bubble(t *testing.T, f func(t *testing.T, w *watched)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &watched{T: t, r: writertest.NewRecorder("r"), id: vss.SessionID{GUID: vss.NewGUID()}}
		w.w = writer.Watch(w.r, slog.New(slog.NewTextHandler(t.Output(), nil)))
		f(t, w)
		_ = w.w.Close()
		synctest.Wait()
		if w.r.Frozen() {
			t.Error("frozen at the end")
		}
	})
}

func (w *watched) tell(h writer.Handler) error {
	return h.Call(w.Context(), w.w, &writer.Event{Session: w.id})
}

func (w *watched) must(handlers ...writer.Handler) {
	w.Helper()
	for _, h := range handlers {
		if err := w.tell(h); err != nil {
			w.Fatalf("%s: %v", h, err)
		}
	}
}

func (w *watched) wants(what string, err error, codes ...vss.Code) {
	w.Helper()
	if !slices.Contains(codes, vss.CodeOf(err)) {
		w.Errorf("%s: %v, want %s", what, err, codes[0].Name())
	}
}

func (w *watched) count(h writer.Handler) (n int) {
	for _, name := range w.r.Names(w.id) {
		if name == h.String() {
			n++
		}
	}
	return n
}

func TestWindow(t *testing.T) {
	for _, tc := range []struct {
		name      string
		own, want time.Duration
	}{
		{"default", 0, time.Minute},
		{"less", 20 * time.Second, 20 * time.Second},
		{"never more", time.Hour, time.Minute},
		{"nonsense", -time.Second, time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *watched) {
				w.r.Who.FreezeTimeout = tc.own
				if i, err := w.w.Info(t.Context()); err != nil || i.FreezeTimeout != tc.want {
					t.Errorf("%v, %v", i.FreezeTimeout, err)
				}
				w.must(writer.OnPrepareSnapshot, writer.OnFreeze)
				time.Sleep(tc.want - time.Millisecond)
				synctest.Wait()
				if !w.r.Frozen() {
					t.Fatal("thawed before its time")
				}
				time.Sleep(2 * time.Millisecond)
				synctest.Wait()
				if w.r.Frozen() || w.count(writer.OnAbort) != 1 {
					t.Fatalf("not aborted: %v", w.r.Names(w.id))
				}
				w.wants("Thaw", w.tell(writer.OnThaw), vss.ErrWriterErrorTimeout)
				if w.count(writer.OnThaw) != 0 {
					t.Error("the handler was called")
				}
				if s := writer.StateOf(w.w, w.id); s != vss.WriterFailedAtThaw {
					t.Errorf("state %s", s)
				}
			})
		})
	}
}

func TestThawWithinWindow(t *testing.T) {
	bubble(t, func(t *testing.T, w *watched) {
		w.must(writer.OnPrepareSnapshot, writer.OnFreeze)
		time.Sleep(59 * time.Second)
		// Thaw is received in time, so its own length doesn't count.
		w.r.At(writer.OnThaw, func(context.Context, *writer.Event) error { time.Sleep(time.Minute); return nil })
		w.must(writer.OnThaw)
		time.Sleep(time.Hour)
		w.must(writer.OnPostSnapshot, writer.OnBackupComplete)
		if w.count(writer.OnAbort) != 0 {
			t.Errorf("%v", w.r.Names(w.id))
		}
	})
}

func TestWindowOfTwoSessions(t *testing.T) {
	bubble(t, func(t *testing.T, w *watched) {
		w.must(writer.OnPrepareSnapshot, writer.OnFreeze)
		time.Sleep(40 * time.Second)
		other := vss.SessionID{GUID: vss.NewGUID()}
		for _, h := range []writer.Handler{writer.OnPrepareSnapshot, writer.OnFreeze} {
			if err := h.Call(t.Context(), w.w, &writer.Event{Session: other}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(30 * time.Second) // the first one's window ends, the other's doesn't
		w.wants("Thaw", w.tell(writer.OnThaw), vss.ErrWriterErrorTimeout)
		if err := w.w.Thaw(t.Context(), &writer.Event{Session: other}); err != nil {
			t.Error(err)
		}
	})
}

// A Freeze that does not return is canceled at the end of the window, and thawed within a second.
func TestStalledFreeze(t *testing.T) {
	for _, polite := range []bool{true, false} {
		t.Run(map[bool]string{true: "stops", false: "goes on"}[polite], func(t *testing.T) {
			bubble(t, func(t *testing.T, w *watched) {
				release := make(chan struct{})
				w.r.At(writer.OnFreeze, writertest.Stall)
				if !polite {
					w.r.At(writer.OnFreeze, writertest.Hang(release))
				}
				w.must(writer.OnPrepareSnapshot)
				began := time.Now()
				w.wants("Freeze", w.tell(writer.OnFreeze), vss.ErrWriterErrorTimeout)
				if d := time.Since(began); d > writer.DefaultFreezeTimeout+time.Second {
					t.Errorf("answered after %v", d)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				if w.count(writer.OnAbort) != 1 || w.r.Frozen() {
					t.Fatalf("not thawed: %v", w.r.Names(w.id))
				}
				close(release)
				synctest.Wait()
				if !polite && (w.count(writer.OnAbort) != 2 || w.r.Frozen()) {
					t.Errorf("what the late Freeze did stays: %v", w.r.Names(w.id))
				}
				if s := writer.StateOf(w.w, w.id); s != vss.WriterFailedAtFreeze {
					t.Errorf("state %s", s)
				}
			})
		})
	}
}

// A call returns when its context ends, whether or not the handler does; later results are ignored.
func TestNoAnswer(t *testing.T) {
	way := []writer.Handler{writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw,
		writer.OnPostSnapshot, writer.OnBackupComplete}
	for n, h := range way {
		t.Run(h.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *watched) {
				w.must(way[:n]...)
				release := make(chan struct{})
				w.r.At(h, func(_ context.Context, e *writer.Event) error {
					<-release
					e.Components.Components[0].BackupStamp = "late"
					e.SetFailure(vss.ErrWriterErrorRetryable, "late")
					return nil
				})
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				began := time.Now()
				e := &writer.Event{Session: w.id,
					Components: &document.WriterComponents{Components: []*document.Component{{Name: "c"}}}}
				w.wants("no answer", h.Call(ctx, w.w, e), vss.ErrWriterNotResponding)
				if d := time.Since(began); d != 5*time.Second {
					t.Errorf("answered after %v", d)
				}
				if s := writer.StateOf(w.w, w.id); s != h.Failed() {
					t.Errorf("state %s", s)
				}
				if h == writer.OnBackupComplete { // nothing is left to undo
					close(release)
					return
				}
				if err := w.tell(writer.OnAbort); err != nil { // beside the handler that hangs
					t.Errorf("Abort: %v", err)
				}
				close(release)
				synctest.Wait()
				if w.count(writer.OnAbort) != 2 {
					t.Errorf("no second Abort after the late answer: %v", w.r.Names(w.id))
				}
				if e.Failure != nil || e.Components.Components[0].BackupStamp != "" {
					t.Errorf("the late answer counts: %+v", e)
				}
				w.must(writer.OnBackupShutdown)
			})
		})
	}
}

func TestPanic(t *testing.T) {
	way := []writer.Handler{writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw,
		writer.OnPostSnapshot, writer.OnBackupComplete, writer.OnBackupShutdown}
	for n, h := range way {
		t.Run(h.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *watched) {
				w.must(way[:n]...)
				w.r.At(h, writertest.Panic)
				err := w.tell(h)
				w.wants(h.String(), err, vss.ErrWriterErrorNonRetryable)
				if err == nil || !strings.Contains(err.Error(), "the test wants it") {
					t.Errorf("the reason is lost: %v", err)
				}
				w.r.At(h, nil)
			})
		})
	}
	bubble(t, func(t *testing.T, w *watched) {
		w.r.At(writer.OnAbort, writertest.Panic)
		w.must(writer.OnPrepareSnapshot, writer.OnFreeze)
		w.wants("Abort", w.tell(writer.OnAbort), vss.ErrWriterErrorNonRetryable)
		w.r.At(writer.OnAbort, nil)
		w.must(writer.OnBackupShutdown)
		if w.count(writer.OnAbort) != 2 {
			t.Errorf("an Abort that failed isn't repeated at the end: %v", w.r.Names(w.id))
		}
		w.r.AtIdentify(writertest.Panic)
		_, err := w.w.Identify(t.Context())
		w.wants("Identify", err, vss.ErrWriterErrorNonRetryable)
	})
}

// Only VSS_E_WRITERERROR_* come from a writer.
func TestResults(t *testing.T) {
	own := []vss.Code{
		vss.ErrWriterErrorInconsistentSnapshot, vss.ErrWriterErrorOutOfResources, vss.ErrWriterErrorTimeout,
		vss.ErrWriterErrorRetryable,
		vss.ErrWriterErrorNonRetryable, vss.ErrWriterErrorPartialFailure, vss.ErrWriterErrorRecoveryFailed,
	}
	foreign := []error{io.EOF, vss.ErrWriterNotResponding, vss.ErrWriterStatusNotAvailable,
		vss.E("x", vss.ErrBadState, io.EOF), vss.ErrAccessDenied, vss.OK}
	for _, code := range own {
		bubble(t, func(t *testing.T, w *watched) {
			w.r.At(writer.OnPrepareSnapshot, writertest.Fail(code, io.EOF))
			err := w.tell(writer.OnPrepareSnapshot)
			w.wants("fatal", err, code)
			if !errors.Is(err, io.EOF) {
				t.Errorf("the cause is lost: %v", err)
			}
			e := &writer.Event{Session: vss.SessionID{GUID: vss.NewGUID()}}
			w.r.At(writer.OnPrepareSnapshot, writertest.Veto(code, "why"))
			if err := w.w.PrepareSnapshot(t.Context(), e); err != nil ||
				*e.Failure != (writer.Failure{Code: code, Message: "why"}) {
				t.Errorf("veto: %v, %+v", err, e.Failure)
			}
		})
	}
	for _, cause := range foreign {
		bubble(t, func(t *testing.T, w *watched) {
			w.r.At(writer.OnFreeze, func(context.Context, *writer.Event) error { return cause })
			w.must(writer.OnPrepareSnapshot)
			err := w.tell(writer.OnFreeze)
			w.wants("foreign", err, vss.ErrWriterErrorNonRetryable)
			if !errors.Is(err, cause) {
				t.Errorf("the cause is lost: %v", err)
			}
		})
	}
	bubble(t, func(t *testing.T, w *watched) {
		// False with SetWriterFailure: the failure's code counts.
		w.r.At(writer.OnFreeze, func(_ context.Context, e *writer.Event) error {
			e.SetFailure(vss.ErrWriterErrorRetryable, "locked")
			return io.EOF
		})
		w.must(writer.OnPrepareSnapshot)
		w.wants("fatal with failure", w.tell(writer.OnFreeze), vss.ErrWriterErrorRetryable)
		// A veto with a code that isn't a writer's, and one of S_OK, which is none.
		w.id = vss.SessionID{GUID: vss.NewGUID()}
		w.r.At(writer.OnPrepareSnapshot, writertest.Veto(vss.ErrAccessDenied, strings.Repeat("é", 1<<14)))
		e := &writer.Event{Session: w.id}
		if err := w.w.PrepareSnapshot(t.Context(), e); err != nil ||
			e.Failure.Code != vss.ErrWriterErrorNonRetryable || len(e.Failure.Message) > 5<<10 {
			t.Errorf("%v, %v, %d bytes", err, e.Failure.Code, len(e.Failure.Message))
		}
		w.id = vss.SessionID{GUID: vss.NewGUID()}
		w.r.At(writer.OnPrepareSnapshot, writertest.Veto(vss.OK, "all is well"))
		w.must(writer.OnPrepareSnapshot)
		if s := writer.StateOf(w.w, w.id); s != vss.WriterWaitingForFreeze {
			t.Errorf("state %s", s)
		}
	})
}

func TestIdentity(t *testing.T) {
	bubble(t, func(t *testing.T, w *watched) {
		m, err := w.w.Identify(t.Context())
		if err != nil || m.WriterID != w.r.Who.ID || m.Name != "r" || m.Usage != w.r.Who.Usage ||
			m.Source != w.r.Who.Source {
			t.Errorf("%+v, %v", m, err)
		}
		w.r.Metadata.WriterID = vss.WriterID{GUID: vss.NewGUID()}
		_, err = w.w.Identify(t.Context())
		w.wants("another class", err, vss.ErrWriterErrorNonRetryable)
		w.r.Metadata.WriterID = vss.WriterID{}
		w.r.Metadata.Components = append(w.r.Metadata.Components, w.r.Metadata.Components[0])
		_, err = w.w.Identify(t.Context())
		w.wants("a component twice", err, vss.ErrWriterErrorNonRetryable)
		w.r.AtIdentify(writertest.Stall)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = w.w.Identify(ctx)
		w.wants("no answer", err, vss.ErrWriterNotResponding)
		for _, bad := range []writer.Info{{Name: "r"}, {ID: w.r.Who.ID}, {ID: w.r.Who.ID, Name: "r", Level: 9},
			{ID: w.r.Who.ID, Name: "\xff"}, {ID: w.r.Who.ID, Name: strings.Repeat("x", 2000)}} {
			w.r.Who = bad
			_, err := w.w.Info(t.Context())
			w.wants("bad info", err, vss.ErrInvalidArg)
		}
	})
}

func TestSessions(t *testing.T) {
	bubble(t, func(t *testing.T, w *watched) {
		var ids []vss.SessionID
		for range writer.MaxSessions {
			w.id = vss.SessionID{GUID: vss.NewGUID()}
			w.must(writer.OnPrepareBackup)
			ids = append(ids, w.id)
		}
		w.id = vss.SessionID{GUID: vss.NewGUID()}
		w.wants("one too many", w.tell(writer.OnPrepareBackup), vss.ErrWriterStatusNotAvailable)
		w.must(writer.OnAbort, writer.OnBackupShutdown) // these need no room
		w.id = ids[7]
		w.must(writer.OnBackupComplete) // a finished session makes room, and its end is still delivered
		w.id = vss.SessionID{GUID: vss.NewGUID()}
		w.must(writer.OnPrepareBackup)
		w.id = ids[7]
		w.must(writer.OnBackupShutdown)
		w.id = vss.SessionID{GUID: vss.NewGUID()}
		w.wants("one too many", w.tell(writer.OnPrepareBackup), vss.ErrWriterStatusNotAvailable)
		w.id = ids[8]
		w.must(writer.OnBackupShutdown)
		w.id = vss.SessionID{GUID: vss.NewGUID()}
		w.must(writer.OnPrepareBackup)
	})
}

func TestClose(t *testing.T) {
	bubble(t, func(t *testing.T, w *watched) {
		w.must(writer.OnPrepareSnapshot, writer.OnFreeze)
		_ = w.w.Close()
		if w.r.Frozen() || w.count(writer.OnAbort) != 1 || w.count(writer.OnBackupShutdown) != 1 {
			t.Errorf("%v", w.r.Names(w.id))
		}
		w.wants("after the end", w.tell(writer.OnPrepareBackup), vss.ErrWriterNotResponding)
		if err := w.w.Close(); err != nil || w.count(writer.OnBackupShutdown) != 1 {
			t.Errorf("the second Close: %v, %v", err, w.r.Names(w.id))
		}
	})
}

// What a writer may change of its components, and when.
func TestChanges(t *testing.T) {
	all := document.Component{
		Name: "c", BackupStamp: "stamp", BackupMetadata: "metadata", BackupOptions: "not its own",
		BackupSucceeded:  true,
		PartialFiles:     []document.PartialFile{{Path: "/p"}},
		DifferencedFiles: []document.DifferencedFiles{{Path: "/d"}},
		Failure:          &document.ComponentFailure{Code: vss.ErrAccessDenied, Message: "m"}, SelectedForRestore: true,
		RestoreTarget: vss.TargetAlternate, RestoreMetadata: "rm",
		DirectedTargets:         []document.DirectedTarget{{SourcePath: "/s"}},
		PrepareForBackupFailure: "1", PostSnapshotFailure: "2", PreRestoreFailure: "3", PostRestoreFailure: "4",
	}
	failure := &document.ComponentFailure{Code: vss.ErrWriterErrorNonRetryable, Message: "m"}
	during := document.Component{Name: "c", BackupStamp: "stamp", BackupMetadata: "metadata",
		PartialFiles: all.PartialFiles, DifferencedFiles: all.DifferencedFiles, Failure: failure}
	prepare, post := during, during
	prepare.PrepareForBackupFailure, post.PostSnapshotFailure = "1", "2"
	for h, want := range map[writer.Handler]document.Component{
		writer.OnPrepareBackup:   prepare,
		writer.OnPrepareSnapshot: {Name: "c"},
		writer.OnPostSnapshot:    post,
		writer.OnBackupComplete:  {Name: "c"},
		writer.OnPreRestore: {Name: "c", RestoreTarget: vss.TargetAlternate, RestoreMetadata: "rm",
			DirectedTargets:   all.DirectedTargets,
			PreRestoreFailure: "3", Failure: failure},
		writer.OnPostRestore: {Name: "c", PostRestoreFailure: "4", Failure: failure},
	} {
		for _, way := range []string{"in process", "socket"} {
			t.Run(h.String()+"/"+way, func(t *testing.T) {
				r := writertest.NewRecorder("r")
				var w writer.Writer = writer.Watch(r, slog.New(slog.DiscardHandler))
				if way == "socket" {
					w = writertest.Socket(t, r)
				}
				id := vss.SessionID{GUID: vss.NewGUID()}
				if h == writer.OnPostSnapshot {
					for _, h := range []writer.Handler{writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw} {
						if err := h.Call(t.Context(), w, &writer.Event{Session: id}); err != nil {
							t.Fatal(err)
						}
					}
				}
				r.At(h, func(_ context.Context, e *writer.Event) error {
					c := all
					e.Components.Components = []*document.Component{&c, {Name: "one more"}}
					return nil
				})
				mine := &document.Component{Name: "c"}
				e := &writer.Event{Session: id, Components: &document.WriterComponents{
					WriterID: r.Who.ID, InstanceID: vss.WriterInstanceID{GUID: vss.NewGUID()},
					Components: []*document.Component{mine}}}
				if err := h.Call(t.Context(), w, e); err != nil {
					t.Fatal(err)
				}
				same(t, &want, mine)
				if len(e.Components.Components) != 1 {
					t.Error("a component was added")
				}
			})
		}
	}
}

// A handler that fails after its caller stopped waiting gives no answer, whichever comes first.
func TestFailsWhenNobodyWaits(t *testing.T) {
	for _, how := range []string{"the context's error", "an error of its own", "a failure"} {
		for range 100 {
			bubble(t, func(t *testing.T, w *watched) {
				ctx, cancel := context.WithCancel(t.Context())
				w.r.At(writer.OnPrepareSnapshot, func(ctx context.Context, e *writer.Event) error {
					cancel()
					switch how {
					case "the context's error":
						return ctx.Err()
					case "an error of its own":
						return vss.E("PrepareSnapshot", vss.ErrWriterErrorRetryable, errors.New("it was told to stop"))
					}
					e.SetFailure(vss.ErrWriterErrorRetryable, "it was told to stop")
					return nil
				})
				e := &writer.Event{Session: w.id}
				w.wants(how, w.w.PrepareSnapshot(ctx, e), vss.ErrWriterNotResponding)
				if e.Failure != nil {
					t.Errorf("failure %+v", e.Failure)
				}
				synctest.Wait()
				w.must(writer.OnAbort)
			})
		}
	}
}
