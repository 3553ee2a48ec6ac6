package pgserver

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

// Bench creates pgbench's tables and runs pgbench until stop is called. Stop returns an error if pgbench had already
// exited.
func (s *Server) Bench(ctx context.Context, clients, scale int) (stop func() error, err error) {
	where := []string{"-h", s.Run, "-p", port}
	load := append(slices.Clone(where), "-i", "-q", "-s", strconv.Itoa(scale), "postgres")
	if _, err := s.program(ctx, "pgbench", load...); err != nil {
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
			return fmt.Errorf("pgbench exited before it was stopped: %w: %s",
				errors.Join(err, errors.New("unexpected exit")), said.String())
		default:
		}
		if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
			return err
		}
		if err := <-ended; err == nil { // killed, it exits with an error
			return errors.New("pgbench exited before it was stopped")
		}
		return nil
	}), nil
}

// Journal is a set of clients that commit rows numbered from 1 and record which commits the server acknowledged. A copy
// made later must contain these.
type Journal struct {
	stop    context.CancelFunc
	clients sync.WaitGroup

	mu    sync.Mutex // the fields below
	acked []int64    // last acknowledged row, by client
	took  []time.Duration
	err   error
}

// Journal creates the table in a tablespace ("": the default one) and starts the clients.
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
	at := fmt.Sprintf("host=%s port=%s user=%s dbname=postgres sslmode=disable", s.Run, port, Client)
	conn, err := pgx.Connect(ctx, at)
	for n := int64(1); err == nil && ctx.Err() == nil; n++ {
		start := time.Now()
		if _, err = conn.Exec(context.WithoutCancel(ctx), "INSERT INTO journal VALUES ($1, $2)", client,
			n); err == nil {
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

// Acknowledged returns, by client, the last row whose commit the server has acknowledged.
func (j *Journal) Acknowledged() []int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.acked)
}

// Pauses returns the number of commits since the last call and their median, 99th percentile and longest duration.
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

// Stop ends the clients. It returns the errors of clients that had already failed.
func (j *Journal) Stop() error {
	j.stop()
	j.clients.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// Holds checks a server on a copy: it returns an error unless the rows of each client are complete from 1 to at least
// the last one that was acknowledged before the copy was made.
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
			return fmt.Errorf("client %d has %d rows, but the last one has number %d: rows are missing", client, count,
				most)
		}
		last[client] = most
	}
	for client, n := range acknowledged {
		if last[client] < n {
			return fmt.Errorf("client %d: the commit of row %d was acknowledged, but the copy ends with row %d", client,
				n, last[client])
		}
	}
	return nil
}
