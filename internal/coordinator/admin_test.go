package coordinator

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestQueries: copies, sets, volumes and LUNs as requesters and the disk manager ask for them.
func TestQueries(t *testing.T) {
	w, s, set := setOfThree(t, vss.ContextAppRollback)
	ctx := t.Context()
	all, err := s.Query()
	if err != nil || len(all) != 3 {
		t.Fatalf("%d copies, %v", len(all), err)
	}
	other := w.OpenSession(0)
	must(t, other.InitializeForBackup(nil))
	if _, err := other.Query(); !errors.Is(err, vss.ErrBadState) {
		t.Errorf("Query before SetContext: %v", err)
	}
	must(t, other.SetContext(vss.ContextNASRollback))
	if none, err := other.Query(); err != nil || len(none) > 0 {
		t.Errorf("copies of another context: %v, %v", none, err)
	}
	if r, err := s.GetSnapshotProperties(all[0].ID); err != nil || r.ID != all[0].ID {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := s.GetSnapshotProperties(vss.SnapshotID{}); !errors.Is(err, vss.ErrObjectNotFound) {
		t.Error(err)
	}
	if _, _, err := w.SnapshotSet(vss.SnapshotSetID{}); !errors.Is(err, vss.ErrObjectNotFound) {
		t.Error(err)
	}
	for name, want := range map[string]bool{"/b": true, "/a": false, "/srv/memory0": true} {
		if got, _, err := w.IsVolumeSnapshotted(ctx, name); got != want || err != nil {
			t.Errorf("IsVolumeSnapshotted(%s): %v, %v", name, got, err)
		}
	}
	if _, _, err := w.IsVolumeSnapshotted(ctx, "/none"); !errors.Is(err, vss.ErrObjectNotFound) {
		t.Error(err)
	}
	for name, want := range map[string]bool{"/b": true, "/srv/memory1": true, "/net": false} {
		if got, err := s.IsVolumeSupported(ctx, name, ""); got != want || err != nil {
			t.Errorf("IsVolumeSupported(%s): %v, %v", name, got, err)
		}
	}
	if _, err := s.IsVolumeSupported(ctx, "/none", ""); !errors.Is(err, vss.ErrObjectNotFound) {
		t.Error(err)
	}
	if _, err := s.IsVolumeSupported(ctx, "/a", "none"); !errors.Is(err, vss.ErrProviderNotRegistered) {
		t.Error(err)
	}
	volumes, err := w.ListVolumes(ctx)
	if err != nil || len(volumes) != 5 || !slices.Equal(volumes[0].Providers, []string{"first"}) ||
		len(volumes[0].LUNs) != 1 ||
		!slices.Equal(volumes[3].Providers, []string{"local"}) ||
		len(volumes[3].LUNs) != 0 {
		t.Errorf("%+v, %v", volumes, err)
	}
	if p := w.Coordinator.Providers(ctx); len(p) != 3 || p[0].Name != "first" || p[2].Name != "local" {
		t.Errorf("%+v", p)
	}
	lun := w.records(set)[0].LUNs[0].LUNID
	if why := w.InUse(lun); !strings.Contains(why, "shadow copy") {
		t.Errorf("InUse of a copy: %q", why)
	}
	if why := w.InUse(volumes[0].LUNs[0]); why != "" {
		t.Errorf("InUse of a LUN that isn't used: %q", why)
	}
	w.session(vss.ContextNASRollback, "/a")
	if why := w.InUse(volumes[0].LUNs[0]); !strings.Contains(why, "being") {
		t.Errorf("InUse of an original: %q", why)
	}
}

// TestExposeAndMount: where copies can be read, and until when.
func TestExposeAndMount(t *testing.T) {
	w, s, set := setOfThree(t, vss.ContextAppRollback)
	ctx := t.Context()
	id := w.records(set)[0].ID
	at := filepath.Join(w.dir, "exposed", "one")
	expose := func(attrs vss.Attributes, root, name string) error {
		_, err := s.Expose(ctx, id, root, attrs, name)
		return err
	}
	for _, c := range []struct {
		name string
		err  error
		want vss.Code
	}{
		{"remotely", expose(vss.AttrExposedRemotely, "", at), vss.ErrNotSupported},
		{"both ways", expose(vss.AttrExposedLocally|vss.AttrExposedRemotely, "", at), vss.ErrInvalidArg},
		{"a part", expose(vss.AttrExposedLocally, "/sub", at), vss.ErrInvalidArg},
		{"at no path", expose(vss.AttrExposedLocally, "", "x"), vss.ErrInvalidArg},
		{"well", expose(vss.AttrExposedLocally, "", at), vss.OK},
		{"twice", expose(vss.AttrExposedLocally, "", at), vss.ErrObjectAlreadyExists},
	} {
		if vss.CodeOf(c.err) != c.want {
			t.Errorf("exposed %s: %v, want %v", c.name, c.err, c.want)
		}
	}
	if !w.host.IsPoint(at) || w.Properties(*w.records(set)[0]).Path != at {
		t.Errorf("the copy isn't at %s", at)
	}
	w.host.Busy = func(object string) bool { return object == at }
	if _, err := s.Unexpose(id); !errors.Is(err, vss.ErrVolumeInUse) {
		t.Errorf("Unexpose of a copy in use: %v", err)
	}
	w.host.Busy = nil
	if r, err := s.Unexpose(id); err != nil || r.ExposedAt != "" {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := s.Unexpose(id); !errors.Is(err, vss.ErrObjectNotFound) {
		t.Errorf("a second Unexpose: %v", err)
	}
	r, path, err := s.Mount(ctx, id)
	if err != nil || !w.host.IsPoint(path) || w.Properties(r).Path != path {
		t.Errorf("%s, %v", path, err)
	}
	if _, again, err := s.Mount(ctx, id); err != nil || again != path {
		t.Errorf("a second mount at %s, %v", again, err)
	}
	if _, _, err := s.Mount(ctx, vss.SnapshotID{}); !errors.Is(err, vss.ErrObjectNotFound) {
		t.Error(err)
	}
	unlock, err := w.lockSet("Test", set)
	must(t, err)
	if _, _, err := s.Mount(ctx, id); !errors.Is(err, vss.ErrBadState) {
		t.Errorf("a mount while another operation runs: %v", err)
	}
	unlock()
	s.Close()
	if w.host.IsPoint(path) {
		t.Error("the private mount outlives its session")
	}
}

// TestTransportableIsNotHere: a copy that isn't imported can't be exposed, mounted or broken, but deleted.
func TestTransportableIsNotHere(t *testing.T) {
	w := newWorld(t)
	defer w.Shutdown()
	s := w.create(vss.ContextAppRollback|vss.AttrTransportable, "/a")
	r := w.records(s.set.id)[0]
	at := filepath.Join(w.dir, "exposed", "x")
	if _, err := s.Expose(t.Context(), r.ID, "", vss.AttrExposedLocally, at); !errors.Is(err, vss.ErrObjectNotFound) {
		t.Error(err)
	}
	if _, _, err := s.Mount(t.Context(), r.ID); !errors.Is(err, vss.ErrObjectNotFound) {
		t.Error(err)
	}
	if err := ended(s.Break(s.set.id, 0)); !errors.Is(err, vss.ErrObjectNotFound) {
		t.Error(err)
	}
	if _, _, err := s.Delete(t.Context(), r.ID.GUID, vss.ObjectSnapshot, false); err != nil {
		t.Error(err)
	}
}

// TestDelete: what can't be deleted, and what becomes of it.
func TestDelete(t *testing.T) {
	w, s, set := setOfThree(t, vss.ContextAppRollback)
	records := w.records(set)
	ctx := t.Context()
	if _, _, err := s.Delete(ctx, set.GUID, vss.ObjectProvider, false); !errors.Is(err, vss.ErrInvalidArg) {
		t.Error(err)
	}
	if _, _, err := s.Delete(ctx, vss.NewGUID(), vss.ObjectUnknown, false); !errors.Is(err, vss.ErrObjectNotFound) {
		t.Error(err)
	}
	if _, _, err := s.Delete(ctx, vss.NewGUID(), vss.ObjectSnapshot, false); !errors.Is(err, vss.ErrObjectNotFound) {
		t.Error(err)
	}
	unlock, err := w.lockSet("Test", set)
	must(t, err)
	if _, stayed, err := s.Delete(ctx, set.GUID, vss.ObjectUnknown, false); !errors.Is(err, vss.ErrBadState) ||
		stayed != records[0].ID {
		t.Errorf("%v stayed, %v", stayed, err)
	}
	unlock()
	w.calls.Before(func(_ context.Context, c providertest.Call) error {
		if c.Method == "OnLunEmpty" && c.Provider == secondID {
			return vss.E(c.Method, vss.ErrProviderVeto, nil)
		}
		return nil
	})
	deleted, stayed, err := s.Delete(ctx, set.GUID, vss.ObjectSnapshotSet, false)
	if !errors.Is(err, vss.ErrProviderVeto) || stayed != records[1].ID ||
		!slices.Equal(deleted, []vss.SnapshotID{records[0].ID}) {
		t.Errorf("%v deleted, %v stayed, %v", deleted, stayed, err)
	}
	w.calls.Before(nil)
	w.restart() // goes on with the deletion
	if left := w.records(set); len(left) != 1 || left[0].ID != records[2].ID {
		t.Errorf("%d copies are left", len(left))
	}
}

// TestLost: a LUN that its array dropped and a copy that its provider lost are forgotten, with an event.
func TestLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Shutdown()
		s := w.create(vss.ContextAppRollback, "/b", "/srv/memory0")
		records := w.records(s.set.id)
		w.arrays[0].Remove(records[0].LUNs[0].Copy)
		w.Dropped(t.Context(), records[0].LUNs[0].LUNID)
		w.wantEvent(events.CopyLost)
		w.local.Fill(91)
		w.local.Lose(records[1].ID)
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		if left := w.records(s.set.id); len(left) > 0 {
			t.Errorf("%d copies are left", len(left))
		}
		w.wantEvent("area-filling")
	})
}

