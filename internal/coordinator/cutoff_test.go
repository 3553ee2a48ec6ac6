package coordinator

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/recovery"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestBreakFails: a break that fails leaves the set as it was; one that can't be undone is undone at the next start.
func TestBreakFails(t *testing.T) {
	w, s, set := setOfThree(t, vss.ContextAppRollback)
	records := w.records(set)
	_, _, err := s.Delete(t.Context(), records[2].ID.GUID, vss.ObjectSnapshot, false)
	must(t, err)
	harm := func(ops ...string) {
		w.host.Fail = func(op, _ string) error {
			if slices.Contains(ops, op) {
				return vss.E(op, vss.ErrUnexpected, errors.New("harm"))
			}
			return nil
		}
	}
	breaks := func() int {
		r, err := recovery.Read(w.store)
		must(t, err)
		return len(r.Breaks)
	}
	harm("MakePlain") // after all else is done
	if err := ended(s.Break(set, vss.BreakMakeReadWrite)); err == nil || breaks() != 1 {
		t.Errorf("%v, %d breaks are recorded", err, breaks())
	}
	w.wantEvent(events.BreakFailed)
	w.restart()
	if breaks() != 1 {
		t.Error("a break that can't be finished is forgotten")
	}
	w.wantEvent(events.Recovery("break"))
	harm()
	w.restart()
	if left := w.records(set); len(left) > 0 || breaks() != 0 {
		t.Errorf("%d copies, %d breaks are recorded", len(left), breaks())
	}

	s = w.create(vss.ContextAppRollback, "/b", "/c")
	set = s.set.id
	harm("SetFlags")
	if err := ended(s.Break(set, vss.BreakMakeReadWrite)); err == nil {
		t.Error("the break succeeded")
	}
	w.wantEvent(events.BreakNotUndone)
	harm()
	w.restart()
	if left := w.records(set); len(left) != 2 || breaks() != 0 {
		t.Errorf("%d copies, %d breaks are recorded", len(left), breaks())
	}
	w.sound()
	s = w.OpenSession(0)
	must(t, s.InitializeForBackup(nil))
	a, err := s.Break(set, vss.BreakMaskLUNs)
	must(t, ended(a, err))
	if got := BreakResult(a); len(got) != 2 || !got[0].Masked || got[0].Device != "" {
		t.Errorf("%+v", got)
	}
}

// TestImportCutOff: an import during which the service died goes on; one of an auto-release context is deleted.
func TestImportCutOff(t *testing.T) {
	for _, c := range []vss.Context{vss.ContextAppRollback, vss.ContextBackup} {
		w := newWorld(t)
		s := w.create(vss.ContextAppRollback|vss.AttrTransportable, "/b", "/c")
		set := s.set.id
		records := w.records(set)
		must(t, w.beginImport(&catalog.Set{ID: set}, records))
		if !c.Has(vss.AttrNoAutoRelease) {
			must(t, w.store.Update(func(tx *catalog.Tx) error {
				for _, r := range records {
					r.Attributes &^= vss.AttrNoAutoRelease | vss.AttrPersistent
					if err := tx.PutSnapshot(*r); err != nil {
						return err
					}
				}
				return nil
			}))
		}
		w.restart()
		left := w.records(set)
		switch {
		case c.Has(vss.AttrNoAutoRelease):
			if len(left) != 2 || !left[0].Imported || left[1].State != vss.StateCreated {
				t.Errorf("%+v", left)
			}
		case len(left) > 0 || w.copiesMade() > 0:
			t.Errorf("%d copies are recorded, %d exist", len(left), w.copiesMade())
		}
		w.Shutdown()
	}
}

