package array_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/array/target/loop"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// fakeTarget shows LUNs to one host and counts what changes it.
type fakeTarget struct {
	host     string
	exported map[vss.LUNID]string // the paths of their images
	changes  int
	fail     error
}

func (*fakeTarget) Type() string              { return "fake" }
func (*fakeTarget) Bus() vss.BusType          { return vss.BusFibre }
func (f *fakeTarget) Serves(host string) bool { return host == f.host }

func (f *fakeTarget) Export(_ context.Context, l array.LUN, data array.Backing, host string) error {
	if f.changes++; f.fail != nil {
		return f.fail
	}
	if host != f.host || data.Path == "" {
		return errors.New("exported to another host")
	}
	f.exported[l.ID] = data.Path
	return nil
}

func (f *fakeTarget) Withdraw(_ context.Context, l array.LUN, host string) error {
	if f.changes++; host != f.host {
		return errors.New("withdrawn from another host")
	}
	delete(f.exported, l.ID)
	return nil
}

func (f *fakeTarget) Address(_ context.Context, l array.LUN, _ array.Backing, _ string) (array.Address, bool) {
	path, ok := f.exported[l.ID]
	return array.Address{Type: "fake", Path: path}, ok
}

// mapped returns the names of the LUNs that a host sees, all of which must be shown by a target of that type.
func (w *world) mapped(host, target string, bus vss.BusType) []string {
	w.t.Helper()
	all, err := w.Mappings(ctx, host)
	must(w.t, err)
	names := []string{}
	for _, m := range all {
		if m.Address.Type != target || m.LUN.Information().BusType != bus {
			w.t.Errorf("%s sees %s by %+v, bus type %d", host, m.LUN.Name, m.Address, m.LUN.Bus)
		}
		names = append(names, m.LUN.Name)
	}
	return names
}

func TestTargets(t *testing.T) {
	w := newWorld(t, "xfs", 1<<30, 8*mib)
	w.stop()
	f := &fakeTarget{host: "far", exported: map[vss.LUNID]string{}}
	w.targets = []array.Target{f}
	w.start()
	info, err := w.Info(ctx)
	must(t, err)
	if !slices.Equal(info.Targets, []string{"fake", "loop"}) {
		t.Errorf("targets %v", info.Targets)
	}
	a, b := w.lun("a", 8*mib), w.lun("b", 8*mib)
	for _, m := range []struct {
		id   vss.LUNID
		host string
	}{{a.ID, "far"}, {b.ID, "far"}, {b.ID, "near"}} {
		_, err := w.Map(ctx, m.id, m.host)
		must(t, err)
	}
	check := func(far ...string) {
		t.Helper()
		changes, before := f.changes, maps.Clone(f.exported)
		if got := w.mapped("far", "fake", vss.BusFibre); !slices.Equal(got, far) {
			t.Errorf("far sees %v, want %v", got, far)
		}
		if got := w.mapped("near", "loop", vss.BusFileBackedVirtual); !slices.Equal(got, []string{"b"}) {
			t.Errorf("near sees %v", got)
		}
		if f.changes != changes || !maps.Equal(before, f.exported) {
			t.Error("a query changed the exports")
		}
	}
	check("a", "b")
	delete(f.exported, a.ID) // as while Map is at it
	check("b")
	f.exported = map[vss.LUNID]string{}
	w.restart() // which exports again
	check("a", "b")
	_, err = w.Unmap(ctx, b.ID, "far")
	must(t, err)
	check("a")

	stop := errors.New("stop")
	f.fail = stop
	if _, err := w.Map(ctx, b.ID, "far"); !errors.Is(err, stop) {
		t.Errorf("map: %v", err)
	}
	f.fail = nil
	check("a")
	_, err = w.Unmap(ctx, a.ID, "far")
	must(t, err)
	must(t, w.Delete(ctx, a.ID, false))
	if len(f.exported) != 0 {
		t.Errorf("exported: %v", f.exported)
	}
}

// A host that no target reaches sees nothing, and gets nothing mapped.
func TestHostWithoutTarget(t *testing.T) {
	w := newWorld(t, "xfs", 1<<30, 8*mib)
	l := w.lun("a", 8*mib)
	w.stop()
	p, err := w.raw()
	must(t, err)
	f := &fakeTarget{host: "far", exported: map[vss.LUNID]string{}}
	c, err := array.Open(ctx, array.Config{
		Name: "local", Pools: []array.NamedPool{{Name: "p", Pool: p}}, Targets: []array.Target{f}, LowWater: w.low,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	must(t, err)
	w.Controller = c
	_, err = c.Map(ctx, l.ID, "near")
	wantCode(t, err, vss.VDSErrNotSupported)
	if all, err := c.Mappings(ctx, "near"); err != nil || len(all) != 0 {
		t.Errorf("near sees %v, %v", all, err)
	}
	if got := w.get(l.ID); len(got.MappedTo) != 0 {
		t.Errorf("mapped to %v", got.MappedTo)
	}
}

func TestTargetTypes(t *testing.T) {
	for name, targets := range map[string][]array.Target{"none": nil, "two of a type": {loop.Target{}, loop.Target{}}} {
		_, err := array.Open(ctx, array.Config{Name: "local", Targets: targets})
		if !errors.Is(err, vss.ErrInvalidArg) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