// TestProvidersComeAndGo: a provider is refused while it is in use, and goes at once when it is dead.
func TestProvidersComeAndGo(t *testing.T) {
	w := newWorld(t)
	defer w.Shutdown()
	ctx := t.Context()
	s := w.session(vss.ContextAppRollback, "/a")
	if err := w.RemoveProvider(ctx, firstID, false); !errors.Is(err, vss.ErrProviderInUse) {
		t.Errorf("while its set is open: %v", err)
	}
	must(t, w.RemoveProvider(ctx, secondID, false))
	if err := w.RemoveProvider(ctx, secondID, false); !errors.Is(err, vss.ErrProviderNotRegistered) {
		t.Errorf("twice: %v", err)
	}
	if _, err := s.AddToSnapshotSet(ctx, "/c", ""); !errors.Is(err, vss.ErrVolumeNotSupported) {
		t.Errorf("a volume of a provider that is gone: %v", err)
	}
	must(t, ended(s.DoSnapshotSet(0)))
	unlock, err := w.lockSet("Test", s.set.id)
	must(t, err)
	if err := w.RemoveProvider(ctx, firstID, false); !errors.Is(err, vss.ErrProviderInUse) {
		t.Errorf("while an operation on its set runs: %v", err)
	}
	unlock()
	w.calls.Before(func(_ context.Context, c providertest.Call) error {
		if c.Method == "OnUnload" {
			return vss.False
		}
		return nil
	})
	if err := w.RemoveProvider(ctx, firstID, false); !errors.Is(err, vss.ErrProviderInUse) {
		t.Errorf("one that refuses: %v", err)
	}
	w.calls.Reset()
	must(t, w.RemoveProvider(ctx, firstID, true))
	if got := w.calls.Methods(firstID); len(got) > 0 {
		t.Errorf("a dead provider was called: %v", got)
	}
	w.calls.Before(nil)
	looked := 0
	late := w.providers()[1]
	w.LookForProviders = func(ctx context.Context) {
		if looked++; looked == 2 {
			must(t, w.AddProvider(ctx, late))
		}
	}
	if n := len(w.Coordinator.Providers(ctx)); n != 1 {
		t.Errorf("%d providers", n)
	}
	if kinds, err := w.named(ctx, "Test", "first"); err != nil || len(kinds) != 1 || looked != 2 {
		t.Errorf("%v, %v, looked %d times", kinds, err, looked)
	}
	w.calls.Before(func(_ context.Context, c providertest.Call) error {
		if c.Method == "OnLoad" {
			return vss.E(c.Method, vss.ErrProviderVeto, nil)
		}
		return nil
	})
	if err := w.AddProvider(ctx, w.providers()[2]); !errors.Is(err, vss.ErrProviderVeto) {
		t.Errorf("one that doesn't load: %v", err)
	}
}

