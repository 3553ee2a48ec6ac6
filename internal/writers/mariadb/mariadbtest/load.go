package mariadbtest

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"

	"github.com/stillpoint-vss/stillpoint/internal/writers/engine/load"
)

// Journal starts clients that write to new tables, each to its own; their storage engines alternate.
func (s *Server) Journal(ctx context.Context, clients int, engines ...string) (*load.Journal, error) {
	config := mysql.NewConfig()
	config.User, config.Net, config.Addr, config.DBName, config.Logger = Client, "unix", s.Socket(), "test",
		&mysql.NopLogger{}
	for i := range clients {
		table := fmt.Sprintf(
			"DROP TABLE IF EXISTS test.journal%d; CREATE TABLE test.journal%[1]d (n BIGINT PRIMARY KEY, filler "+
				"VARCHAR(200) DEFAULT REPEAT('x', 200)) ENGINE=%s",
			i,
			engines[i%len(engines)],
		)
		if _, err := s.SQL(ctx, table); err != nil {
			return nil, err
		}
	}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	return load.Start(ctx, clients, func(_ context.Context, client int) (load.Client, error) {
		return &inserter{sql.OpenDB(connector), client}, nil
	}), nil
}

type inserter struct {
	*sql.DB
	client int
}

// Write implements load.Client.
func (c *inserter) Write(ctx context.Context, n int64) error {
	_, err := c.ExecContext(ctx, fmt.Sprintf("INSERT INTO journal%d (n) VALUES (%d)", c.client, n))
	return err
}

// Holds checks a server on a copy: it returns an error unless all rows that were acknowledged before the copy was made
// are present, without a gap.
func (s *Server) Holds(ctx context.Context, acknowledged []int64) error {
	holds, err := s.Rows(ctx, len(acknowledged))
	if err != nil {
		return err
	}
	return load.Check(holds, acknowledged)
}

// Rows returns the rows of each client.
func (s *Server) Rows(ctx context.Context, clients int) (map[int]load.Rows, error) {
	var asked []string
	for i := range clients {
		asked = append(asked, fmt.Sprintf("SELECT %d, COUNT(*), COALESCE(MAX(n), 0) FROM test.journal%[1]d", i))
	}
	answer, err := s.SQL(ctx, strings.Join(asked, " UNION "))
	if err != nil {
		return nil, err
	}
	out := map[int]load.Rows{}
	for line := range strings.Lines(answer) {
		var client int
		var r load.Rows
		if _, err := fmt.Sscan(line, &client, &r.Count, &r.Last); err != nil {
			return nil, err
		}
		out[client] = r
	}
	return out, nil
}
