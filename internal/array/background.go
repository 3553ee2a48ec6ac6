package array

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// hydration is the background work on one plex.
type hydration struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// stopHydrating ends the background work on a LUN and waits for its end.
func (c *Controller) stopHydrating(e *entry) {
	c.mu.Lock()
	h := c.hydrating[e.ID]
	c.mu.Unlock()
	if h != nil {
		h.cancel()
		<-h.done
	}
}

// hydrate gives a plex blocks of its own, in the background. The caller holds work, or the controller is being
// opened.
func (c *Controller) hydrate(e *entry) {
	id, name := e.ID, e.Name
	ctx, cancel := context.WithCancel(c.life)
	h := &hydration{cancel, make(chan struct{})}
	c.mu.Lock()
	if c.hydrating[id] != nil {
		c.mu.Unlock()
		cancel()
		return
	}
	c.hydrating[id] = h
	c.mu.Unlock()
	c.background.Go(func() {
		defer cancel()
		err := e.pool.Hydrate(ctx, id, func(percent float64, piece func() error) error {
			c.mu.Lock()
			e.Percent = max(e.Percent, min(percent, 99.9))
			c.mu.Unlock()
			return c.piece(ctx, piece)
		})
		c.mu.Lock()
		delete(c.hydrating, id)
		c.mu.Unlock()
		close(h.done) // before work is locked: erase holds it and waits for this
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				c.cfg.Logger.Error("hydration stopped; it continues at the next start", "lun", name, "error", err)
			}
			return
		}
		if l, err := c.changeByID("Hydrate", id, func(l *LUN) { l.Percent = 100 }); err == nil {
			c.events.send(
				Event{
					Time: time.Now(),
					LUN:  l,
					What: "hydrated",
					Text: "the plex shares no block with its original any more",
				},
			)
		}
	})
}

// PauseBackground stops the background work: hydration, and watching the space.
func (c *Controller) PauseBackground(ctx context.Context) (func(), error) {
	resume, err := c.pause.stop(ctx)
	if err != nil {
		return nil, vss.E("PauseBackground", vss.CodeOf(err), err)
	}
	return resume, nil
}

// maxPause is how long background work may be kept waiting.
const maxPause = 15 * time.Second

// pauser keeps short pieces of background work from starting while it is stopped.
type pauser struct {
	mu     sync.Mutex
	busy   int
	idle   chan struct{} // closed when busy becomes 0, if a caller waits
	stops  map[int]time.Time
	number int
}

// stop keeps further pieces out until resume is called, or maxPause is over, and waits for those under way.
func (p *pauser) stop(ctx context.Context) (resume func(), err error) {
	p.mu.Lock()
	if p.stops == nil {
		p.stops = map[int]time.Time{}
	}
	p.number++
	n := p.number
	p.stops[n] = time.Now().Add(maxPause)
	resume = func() {
		p.mu.Lock()
		delete(p.stops, n)
		p.mu.Unlock()
	}
	if p.busy > 0 && p.idle == nil {
		p.idle = make(chan struct{})
	}
	idle := p.idle
	p.mu.Unlock()
	if idle == nil {
		return resume, nil
	}
	select {
	case <-idle:
		return resume, nil
	case <-ctx.Done():
		resume()
		return nil, ctx.Err()
	}
}

// enter begins a piece of work and returns true, unless the work is stopped. The caller then calls leave.
func (p *pauser) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n, until := range p.stops {
		if time.Now().Before(until) {
			return false
		}
		delete(p.stops, n)
	}
	p.busy++
	return true
}

func (p *pauser) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy--
	if p.busy == 0 && p.idle != nil {
		close(p.idle)
		p.idle = nil
	}
}

// piece runs one piece of background work as soon as it isn't stopped.
func (c *Controller) piece(ctx context.Context, work func() error) error {
	for !c.pause.enter() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	defer c.pause.leave()
	return work()
}
