package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	connectLimit = 10 * time.Second // for a server to accept the session
	closeLimit   = time.Second      // for a session to end
)

// connect opens a session with a cluster: by the configured connection string, or else over its socket as the account
// that owns it.
func (s *clusters) connect(ctx context.Context, c *Cluster) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	config, err := s.connection(c)
	if err != nil {
		return nil, err
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol // no statement is executed twice
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "vss"
	}
	// What the driver requires, and what servers, accounts and databases may have set to other values. A session's own
	// parameters have precedence over them.
	for name, value := range map[string]string{
		"client_encoding": "UTF8", "standard_conforming_strings": "on", "default_transaction_read_only": "off",
		"search_path": "pg_catalog", "DateStyle": "ISO", "bytea_output": "hex", "extra_float_digits": "3",
		"statement_timeout": "0", "lock_timeout": "0",
	} {
		config.RuntimeParams[name] = value
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	var refused *pgconn.PgError
	// An administrator may drop the database postgres, or close it to connections, but rarely template1 as well.
	if errors.As(err, &refused) && slices.Contains([]string{"3D000", "55000", "42501"}, refused.Code) &&
		config.Database == "postgres" {
		config.Database = "template1"
		conn, err = pgx.ConnectConfig(ctx, config)
	}
	if err != nil {
		return nil, err
	}
	if err := settle(ctx, conn, c); err != nil {
		hangUp(conn)
		return nil, err
	}
	return conn, nil
}

func (s *clusters) connection(c *Cluster) (*pgx.ConnConfig, error) {
	for _, key := range []string{c.Name, c.Data} {
		if text := s.connections[key]; text != "" {
			config, err := pgx.ParseConfig(text)
			if err != nil {
				return nil, vss.E("Connect", vss.ErrWriterErrorNonRetryable, err).
					Advise("correct the connection string in the writer's configuration")
			}
			return config, nil
		}
	}
	if c.Sockets == "" {
		return nil, vss.E("Connect", vss.ErrWriterErrorNonRetryable, errors.New("the server has no unix socket")).
			Advise("set unix_socket_directories, or give the writer a connection string for " + c.Name)
	}
	owner, err := user.LookupId(strconv.Itoa(c.UID))
	if err != nil {
		return nil, vss.E("Connect", vss.ErrWriterErrorNonRetryable, err).
			Advise("give the writer a connection string for " + c.Name)
	}
	// Everything that the environment of this process could influence is set.
	config, err := pgx.ParseConfig(
		fmt.Sprintf(
			"host=%s port=%s user=%s dbname=postgres sslmode=disable target_session_attrs=any connect_timeout=0 "+
				"passfile=/dev/null",
			quote(c.Sockets),
			quote(c.Port),
			quote(owner.Username),
		),
	)
	if err != nil {
		return nil, vss.E("Connect", vss.ErrWriterErrorNonRetryable, err).
			Advise("give the writer a connection string for " + c.Name)
	}
	config.Password = ""
	config.DialFunc = func(ctx context.Context, _, address string) (net.Conn, error) {
		return dialAs(ctx, &c.Process, address)
	}
	return config, nil
}

// quote returns s quoted for a connection string.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// settle checks that the server is that of the cluster, and lifts limits for this session that an administrator set
// for applications: they would end a long checkpoint, or the session between Freeze and Thaw.
func settle(ctx context.Context, conn *pgx.Conn, c *Cluster) error {
	const relax = `SELECT set_config(name, '0', false) FROM pg_settings
		WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_session_timeout',
			'idle_in_transaction_session_timeout')`
	if _, err := conn.Exec(ctx, relax); err != nil {
		return err
	}
	var theirs string
	if err := conn.QueryRow(ctx, "SELECT system_identifier::text FROM pg_control_system()").Scan(&theirs); err != nil {
		return err
	}
	ours, err := systemIdentifier(c.Data)
	if err != nil {
		return err
	}
	if theirs != ours {
		return vss.E("Connect", vss.ErrWriterErrorNonRetryable,
			fmt.Errorf("the server has system identifier %s, the cluster %s", theirs, ours)).
			Advise("correct the connection string in the writer's configuration")
	}
	return nil
}

// systemIdentifier returns the number of a cluster, which its copies and standbys share. Source: PostgreSQL,
// pg_control.h.
func systemIdentifier(data string) (string, error) {
	f, err := os.Open(filepath.Join(data, "global/pg_control"))
	if err != nil {
		return "", err
	}
	defer f.Close()
	var b [8]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return "", err
	}
	return strconv.FormatUint(binary.NativeEndian.Uint64(b[:]), 10), nil
}

// hangUp closes a session; errors don't matter.
func hangUp(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	_ = conn.Close(ctx) // a server that has ended has closed it
}

// failure adds code and advice to an error of the server. Errors that it doesn't know, and those of package vss, are
// returned unchanged.
func (c *Cluster) failure(op string, err error) error {
	var known *vss.Error
	var refused *pgconn.PgError
	if err == nil || errors.As(err, &known) || !errors.As(err, &refused) {
		return err
	}
	fail := func(code vss.Code, advice string) error { return vss.E(op, code, err).On(c.Name).Advise(advice) }
	switch refused.Code {
	case "28000", "28P01":
		return fail(
			vss.ErrWriterErrorNonRetryable,
			"allow the account that owns the cluster to log in by peer authentication "+
				"(pg_hba.conf: local all <account> peer), or give the writer a connection string for "+c.Name,
		)
	case "42501":
		return fail(vss.ErrWriterErrorNonRetryable, "the writer's connection needs the role pg_checkpoint")
	case "53300":
		return fail(
			vss.ErrWriterErrorOutOfResources,
			"no connection is left at the server: raise max_connections or superuser_reserved_connections",
		)
	}
	return err
}
