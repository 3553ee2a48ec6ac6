package coordinator

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// eventLog writes events to the catalogue and to whoever follows. While volumes are held events wait in memory: the
// catalogue may be on one of them.
type eventLog struct {
	k         *Coordinator
	mu        sync.Mutex
	held      bool
	waiting   []catalog.Event
	followers map[chan catalog.Event]bool
}

func (l *eventLog) init(k *Coordinator) { l.k, l.followers = k, map[chan catalog.Event]bool{} }

// add records an event.
func (l *eventLog) add(e catalog.Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	e.Object, e.Message, e.Hint = brief(e.Object), brief(e.Message), brief(e.Hint)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, e)
	if !l.held {
		l.flush()
	}
}

// maxEventText is what is kept of one text of an event, in bytes: a requester may name a volume by megabytes.
const maxEventText = 2 << 10

// brief cuts a text to what an event keeps.
func brief(text string) string {
	if len(text) > maxEventText {
		text = text[:maxEventText] + "..."
	}
	return strings.ToValidUTF8(text, "?")
}

// hold keeps events in memory until release.
func (l *eventLog) hold() {
	l.mu.Lock()
	l.held = true
	l.mu.Unlock()
}

func (l *eventLog) release() {
	l.mu.Lock()
	l.held = false
	l.flush()
	l.mu.Unlock()
}

func (l *eventLog) flush() {
	if len(l.waiting) == 0 {
		return
	}
	events := l.waiting
	l.waiting = nil
	if err := l.k.Catalog.Update(func(tx *catalog.Tx) error { return tx.AddEvents(events) }); err != nil {
		l.k.Logger.Error("events not stored", "count", len(events), "error", err)
	}
	for _, e := range events {
		l.k.Logger.Info("event", "what", e.What, "severity", e.Severity, "set", e.SetID, "object", e.Object, "message", e.Message)
		for c := range l.followers {
			select {
			case c <- e:
			default: // a follower that doesn't read loses events, nobody else waits for it
			}
		}
	}
}

// follow gives events as they come, until stop.
func (l *eventLog) follow() (c <-chan catalog.Event, stop func()) {
	ch := make(chan catalog.Event, 256)
	l.mu.Lock()
	l.followers[ch] = true
	l.mu.Unlock()
	return ch, func() {
		l.mu.Lock()
		delete(l.followers, ch)
		l.mu.Unlock()
	}
}

// inEvents marks an error that has its event: a failure is told once.
type inEvents struct{ error }

func (e inEvents) Unwrap() error { return e.error }

// failed records the failure of an operation, unless an event tells of it already or it was given up on purpose.
func (k *Coordinator) failed(what string, set vss.SnapshotSetID, object string, err error) {
	var told inEvents
	if err == nil || errors.As(err, &told) || errors.Is(err, context.Canceled) {
		return
	}
	k.events.add(catalog.Event{Severity: "error", What: what, SetID: set, Object: object, Code: vss.CodeOf(err), Message: err.Error(), Hint: vss.Hint(err)})
}

// AddEvent records an event from another part of the service.
func (k *Coordinator) AddEvent(e catalog.Event) { k.events.add(e) }

// Events lists events since a time and, with follow, gives later ones until stop.
func (k *Coordinator) Events(since time.Time, follow bool) (past []catalog.Event, later <-chan catalog.Event, stop func(), err error) {
	stop = func() {}
	if follow {
		later, stop = k.events.follow()
	}
	err = k.Catalog.View(func(tx *catalog.Tx) error {
		past, err = tx.Events(since)
		return err
	})
	return past, later, stop, err
}
