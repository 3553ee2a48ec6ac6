// Package load is clients that write to a database and note what it has acknowledged: what a copy made later must hold. It is for
// tests and demonstrations.
package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Client is one client: it writes rows numbered from 1, one after the other.
type Client interface {
	// Write writes a row and returns when the database has acknowledged it.
	Write(ctx context.Context, n int64) error
	Close() error
}

// Resting is a client that lets others in between its writes, where the database has no queue.
type Resting interface{ Rest() }

// Journal are clients at work and what was acknowledged to them.
type Journal struct {
	stop    context.CancelFunc
	clients sync.WaitGroup

	mu    sync.Mutex // the fields below
	acked []int64    // by client: its last acknowledged row
	took  []time.Duration
	err   error
}

// Start starts a number of clients.
func Start(ctx context.Context, clients int, open func(ctx context.Context, client int) (Client, error)) *Journal {
	ctx, stop := context.WithCancel(ctx)
	j := &Journal{stop: stop, acked: make([]int64, clients)}
	for i := range clients {
		j.clients.Go(func() {
			if err := j.run(ctx, i, open); err != nil && ctx.Err() == nil {
				j.mu.Lock()
				defer j.mu.Unlock()
				j.err = errors.Join(j.err, fmt.Errorf("client %d: %w", i, err))
			}
		})
	}
	return j
}

func (j *Journal) run(ctx context.Context, client int, open func(ctx context.Context, client int) (Client, error)) error {
	c, err := open(ctx, client)
	if err != nil {
		return err
	}
	for n := int64(1); err == nil && ctx.Err() == nil; n++ {
		start := time.Now()
		if err = c.Write(context.WithoutCancel(ctx), n); err == nil { // what was begun is waited for: else nobody knows
			j.note(client, n, time.Since(start))
			if r, ok := c.(Resting); ok {
				r.Rest()
			}
		}
	}
	return errors.Join(err, c.Close())
}

func (j *Journal) note(client int, n int64, took time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.acked[client], j.took = n, append(j.took, took)
}

// Acknowledged are the last rows, by client, that were acknowledged.
func (j *Journal) Acknowledged() []int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.acked)
}

// Under waits until each client has had a number of rows acknowledged.
func (j *Journal) Under(ctx context.Context, rows int64) error {
	for slices.Min(j.Acknowledged()) < rows {
		j.mu.Lock()
		err := j.err
		j.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// Pauses are how long writes took since the last call: the middle, the 99th percentile and the longest.
func (j *Journal) Pauses() (writes int, p50, p99, most time.Duration) {
	j.mu.Lock()
	took := j.took
	j.took = nil
	j.mu.Unlock()
	if len(took) == 0 {
		return 0, 0, 0, 0
	}
	slices.Sort(took)
	return len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
}

// Stop ends the clients. Errors: those of clients that ended before.
func (j *Journal) Stop() error {
	j.stop()
	j.clients.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// Rows are those of one client that a database holds.
type Rows struct{ Count, Last int64 }

// Check checks what a copy holds, by client: rows from 1 to at least the one that was acknowledged before it was made, without a gap.
func Check(holds map[int]Rows, acknowledged []int64) error {
	for client, r := range holds {
		if r.Count != r.Last {
			return fmt.Errorf("client %d has %d rows, the last with number %d: some are missing", client, r.Count, r.Last)
		}
	}
	for client, n := range acknowledged {
		if holds[client].Last < n {
			return fmt.Errorf("client %d was told that row %d is written; the copy has them up to %d", client, n, holds[client].Last)
		}
	}
	return nil
}
