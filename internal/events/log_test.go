package events

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func open(t *testing.T, logger *slog.Logger) (*Log, *catalog.Store) {
	t.Helper()
	store, err := catalog.Open(filepath.Join(t.TempDir(), "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return New(store, logger), store
}

func list(t *testing.T, l *Log) []catalog.Event {
	t.Helper()
	all, err := l.List(time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAdd(t *testing.T) {
	l, _ := open(t, slog.New(slog.DiscardHandler))
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	long := strings.Repeat("ä", maxText)
	l.Add(PoolLow, Warning, catalog.Event{Time: at, Object: "pool", Message: long, Severity: "x", What: "y"})
	l.Add(Hydrated, Info, catalog.Event{Message: "a\xff"})
	all := list(t, l)
	if len(all) != 2 {
		t.Fatalf("%d events, want 2", len(all))
	}
	first := all[0]
	if first.What != "pool-low" || first.Severity != "warning" || !first.Time.Equal(at) || first.Object != "pool" {
		t.Errorf("the first event is %+v", first)
	}
	if len(first.Message) > maxText+8 || !utf8.ValidString(first.Message) || !strings.HasSuffix(first.Message, "...") {
		t.Errorf("a text of %d bytes was stored as %d bytes", len(long), len(first.Message))
	}
	if all[1].Time.IsZero() || all[1].Message != "a?" {
		t.Errorf("the second event is %+v", all[1])
	}
	if since, err := l.List(at.Add(time.Second)); err != nil || len(since) != 1 || since[0].What != "hydrated" {
		t.Errorf("events since a time: %+v, %v", since, err)
	}
}

// TestFailed checks which failures are recorded, and what of them.
func TestFailed(t *testing.T) {
	set := vss.SnapshotSetID{GUID: vss.NewGUID()}
	veto := vss.E("Commit", vss.ErrProviderVeto, errors.New("no room")).On("lun7").Advise("make room")
	for _, c := range []struct {
		name string
		err  error
		want bool
	}{
		{"nil", nil, false},
		{"an error", veto, true},
		{"a recorded error", vss.E("DoSnapshotSet", vss.ErrProviderVeto, Recorded(veto)), false},
		{"a canceled operation", fmt.Errorf("stopped: %w", context.Canceled), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, _ := open(t, slog.New(slog.DiscardHandler))
			l.Failed(CreationFailed, set, "/srv", c.err)
			all := list(t, l)
			if got := len(all) == 1; got != c.want {
				t.Fatalf("events %+v", all)
			}
			if !c.want {
				return
			}
			e := all[0]
			if e.What != "creation-failed" || e.Severity != "error" || e.SetID != set || e.Object != "/srv" ||
				e.Code != vss.ErrProviderVeto ||
				e.Message != veto.Error() || e.Hint != "make room" {
				t.Errorf("the event is %+v", e)
			}
		})
	}
}

func TestRecorded(t *testing.T) {
	if err := Recorded(nil); err != nil {
		t.Errorf("Recorded(nil) = %v", err)
	}
	err := Recorded(vss.E("Op", vss.ErrBadState, nil))
	if !errors.Is(err, vss.ErrBadState) || vss.CodeOf(err) != vss.ErrBadState {
		t.Errorf("a recorded error lost its code: %v", err)
	}
}

// TestHold checks that events wait while the log is held, and come in order after it.
func TestHold(t *testing.T) {
	var text bytes.Buffer
	l, _ := open(t, slog.New(slog.NewTextHandler(&text, nil)))
	follow, stop := l.Follow()
	l.Hold()
	for range 3 {
		l.Problem(WriterFailed, Warning, vss.SnapshotSetID{}, "db", vss.E("Freeze", vss.ErrWriterErrorRetryable, nil))
	}
	if all := list(t, l); len(all) != 0 || text.Len() != 0 || len(follow) != 0 {
		t.Errorf("while held: %d stored, %d followed, log %q", len(all), len(follow), &text)
	}
	l.Release()
	if all := list(t, l); len(all) != 3 || len(follow) != 3 || strings.Count(text.String(), "writer-failed") != 3 {
		t.Errorf("after Release: %d stored, %d followed, log %q", len(all), len(follow), &text)
	}
	l.Release()
	stop()
	l.Add(Thawed, Warning, catalog.Event{})
	if len(list(t, l)) != 4 || len(follow) != 3 {
		t.Errorf("after stop: %d followed", len(follow))
	}
}

// TestSlowFollower checks that a follower that does not read delays nothing.
func TestSlowFollower(t *testing.T) {
	l, _ := open(t, slog.New(slog.DiscardHandler))
	follow, stop := l.Follow()
	defer stop()
	l.Hold()
	for range cap(follow) + 10 {
		l.Add(Arrival, Error, catalog.Event{})
	}
	l.Release()
	if len(follow) != cap(follow) {
		t.Errorf("%d events wait, want %d", len(follow), cap(follow))
	}
}

func TestStoreFails(t *testing.T) {
	var text bytes.Buffer
	l, store := open(t, slog.New(slog.NewTextHandler(&text, nil)))
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	l.Add(Remains, Error, catalog.Event{Message: "left"})
	if !strings.Contains(text.String(), "events not stored") || !strings.Contains(text.String(), "what=remains") {
		t.Errorf("the log is %q", &text)
	}
	if _, err := l.List(time.Time{}); err == nil {
		t.Error("List of a closed store succeeded")
	}
}

// TestKinds checks that each kind has a string of its own.
func TestKinds(t *testing.T) {
	seen := map[Kind]bool{}
	for _, k := range []Kind{
		AbortFailed, Arrival, AutoReleaseFailed, BreakFailed, BreakNotUndone, CopyLost, CreationDropped, CreationFailed,
		DeleteFailed, Departure, Dropped, ExposeFailed, FlagsLeft, GuardFailed, HoldOverrun, Hydrated, ImportFailed,
		NotImported, NotMasked, PersistentMount, PoolLow, ProviderFailed, Remains, SetExpired, Thawed, VolumeRefused,
		WriterFailed, WriterNotLoaded, Recovery("creation"),
	} {
		if k == "" || seen[k] {
			t.Errorf("kind %q is used twice or empty", k)
		}
		seen[k] = true
	}
	if Recovery("break") != "recovery-break" {
		t.Errorf("Recovery: %q", Recovery("break"))
	}
}
