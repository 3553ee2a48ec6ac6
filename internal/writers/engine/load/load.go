// Package load provides clients that write to a database and record what it has acknowledged, which a later copy must
// contain. It is for tests and demonstrations.
package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Client writes rows numbered from 1, one after the other.
type Client interface {
	// Write writes a row and returns when the database has acknowledged it.
	Write(ctx context.Context, n int64) error
	Close() error
}

// Resting is a client that pauses between writes, for databases without a queue of clients.
type Resting interface{ Rest() }

// Journal is a set of running clients with what was acknowledged to them.
type Journal struct {
	stop    context.CancelFunc
	clients sync.WaitGroup

	mu    sync.Mutex // the fields below
	acked []int64    // by client: its last acknowledged row
	took  []time.Duration
	err   error
}

// Start starts clients.
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

func (j *Journal) run(
	ctx context.Context,
	client int,
	open func(ctx context.Context, client int) (Client, error),
) error {
	c, err := open(ctx, client)
	if err != nil {
		return err
	}
	for n := int64(1); err == nil && ctx.Err() == nil; n++ {
		start := time.Now()
		if err = c.Write(context.WithoutCancel(ctx), n); err == nil { // wait for its outcome
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

// Acknowledged returns the last acknowledged row of each client.
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

// Pauses returns the number of writes since the last call and their median, 99th percentile and longest duration.
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

// Stop ends the clients. It returns the errors of clients that had already failed.
func (j *Journal) Stop() error {
	j.stop()
	j.clients.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// Rows describes the rows of one client in a database.
type Rows struct{ Count, Last int64 }

// Check checks the content of a copy: the rows of each client must be complete from 1 to at least the last one that
// was acknowledged before the copy was made.
func Check(holds map[int]Rows, acknowledged []int64) error {
	for client, r := range holds {
		if r.Count != r.Last {
			return fmt.Errorf(
				"client %d has %d rows, the last with number %d: some are missing",
				client,
				r.Count,
				r.Last,
			)
		}
	}
	for client, n := range acknowledged {
		if holds[client].Last < n {
			return fmt.Errorf(
				"client %d: row %d was acknowledged, but the copy ends with row %d",
				client,
				n,
				holds[client].Last,
			)
		}
	}
	return nil
}

// CheckText is Check for the output of a query: a line "client|count|last" for each client.
func CheckText(text string, acknowledged []int64) error {
	holds := map[int]Rows{}
	for line := range strings.Lines(text) {
		var client int
		var r Rows
		if _, err := fmt.Sscanf(line, "%d|%d|%d", &client, &r.Count, &r.Last); err != nil {
			return err
		}
		holds[client] = r
	}
	return Check(holds, acknowledged)
}
