package writerset

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

// send sends one event as the coordinator does; steps of a creation return what fails the set.
func (w *world) send(h writer.Handler, t Target) error {
	ctx := w.t.Context()
	switch h {
	case writer.OnPrepareBackup:
		w.PrepareBackup(ctx, t)
	case writer.OnPrepareSnapshot:
		return w.PrepareSnapshot(ctx, t)
	case writer.OnFreeze:
		return w.Freeze(ctx, t)
	case writer.OnThaw:
		return w.Thaw(ctx, t)
	case writer.OnPostSnapshot:
		return w.PostSnapshot(ctx, t)
	case writer.OnBackupComplete:
		w.BackupComplete(ctx, t)
	case writer.OnBackupShutdown:
		w.Shutdown(ctx, t)
	case writer.OnAbort:
		w.Abort(ctx, t)
	case writer.OnPreRestore:
		w.PreRestore(ctx, t)
	case writer.OnPostRestore:
		w.PostRestore(ctx, t)
	}
	return nil
}

// sendUpTo sends the events of a backup or a restore up to one of them.
func (w *world) sendUpTo(last writer.Handler, t Target) (err error) {
	from := writer.OnPrepareBackup
	if last >= writer.OnPreRestore {
		from = writer.OnPreRestore
	}
	for h := from; h <= last; h++ {
		err = w.send(h, t)
	}
	return err
}

// TestFailures makes a writer fail in each way in each handler, and checks its state, what fails the set, and the
// event.
func TestFailures(t *testing.T) {
	for _, h := range writer.Handlers() {
		for _, c := range []struct {
			name    string
			act     func(release <-chan struct{}) writertest.Act
			failure vss.Code // in the status
			fatal   bool     // fails the set where a step returns errors
		}{
			{"veto", func(<-chan struct{}) writertest.Act {
				return writertest.Veto(vss.ErrWriterErrorRetryable, "busy")
			},
				vss.ErrWriterErrorRetryable, false},
			{"error", func(<-chan struct{}) writertest.Act {
				return writertest.Fail(vss.ErrWriterErrorOutOfResources, errors.New("full"))
			}, vss.ErrWriterErrorOutOfResources, true},
			{"foreign error", func(<-chan struct{}) writertest.Act {
				return func(context.Context, *writer.Event) error { return errors.New("odd") }
			}, vss.ErrWriterErrorNonRetryable, true},
			{"panic", func(<-chan struct{}) writertest.Act { return writertest.Panic },
				vss.ErrWriterErrorNonRetryable, true},
			{"hang", func(<-chan struct{}) writertest.Act { return writertest.Stall }, vss.ErrWriterNotResponding,
				false},
			{"hang without end", func(release <-chan struct{}) writertest.Act { return writertest.Hang(release) },
				vss.ErrWriterNotResponding, false},
			{"process died", func(<-chan struct{}) writertest.Act {
				return func(context.Context, *writer.Event) error { return wire.ErrServiceGone }
			}, vss.ErrWriterNotResponding, false},
		} {
			t.Run(h.String()+"/"+c.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r, i := recorder("db")
					w := newWorld(t, i)
					if h >= writer.OnPreRestore {
						doc, _ := saved(t, i, r, "data")
						must(t, w.LoadRestore(doc, nil), w.Gather(t.Context()))
						must(t, w.SetSelectedForRestore(database(i, "", "data"), true, vss.WriterInstanceID{}))
					} else {
						must(t, w.Gather(t.Context()))
					}
					release := make(chan struct{})
					r.At(h, c.act(release))
					target := target()
					var err error
					if h == writer.OnAbort {
						must(t, w.sendUpTo(writer.OnFreeze, target))
						w.Abort(t.Context(), target)
					} else {
						err = w.sendUpTo(h, target)
					}
					returns := h == writer.OnFreeze || h == writer.OnThaw
					if got := err != nil; got != (returns && c.fatal) {
						t.Errorf("%s returned %v", h, err)
					}
					if err != nil && (!errors.Is(err, vss.ErrUnexpectedWriterError) || vss.Hint(err) == "" ||
						!strings.Contains(err.Error(), "db")) {
						t.Errorf("%s returned %v (hint %q)", h, err, vss.Hint(err))
					}
					got, want := w.status(), h.Failed()
					if h == writer.OnAbort { // no failed state belongs to it, and only silence is noted
						want = vss.WriterWaitingForThaw
					}
					if got.State != want {
						t.Errorf("the state is %s, want %s", got.State, want)
					}
					noted := h != writer.OnAbort || c.failure == vss.ErrWriterNotResponding
					if noted && got.Failure != c.failure {
						t.Errorf("the failure is %s, want %s", got.Failure.Name(), c.failure.Name())
					}
					all := w.events()
					if len(all) == 0 || all[0].What != "writer-failed" || all[0].Code != c.failure ||
						all[0].Object != "db" ||
						!strings.HasPrefix(all[0].Message, h.String()+": ") {
						t.Errorf("events %+v", all)
					}
					close(release)
					synctest.Wait()
				})
			})
		}
	}
}