// TestProviderLoadsOnce: while a provider loads, another one of its id is refused, and isn't loaded.
func TestProviderLoadsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Shutdown()
		must(t, w.RemoveProvider(t.Context(), firstID, true))
		w.calls.Reset()
		load := make(chan struct{})
		w.calls.Before(func(context.Context, providertest.Call) error { <-load; return nil })
		first := make(chan error)
		go func() { first <- w.AddProvider(t.Context(), w.providers()[1]) }()
		synctest.Wait()
		if err := w.AddProvider(t.Context(), w.providers()[1]); !errors.Is(err, vss.ErrProviderAlreadyRegistered) {
			t.Errorf("a second one: %v", err)
		}
		close(load)
		must(t, <-first)
		if got := w.calls.Methods(firstID); !slices.Equal(got, []string{"OnLoad"}) {
			t.Errorf("called: %v", got)
		}
	})
}

// TestCheck: doctor finds what is held, cut off or unreachable, and repairs what it can.
func TestCheck(t *testing.T) {
	w, _, set := setOfThree(t, vss.ContextAppRollback)
	w.holder.left = []string{"/a"}
	stray := vss.SnapshotSetID{GUID: vss.NewGUID()}
	must(t, w.store.Update(func(tx *catalog.Tx) error {
		return errors.Join(
			tx.PutCreation(catalog.Creation{Set: stray}),
			tx.PutBreak(catalog.Break{Set: set}),
			tx.PutCreation(
				catalog.Creation{
					Set:       vss.SnapshotSetID{GUID: vss.NewGUID()},
					Providers: []vss.ProviderID{{GUID: vss.NewGUID()}},
				},
			),
		)
	}))
	has := func(repair bool, text, severity string) {
		t.Helper()
		found, err := w.Check(t.Context(), repair)
		must(t, err)
		for _, f := range found {
			if strings.Contains(f.What, text) && f.Severity == severity && f.Hint != "" {
				return
			}
		}
		t.Errorf("no %s with %q among %+v", severity, text, found)
	}
	has(false, "/a is held", "error")
	has(false, "the creation of set "+stray.String(), "error")
	has(false, "the break of set "+set.String(), "error")
	has(true, "the creation of set "+stray.String(), "info")
	if len(w.holder.left) > 0 {
		t.Error("what was left held is held")
	}
	found, err := w.Check(t.Context(), true)
	must(t, err)
	for _, f := range found {
		if strings.Contains(f.What, stray.String()) || strings.Contains(f.What, "is held") {
			t.Errorf("found again: %+v", f)
		}
	}
	must(t, w.RemoveProvider(t.Context(), firstID, true))
	has(false, "provider first of 1 copies is not registered", "warning")
}

