package coordinator

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// createCalls are the calls of a creation to a provider with one copy, in the order of the specification. Questions
// that may come at any time are left out.
var (
	createCalls = []string{
		"BeginPrepareSnapshot",
		"EndPrepareSnapshots",
		"PreCommitSnapshots",
		"CommitSnapshots",
		"PostCommitSnapshots",
	}
	finalCalls = []string{"PreFinalCommitSnapshots", "PostFinalCommitSnapshots"}
	// A writer recovers its data in the copies: they are writable around PreFinalCommitSnapshots.
	hardwareFinal = []string{
		"OnLunStateChange",
		"PreFinalCommitSnapshots",
		"OnLunStateChange",
		"PostFinalCommitSnapshots",
	}
	softwareFinal = []string{"SetWritable", "PreFinalCommitSnapshots", "SetWritable", "PostFinalCommitSnapshots"}

	createdBy = map[vss.ProviderID][]string{
		firstID:  slices.Concat(createCalls, []string{"GetTargetLuns", "LocateLuns"}, hardwareFinal),
		secondID: slices.Concat(createCalls, []string{"GetTargetLuns", "LocateLuns"}, hardwareFinal),
		localID:  slices.Concat(createCalls, []string{"Describe", "Surface"}, softwareFinal),
	}
)

// ordered returns the calls to a provider that change something, or belong to the sequence.
func (w *world) ordered(id vss.ProviderID) []string {
	questions := []string{
		"AreLunsSupported",
		"FillInLunInfo",
		"IsVolumeSupported",
		"Consider",
		"WritePaths",
		"Events",
		"Query",
		"OnLoad",
		"IsVolumeSnapshotted",
	}
	return slices.DeleteFunc(w.calls.Methods(id), func(m string) bool { return slices.Contains(questions, m) })
}

// setOfThree makes a set over two hardware providers and a software provider.
func setOfThree(t *testing.T, c vss.Context) (*world, *Session, vss.SnapshotSetID) {
	w := newWorld(t)
	t.Cleanup(func() { w.Shutdown() })
	w.calls.Reset()
	s := w.create(c, "/b", "/c", "/srv/memory0")
	return w, s, s.set.id
}

// TestThreeCreate: each provider sees its own calls, for its own copies, in the order of the specification.
func TestThreeCreate(t *testing.T) {
	w, s, set := setOfThree(t, vss.ContextAppRollback)
	defer s.Close()
	records := w.records(set)
	for i, id := range []vss.ProviderID{firstID, secondID, localID} {
		if got := w.ordered(id); !slices.Equal(got, createdBy[id]) {
			t.Errorf("provider %d: %v, want %v", i, got, createdBy[id])
		}
		r := records[i]
		luns := w.luns[i+1 : min(i+2, 3)]
		for _, l := range r.LUNs {
			luns = append(slices.Clone(luns), l.Copy)
		}
		if err := w.owns(id, set, []vss.SnapshotID{r.ID}, luns); err != nil {
			t.Errorf("provider %d: %v", i, err)
		}
		hardware := id != localID
		if r.ProviderID != id || r.State != vss.StateCreated || r.Count != 3 || r.Order != i || !r.Imported ||
			w.Properties(*r).DeviceObject == "" {
			t.Errorf("record %d: %+v", i, r)
		}
		if r.Attributes.Has(vss.AttrHardwareAssisted) != hardware || (r.Local == nil) != hardware ||
			(len(r.LUNs) > 0) != hardware {
			t.Errorf("record %d: %+v", i, r)
		}
		if !hardware && (r.Kind != catalog.KindLocal || r.FirstCut.IsZero() || r.LastCut.Before(r.FirstCut)) {
			t.Errorf("record %d: kind %v, cuts %v %v", i, r.Kind, r.FirstCut, r.LastCut)
		}
	}
	created, all, err := w.SnapshotSet(set)
	if err != nil || len(all) != 3 || created.Finishing || len(created.Timeline) != len(steps)-1 {
		t.Errorf("%+v, %d copies, %v", created, len(all), err)
	}
	w.atRest("created")
}

// TestThreeAborted: whichever call fails, hangs or panics at whichever provider, all are aborted and nothing is left.
func TestThreeAborted(t *testing.T) {
	own := []string{"GetTargetLuns", "Describe", "LocateLuns", "Surface", "OnLunStateChange", "SetWritable"}
	for _, method := range slices.Concat(createCalls[1:], finalCalls, own) {
		for _, id := range allIDs {
			for _, way := range []string{"fails", "panics"} {
				w := newWorld(t)
				s := w.session(vss.ContextAppRollback, "/b", "/c", "/srv/memory0")
				var ids []vss.SnapshotID
				for _, c := range s.set.copies {
					ids = append(ids, c.id)
				}
				hit := false
				w.calls.Before(func(_ context.Context, c providertest.Call) error {
					if c.Method != method || c.Provider != id || hit {
						return nil
					}
					hit = true
					if way == "panics" {
						panic("harm")
					}
					return vss.E(method, vss.ErrProviderVeto, nil)
				})
				err := ended(s.DoSnapshotSet(0))
				when := method + " " + way
				switch {
				case !hit && err == nil: // a method of the other kind
					w.Shutdown()
					continue
				case way == "fails" && !errors.Is(err, vss.ErrProviderVeto),
					way == "panics" && !errors.Is(err, vss.ErrUnexpectedProviderError):
					t.Errorf("%s: %v", when, err)
				}
				w.wantAllAborted(t, when)
				w.wantPrefixes(when)
				w.wantOwnCalls(when, ids)
				w.clean(when)
				w.Shutdown()
			}
		}
	}
}

