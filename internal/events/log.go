// Package events is the service's event log: what an administrator should know, kept in the catalog, written to the
// service's log, and sent to those who follow.
package events

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Log stores events in the catalog. Between Hold and Release events wait in memory, because the catalog may be on one
// of the volumes that are held. Its methods may be called from many goroutines.
type Log struct {
	store  *catalog.Store
	logger *slog.Logger

	mu        sync.Mutex
	held      bool
	waiting   []catalog.Event
	followers map[chan catalog.Event]bool
}

// New returns a log that stores its events in store.
func New(store *catalog.Store, logger *slog.Logger) *Log {
	return &Log{store: store, logger: logger, followers: map[chan catalog.Event]bool{}}
}

// Add records an event of a kind and a severity; e has the rest. An event without a time gets the present one. Texts
// are cut to a length that is safe to store.
func (l *Log) Add(kind Kind, severity Severity, e catalog.Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.What, e.Severity = string(kind), string(severity)
	e.Object, e.Message, e.Hint = shorten(e.Object), shorten(e.Message), shorten(e.Hint)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, e)
	if !l.held {
		l.flush()
	}
}

// Problem records an event with the code, message and hint of err.
func (l *Log) Problem(kind Kind, severity Severity, set vss.SnapshotSetID, object string, err error) {
	l.Add(kind, severity, catalog.Event{
		SetID: set, Object: object, Code: vss.CodeOf(err), Message: err.Error(), Hint: vss.Hint(err),
	})
}

// Failed records that an operation failed with err. It does nothing if err is nil, if an event reports it already (see
// Recorded), or if the operation was canceled.
func (l *Log) Failed(kind Kind, set vss.SnapshotSetID, object string, err error) {
	var known recorded
	if err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) {
		return
	}
	l.Problem(kind, Error, set, object, err)
}

// recorded marks an error that an event reports.
type recorded struct{ error }

func (r recorded) Unwrap() error { return r.error }

// Recorded marks err as reported by an event, so that Failed does not report it a second time. Nil stays nil.
func Recorded(err error) error {
	if err == nil {
		return nil
	}
	return recorded{err}
}

// maxText is the length in bytes to which an event's texts are cut: a requester can name a volume by megabytes.
const maxText = 2 << 10

func shorten(text string) string {
	if len(text) > maxText {
		text = text[:maxText] + "..."
	}
	return strings.ToValidUTF8(text, "?")
}

// Hold keeps events in memory until Release.
func (l *Log) Hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = true
}

// Release stores the events that came since Hold.
func (l *Log) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = false
	l.flush()
}

// flush stores the waiting events and sends them to the followers. The caller holds mu.
func (l *Log) flush() {
	if len(l.waiting) == 0 {
		return
	}
	events := l.waiting
	l.waiting = nil
	if err := l.store.Update(func(tx *catalog.Tx) error { return tx.AddEvents(events) }); err != nil {
		l.logger.Error("events not stored", "count", len(events), "error", err)
	}
	for _, e := range events {
		l.logger.Info("event", "what", e.What, "severity", e.Severity, "set", e.SetID, "object", e.Object,
			"message", e.Message)
		for c := range l.followers {
			select {
			case c <- e:
			default: // a follower that does not read loses events; nothing waits for it
			}
		}
	}
}

// Follow returns a channel that receives events as they are added, until stop is called. A follower that does not keep
// up loses events.
func (l *Log) Follow() (c <-chan catalog.Event, stop func()) {
	ch := make(chan catalog.Event, 256)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.followers[ch] = true
	return ch, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.followers, ch)
	}
}

// List returns the stored events from a time on, in the order in which they were added.
func (l *Log) List(since time.Time) ([]catalog.Event, error) {
	var past []catalog.Event
	err := l.store.View(func(tx *catalog.Tx) (err error) {
		past, err = tx.Events(since)
		return err
	})
	return past, err
}
