package array

import (
	"context"
	"sync"
)

// subscribers get events.
type subscribers struct {
	mu  sync.Mutex
	all map[chan Event]bool
}

func (s *subscribers) send(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.all {
		select {
		case c <- e:
		default: // a slow reader loses events
		}
	}
}

// Events returns events from now on, until ctx ends.
func (c *Controller) Events(ctx context.Context) (<-chan Event, error) {
	ch := make(chan Event, 64)
	c.events.mu.Lock()
	if c.events.all == nil {
		c.events.all = map[chan Event]bool{}
	}
	c.events.all[ch] = true
	c.events.mu.Unlock()
	go func() {
		select {
		case <-ctx.Done():
		case <-c.life.Done():
		}
		c.events.mu.Lock()
		delete(c.events.all, ch)
		close(ch)
		c.events.mu.Unlock()
	}()
	return ch, nil
}
