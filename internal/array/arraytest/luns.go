package arraytest

import (
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func info(w *world) {
	i, err := w.At(A).Info(w.Context())
	w.must(err)
	if i.Name == "" || len(i.Pools) == 0 || len(i.Targets) == 0 {
		w.Fatalf("info %+v", i)
	}
	for _, p := range i.Pools {
		if p.Name == "" || p.Type == "" || p.Free <= 0 || p.Size < p.Free {
			w.Errorf("pool %+v", p)
		}
	}
	if _, err := w.At(A).WritePaths(w.Context()); err != nil {
		w.Error(err)
	}
	w.names("at first", A)
}

func life(w *world) {
	a, ctx := w.At(A), w.Context()
	before := time.Now().Add(-time.Minute)
	l := w.lun(a.Create(ctx, array.CreateRequest{Name: "b", Size: 5*mib + 1}))
	if l.Size != 6*mib || l.Kind != array.KindPlain || l.State != array.StateReady || len(l.MappedTo) != 0 ||
		!l.Origin.IsZero() ||
		l.Created.Before(before) {
		w.Errorf("a new LUN: %+v", l)
	}
	if err := l.Check(); err != nil {
		w.Error(err)
	}
	other := w.create("a")
	if other.ID == l.ID || other.Serial == l.Serial || other.NAA == l.NAA {
		w.Error("two LUNs share an identity")
	}
	w.names("two", B, "a", "b")

	w.lun(a.Rename(ctx, l.ID, "c"))
	w.lun(a.SetFlags(ctx, l.ID, vss.FlagsShadowCopy))
	got := w.lun(a.Extend(ctx, l.ID, 9*mib))
	want := l
	want.Name, want.Flags, want.Size = "c", vss.FlagsShadowCopy, 9*mib
	if d := cmp.Diff(want, got); d != "" {
		w.Error(d)
	}
	w.Write(l.ID, 'x')
	w.Restart()
	if d := cmp.Diff(want, w.get(l.ID)); d != "" {
		w.Errorf("after a restart: %s", d)
	}
	w.content("the LUN", l.ID, 'x')
	a = w.At(A)
	w.must(a.Delete(ctx, l.ID, false))
	w.code("delete twice", a.Delete(ctx, l.ID, false), vss.VDSErrObjectNotFound)
	w.names("one deleted", A, "a")
}

func (w *world) sees(host string, want ...vss.LUNID) {
	w.Helper()
	all, err := w.At(host).Mappings(w.Context(), host)
	w.must(err)
	got := []vss.LUNID{}
	for _, m := range all {
		got = append(got, m.LUN.ID)
		if m.Address.Type == "" || m.Address.Path == "" || !slices.Contains(m.LUN.MappedTo, host) {
			w.Errorf("mapping %+v", m)
		}
	}
	if !slices.Equal(got, append([]vss.LUNID{}, want...)) {
		w.Errorf("%s sees %v, want %v", host, got, want)
	}
}

func masks(w *world) {
	a, ctx := w.At(A), w.Context()
	l, m := w.create("l"), w.create("m")
	w.sees(A)
	for range 2 {
		if got := w.lun(a.Map(ctx, l.ID, A)); !slices.Equal(got.MappedTo, []string{A}) {
			w.Errorf("mapped to %v", got.MappedTo)
		}
	}
	w.lun(w.At(B).Map(ctx, m.ID, B))
	w.sees(A, l.ID)
	w.sees(B, m.ID)
	w.code("delete a mapped LUN", a.Delete(ctx, l.ID, true), vss.VDSErrDeviceInUse)
	w.Restart()
	w.sees(A, l.ID)
	w.sees(B, m.ID)
	a = w.At(A)
	for range 2 {
		if got := w.lun(a.Unmap(ctx, l.ID, A)); len(got.MappedTo) != 0 {
			w.Errorf("mapped to %v", got.MappedTo)
		}
	}
	w.sees(A)
	w.sees(B, m.ID)
	w.must(a.Delete(ctx, l.ID, false))
}

func refusals(w *world) {
	a, ctx := w.At(A), w.Context()
	l := w.create("l")
	w.create("m")
	nobody := array.LUN{ID: vss.LUNID{GUID: vss.NewGUID()}}
	lun := func(_ array.LUN, err error) error { return err }
	create := func(name string, size int64) error {
		return lun(a.Create(ctx, array.CreateRequest{Name: name, Size: size}))
	}
	prepare := func(m array.Method, name string, origins ...array.LUN) error {
		_, err := a.PrepareCopies(ctx, newSet(), A, of(m, []string{"", name}, origins...))
		return err
	}
	for _, c := range []struct {
		name string
		err  error
		want vss.Code
	}{
		{"name in use", create("l", 16*mib), vss.VDSErrInvalidOperation},
		{"no name", create("", 16*mib), vss.ErrInvalidArg},
		{"name with a slash", create("a/b", 16*mib), vss.ErrInvalidArg},
		{"name with a control character", create("a\n", 16*mib), vss.ErrInvalidArg},
		{"name like an id", create(nobody.ID.String(), 16*mib), vss.ErrInvalidArg},
		{"long name", create(strings.Repeat("x", 129), 16*mib), vss.ErrInvalidArg},
		{"negative size", create("c", -1), vss.ErrInvalidArg},
		{"too large for anything", create("c", 1<<62), vss.ErrInvalidArg},
		{"larger than the pool", create("c", 1<<44), vss.VDSErrNotEnoughSpace},
		{
			"no such pool", lun(a.Create(ctx, array.CreateRequest{Name: "c", Pool: "no-such-pool", Size: 16 * mib})),
			vss.VDSErrObjectNotFound,
		},
		{"get nobody", lun(a.LUN(ctx, nobody.ID)), vss.VDSErrObjectNotFound},
		{"delete nobody", a.Delete(ctx, nobody.ID, true), vss.VDSErrObjectNotFound},
		{"rename nobody", lun(a.Rename(ctx, nobody.ID, "x")), vss.VDSErrObjectNotFound},
		{"rename to a name in use", lun(a.Rename(ctx, l.ID, "m")), vss.VDSErrInvalidOperation},
		{"extend nobody", lun(a.Extend(ctx, nobody.ID, 32*mib)), vss.VDSErrObjectNotFound},
		{"extend to less", lun(a.Extend(ctx, l.ID, 8*mib)), vss.VDSErrInvalidOperation},
		{"extend past the pool", lun(a.Extend(ctx, l.ID, 1<<44)), vss.VDSErrNotEnoughSpace},
		{"extend past everything", lun(a.Extend(ctx, l.ID, 1<<63-1)), vss.ErrInvalidArg},
		{"map to no host", lun(a.Map(ctx, l.ID, "")), vss.ErrInvalidArg},
		{"map several to no host", a.MapAll(ctx, "", []vss.LUNID{l.ID}), vss.ErrInvalidArg},
		{"map nobody among several", a.MapAll(ctx, A, []vss.LUNID{l.ID, nobody.ID}), vss.VDSErrObjectNotFound},
		{"map nobody", lun(a.Map(ctx, nobody.ID, A)), vss.VDSErrObjectNotFound},
		{"unmap nobody", lun(a.Unmap(ctx, nobody.ID, A)), vss.VDSErrObjectNotFound},
		{"flags of nobody", lun(a.SetFlags(ctx, nobody.ID, 1)), vss.VDSErrObjectNotFound},
		{"import nobody", a.MarkImported(ctx, A, []vss.LUNID{nobody.ID}), vss.VDSErrObjectNotFound},
		{"import by no host", a.MarkImported(ctx, "", []vss.LUNID{l.ID}), vss.ErrInvalidArg},
		{"break nobody", a.MakePlain(ctx, []vss.LUNID{l.ID, nobody.ID}), vss.VDSErrObjectNotFound},
		{
			"copy for no host",
			func() error { _, err := a.PrepareCopies(ctx, newSet(), "", of("", []string{""}, l)); return err }(),
			vss.ErrInvalidArg,
		},
		{"copy nobody", prepare("", "", l, nobody), vss.ErrObjectNotFound},
		{"copy by magic", prepare("magic", "", l, l), vss.ErrInvalidArg},
		{"copy to a name in use", prepare("", "m", l, l), vss.VDSErrInvalidOperation},
		{"resync nobody", a.Resync(ctx, nobody.ID, l.ID, nil), vss.VDSErrObjectNotFound},
		{"resync onto nobody", a.Resync(ctx, l.ID, nobody.ID, nil), vss.VDSErrObjectNotFound},
		{"resync onto itself", a.Resync(ctx, l.ID, l.ID, nil), vss.ErrInvalidArg},
	} {
		w.code(c.name, c.err, c.want)
		if vss.Hint(c.err) == "" && c.want == vss.VDSErrNotEnoughSpace {
			w.Errorf("%s: no advice", c.name)
		}
	}
	for name, c := range map[string]struct {
		origin array.LUN
		want   bool
	}{"an origin": {l, true}, "nobody": {nobody, false}} {
		if ok, err := a.CanCopy(ctx, of("", []string{""}, c.origin)); ok != c.want || err != nil {
			w.Errorf("a copy of %s is possible: %v, %v", name, ok, err)
		}
	}
	w.names("after refusals", A, "l", "m")
}
