package coordinator

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

// TestKilled has the service die at every step, before and after its work. The next start drops the set, unless it was
// complete: that one it finishes.
func TestKilled(t *testing.T) {
	complete := slices.IndexFunc(steps, func(s step) bool { return s.name == "post-final-commit" })
	prepare := slices.IndexFunc(steps, func(s step) bool { return s.name == "prepare-snapshot" })
	for i, s := range steps {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s after %v", s.name, after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					m := &mishap{release: make(chan struct{})}
					w.table = m.table(i, &harms[1], after)
					old := w.session(vss.ContextAppRollback, fourVolumes...)
					_, err := old.DoSnapshotSet(0)
					must(t, err)
					synctest.Wait() // it hangs at the step: this process does nothing more
					w.host.Die()
					w.holder = &fakeHolder{left: []string{"/a"}}
					w.quiet = &fakeQuiet{}
					w.restart()
					w.wantEvent(events.Thawed)
					finished := i > complete || i == complete && after
					if !finished {
						w.clean("dropped")
						if i > prepare || i == prepare && after {
							w.wantWriterAborted()
						}
						if i > 0 || after {
							w.wantEvent(events.CreationDropped)
						}
					} else {
						w.atRest("finished")
						set, all, err := w.SnapshotSet(old.set.id)
						if err != nil || len(all) != 4 || set.Finishing || set.Consistency == 0 || w.copiesMade() != 4 {
							t.Errorf("%+v, %d copies, %v", set, len(all), err)
						}
						w.sound()
						for _, array := range w.arrays {
							for _, l := range array.LUNs() {
								if l.Copy && !l.Final {
									t.Errorf("LUN %s isn't final in its array", l.Info.SerialNumber)
								}
							}
						}
					}
					w.Shutdown()
					close(m.release)
					synctest.Wait()
					time.Sleep(time.Hour) // what the dead process still does
				})
			})
		}
	}
}

// wantWriterAborted checks that the writer has received Abort of the set. That ends no freeze here: the server of a
// writer thaws it when the connection of the service is lost.
func (w *world) wantWriterAborted() {
	w.t.Helper()
	aborted := slices.ContainsFunc(w.writer.Seen(), func(s writertest.Seen) bool { return s.Handler == writer.OnAbort })
	if !aborted {
		w.t.Error("the writer did not receive Abort")
	}
}

// TestRecoveryWaitsForProvider: what belongs to a provider that isn't loaded is done when it is added.
func TestRecoveryWaitsForProvider(t *testing.T) {
	w, _, set := setOfThree(t, vss.ContextAppRollback)
	all := w.providers()
	for _, id := range allIDs {
		must(t, w.RemoveProvider(t.Context(), id, true))
	}
	must(t, w.Recover(t.Context()))
	found, err := w.Check(t.Context(), false)
	if err != nil ||
		!slices.ContainsFunc(
			found,
			func(f copies.Finding) bool { return strings.Contains(f.What, "is not registered") },
		) {
		t.Errorf("%+v, %v", found, err)
	}
	s := w.OpenSession(0)
	must(t, s.InitializeForBackup(nil))
	if _, _, err := s.Delete(t.Context(), set.GUID, vss.ObjectSnapshotSet, true); !errors.Is(
		err,
		vss.ErrProviderNotRegistered,
	) {
		t.Errorf("deletion without a provider: %v", err)
	}
	w.calls.Reset()
	for _, p := range all {
		must(t, w.AddProvider(t.Context(), p))
	}
	if got := w.ordered(localID); !slices.Contains(got, "Surface") {
		t.Errorf("the copy was not brought back: %v", got)
	}
	if err := w.AddProvider(t.Context(), all[0]); !errors.Is(err, vss.ErrProviderAlreadyRegistered) {
		t.Errorf("a provider twice: %v", err)
	}
	must(t, func() error { _, _, err := s.Delete(t.Context(), set.GUID, vss.ObjectSnapshotSet, true); return err }())
	w.clean("deleted")
}

// TestProviderComesBack: the copies of an open session outlive the process of their provider; those of one that ended
// while it was gone are deleted when it is back.
func TestProviderComesBack(t *testing.T) {
	w := newWorld(t)
	defer w.Shutdown()
	stays, ends := w.create(vss.ContextBackup, "/a"), w.create(vss.ContextBackup, "/b")
	must(t, w.RemoveProvider(t.Context(), firstID, true))
	ends.Close()
	w.wantEvent(events.AutoReleaseFailed)
	must(t, w.AddProvider(t.Context(), w.providers()[1]))
	if n := w.arrays[0].Copies(); n != 1 || len(w.records(stays.set.id)) != 1 {
		t.Errorf("%d copies", n)
	}
	stays.Close()
	w.clean("closed")
}
