package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/counters"
	"github.com/stillpoint-vss/stillpoint/internal/demo/pgserver"
	clients "github.com/stillpoint-vss/stillpoint/internal/writers/engine/load"
)

const (
	benchClients   = 4
	benchScale     = 2  // pgbench's: 200,000 accounts, about 30 MB
	journalClients = 2  // clients that record which commits were acknowledged
	warm           = 50 // commits of each of these before the set is created
	warmLimit      = time.Minute
	sampleEvery    = 2 * time.Millisecond
)

// load writes to the originals and records its progress over time.
type load struct {
	bench    func() error
	journal  *clients.Journal
	counters *counters.Load

	stop context.CancelFunc // stops the sampling
	done chan struct{}
	mu   sync.Mutex
	seen []sample
}

// sample is the progress of the load at some time between from and to.
type sample struct {
	from, to time.Time
	acked    []int64 // commits acknowledged, by client of the journal
	count    uint64  // counter written to both volumes
}

func (s sample) commits() (n int64) {
	for _, a := range s.acked {
		n += a
	}
	return n
}

func (r *run) startLoad(ctx context.Context) error {
	r.server = &pgserver.Server{
		Data: r.data.pg(), WAL: r.wal.pg(), Run: r.path("pg"),
		Settings: map[string]string{"max_wal_size": "160MB"}, // the volume of the WAL is small
	}
	if err := r.server.Make(ctx); err != nil {
		return err
	}
	version, err := r.server.SQL(ctx, "SHOW server_version")
	if err != nil {
		return err
	}
	r.Listener.Note("PostgreSQL", version+", its data on one volume, its WAL on the other")
	l := &r.load
	if l.bench, err = r.server.Bench(ctx, benchClients, benchScale); err != nil {
		return err
	}
	if l.journal, err = r.server.Journal(ctx, journalClients, ""); err != nil {
		return err
	}
	if l.counters, err = counters.Start(r.data.point, r.wal.point); err != nil {
		return err
	}
	l.watch(ctx)
	r.Listener.Note("load",
		fmt.Sprintf("pgbench with %d clients, and %d that record acknowledged commits", benchClients, journalClients))
	r.Listener.Note("", "a counter, written with fsync to one volume and then to the other")
	began := time.Now()
	if err := l.warmUp(ctx); err != nil {
		return err
	}
	n, _, _, longest := l.journal.Pauses()
	r.report.Figures.CommitsBefore = float64(n) / time.Since(began).Seconds()
	r.report.Figures.LongestBefore = longest
	r.Listener.Note("running", fmt.Sprintf("%d commits recorded, the counter is %d", l.now().commits(),
		l.counters.Written()))
	return nil
}

// watch takes samples until halt is called.
func (l *load) watch(ctx context.Context) {
	ctx, l.stop = context.WithCancel(ctx)
	l.done = make(chan struct{})
	go func() {
		defer close(l.done)
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for ctx.Err() == nil {
			s := l.now()
			l.mu.Lock()
			l.seen = append(l.seen, s)
			l.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	}()
}

func (l *load) now() sample {
	s := sample{from: time.Now()}
	s.count, s.acked = l.counters.Written(), l.journal.Acknowledged()
	s.to = time.Now()
	return s
}

// warmUp waits until every client and the counters have written something.
func (l *load) warmUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, warmLimit, errors.New("the load did not start"))
	defer cancel()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		s := l.now()
		ready := s.count >= warm
		for _, n := range s.acked {
			ready = ready && n >= warm
		}
		if ready {
			return nil
		}
		select {
		case <-l.counters.Done():
			return errors.Join(errors.New("the counters stopped"), l.counters.End())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// before returns the last sample that was completed before t.
func (l *load) before(t time.Time) (out sample) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.seen {
		if s.to.Before(t) {
			out = s
		}
	}
	return out
}

// after returns the first sample that was started after t.
func (l *load) after(t time.Time) sample {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.seen {
		if s.from.After(t) {
			return s
		}
	}
	return l.now()
}

// halt stops the load. It returns the errors that occurred while it was running. It may be called again.
func (l *load) halt() error {
	var errs []error
	if l.stop != nil {
		l.stop()
		<-l.done
	}
	if l.counters != nil {
		errs = append(errs, l.counters.End())
	}
	if l.journal != nil {
		errs = append(errs, l.journal.Stop())
	}
	if l.bench != nil {
		errs = append(errs, l.bench())
	}
	return errors.Join(errs...)
}
