package arraytest

import (
	"context"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/vss"
)

var two = []string{"copy-1", "copy-2"}

func instant(w *world) {
	a, ctx, set := w.At(A), w.Context(), newSet()
	l, m := w.create("l"), w.create("m")
	w.Write(l.ID, 'l')
	w.Write(m.ID, 'm')
	was, err := a.PrepareCopies(ctx, set, A, of("", two, l, m))
	w.must(err)
	if len(was) != 2 {
		w.Fatalf("%d copies", len(was))
	}
	w.names("prepared", A, "l", "m")
	w.code("delete an origin", a.Delete(ctx, l.ID, true), vss.VDSErrDeviceInUse)
	w.Write(l.ID, 'L')
	w.lun(a.SetFlags(ctx, m.ID, vss.FlagsShadowCopy))
	skew, err := a.CommitCopies(ctx, set, A)
	w.must(err)
	w.Write(l.ID, 'x')
	w.lun(a.SetFlags(ctx, m.ID, 0))
	copies, err := a.FinishCopies(ctx, set, A)
	w.must(err)
	for i, c := range copies {
		o := []array.LUN{l, m}[i]
		if c.ID != was[i].ID || c.Name != two[i] || c.Kind != array.KindShadowCopy ||
			c.State != array.StateCommitted || c.Origin != o.ID || c.Method != array.MethodDifferential ||
			c.Size != o.Size || c.Set != set || c.Host != A || c.Skew != skew || c.Final || c.Imported ||
			len(c.MappedTo) != 0 ||
			c.NAA == o.NAA ||
			c.Serial == o.Serial ||
			c.Percent != 100 {
			w.Errorf("copy %+v", c)
		}
	}
	if copies[0].Flags != 0 || copies[1].Flags != vss.FlagsShadowCopy {
		w.Error("copies have other flags than their origins had at the cut")
	}
	w.must(a.KeepCopies(ctx, set, A))
	w.must(a.AbortCopies(ctx, set, A)) // touches nothing that is kept
	w.content("the copy of l", copies[0].ID, 'L')
	w.content("the copy of m", copies[1].ID, 'm')
	w.content("l", l.ID, 'x')
	if c := w.get(copies[0].ID); !c.Final || c.State != array.StateReady {
		w.Errorf("kept copy %+v", c)
	}
	w.code("delete an origin of a copy", a.Delete(ctx, l.ID, false), vss.VDSErrDeviceInUse)
	w.must(a.Delete(ctx, l.ID, true))
	w.content("the copy without its origin", copies[0].ID, 'L')
}

func order(w *world) {
	a, ctx := w.At(A), w.Context()
	l := w.create("l")
	commit := func(s vss.SnapshotSetID) error { _, err := a.CommitCopies(ctx, s, A); return err }
	finish := func(s vss.SnapshotSetID) error { _, err := a.FinishCopies(ctx, s, A); return err }
	keep := func(s vss.SnapshotSetID) error { return a.KeepCopies(ctx, s, A) }
	for name, s := range map[string]vss.SnapshotSetID{"an unknown set": newSet(), "no set": {}} {
		w.code("commit "+name, commit(s), vss.ErrObjectNotFound)
		w.code("finish "+name, finish(s), vss.ErrObjectNotFound)
		w.code("keep "+name, keep(s), vss.ErrObjectNotFound)
		w.code("abort "+name, a.AbortCopies(ctx, s, A), vss.ErrObjectNotFound)
	}
	set, _ := w.set(prepared, of("", two, l)...)
	_, err := a.PrepareCopies(ctx, set, A, of("", two[1:], l))
	w.code("prepare twice", err, vss.ErrBadState)
	w.code("finish before the commit", finish(set), vss.ErrBadState)
	w.code("keep before the commit", keep(set), vss.ErrBadState)
	w.must(commit(set))
	w.code("commit twice", commit(set), vss.ErrBadState)
	w.code("keep before it is finished", keep(set), vss.ErrBadState)
	for range 2 {
		w.must(finish(set))
	}
	for range 2 {
		w.must(keep(set))
	}
	w.names("in the end", A, "copy-1", "l")
}

