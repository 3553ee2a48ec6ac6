package writerset

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

// TestChoice checks which writers take part after each sequence of calls.
func TestChoice(t *testing.T) {
	type call struct {
		enable  bool
		classes string
	}
	for _, c := range []struct {
		name  string
		calls []call
		want  string
	}{
		{"none", nil, "a b c"},
		{"enable", []call{{true, "a"}}, "a"},
		{"enable twice", []call{{true, "a"}, {true, "b"}}, "a b"},
		{"disable", []call{{false, "a"}}, "b c"},
		{"disable twice", []call{{false, "a"}, {false, "B"}}, "c"},
		{"disable, enable", []call{{false, "a b"}, {true, "a c"}}, "a c"},
		{"enable, disable", []call{{true, "a b"}, {false, "b"}}, "a"},
		{"enable, disable, enable", []call{{true, "a b"}, {false, "b"}, {true, "b"}}, "a b"},
		{"disable, enable, disable", []call{{false, "a"}, {true, "a b"}, {false, "b"}}, "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, one := recorder("a")
			_, two := recorder("b")
			_, three := recorder("c")
			w := newWorld(t, one, two, three)
			for _, k := range c.calls {
				if k.enable {
					w.Enable(strings.Fields(k.classes))
				} else {
					w.Disable(strings.Fields(k.classes))
				}
			}
			must(t, w.Gather(t.Context()))
			w.Enable([]string{"none"}) // no effect any more, like the others
			w.Disable([]string{"a", "b", "c"})
			w.DisableInstances([]vss.WriterInstanceID{one.ID, two.ID, three.ID})
			w.PrepareBackup(t.Context(), target())
			var got []string
			for _, s := range w.Status() {
				got = append(got, s.Name)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%v take part, want %s", got, c.want)
			}
		})
	}
}

func TestDisableInstances(t *testing.T) {
	_, one := recorder("a")
	two := &writer.Instance{ID: vss.WriterInstanceID{GUID: vss.NewGUID()}, Info: one.Info, Writer: one.Writer}
	w := newWorld(t, one, two)
	w.Enable([]string{one.Info.ID.String()})
	w.DisableInstances([]vss.WriterInstanceID{one.ID})
	must(t, w.Gather(t.Context()))
	if s := w.status(); s.InstanceID != two.ID {
		t.Errorf("instance %s takes part, want %s", s.InstanceID, two.ID)
	}
}

// TestGather checks the identity that metadata get, and what becomes of a writer that does not identify itself.
func TestGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, fine := recorder("fine")
		var all = []*writer.Instance{fine}
		for name, act := range map[string]writertest.Act{
			"fails": writertest.Fail(vss.ErrWriterErrorRetryable, errors.New("no")), "hangs": writertest.Stall,
			"panics": writertest.Panic,
		} {
			r, i := recorder(name)
			r.AtIdentify(act)
			all = append(all, i)
		}
		w := newWorld(t, all...)
		if _, err := w.Metadata(); !errors.Is(err, vss.ErrBadState) || w.Gathered() {
			t.Errorf("metadata before Gather: %v", err)
		}
		must(t, w.Gather(t.Context()))
		meta, err := w.Metadata()
		if err != nil || !w.Gathered() || len(meta) != 1 || meta[0].WriterID != fine.Info.ID ||
			meta[0].InstanceID != fine.ID || meta[0].Name != "fine" {
			t.Errorf("metadata %+v, %v", meta, err)
		}
		var failed []string
		for _, e := range w.events() {
			if e.What == "writer-failed" && strings.HasPrefix(e.Message, "Identify: ") && e.Hint != "" {
				failed = append(failed, e.Object)
			}
		}
		slices.Sort(failed)
		if strings.Join(failed, " ") != "fails hangs panics" {
			t.Errorf("events for %v", failed)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := New(w.cfg, w.session).Gather(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a canceled Gather: %v", err)
		}
	})
}

// mute is a writer that does not answer Info.
type mute struct{ *writertest.Recorder }

func (mute) Info(ctx context.Context) (writer.Info, error) {
	<-ctx.Done()
	return writer.Info{}, ctx.Err()
}

// TestGatherStatus checks which events a writer that stopped responding still receives.
func TestGatherStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, i := recorder("mute")
		i.Writer = mute{r}
		f, j := recorder("failed")
		f.At(writer.OnPrepareBackup, writertest.Veto(vss.ErrWriterErrorRetryable, "busy"))
		j.Writer = mute{f}
		w := gathered(t, i, j)
		target := target()
		w.PrepareBackup(t.Context(), target)
		if _, err := w.GatheredStatus(); !errors.Is(err, vss.ErrBadState) {
			t.Errorf("the status before GatherStatus: %v", err)
		}
		must(t, w.GatherStatus(t.Context()))
		s, err := w.GatheredStatus()
		must(t, err)
		if s[0].State != vss.WriterUnknown || s[0].Failure != vss.ErrWriterNotResponding {
			t.Errorf("a silent writer: %+v", s[0])
		}
		if s[1].State != vss.WriterFailedAtPrepareBackup || s[1].Failure != vss.ErrWriterErrorRetryable {
			t.Errorf("a silent writer that failed before: %+v", s[1])
		}
		must(t, w.PrepareSnapshot(t.Context(), target), w.Freeze(t.Context(), target), w.Thaw(t.Context(), target))
		w.Abort(t.Context(), target)
		w.Shutdown(t.Context(), target)
		for _, r := range []*writertest.Recorder{r, f} {
			if names := strings.Join(r.Names(w.session), " "); names != "PrepareBackup Abort BackupShutdown" {
				t.Errorf("%s received %s", r.Who.Name, names)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.GatherStatus(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a canceled GatherStatus: %v", err)
		}
	})
}

// TestAbortDropped checks that all writers that run receive Abort, and that one that hangs delays it by its limit at
// most.
func TestAbortDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, i := recorder("db")
		s, j := recorder("silent")
		s.At(writer.OnAbort, writertest.Stall)
		w := newWorld(t, i, j)
		set := target().Set
		AbortDropped(t.Context(), w.cfg, set)
		for _, r := range []*writertest.Recorder{r, s} {
			if seen := r.Seen(); len(seen) != 1 || seen[0].Handler != writer.OnAbort || seen[0].Event.SetID != set {
				t.Errorf("%s received %+v", r.Who.Name, seen)
			}
		}
	})
}
