package writerset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

// TestBackup checks the events of a backup, what each carries, and the states.
func TestBackup(t *testing.T) {
	r, i := recorder("db")
	w := gathered(t, i)
	target := target()
	doc := w.Document()
	doc.BackupType, doc.PartialFileSupport, doc.BootableSystemState = vss.BackupIncremental, true, true
	states := []vss.WriterState{vss.WriterStable, vss.WriterWaitingForFreeze, vss.WriterWaitingForThaw,
		vss.WriterWaitingForPostSnapshot,
		vss.WriterWaitingForBackupComplete, vss.WriterStable, vss.WriterStable}
	for h := writer.OnPrepareBackup; h <= writer.OnBackupShutdown; h++ {
		if h == writer.OnPostSnapshot {
			target.Devices, target.Writable = map[string]string{"/srv": "/dev/x"}, true
		}
		must(t, w.send(h, target))
		if s := w.status(); s.State != states[h] || s.Failure != vss.OK {
			t.Errorf("after %s: %+v, want %s", h, s, states[h])
		}
	}
	seen := r.Seen()
	if len(seen) != 7 {
		t.Fatalf("%d events", len(seen))
	}
	for n, s := range seen {
		e := s.Event
		if s.Handler != writer.Handler(n) || e.Session != w.session || e.SetID != target.Set ||
			!slices.Equal(e.Volumes, target.Volumes) ||
			e.BackupType != vss.BackupIncremental || !e.Partial || !e.Bootable || e.Context != vss.ContextBackup {
			t.Errorf("event %d is %s: %+v", n, s.Handler, e)
		}
		if post := s.Handler == writer.OnPostSnapshot; post && (e.Devices["/srv"] != "/dev/x" || !e.Writable) {
			t.Errorf("%s got the devices %v, writable %v", s.Handler, e.Devices, e.Writable)
		}
	}
	if all := w.events(); len(all) != 0 {
		t.Errorf("events %+v", all)
	}
}

// TestNoWriters checks that nothing is sent in a context without writers.
func TestNoWriters(t *testing.T) {
	r, i := recorder("db")
	w := gathered(t, i)
	target := target()
	target.Context = vss.ContextFileShareBackup
	for h := writer.OnPrepareBackup; h <= writer.OnAbort; h++ {
		must(t, w.send(h, target))
	}
	if len(r.Seen()) != 0 || w.WantsRecovery(target) || w.Window() != 0 {
		t.Errorf("the writer received %v", r.Names(w.session))
	}
}

// order records the events of several writers in the order in which they come.
type order struct {
	mu  sync.Mutex
	all []string
}

func (o *order) act(name string) writertest.Act {
	return func(context.Context, *writer.Event) error {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.all = append(o.all, name)
		return nil
	}
}

// levelled returns writers of each level, two at the front.
func levelled(o *order) (all []*writer.Instance, recorders map[string]*writertest.Recorder) {
	recorders = map[string]*writertest.Recorder{}
	for _, c := range []struct {
		name  string
		level vss.ApplicationLevel
	}{
		{"system", vss.LevelSystem}, {"back", vss.LevelBackEnd}, {"front", vss.LevelFrontEnd},
		{"undefined", vss.LevelUnknown},
	} {
		r, i := recorder(c.name)
		r.Who.Level = c.level
		i.Info = r.Who
		name := c.name
		if c.level == vss.LevelUnknown {
			name = "front"
		}
		for _, h := range []writer.Handler{writer.OnFreeze, writer.OnThaw, writer.OnAbort} {
			r.At(h, o.act(h.String()+" "+name))
		}
		recorders[c.name] = r
		all = append(all, i)
	}
	return all, recorders
}

// TestLevels checks that writers freeze level after level and thaw or abort in reverse order.
func TestLevels(t *testing.T) {
	for _, last := range []writer.Handler{writer.OnThaw, writer.OnAbort} {
		var o order
		all, _ := levelled(&o)
		w := gathered(t, all...)
		target := target()
		must(t, w.sendUpTo(writer.OnFreeze, target), w.send(last, target))
		want := []string{"Freeze front", "Freeze front", "Freeze back", "Freeze system"}
		for _, l := range []string{"system", "back", "front", "front"} {
			want = append(want, last.String()+" "+l)
		}
		if !slices.Equal(o.all, want) {
			t.Errorf("the order is %v, want %v", o.all, want)
		}
	}
}