func allOrNone(w *world) {
	a, ctx := w.At(A), w.Context()
	l, m := w.create("l"), w.create("m")
	for far := prepared; far <= finished; far++ {
		set, _ := w.set(far, of("", two, l, m)...)
		w.must(a.AbortCopies(ctx, set, A))
		w.names("aborted", A, "l", "m")
		w.code("abort twice", a.AbortCopies(ctx, set, A), vss.ErrObjectNotFound)
	}
}

// restarts: what is prepared or cut dies with the controller, what is finished waits for its host, what is kept stays.
func restarts(w *world) {
	ctx := w.Context()
	l := w.create("l")
	w.Write(l.ID, 'l')
	gone := map[vss.SnapshotSetID]bool{}
	for far := prepared; far <= kept; far++ {
		set, copies := w.set(far, of("", []string{""}, l)...)
		gone[set] = far < finished
		w.Restart()
		_, err := w.At(A).LUN(ctx, copies[0].ID)
		if far < finished {
			w.code("a copy that was not finished", err, vss.VDSErrObjectNotFound)
			continue
		}
		w.must(err)
		w.content("the copy", copies[0].ID, 'l')
		if d := cmp.Diff(far == kept, w.get(copies[0].ID).Final); d != "" {
			w.Error(d)
		}
	}
	for set, none := range gone {
		if err := w.At(A).AbortCopies(ctx, set, A); none {
			w.code("abort what is gone", err, vss.ErrObjectNotFound)
		} else {
			w.must(err)
		}
	}
	all, err := w.At(A).LUNs(ctx)
	w.must(err)
	if len(all) != 2 {
		w.Errorf("%d LUNs, want the original and the kept copy", len(all))
	}
}

// twoHosts: a host that learns another one's set id, and even takes it for itself, can do nothing to its copies.
func twoHosts(w *world) {
	b, ctx := w.At(B), w.Context()
	l, m := w.create("l"), w.create("m")
	w.Write(l.ID, 'l')
	for far := prepared; far <= kept; far++ {
		set, copies := w.set(far, of("", []string{"of-a"}, l)...)
		intrude := func() {
			w.Helper()
			_, err := b.CommitCopies(ctx, set, B)
			w.code("commit of another host's set", err, vss.ErrObjectNotFound)
			_, err = b.FinishCopies(ctx, set, B)
			w.code("finish of another host's set", err, vss.ErrObjectNotFound)
			w.code("keep of another host's set", b.KeepCopies(ctx, set, B), vss.ErrObjectNotFound)
			w.code("abort of another host's set", b.AbortCopies(ctx, set, B), vss.ErrObjectNotFound)
		}
		intrude()
		_, err := b.PrepareCopies(ctx, set, B, of("", []string{"of-b"}, m))
		w.must(err)
		w.must(b.AbortCopies(ctx, set, B))
		intrude()
		a := w.At(A)
		if far < committed {
			_, err = a.CommitCopies(ctx, set, A)
			w.must(err)
		}
		if far < finished {
			_, err = a.FinishCopies(ctx, set, A)
			w.must(err)
		}
		w.must(a.KeepCopies(ctx, set, A))
		w.content("the copy", copies[0].ID, 'l')
		w.must(a.Delete(ctx, copies[0].ID, false))
	}
	w.names("in the end", B, "l", "m")
}

func importOnce(w *world) {
	a, b, ctx := w.At(A), w.At(B), w.Context()
	_, copies := w.set(kept, of("", two, w.create("l"), w.create("m"))...)
	first, second := copies[0].ID, copies[1].ID
	for _, id := range []vss.LUNID{first, second} {
		w.must(b.MapAll(ctx, B, []vss.LUNID{id, id}))
		w.lun(a.Map(ctx, id, A)) // both are at it
	}
	w.must(b.MarkImported(ctx, B, []vss.LUNID{first}))
	if l := w.get(first); !l.Imported || l.Importer != B {
		w.Errorf("imported copy %+v", l)
	}
	for name, ids := range map[string][]vss.LUNID{"again": {first}, "one of them again": {second, first}} {
		w.code("imported "+name, a.MarkImported(ctx, A, ids), vss.ErrBadState)
	}
	if l := w.get(second); l.Imported || l.Importer != "" {
		w.Error("all or none are marked")
	}
	w.lun(a.Unmap(ctx, first, A))
	w.Restart()
	b = w.At(B)
	w.code("imported after a restart", b.MarkImported(ctx, B, []vss.LUNID{first}), vss.ErrBadState)
	w.lun(b.Unmap(ctx, first, B))
	w.must(b.Delete(ctx, first, false)) // it is the importer's
}

