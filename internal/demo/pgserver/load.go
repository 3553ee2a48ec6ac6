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

	"github.com/jackc/pgx/v5"

	"github.com/stillpoint-vss/stillpoint/internal/writers/engine/load"
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
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return sync.OnceValue(func() error {
		select {
		case err := <-ended:
			return fmt.Errorf("pgbench exited before it was stopped: %w: %s",
				errors.Join(err, errors.New("unexpected exit")), stderr.String())
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

// Journal creates the table in a tablespace ("": the default one) and starts clients that commit rows numbered from 1.
func (s *Server) Journal(ctx context.Context, clients int, tablespace string) (*load.Journal, error) {
	table := "CREATE TABLE journal (client int, n bigint, filler text DEFAULT repeat('x', 200), " +
		"PRIMARY KEY (client, n))"
	if tablespace != "" {
		table += " TABLESPACE " + tablespace
	}
	if _, err := s.SQL(ctx, "DROP TABLE IF EXISTS journal; "+table+"; GRANT ALL ON journal TO "+Client); err != nil {
		return nil, err
	}
	at := fmt.Sprintf("host=%s port=%s user=%s dbname=postgres sslmode=disable", s.Run, port, Client)
	return load.Start(ctx, clients, func(ctx context.Context, client int) (load.Client, error) {
		conn, err := pgx.Connect(ctx, at)
		return committer{conn, client}, err
	}), nil
}

// committer is one client of a Journal.
type committer struct {
	conn   *pgx.Conn
	client int
}

// Write implements load.Client.
func (c committer) Write(ctx context.Context, n int64) error {
	_, err := c.conn.Exec(ctx, "INSERT INTO journal VALUES ($1, $2)", c.client, n)
	return err
}

// Close implements load.Client.
func (c committer) Close() error { return c.conn.Close(context.Background()) }

// Holds checks a server on a copy: it returns an error unless the rows of each client are complete from 1 to at least
// the last one that was acknowledged before the copy was made.
func (s *Server) Holds(ctx context.Context, acknowledged []int64) error {
	answer, err := s.SQL(ctx, "SELECT client, count(*), max(n) FROM journal GROUP BY client")
	if err != nil {
		return err
	}
	return load.CheckText(answer, acknowledged)
}