// TestFreezeStops checks that no further level freezes once a writer returned an error, and that all receive Abort
// after it.
func TestFreezeStops(t *testing.T) {
	var o order
	all, recorders := levelled(&o)
	recorders["back"].At(writer.OnFreeze, writertest.Fail(vss.ErrWriterErrorRetryable, errors.New("busy")))
	w := gathered(t, all...)
	target := target()
	must(t, w.sendUpTo(writer.OnPrepareSnapshot, target))
	if err := w.Freeze(t.Context(), target); !errors.Is(err, vss.ErrUnexpectedWriterError) {
		t.Errorf("Freeze: %v", err)
	}
	w.Abort(t.Context(), target)
	for name, r := range recorders {
		names := strings.Join(r.Names(w.session), " ")
		want := "PrepareBackup PrepareSnapshot Freeze Abort"
		if name == "system" {
			want = "PrepareBackup PrepareSnapshot Abort"
		}
		if names != want || r.Frozen() {
			t.Errorf("%s received %s, want %s; frozen: %v", name, names, want, r.Frozen())
		}
	}
	if w.Window() < 0 {
		t.Errorf("the window is %v", w.Window())
	}
}

// TestThawPatience checks that a writer that hangs in Thaw delays those of other levels for two seconds at most, and
// that one that did not respond to Freeze delays none.
func TestThawPatience(t *testing.T) {
	for _, c := range []struct {
		name  string
		hangs writer.Handler
		want  time.Duration // until the front end has thawed
	}{{"in Thaw", writer.OnThaw, thawPatience}, {"in Freeze", writer.OnFreeze, 0}} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var o order
				all, recorders := levelled(&o)
				recorders["system"].At(c.hangs, writertest.Stall)
				if c.hangs == writer.OnFreeze {
					recorders["system"].At(writer.OnAbort, writertest.Stall)
				}
				w := gathered(t, all...)
				target := target()
				must(t, w.sendUpTo(writer.OnPrepareSnapshot, target))
				_ = w.Freeze(t.Context(), target) // front and back expire here if system hangs: not what is measured
				began := time.Now()
				var thawed time.Duration
				recorders["front"].At(writer.OnThaw, func(context.Context, *writer.Event) error {
					thawed = time.Since(began)
					return nil
				})
				_ = w.Thaw(t.Context(), target)
				if thawed != c.want {
					t.Errorf("the front end thawed after %v, want %v", thawed, c.want)
				}
			})
		})
	}
}

// TestWindows checks what becomes of writers whose freeze window expires, in Freeze, between Freeze and Thaw, and in
// Thaw.
func TestWindows(t *testing.T) {
	expire := func(after time.Duration) writertest.Act {
		return func(context.Context, *writer.Event) error {
			time.Sleep(after)
			return vss.E("Thaw", vss.ErrWriterErrorTimeout, errors.New("expired"))
		}
	}
	run := func(t *testing.T, f func(t *testing.T, r *writertest.Recorder, w *world, target Target)) {
		synctest.Test(t, func(t *testing.T) {
			r, i := recorder("db")
			r.Who.FreezeTimeout = 5 * time.Second
			i.Info = r.Who
			w := gathered(t, i)
			target := target()
			must(t, w.sendUpTo(writer.OnPrepareSnapshot, target))
			f(t, r, w, target)
		})
	}
	t.Run("in Freeze", func(t *testing.T) {
		run(t, func(t *testing.T, r *writertest.Recorder, w *world, target Target) {
			r.At(writer.OnFreeze, expire(5*time.Second))
			err := w.Freeze(t.Context(), target)
			if s := w.status(); err != nil || s.State != vss.WriterFailedAtFreeze ||
				s.Failure != vss.ErrWriterNotResponding {
				t.Errorf("%v, %+v", err, s)
			}
		})
	})
	t.Run("before the copies", func(t *testing.T) {
		run(t, func(t *testing.T, _ *writertest.Recorder, w *world, target Target) {
			must(t, w.Freeze(t.Context(), target))
			time.Sleep(6 * time.Second)
			if err := w.checkWindows(); !errors.Is(err, vss.ErrUnexpectedWriterError) ||
				!errors.Is(err, vss.ErrWriterErrorTimeout) {
				t.Errorf("checkWindows: %v", err)
			}
		})
	})
	t.Run("in Thaw", func(t *testing.T) {
		run(t, func(t *testing.T, r *writertest.Recorder, w *world, target Target) {
			must(t, w.Freeze(t.Context(), target))
			time.Sleep(6 * time.Second)
			r.At(writer.OnThaw, expire(0))
			err := w.Thaw(t.Context(), target)
			s := w.status()
			if err != nil || s.State != vss.WriterFailedAtThaw || s.Failure != vss.ErrWriterErrorTimeout ||
				s.Frozen != 6*time.Second {
				t.Errorf("%v, %+v", err, s)
			}
			if w.Window() != 6*time.Second {
				t.Errorf("the window is %v", w.Window())
			}
			if names := r.Names(w.session); names[len(names)-1] != "Abort" {
				t.Errorf("the writer received %v", names)
			}
		})
	})
	t.Run("too early an expiry", func(t *testing.T) {
		run(t, func(t *testing.T, r *writertest.Recorder, w *world, target Target) {
			r.At(writer.OnFreeze, expire(time.Second))
			if err := w.Freeze(t.Context(), target); !errors.Is(err, vss.ErrUnexpectedWriterError) {
				t.Errorf("Freeze: %v", err)
			}
		})
	})
}