func breaks(w *world) {
	a, ctx := w.At(A), w.Context()
	l := w.create("l")
	w.Write(l.ID, 'l')
	set, copies := w.set(kept, of("", two, l)...)
	id := copies[0].ID
	for range 2 {
		w.must(a.MakePlain(ctx, []vss.LUNID{id}))
	}
	if c := w.get(id); c.Kind != array.KindPlain || !c.Set.IsZero() || c.Origin != l.ID || c.NAA != copies[0].NAA {
		w.Errorf("broken copy %+v", c)
	}
	w.code("abort a set that was broken", a.AbortCopies(ctx, set, A), vss.ErrObjectNotFound)
	w.must(a.Delete(ctx, l.ID, false)) // nothing depends on it any more
	w.Restart()
	w.content("the LUN", id, 'l')
}

func plex(w *world) {
	a, ctx := w.At(A), w.Context()
	events, err := a.Events(ctx)
	w.must(err)
	l := w.create("l")
	w.Write(l.ID, 'l')
	_, copies := w.set(kept, of(array.MethodPlex, two, l)...)
	id := copies[0].ID
	w.content("the plex", id, 'l')
	w.eventually("hydrated", func() bool { return w.get(id).Percent == 100 })
	select {
	case e := <-events:
		if e.What != "hydrated" || e.LUN.ID != id || e.LUN.Name != two[0] || e.Time.IsZero() || e.Text == "" {
			w.Errorf("event %+v", e)
		}
	case <-time.After(30 * time.Second):
		w.Error("no event")
	}
	w.must(a.Delete(ctx, l.ID, false)) // nothing depends on it
	w.content("the plex", id, 'l')
}

func pause(w *world) {
	a, ctx := w.At(A), w.Context()
	l := w.create("l")
	w.Write(l.ID, 'l')
	asking, asked := context.WithCancel(ctx)
	resume, err := a.PauseBackground(asking)
	w.must(err)
	asked() // the pause doesn't end with the context of the call
	_, copies := w.set(kept, of(array.MethodPlex, two, l)...)
	time.Sleep(100 * time.Millisecond)
	if w.get(copies[0].ID).Percent == 100 {
		w.Error("hydrated while background work was paused")
	}
	resume()
	resume()
	w.eventually("hydrated", func() bool { return w.get(copies[0].ID).Percent == 100 })
}

func resync(w *world) {
	a, ctx := w.At(A), w.Context()
	l := w.create("l")
	m := w.lun(a.Create(ctx, array.CreateRequest{Name: "m", Size: 32 * mib}))
	w.Write(l.ID, 'l')
	_, copies := w.set(kept, of("", two, l)...)
	w.Write(l.ID, 'x')
	w.lun(a.Map(ctx, l.ID, A))
	w.code("onto a mapped LUN", a.Resync(ctx, copies[0].ID, l.ID, nil), vss.VDSErrDeviceInUse)
	w.lun(a.Unmap(ctx, l.ID, A))
	w.code("onto a shadow copy", a.Resync(ctx, l.ID, copies[0].ID, nil), vss.VDSErrNotSupported)
	var seen []float64
	w.must(a.Resync(ctx, copies[0].ID, l.ID, func(p float64) { seen = append(seen, p) }))
	w.must(a.Resync(ctx, copies[0].ID, m.ID, nil))
	if len(seen) == 0 || seen[len(seen)-1] != 100 {
		w.Errorf("progress %v", seen)
	}
	w.content("the original", l.ID, 'l')
	w.content("another target", m.ID, 'l')
	if got := w.get(m.ID); got.Size != l.Size || got.State != array.StateReady || got.NAA != m.NAA {
		w.Errorf("target %+v", got)
	}
}

func ended(w *world) {
	a := w.At(A)
	l := w.create("l")
	if _, err := a.PrepareCopies(dead(), newSet(), A, of("", two, l)); err == nil {
		w.Error("prepared under an ended context")
	}
	w.names("nothing prepared", A, "l")
	ctx, cancel := context.WithCancel(w.Context())
	events, err := a.Events(ctx)
	w.must(err)
	cancel()
	select {
	case _, open := <-events:
		if open {
			w.Error("an event from nothing")
		}
	case <-time.After(30 * time.Second):
		w.Error("events don't end with their context")
	}
}