// TestCommitIsNotCancelled: a requester that cancels during CommitSnapshots gets its cancellation, but the providers
// complete the call.
func TestCommitIsNotCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.Shutdown()
		s := w.session(vss.ContextAppRollback, fourVolumes...)
		committing, cancelled := make(chan struct{}, len(allIDs)), make(chan struct{})
		w.calls.Before(func(ctx context.Context, c providertest.Call) error {
			if c.Method == "CommitSnapshots" {
				committing <- struct{}{}
				<-cancelled
				if ctx.Err() != nil {
					t.Errorf("CommitSnapshots was cancelled at provider %v", c.Provider)
				}
			}
			return nil
		})
		a, err := s.DoSnapshotSet(0)
		must(t, err)
		for range allIDs {
			<-committing
		}
		go a.Cancel()
		synctest.Wait()
		close(cancelled)
		<-a.Done()
		if r := a.QueryStatus(); r.Result != vss.SuccessAsyncCancelled {
			t.Errorf("%+v", r)
		}
		w.clean("cancelled")
	})
}

// wantAllAborted checks that the creation was aborted at all providers at once, before what is left is looked for.
func (w *world) wantAllAborted(t *testing.T, when string) {
	t.Helper()
	var aborted []vss.ProviderID
	for _, c := range w.calls.Calls() {
		if c.Method == "AbortSnapshots" && len(aborted) < len(allIDs) {
			aborted = append(aborted, c.Provider)
		}
	}
	for _, id := range allIDs {
		if !slices.Contains(aborted, id) {
			t.Errorf("%s: provider %v was not aborted with the others: %v", when, id, w.calls.Methods(id))
		}
	}
}

// wantPrefixes checks that until the abort each provider received the calls of a creation, in their order. Copies are
// withdrawn before it.
func (w *world) wantPrefixes(when string) {
	w.t.Helper()
	for _, id := range allIDs {
		got := w.ordered(id)
		if i := slices.Index(got, "AbortSnapshots"); i >= 0 {
			got = got[:i]
		}
		got = slices.DeleteFunc(got, func(m string) bool { return m == "Withdraw" })
		if n := len(got); n > len(createdBy[id]) || !slices.Equal(got, createdBy[id][:n]) {
			w.t.Errorf("%s: provider %v was called %v before the abort", when, id, got)
		}
	}
}

// wantOwnCalls checks that each provider was called for its own copy and its own LUNs only, also by the abort.
func (w *world) wantOwnCalls(when string, copies []vss.SnapshotID) {
	w.t.Helper()
	owner := map[string]vss.ProviderID{}
	for i, id := range allIDs {
		for _, c := range w.calls.Of(id) {
			if len(c.Snapshots) > 1 || len(c.Snapshots) == 1 && c.Snapshots[0] != copies[i] {
				w.t.Errorf("%s: %s of provider %v with copies %v", when, c.Method, id, c.Snapshots)
			}
			if c.Method == "AreLunsSupported" || c.Method == "FillInLunInfo" {
				continue // asked of every LUN
			}
			for _, l := range c.LUNs {
				if o, ok := owner[l.SerialNumber]; ok && o != id {
					w.t.Errorf("%s: %s of provider %v with LUN %s of %v", when, c.Method, id, l.SerialNumber, o)
				}
				owner[l.SerialNumber] = id
			}
		}
	}
}

// TestThreeBroken: a set with a copy that can't be broken isn't changed; without it the set becomes plain LUNs.
func TestThreeBroken(t *testing.T) {
	w, s, set := setOfThree(t, vss.ContextAppRollback)
	before := w.records(set)
	w.calls.Reset()
	err := ended(s.Break(set, vss.BreakMakeReadWrite))
	if !errors.Is(err, vss.ErrProviderVeto) || !strings.Contains(err.Error(), "local") {
		t.Errorf("a set with a software copy: %v", err)
	}
	if n := len(w.ordered(firstID)) + len(w.ordered(secondID)) + len(w.ordered(localID)); n > 0 {
		t.Errorf("%d calls for a break that was refused", n)
	}
	after := w.records(set)
	for i := range before {
		if before[i].Attributes != after[i].Attributes || before[i].State != after[i].State {
			t.Errorf("copy %d was changed: %+v", i, after[i])
		}
	}
	local := before[2].ID
	if _, _, err := s.Delete(t.Context(), local.GUID, vss.ObjectSnapshot, false); err != nil {
		t.Fatal(err)
	}
	w.calls.Reset()
	a, err := s.Break(set, vss.BreakMakeReadWrite)
	must(t, ended(a, err))
	if got := BreakResult(a); len(got) != 2 || !got[0].ReadWrite || got[0].Device == "" ||
		got[1].OriginalVolume != "/c" {
		t.Errorf("%+v", got)
	}
	if got := w.ordered(localID); len(got) > 0 {
		t.Errorf("the software provider was called: %v", got)
	}
	for i, id := range []vss.ProviderID{firstID, secondID} {
		l := before[i].LUNs[0]
		if err := w.owns(id, set, nil, []vss.LUNInformation{l.Original, l.Copy}); err != nil {
			t.Errorf("provider %d: %v", i, err)
		}
	}
	if r := w.records(set); len(r) > 0 {
		t.Errorf("%d copies are recorded", len(r))
	}
	if err := ended(s.Break(set, 0)); !errors.Is(err, vss.ErrObjectNotFound) {
		t.Errorf("a second break: %v", err)
	}
}

