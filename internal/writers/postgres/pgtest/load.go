package pgtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Bench loads pgbench's tables and runs it with some clients until stop is called.
func (s *Server) Bench(ctx context.Context, clients, scale int) (stop func() error, err error) {
	where := []string{"-h", s.Run, "-p", port}
	if _, err := s.program(ctx, "pgbench", append(where, "-i", "-q", "-s", strconv.Itoa(scale), "postgres")...); err != nil {
		return nil, err
	}
	n := strconv.Itoa(clients)
	cmd, err := command(ctx, "pgbench", append(where, "-n", "-c", n, "-j", "1", "-T", "86400", "postgres")...)
	if err != nil {
		return nil, err
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return sync.OnceValue(func() error {
		select {
		case err := <-ended:
			return fmt.Errorf("pgbench ended by itself: %w: %s", errors.Join(err, errors.New("too early")), said.String())
		default:
		}
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			return err
		}
		if err := <-ended; err == nil { // the status of one that was killed says so
			return errors.New("pgbench ended by itself")
		}
		return nil
	}), nil
}

// Journal are clients that each commit rows numbered from 1 and note what the server acknowledged: what a copy made later
// must hold.
type Journal struct {
	stop    context.CancelFunc
	clients sync.WaitGroup

	mu    sync.Mutex // the fields below
	acked []int64    // by client: its last acknowledged row
	took  []time.Duration
	err   error
}

// Journal starts the clients on a new table in a tablespace ("": the default one).
func (s *Server) Journal(ctx context.Context, clients int, tablespace string) (*Journal, error) {
	table := "CREATE TABLE journal (client int, n bigint, filler text DEFAULT repeat('x', 200), PRIMARY KEY (client, n))"
	if tablespace != "" {
		table += " TABLESPACE " + tablespace
	}
	if _, err := s.SQL(ctx, "DROP TABLE IF EXISTS journal; "+table+"; GRANT ALL ON journal TO "+Client); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	j := &Journal{stop: stop, acked: make([]int64, clients)}
	for i := range clients {
		j.clients.Go(func() { j.run(ctx, s, i) })
	}
	return j, nil
}

func (j *Journal) run(ctx context.Context, s *Server, client int) {
	conn, err := pgx.Connect(ctx, fmt.Sprintf("host=%s port=%s user=%s dbname=postgres sslmode=disable", s.Run, port, Client))
	for n := int64(1); err == nil && ctx.Err() == nil; n++ {
		start := time.Now()
		if _, err = conn.Exec(context.WithoutCancel(ctx), "INSERT INTO journal VALUES ($1, $2)", client, n); err == nil {
			j.note(client, n, time.Since(start))
		}
	}
	if conn != nil {
		err = errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	if err != nil && ctx.Err() == nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.err = errors.Join(j.err, err)
	}
}

func (j *Journal) note(client int, n int64, took time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.acked[client], j.took = n, append(j.took, took)
}

// Acknowledged are the last rows, by client, of which the server has said that they are committed.
func (j *Journal) Acknowledged() []int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.acked)
}

// Pauses are how long commits took since the last call: the middle, the 99th percentile and the longest.
func (j *Journal) Pauses() (commits int, p50, p99, most time.Duration) {
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

// Holds checks a server on a copy: each client's rows must be there from 1 to at least the one that was acknowledged before
// the copy was made, without a gap.
func (s *Server) Holds(ctx context.Context, acknowledged []int64) error {
	answer, err := s.SQL(ctx, "SELECT client, count(*), max(n) FROM journal GROUP BY client")
	if err != nil {
		return err
	}
	last := map[int]int64{}
	for line := range strings.Lines(answer) {
		var client int
		var count, most int64
		if _, err := fmt.Sscanf(line, "%d|%d|%d", &client, &count, &most); err != nil {
			return err
		}
		if count != most {
			return fmt.Errorf("client %d has %d rows, the last with number %d: some are missing", client, count, most)
		}
		last[client] = most
	}
	for client, n := range acknowledged {
		if last[client] < n {
			return fmt.Errorf("client %d was told that row %d is committed; the copy has them up to %d", client, n, last[client])
		}
	}
	return nil
}