// TestRootAndLogicalPrefix: where in a volume a path lies.
func TestRootAndLogicalPrefix(t *testing.T) {
	w := newWorld(t)
	defer w.Shutdown()
	s := w.OpenSession(0)
	if _, _, err := s.RootAndLogicalPrefix(t.Context(), "/a"); !errors.Is(err, vss.ErrBadState) {
		t.Errorf("before initialization: %v", err)
	}
	must(t, s.InitializeForBackup(nil))
	dir := filepath.Join(w.dir, "vol", "sub")
	must(t, os.MkdirAll(dir, 0o755))
	w.vols.all[0].Name = filepath.Join(w.dir, "vol")
	w.vols.all[0].Device = dir
	vol := filepath.Join(w.dir, "vol")
	for path, want := range map[string][2]string{dir: {vol, "sub"}, vol: {vol, ""}, "/c": {"/c", ""}} {
		root, prefix, err := s.RootAndLogicalPrefix(t.Context(), path)
		if err != nil || root != want[0] || prefix != want[1] {
			t.Errorf("%s: %q %q, %v", path, root, prefix, err)
		}
	}
	if _, _, err := s.RootAndLogicalPrefix(t.Context(), "/none"); !errors.Is(err, vss.ErrObjectNotFound) {
		t.Error(err)
	}
}

