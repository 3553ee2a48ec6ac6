package copies_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/copies/copiestest"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, what string, err error, code vss.Code) {
	t.Helper()
	if vss.CodeOf(err) != code {
		t.Errorf("%s: %v, want %s", what, err, code.Name())
	}
}

// world is a host in memory with a catalogue, and a log of what its providers were called.
type world struct {
	*testing.T
	w      *copiestest.World
	dir    string
	host   *copies.Host
	store  *catalog.Store
	events *events.Log
	calls  providertest.Log
	kinds  []copies.Kind
}

func newWorld(t *testing.T) *world {
	t.Helper()
	x := &world{T: t, w: copiestest.New(), dir: t.TempDir()}
	var err error
	x.store, err = catalog.Open(filepath.Join(x.dir, "catalog.db"))
	must(t, err)
	t.Cleanup(func() { x.store.Close() })
	x.events = events.New(x.store, slog.New(slog.DiscardHandler))
	x.host, err = copies.NewHost(x.w.Config(x.dir, x.store, x.events))
	must(t, err)
	return x
}

func (x *world) load(p provider.Provider) copies.Kind {
	x.Helper()
	k, err := x.host.Load(x.Context(), p)
	must(x, err)
	x.kinds = append(x.kinds, k)
	return k
}

// kind finds a loaded kind.
func (x *world) kind(id vss.ProviderID) (copies.Kind, error) {
	i := slices.IndexFunc(x.kinds, func(k copies.Kind) bool { return k.Properties().ID == id })
	if i < 0 {
		return nil, vss.E("FindProvider", vss.ErrProviderNotRegistered, nil)
	}
	return x.kinds[i], nil
}

// hardware adds an array with originals and a provider.
func (x *world) hardware(originals int, style disk.Style) (copies.Kind, *providertest.Array, []vss.LUNInformation) {
	x.Helper()
	a, luns := x.w.Array(originals, style)
	p := x.w.Hardware(vss.ProviderID{GUID: vss.NewGUID()}, "Memory "+luns[0].SerialNumber, a)
	return x.load(providertest.RecordHardware(p, &x.calls)), a, luns
}

// software adds a software provider with volumes.
func (x *world) software(volumes int) (copies.Kind, *providertest.Host, []*volume.Volume) {
	x.Helper()
	h, all := providertest.NewHost(volumes)
	var out []*volume.Volume
	for _, v := range all {
		out = append(out, x.w.Local(v))
	}
	return x.load(providertest.RecordSoftware(providertest.NewMemorySoftware(h), &x.calls)), h, out
}

// set is a set being created with one member.
type set struct {
	x       *world
	id      vss.SnapshotSetID
	context vss.Context
	m       copies.Member
	ids     []vss.SnapshotID
	volumes []*volume.Volume
	records []*catalog.Snapshot
	here    []copies.Copy
	rec     catalog.Creation
}

// begin joins a kind and begins a copy of each volume.
func (x *world) begin(k copies.Kind, c vss.Context, volumes ...*volume.Volume) *set {
	x.Helper()
	s := &set{x: x, id: vss.SnapshotSetID{GUID: vss.NewGUID()}, context: c, volumes: volumes}
	s.m = k.Join(s.id, c)
	for _, v := range volumes {
		o, err := k.Consider(x.Context(), v, c)
		must(x, err)
		id := vss.SnapshotID{GUID: vss.NewGUID()}
		must(x, s.m.Begin(x.Context(), id, v, o))
		s.ids = append(s.ids, id)
	}
	s.rec = catalog.Creation{Set: s.id, Providers: []vss.ProviderID{k.Properties().ID}}
	return s
}

