package copies_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// A local copy's payload is in its record and comes with every later call; its original is not touched.
func TestLocalCopy(t *testing.T) {
	x := newWorld(t)
	k, h, volumes := x.software(2)
	s := x.create(k, vss.ContextAppRollback, volumes...)
	want := []string{
		"OnLoad",
		"Consider",
		"BeginPrepareSnapshot",
		"Consider",
		"BeginPrepareSnapshot",
		"EndPrepareSnapshots",
		"WritePaths",
		"PreCommitSnapshots",
		"CommitSnapshots",
		"PostCommitSnapshots",
		"Describe",
		"Describe",
		"Surface",
		"Surface",
		"SetWritable",
		"SetWritable",
		"PreFinalCommitSnapshots",
		"SetWritable",
		"SetWritable",
		"PostFinalCommitSnapshots",
	}
	if d := cmp.Diff(want, x.methods(k)); d != "" {
		t.Errorf("calls:\n%s", d)
	}
	r := s.records[0]
	if r.Kind != catalog.KindLocal || r.Local == nil || len(r.Local.Data) == 0 || r.FirstCut.IsZero() ||
		r.LastCut.Before(r.FirstCut) ||
		r.Attributes.Has(vss.AttrHardwareAssisted) ||
		len(r.LUNs) > 0 {
		t.Errorf("record %+v", r)
	}
	if got := s.stored(); !cmp.Equal(got[0].Local, r.Local) {
		t.Errorf("stored %+v", got[0].Local)
	}
	at, err := s.here[0].Source(t.Context())
	must(t, err)
	if target, _ := os.Readlink(x.host.DeviceObject(r)); target != at.Devices[0] {
		t.Errorf("the device object leads to %q", target)
	}
	path := filepath.Join(x.dir, "exposed", "a")
	must(t, x.host.Expose(t.Context(), s.here[0], path, 0))
	if ok, compat, err := k.Snapshotted(t.Context(), volumes[0]); !ok || compat != 0 || err != nil {
		t.Errorf("Snapshotted: %v, %v, %v", ok, compat, err)
	}
	if _, ok := k.(copies.Breaker); ok {
		t.Error("a local copy can be broken")
	}
	if _, ok := k.(copies.Importer); ok {
		t.Error("a local copy can be imported")
	}
	if got := x.differing(); len(got) > 0 {
		t.Errorf("found %+v", got)
	}
	later := k.Open(r)
	must(t, x.host.Restore(t.Context(), later))
	must(t, x.host.Delete(t.Context(), later, false))
	must(t, x.host.Delete(t.Context(), s.here[1], true))
	if h.Copies() != 0 || len(s.stored()) > 0 || x.w.IsPoint(path) {
		t.Errorf("%d copies are left, records %v", h.Copies(), s.stored())
	}
	if s.m.Uses(vss.LUNID{}) || later.Kind() != k {
		t.Error("a local copy uses a LUN, or is of another kind")
	}
}

// After a failure at any step DropRemains leaves nothing of a local copy.
func TestLocalUndo(t *testing.T) {
	x := newWorld(t)
	k, h, volumes := x.software(1)
	for n := range len(x.begin(k, vss.ContextBackup).steps()) + 1 {
		s := x.begin(k, vss.ContextBackup, volumes[0]).reach(n)
		for _, c := range s.here {
			x.host.Withdraw(t.Context(), c)
		}
		must(t, s.m.Abort(t.Context()))
		must(t, k.DropRemains(t.Context(), s.id, s.records))
		must(t, k.DropRemains(t.Context(), s.id, s.records))
		if h.Copies() != 0 {
			t.Errorf("after step %d: %d copies are left", n, h.Copies())
		}
	}
	s := x.create(k, vss.ContextBackup, volumes[0])
	for _, method := range []string{"Withdraw", "AbortSnapshots", "DeleteSnapshots"} {
		end := x.broken(method, vss.E(method, vss.ErrOutOfMemory, nil))
		if err := k.DropRemains(t.Context(), s.id, s.records); !errors.Is(err, vss.ErrOutOfMemory) {
			t.Errorf("%s: %v", method, err)
		}
		end()
	}
	s.records[0].Local = nil
	must(t, k.DropRemains(t.Context(), s.id, s.records))
}