// TestAbort checks which writers receive Abort after each event of a backup.
func TestAbort(t *testing.T) {
	for h := writer.OnPrepareBackup; h <= writer.OnPostSnapshot; h++ {
		r, i := recorder("db")
		w := gathered(t, i)
		target := target()
		must(t, w.sendUpTo(h, target))
		w.Abort(t.Context(), target)
		names := r.Names(w.session)
		if got, want := slices.Contains(names, "Abort"), h < writer.OnPostSnapshot; got != want {
			t.Errorf("after %s: %v", h, names)
		}
	}
	r, i := recorder("db")
	w := gathered(t, i)
	w.Abort(t.Context(), target())
	w.Shutdown(t.Context(), target())
	if names := r.Names(w.session); len(names) != 0 {
		t.Errorf("a writer without an event received %v", names)
	}
}

// TestThawIsNotCutShort checks that Thaw goes on when the requester leaves.
func TestThawIsNotCutShort(t *testing.T) {
	r, i := recorder("db")
	w := gathered(t, i)
	target := target()
	must(t, w.sendUpTo(writer.OnFreeze, target))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Thaw(ctx, target); err != nil || r.Frozen() || w.status().State != vss.WriterWaitingForPostSnapshot {
		t.Errorf("%v, %+v", err, w.status())
	}
}

