package journal

import (
	"context"
	"log/slog"
	"sync"
)

// DefaultSize is the number of records that a Ring keeps while it is held.
const DefaultSize = 4096

// Ring is a slog.Handler that can buffer records instead of writing them. While a volume's writes are held, a log line
// may be a write to that volume, which would block the goroutine that logs until the release. Between Hold and Release
// all records go to memory and nothing is written, by any goroutine; logging never waits then. Handlers made by With
// and WithGroup share the ring.
type Ring struct {
	next slog.Handler
	core *core
}

type core struct {
	mu      sync.Mutex
	idle    *sync.Cond // signalled at the end of a write, and of the drain
	held    int        // Holds without Release
	writing int        // writes in progress
	drain   bool       // a goroutine writes the kept records
	kept    []entry    // in order, beginning at first
	first   int
	count   int
	dropped int
}

type entry struct {
	ctx    context.Context //nolint:containedctx // handlers take values from it
	next   slog.Handler
	record slog.Record
}

// NewRing returns a ring in front of a handler. While held it keeps size records; with more the oldest are dropped,
// and their number is logged.
func NewRing(next slog.Handler, size int) *Ring {
	c := &core{kept: make([]entry, max(size, 1))}
	c.idle = sync.NewCond(&c.mu)
	return &Ring{next: next, core: c}
}

// Hold stops all writing. When it returns no write is in progress, so it must be called before the volumes are held.
// Holds are counted; each requires a Release.
func (r *Ring) Hold() {
	c := r.core
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held++
	for c.writing > 0 {
		c.idle.Wait()
	}
}

// Release resumes writing. A goroutine writes the kept records in order; Release doesn't wait for it. It must be
// called after the volumes are released. A Release without Hold does nothing.
func (r *Ring) Release() {
	c := r.core
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == 0 {
		return
	}
	c.held--
	c.start()
}

// Flush waits until all kept records are written, or ctx ends. It is for the end of the process; between Hold and
// Release it would wait for the Release.
func (r *Ring) Flush(ctx context.Context) error {
	c := r.core
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.idle.Broadcast()
	})
	defer stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for (c.count > 0 || c.drain || c.writing > 0) && ctx.Err() == nil {
		c.idle.Wait()
	}
	return ctx.Err()
}

// Enabled implements slog.Handler.
func (r *Ring) Enabled(ctx context.Context, l slog.Level) bool { return r.next.Enabled(ctx, l) }

// Handle writes the record, or keeps it while the ring is held or older ones are still being written.
func (r *Ring) Handle(ctx context.Context, record slog.Record) error {
	c := r.core
	c.mu.Lock()
	if c.held > 0 || c.drain || c.count > 0 {
		c.keep(entry{context.WithoutCancel(ctx), r.next, record.Clone()})
		c.mu.Unlock()
		return nil
	}
	c.writing++
	c.mu.Unlock()
	defer c.wrote()
	return r.next.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (r *Ring) WithAttrs(a []slog.Attr) slog.Handler { return &Ring{r.next.WithAttrs(a), r.core} }

// WithGroup implements slog.Handler.
func (r *Ring) WithGroup(name string) slog.Handler { return &Ring{r.next.WithGroup(name), r.core} }

func (c *core) wrote() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing--
	c.idle.Broadcast()
}

func (c *core) keep(e entry) {
	if c.count == len(c.kept) {
		c.first = (c.first + 1) % len(c.kept)
		c.count--
		c.dropped++
	}
	c.kept[(c.first+c.count)%len(c.kept)] = e
	c.count++
}

// take returns the next record to write and counts the write. It returns false if there is none or the ring is held
// again, which ends the drain.
func (c *core) take() (entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held > 0 || c.count == 0 {
		c.drain = false
		c.idle.Broadcast()
		return entry{}, false
	}
	e := c.kept[c.first]
	if c.dropped > 0 {
		lost := slog.NewRecord(e.record.Time, slog.LevelWarn, "log records were lost while writes were held", 0)
		lost.Add("count", c.dropped)
		c.dropped = 0
		c.writing++
		return entry{e.ctx, e.next, lost}, true
	}
	c.kept[c.first] = entry{} // release the references
	c.first = (c.first + 1) % len(c.kept)
	c.count--
	c.writing++
	return e, true
}

// start begins the drain. The lock is held.
func (c *core) start() {
	if c.held > 0 || c.drain || c.count == 0 {
		return
	}
	c.drain = true
	go func() {
		for e, ok := c.take(); ok; e, ok = c.take() {
			_ = e.next.Handle(e.ctx, e.record) // the error can't be reported
			c.wrote()
		}
	}()
}