func TestLocalConsider(t *testing.T) {
	x := newWorld(t)
	k, _, volumes := x.software(1)
	stranger := x.w.Local(providertest.NewVolume(9))
	var o *copies.Obstacle
	if _, err := k.Consider(t.Context(), stranger, vss.ContextBackup); !errors.As(err, &o) ||
		!strings.Contains(err.Error(), "not a volume of this host") {
		t.Errorf("a stranger's volume: %v", err)
	}
	if _, err := k.Consider(t.Context(), volumes[0], vss.ContextBackup|vss.AttrTransportable); !errors.As(err, &o) {
		t.Errorf("transportable: %v", err)
	}
	if len(x.happened()) > 0 {
		t.Errorf("events %v", x.happened())
	}
	for v, want := range map[int]bool{0: true, 1: false} {
		ok, err := k.Supports(t.Context(), append(volumes[:1:1], stranger)[v], vss.ContextBackup)
		if ok != want || err != nil {
			t.Errorf("Supports: %v, %v", ok, err)
		}
	}
	if ok, _ := k.Supports(t.Context(), volumes[0], vss.ContextBackup|vss.AttrTransportable); ok {
		t.Error("a transportable copy is supported")
	}
	end := x.broken("Consider", errors.New("no"))
	_, err := k.Consider(t.Context(), volumes[0], vss.ContextBackup)
	wantCode(t, "Consider", err, vss.ErrUnexpectedProviderError)
	if errors.As(err, &o) {
		t.Error("a failure is an obstacle")
	}
	end()
	if w, err := k.WritePaths(t.Context()); w != nil || err != nil {
		t.Errorf("WritePaths: %v, %v", w, err)
	}
	must(t, k.Unload(t.Context(), true))
}

// odd is a software provider whose answers are changed.
type odd struct {
	provider.Software
	copy   func(*provider.Copy)
	at     provider.Location
	offer  provider.Offer
	query  []provider.SnapshotProperties
	events error
}

func (o *odd) Describe(ctx context.Context, set vss.SnapshotSetID, id vss.SnapshotID) (provider.Copy, error) {
	c, err := o.Software.Describe(ctx, set, id)
	if o.copy != nil {
		o.copy(&c)
	}
	return c, err
}

func (o *odd) Surface(context.Context, provider.Ref) (provider.Location, error) { return o.at, nil }

func (o *odd) Consider(context.Context, provider.Volume, vss.Context) (provider.Offer, error) {
	return o.offer, nil
}

func (o *odd) Query(context.Context) ([]provider.SnapshotProperties, error) { return o.query, nil }

func (o *odd) Events(ctx context.Context) (<-chan provider.Event, error) {
	if o.events != nil {
		return nil, o.events
	}
	return o.Software.Events(ctx)
}

// differing returns all findings but those of device objects: the devices of local copies don't exist here.
func (x *world) differing() []copies.Finding {
	x.Helper()
	return slices.DeleteFunc(
		x.findings(copies.Known{}),
		func(f copies.Finding) bool { return strings.Contains(f.What, "leads nowhere") },
	)
}

// What a provider says of its copies is checked before it is believed.
func TestLocalNonsense(t *testing.T) {
	x := newWorld(t)
	h, all := providertest.NewHost(1)
	v := x.w.Local(all[0])
	o := &odd{
		Software: providertest.NewMemorySoftware(h),
		offer:    provider.Offer{Hold: provider.HoldSuspend, Suspends: []string{"/dev/dm-1", "/dev/dm-1"}},
	}
	k := x.load(o)
	if offer, err := k.Consider(t.Context(), v, vss.ContextBackup); err != nil || offer.Hold != provider.HoldSuspend {
		t.Errorf("offer %+v, %v", offer, err)
	}
	for name, change := range map[string]func(*provider.Copy){
		"a large payload": func(c *provider.Copy) { c.Payload = make([]byte, provider.MaxPayload+1) },
		"cuts in disorder": func(c *provider.Copy) {
			c.FirstCut, c.LastCut = time.Unix(2, 0), time.Unix(1, 0)
		},
	} {
		o.copy = change
		s := x.begin(k, vss.ContextBackup, v).reach(collected - 1)
		if d := cmp.Diff([]string{"/dev/dm-1"}, s.rec.Suspended); d != "" {
			t.Errorf("suspended:\n%s", d)
		}
		wantCode(t, name, s.collect(t.Context()), vss.ErrUnexpectedProviderError)
		must(t, s.m.Abort(t.Context()))
	}
	o.copy = nil
	s := x.begin(k, vss.ContextBackup, v).reach(collected)
	for _, at := range []provider.Location{{}, {Devices: []string{"/dev/x"}, Folder: "/x"}} {
		o.at = at
		_, _, err := k.Surface(t.Context(), s.id, s.records, false)
		wantCode(t, "a location", err, vss.ErrUnexpectedProviderError)
	}
	o.at = provider.Location{Folder: "/srv/.copies/1"}
	here, missing, err := k.Surface(t.Context(), s.id, s.records, false)
	if len(here) != 1 || len(missing) > 0 || err != nil {
		t.Fatalf("%d are here, missing %v, %v", len(here), missing, err)
	}
	must(t, x.host.Place(t.Context(), here))
	if target, _ := os.Readlink(x.host.DeviceObject(s.records[0])); target != o.at.Folder {
		t.Errorf("the device object leads to %q", target)
	}
	must(t, x.host.Mount(t.Context(), here[0], "/mnt/a", true))
	if _, folder, _ := x.w.MountedAt("/mnt/a"); folder != o.at.Folder {
		t.Errorf("%q is shown", folder)
	}
	wantCode(t, "Collect of another's copy", s.m.Collect(t.Context(), []*catalog.Snapshot{{}}), vss.ErrUnexpected)
	resume, err := s.m.Pause(t.Context())
	must(t, err)
	resume()
	o.events = errors.New("no")
	if _, err := k.(copies.Watcher).Watch(t.Context()); vss.CodeOf(err) != vss.ErrUnexpectedProviderError {
		t.Errorf("Watch: %v", err)
	}
}