// TestThreeDeleted: copy by copy, each at its own provider; an auto-release set goes with its session.
func TestThreeDeleted(t *testing.T) {
	w, s, set := setOfThree(t, vss.ContextAppRollback)
	records := w.records(set)
	w.calls.Reset()
	deleted, _, err := s.Delete(t.Context(), set.GUID, vss.ObjectSnapshotSet, false)
	if err != nil || len(deleted) != 3 {
		t.Fatalf("%v, %v", deleted, err)
	}
	for i, want := range []string{"OnLunEmpty", "OnLunEmpty", "DeleteSnapshots"} {
		id := allIDs[i]
		if got := w.ordered(id); !slices.Contains(got, want) {
			t.Errorf("provider %d: %v", i, got)
		}
		var luns []vss.LUNInformation
		for _, l := range records[i].LUNs {
			luns = append(luns, l.Copy, l.Original)
		}
		if err := w.owns(id, set, []vss.SnapshotID{records[i].ID}, luns); err != nil {
			t.Errorf("provider %d: %v", i, err)
		}
	}
	w.clean("deleted")
	s.Close()
	s = w.create(vss.ContextBackup, "/b", "/c", "/srv/memory0")
	if w.copiesMade() != 3 {
		t.Errorf("%d copies", w.copiesMade())
	}
	s.Close()
	w.clean("released")
}

// TestThreeRestarted: persistent copies are there after a restart, auto-release ones aren't.
func TestThreeRestarted(t *testing.T) {
	w, _, set := setOfThree(t, vss.ContextAppRollback)
	w.create(vss.ContextBackup, "/b", "/c", "/srv/memory0")
	if w.copiesMade() != 6 {
		t.Fatalf("%d copies", w.copiesMade())
	}
	w.calls.Reset()
	w.restart()
	if w.copiesMade() != 3 {
		t.Errorf("%d copies are left", w.copiesMade())
	}
	for _, r := range w.records(set) {
		if r.State != vss.StateCreated || w.Properties(*r).DeviceObject == "" {
			t.Errorf("%+v", r)
		}
	}
	if got := w.ordered(localID); !slices.Contains(got, "Surface") {
		t.Errorf("the local copy was not surfaced again: %v", got)
	}
	w.sound()
}

// TestThreeImported: a transportable set of both hardware providers is imported by another session; a software provider
// doesn't take part in one.
func TestThreeImported(t *testing.T) {
	w := newWorld(t)
	t.Cleanup(func() { w.Shutdown() })
	s := w.session(vss.ContextAppRollback|vss.AttrTransportable, "/b", "/c")
	if _, err := s.AddToSnapshotSet(t.Context(), "/srv/memory0", ""); !errors.Is(err, vss.ErrVolumeNotSupported) {
		t.Errorf("a software copy in a transportable set: %v", err)
	}
	w.calls.Reset()
	must(t, ended(s.DoSnapshotSet(0)))
	for _, id := range []vss.ProviderID{firstID, secondID} {
		if got := w.ordered(id); slices.Contains(got, "LocateLuns") {
			t.Errorf("%v: %v", id, got)
		}
	}
	doc, err := s.SaveAsXML()
	must(t, err)
	set := s.set.id
	other := w.OpenSession(0)
	must(t, other.InitializeForBackup(doc), other.SetContext(vss.ContextAppRollback))
	w.calls.Reset()
	must(t, ended(other.ImportSnapshots()))
	for i, id := range []vss.ProviderID{firstID, secondID} {
		if got := w.ordered(id); !slices.Equal(got, []string{"LocateLuns"}) {
			t.Errorf("%v: %v", id, got)
		}
		r := w.records(set)[i]
		if !r.Imported || r.State != vss.StateCreated || !r.Attributes.Has(vss.AttrImported) {
			t.Errorf("%+v", r)
		}
		if err := w.owns(id, set, nil, []vss.LUNInformation{r.LUNs[0].Copy}); err != nil {
			t.Error(err)
		}
	}
	again := w.OpenSession(0)
	must(t, again.InitializeForBackup(doc))
	if err := ended(again.ImportSnapshots()); !errors.Is(err, vss.ErrBadState) {
		t.Errorf("a second import: %v", err)
	}
}