// TestImportIncomplete: what doesn't arrive can't be imported; what this host made can be imported later.
func TestImportIncomplete(t *testing.T) {
	w := newWorld(t)
	defer w.Shutdown()
	s := w.create(vss.ContextAppRollback|vss.AttrTransportable, "/b", "/c")
	doc, err := s.SaveAsXML()
	must(t, err)
	records := w.records(s.set.id)
	open := func() *Session {
		o := w.OpenSession(0)
		must(t, o.InitializeForBackup(doc), o.SetContext(vss.ContextAppRollback))
		return o
	}
	w.calls.Before(func(_ context.Context, c providertest.Call) error {
		if c.Method == "LocateLuns" {
			return vss.E(c.Method, vss.ErrProviderVeto, nil)
		}
		return nil
	})
	if err := ended(open().ImportSnapshots()); !errors.Is(err, vss.ErrProviderVeto) {
		t.Errorf("a provider that refuses: %v", err)
	}
	w.wantEvent(events.ProviderFailed)
	if r := w.records(s.set.id); len(r) != 2 || r[0].State != vss.StateCreated || r[0].Imported {
		t.Errorf("%+v", r)
	}
	w.calls.Before(nil)
	w.arrays[0].Remove(records[0].LUNs[0].Copy)
	a, err := open().ImportSnapshots()
	must(t, ended(a, err))
	if got := a.QueryStatus().Result; got != vss.SuccessSomeSnapshotsNotImported {
		t.Errorf("one of two: %v", got)
	}
	w.wantEvent(events.NotImported)
	made := doc
	doc = bytes.ReplaceAll(doc, []byte(secondID.Plain()), []byte(localID.Plain()))
	w.calls.Reset()
	if err := ended(open().ImportSnapshots()); !errors.Is(err, vss.ErrNonTransportableBCD) {
		t.Errorf("a copy of a software provider: %v", err)
	}
	if got := w.ordered(localID); len(got) > 0 || bytes.Equal(doc, made) {
		t.Errorf("the software provider was called: %v", got)
	}
	doc = made
	must(t, w.RemoveProvider(t.Context(), secondID, true))
	if err := ended(open().ImportSnapshots()); !errors.Is(err, vss.ErrProviderNotRegistered) {
		t.Errorf("without its provider: %v", err)
	}
	plain := w.create(vss.ContextAppRollback, "/a")
	if doc, err = plain.SaveAsXML(); err != nil {
		t.Fatal(err)
	}
	if err := ended(open().ImportSnapshots()); !errors.Is(err, vss.ErrNonTransportableBCD) {
		t.Errorf("a set that isn't transportable: %v", err)
	}
	empty := w.OpenSession(0)
	must(t, empty.InitializeForBackup(nil))
	if err := ended(empty.ImportSnapshots()); !errors.Is(err, vss.ErrBadState) {
		t.Errorf("without a document: %v", err)
	}
}

// TestHungProvider: a provider that doesn't return keeps neither the writes nor the creation lock.
func TestHungProvider(t *testing.T) {
	for method, most := range map[string]time.Duration{
		"EndPrepareSnapshots": 6 * time.Minute, "CommitSnapshots": 11 * time.Second, "AbortSnapshots": 4 * time.Minute,
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.Shutdown()
			s := w.session(vss.ContextAppRollback, "/b", "/c", "/srv/memory0")
			release := make(chan struct{})
			w.calls.Before(func(_ context.Context, c providertest.Call) error {
				if c.Provider == secondID && c.Method == method {
					<-release
				}
				if c.Provider == firstID && c.Method == "PostCommitSnapshots" {
					return vss.E(c.Method, vss.ErrProviderVeto, nil)
				}
				return nil
			})
			begun := time.Now()
			err := ended(s.DoSnapshotSet(5 * time.Second))
			want := map[string]vss.Code{
				"EndPrepareSnapshots": vss.ErrUnexpectedProviderError, "CommitSnapshots": vss.ErrHoldWritesTimeout,
				"AbortSnapshots": vss.ErrProviderVeto,
			}[method]
			if vss.CodeOf(err) != want || time.Since(begun) > most {
				t.Errorf("%s: %v after %v", method, err, time.Since(begun))
			}
			w.atRest(method)
			if _, err := w.OpenSession(0).StartSnapshotSet(); errors.Is(err, vss.ErrSnapshotSetInProgress) {
				t.Errorf("%s: %v", method, err)
			}
			close(release)
			synctest.Wait()
		})
	}
}

// TestUndoFails: what an undo can't do is reported, and kept for recovery.
func TestUndoFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.session(vss.ContextAppRollback, "/b", "/c")
		fail := map[string]bool{}
		w.host.Fail = func(op, _ string) error {
			if fail[op] {
				return vss.E(op, vss.ErrUnexpected, errors.New("harm"))
			}
			return nil
		}
		w.holder.hook = func(op string) error {
			switch op {
			case "hold":
				fail["Edit.Clear"] = true
				return vss.E("Hold", vss.ErrVolumeInUse, nil)
			case "close":
				return errors.New("a guard is stuck")
			}
			return nil
		}
		w.calls.Before(func(_ context.Context, c providertest.Call) error {
			if c.Method == "AbortSnapshots" {
				panic("harm")
			}
			return nil
		})
		if err := ended(s.DoSnapshotSet(0)); !errors.Is(err, vss.ErrVolumeInUse) {
			t.Error(err)
		}
		for _, kind := range []events.Kind{
			events.GuardFailed, events.FlagsLeft, events.AbortFailed, events.CreationFailed,
		} {
			w.wantEvent(kind)
		}
		if r, err := recovery.Read(w.store); err != nil || len(r.Creations) != 1 {
			t.Errorf("%+v, %v", r, err)
		}
		clear(fail)
		w.calls.Before(nil)
		w.holder.hook = nil
		w.host.Die()
		w.restart()
		w.clean("recovered")
		w.Shutdown()
	})
}