// TestRequired checks when a required writer fails a set, and with which code.
func TestRequired(t *testing.T) {
	veto := writertest.Veto(vss.ErrWriterErrorRetryable, "busy")
	for _, c := range []struct {
		name     string
		required func(i *writer.Instance) string
		change   func(w *world, r *writertest.Recorder, i *writer.Instance)
		want     vss.Code
	}{
		{"none failed", func(i *writer.Instance) string { return i.Info.Name },
			func(*world, *writertest.Recorder, *writer.Instance) {}, vss.OK},
		{"none failed, by id", func(i *writer.Instance) string { return i.Info.ID.String() },
			func(*world, *writertest.Recorder, *writer.Instance) {}, vss.OK},
		{"failed", func(i *writer.Instance) string { return "DB" },
			func(_ *world, r *writertest.Recorder, _ *writer.Instance) { r.At(writer.OnPrepareSnapshot, veto) },
			vss.ErrWriterErrorRetryable},
		{"another failed", func(*writer.Instance) string { return "other" },
			func(_ *world, r *writertest.Recorder, _ *writer.Instance) { r.At(writer.OnPrepareSnapshot, veto) },
			vss.OK},
		{"absent", func(*writer.Instance) string { return "none" },
			func(*world, *writertest.Recorder, *writer.Instance) {}, vss.ErrWriterNotResponding},
		{"absent and disabled", func(*writer.Instance) string { return "none" },
			func(w *world, _ *writertest.Recorder, _ *writer.Instance) { w.Disable([]string{"none"}) }, vss.OK},
		{"absent and not enabled", func(*writer.Instance) string { return "none" },
			func(w *world, _ *writertest.Recorder, _ *writer.Instance) { w.Enable([]string{"db"}) }, vss.OK},
		{"absent and enabled", func(*writer.Instance) string { return "none" },
			func(w *world, _ *writertest.Recorder, _ *writer.Instance) { w.Enable([]string{"db", "none"}) },
			vss.ErrWriterNotResponding},
		{"excluded", func(i *writer.Instance) string { return i.Info.Name },
			func(w *world, _ *writertest.Recorder, i *writer.Instance) {
				w.DisableInstances([]vss.WriterInstanceID{i.ID})
			}, vss.OK},
		{"does not identify itself", func(i *writer.Instance) string { return i.Info.Name },
			func(_ *world, r *writertest.Recorder, _ *writer.Instance) { r.AtIdentify(writertest.Panic) },
			vss.ErrWriterNotResponding},
		{"absent, components of others", func(*writer.Instance) string { return "none" },
			func(w *world, _ *writertest.Recorder, _ *writer.Instance) {
				w.Document().SelectComponents = true
			}, vss.OK},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, i := recorder("db")
			_, other := recorder("other")
			w := newWorld(t, i, other)
			w.cfg.Required = []string{c.required(i)}
			c.change(w, r, i)
			must(t, w.Gather(t.Context()))
			err := w.PrepareSnapshot(t.Context(), target())
			if vss.CodeOf(err) != c.want || err != nil && vss.Hint(err) == "" {
				t.Errorf("%v, want %s", err, c.want.Name())
			}
		})
	}
}

// TestWantsRecovery checks when the copies must be writable for a writer.
func TestWantsRecovery(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(r *writertest.Recorder)
		flags  vss.Attributes
		chosen string // component mode, with this component
		want   bool
	}{
		{"no", func(*writertest.Recorder) {}, 0, "", false},
		{"a component", func(r *writertest.Recorder) { r.Metadata.Components[0].Flags = vss.ComponentBackupRecovery },
			0, "", true},
		{"a member of the component",
			func(r *writertest.Recorder) { r.Metadata.Components[1].Flags = vss.ComponentBackupRecovery },
			0, "data", true},
		{"another component",
			func(r *writertest.Recorder) { r.Metadata.Components[0].Flags = vss.ComponentBackupRecovery },
			0, "other", false},
		{"a rollback", func(r *writertest.Recorder) {
			r.Metadata.Components[0].Flags = vss.ComponentAppRollbackRecovery
		},
			vss.AttrRollbackRecovery, "", true},
		{"a rollback that is not asked for", func(r *writertest.Recorder) {
			r.Metadata.Components[0].Flags = vss.ComponentAppRollbackRecovery
		},
			0, "", false},
		{"files to delete", func(r *writertest.Recorder) {
			r.Metadata.ExcludeFilesFromSnapshot = r.Metadata.Components[0].DatabaseFiles
		}, 0, "", true},
		{"it failed", func(r *writertest.Recorder) {
			r.Metadata.Components[0].Flags = vss.ComponentBackupRecovery
			r.At(writer.OnFreeze, writertest.Veto(vss.ErrWriterErrorRetryable, "busy"))
		}, 0, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, i := recorder("db")
			c.change(r)
			w := gathered(t, i)
			target := target()
			target.Context |= vss.Context(c.flags)
			if c.chosen != "" {
				w.Document().SelectComponents = true
				must(t, w.AddComponent(i.ID, i.Info.ID, vss.ComponentDatabase, "", c.chosen))
			}
			must(t, w.sendUpTo(writer.OnThaw, target))
			if got := w.WantsRecovery(target); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// TestParallel checks that writers of one level work at the same time.
func TestParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []*writer.Instance
		for n := range 8 {
			r, i := recorder(fmt.Sprint("db", n))
			r.At(writer.OnPrepareBackup, func(context.Context, *writer.Event) error {
				time.Sleep(time.Second)
				return nil
			})
			all = append(all, i)
		}
		w := gathered(t, all...)
		began := time.Now()
		w.PrepareBackup(t.Context(), target())
		if d := time.Since(began); d != time.Second {
			t.Errorf("eight writers took %v", d)
		}
	})
}