// A copy that the provider lost is missing, reported, and can be deleted; one without a record is reported.
func TestLocalLost(t *testing.T) {
	x := newWorld(t)
	h, all := providertest.NewHost(1)
	m := providertest.NewMemorySoftware(h)
	k := x.load(providertest.RecordSoftware(m, &x.calls))
	s := x.create(k, vss.ContextAppRollback, x.w.Local(all[0]))
	events, err := k.(copies.Watcher).Watch(t.Context())
	must(t, err)
	h.Lose(s.ids[0])
	if e := <-events; e.Kind != provider.EventCopyLost || e.Snapshot != s.ids[0] {
		t.Errorf("event %+v", e)
	}
	r := *s.records[0]
	here, missing, err := k.Surface(t.Context(), s.id, []*catalog.Snapshot{&r}, false)
	if len(here) != 0 || len(missing) != 1 || err != nil || vss.CodeOf(missing[0]) != vss.ErrMissingVolume {
		t.Errorf("%d are here, missing %v, %v", len(here), missing, err)
	}
	c := k.Open(&r)
	_, _, err = m.DeleteSnapshots(t.Context(), []provider.Ref{{ID: r.ID, Payload: r.Local.Data}}, true)
	must(t, err)
	if got := x.differing(); len(got) != 1 || !strings.Contains(got[0].What, "is lost") {
		t.Errorf("found %+v", got)
	}
	must(t, c.Withdraw(t.Context(), true))
	must(t, x.host.Delete(t.Context(), c, false))
	if len(s.stored()) > 0 {
		t.Error("the record is left")
	}
	s = x.create(k, vss.ContextAppRollback, x.w.Local(all[0]))
	methods := []string{"SetWritable", "EndPrepareSnapshots", "WritePaths", "Describe", "BeginPrepareSnapshot"}
	for _, method := range methods {
		end := x.broken(method, vss.E(method, vss.ErrInsufficientStorage, nil))
		var err error
		switch method {
		case "SetWritable":
			wantCode(t, "BeginRecovery", s.m.BeginRecovery(t.Context(), s.here), vss.ErrInsufficientStorage)
			err = s.m.EndRecovery(t.Context(), s.here)
		case "Describe":
			err = s.m.Collect(t.Context(), s.records)
		case "BeginPrepareSnapshot":
			err = k.Join(vss.SnapshotSetID{}, 0).Begin(t.Context(), vss.SnapshotID{}, x.w.Local(all[0]), copies.Offer{})
		case "WritePaths":
			end2 := x.begin(k, vss.ContextBackup, x.w.Local(all[0]))
			_, err = end2.m.EndPrepare(t.Context(), func(float64) {})
		default:
			_, err = s.m.EndPrepare(t.Context(), func(float64) {})
		}
		wantCode(t, method, err, vss.ErrInsufficientStorage)
		end()
	}
	must(t, x.store.Update(func(tx *catalog.Tx) error { return tx.RemoveSnapshot(s.ids[0]) }))
	got := x.differing()
	if len(got) != 1 || !strings.Contains(got[0].What, "not recorded here") || got[0].Repair != nil {
		t.Errorf("found %+v", got)
	}
	end := x.broken("Query", errors.New("no"))
	if got := x.differing(); len(got) != 1 || got[0].Severity != "error" {
		t.Errorf("found %+v", got)
	}
	end()
}