// TestSessions: sessions are found by their user only, and close when they are released.
func TestSessions(t *testing.T) {
	w := newWorld(t)
	s := w.OpenSession(7)
	if got, err := w.Session(s.Token, 7); got != s || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := w.Session(s.Token, 8); !errors.Is(err, vss.ErrBadState) {
		t.Errorf("another user: %v", err)
	}
	if w.Idle() {
		t.Error("idle with an open session")
	}
	if _, err := s.Async("none"); !errors.Is(err, vss.ErrObjectNotFound) {
		t.Error(err)
	}
	must(t, s.InitializeForBackup(nil))
	for _, c := range []vss.Context{1 << 30} {
		if err := s.SetContext(c); !errors.Is(err, vss.ErrInvalidArg) {
			t.Errorf("context %v: %v", c, err)
		}
	}
	must(t, s.SetContext(vss.ContextAll))
	if err := s.SetContext(vss.ContextBackup); !errors.Is(err, vss.ErrBadState) {
		t.Errorf("a second context: %v", err)
	}
	if _, err := s.StartSnapshotSet(); !errors.Is(err, vss.ErrBadState) {
		t.Errorf("a set in VSS_CTX_ALL: %v", err)
	}
	if err := s.SetBackupState(false, false, 99, false); !errors.Is(err, vss.ErrInvalidArg) {
		t.Errorf("a backup type: %v", err)
	}
	must(
		t,
		s.EnableWriterClasses([]string{"db"}),
		s.DisableWriterClasses([]string{"other"}),
		s.DisableWriterInstances(nil),
		ended(s.GatherWriterMetadata()),
	)
	if all, err := s.WriterMetadata(); err != nil || len(all) != 1 {
		t.Errorf("%v, %v", all, err)
	}
	if _, err := s.GatherWriterMetadata(); !errors.Is(err, vss.ErrBadState) {
		t.Errorf("metadata twice: %v", err)
	}
	w.Shutdown()
	if !w.Idle() {
		t.Error("not idle after Shutdown")
	}
	select {
	case <-s.Done():
	default:
		t.Error("the session isn't done")
	}
	if err := s.InitializeForBackup(nil); !errors.Is(err, vss.ErrBadState) {
		t.Errorf("a released session: %v", err)
	}
	if _, err := New(t.Context(), Config{HoldLimit: time.Minute}); !errors.Is(err, vss.ErrInvalidArg) {
		t.Errorf("a hold limit out of range: %v", err)
	}
}