// steps are what a creation does with a member, in order.
func (s *set) steps() []func(context.Context) error {
	m := s.m
	return []func(context.Context) error{
		func(ctx context.Context) error {
			_, err := m.EndPrepare(ctx, func(float64) {})
			return err
		},
		func(ctx context.Context) error { return m.Intent(ctx, &s.rec) },
		m.Mark, m.PreCommit, m.Commit, m.Unmark,
		func(ctx context.Context) error { return m.PostCommit(ctx, len(s.ids)) },
		m.Verify,
		func(context.Context) error { m.Release(); return nil },
		s.collect,
		s.surface,
		func(ctx context.Context) error { return m.BeginRecovery(ctx, s.here) },
		m.PreFinalCommit,
		func(ctx context.Context) error { return m.EndRecovery(ctx, s.here) },
		m.PostFinalCommit,
	}
}

// Positions in steps.
const (
	stepIntent = 1
	stepMark   = 2
	collected  = 10 // this many steps are done when the copies are recorded
)

func (s *set) collect(ctx context.Context) error {
	for i, v := range s.volumes {
		s.records = append(s.records, &catalog.Snapshot{
			ID: s.ids[i], SetID: s.id, Order: i, Count: len(s.ids), State: vss.StatePostCommitted, Created: time.Now(),
			OriginalVolume: v.Name, FileSystem: v.FileSystem, FileSystemUUID: v.UUID, Subvolume: v.Subvolume,
			SubvolumeID: v.SubvolumeID, NoExec: v.NoExec,
			Extents: v.Extents, Attributes: s.context | vss.AttrNotSurfaced,
			OriginatingMachine: copiestest.Name, ServiceMachine: copiestest.Name,
		})
	}
	if err := s.m.Collect(ctx, s.records); err != nil {
		return err
	}
	return s.put()
}

// put stores the records.
func (s *set) put() error {
	return s.x.store.Update(func(tx *catalog.Tx) error {
		for _, r := range s.records {
			if err := tx.PutSnapshot(*r); err != nil {
				return err
			}
		}
		return tx.PutSet(catalog.Set{ID: s.id, Context: s.context, Created: time.Now(), Count: len(s.ids)})
	})
}

func (s *set) surface(ctx context.Context) error {
	here, missing, err := s.m.Kind().Surface(ctx, s.id, s.records, false)
	if err = errors.Join(append(missing, err)...); err != nil {
		return err
	}
	s.here = here
	return s.x.host.Place(ctx, here)
}

// reach does the first n steps.
func (s *set) reach(n int) *set {
	s.x.Helper()
	for i, f := range s.steps()[:n] {
		if err := f(s.x.Context()); err != nil {
			s.x.Fatalf("step %d: %v", i, err)
		}
	}
	return s
}

// create makes a set.
func (x *world) create(k copies.Kind, c vss.Context, volumes ...*volume.Volume) *set {
	x.Helper()
	s := x.begin(k, c, volumes...)
	s.reach(len(s.steps()))
	for _, r := range s.records {
		r.State = vss.StateCreated
	}
	must(x, s.put())
	return s
}

// stored returns the records of the set as the catalogue has them.
func (s *set) stored() (all []catalog.Snapshot) {
	s.x.Helper()
	must(s.x, s.x.store.View(func(tx *catalog.Tx) (err error) {
		all, err = tx.SnapshotsOf(s.id)
		return err
	}))
	return all
}

// happened returns the kinds of all events.
func (x *world) happened() []string {
	x.Helper()
	all, err := x.events.List(time.Time{})
	must(x, err)
	var out []string
	for _, e := range all {
		out = append(out, e.What)
	}
	return out
}

// failing lets one operation of the host fail with a code; the returned function ends it.
func (x *world) failing(op string, code vss.Code) (end func()) {
	x.w.Fail = func(o, object string) error {
		if o == op {
			return vss.E(op, code, errors.New("injected")).On(object)
		}
		return nil
	}
	return func() { x.w.Fail = nil }
}

// broken lets one method of the providers fail.
func (x *world) broken(method string, err error) (end func()) {
	x.calls.Before(func(_ context.Context, c providertest.Call) error {
		if c.Method == method {
			return err
		}
		return nil
	})
	return func() { x.calls.Before(nil) }
}

func (x *world) methods(k copies.Kind) []string { return x.calls.Methods(k.Properties().ID) }