// TestLateHandler checks that a handler that returns after its limit can change nothing: neither what the set reads
// nor the document. The race detector sees to the former.
func TestLateHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, i := recorder("db")
		w := gathered(t, i)
		w.Document().SelectComponents = true
		must(t, w.AddComponent(i.ID, i.Info.ID, vss.ComponentDatabase, "", "data"))
		release := make(chan struct{})
		r.At(writer.OnPrepareBackup, func(_ context.Context, e *writer.Event) error {
			<-release
			e.SetFailure(vss.ErrWriterErrorRetryable, "late")
			e.Components.Components[0].BackupStamp = "late"
			e.Volumes[0], e.Devices["/srv"] = "late", "late"
			return nil
		})
		target := target()
		target.Devices = map[string]string{}
		w.PrepareBackup(t.Context(), target)
		close(release)
		if s := w.status(); s.Failure != vss.ErrWriterNotResponding || s.State != vss.WriterFailedAtPrepareBackup {
			t.Errorf("%+v", s)
		}
		synctest.Wait()
		if c := w.Components()[0].Components[0]; c.BackupStamp != "" || target.Volumes[0] != "/srv" ||
			len(target.Devices) != 0 {
			t.Errorf("a late handler changed %+v, %+v", c, target)
		}
	})
}

// TestLimits checks how long each handler may take.
func TestLimits(t *testing.T) {
	for _, limits := range []Limits{{}, {time.Second, 2 * time.Second, 3 * time.Second}} {
		for h, want := range map[writer.Handler]time.Duration{
			writer.OnPrepareBackup: 15 * time.Minute, writer.OnPrepareSnapshot: 10 * time.Minute,
			writer.OnFreeze:         60 * time.Second,
			writer.OnBackupShutdown: 60 * time.Second,
		} {
			if limits.Work > 0 {
				want = map[writer.Handler]time.Duration{writer.OnPrepareSnapshot: 2 * time.Second,
					writer.OnFreeze: 60 * time.Second}[h]
				if want == 0 {
					want = 3 * time.Second
				}
			}
			t.Run(h.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r, i := recorder("db")
					w := gathered(t, i)
					w.cfg.Limits = limits
					target := target()
					if h > writer.OnPrepareBackup {
						must(t, w.sendUpTo(min(h-1, writer.OnPrepareSnapshot), target))
					}
					var took time.Duration
					r.At(h, func(ctx context.Context, _ *writer.Event) error {
						began := time.Now()
						<-ctx.Done()
						took = time.Since(began)
						return ctx.Err()
					})
					_ = w.send(h, target)
					if took != want {
						t.Errorf("%s ended after %v, want %v", h, took, want)
					}
				})
			})
		}
	}
}

// TestCanceled checks that the requester's departure ends a handler, which is then a writer that did not respond.
func TestCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, i := recorder("db")
		w := gathered(t, i)
		r.At(writer.OnPrepareBackup, writertest.Stall)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		w.PrepareBackup(ctx, target())
		if s := w.status(); s.Failure != vss.ErrWriterNotResponding || time.Since(began) != time.Second {
			t.Errorf("after %v: %+v", time.Since(began), s)
		}
	})
}
