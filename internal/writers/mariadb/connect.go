package mariadb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	connectLimit = 5 * time.Second // for a server to accept the session
	killLimit    = 2 * time.Second // for ending a statement that isn't needed any more
	keep         = 24 * time.Hour  // timeout of an idle session at the server
	// for changes of tables to end in PrepareSnapshot. Source: writer's reference, time limits
	startWait = 10 * time.Minute
)

// client is one session with a server.
type client struct {
	db   *sql.DB
	conn *sql.Conn
	id   uint64 // the server's number for the session
}

// connect opens a session with the configured option file, or else as root over the server's socket.
func (i *instance) connect(ctx context.Context) (*client, error) {
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	as := credentials{user: "root"}
	if path := i.Defaults[i.Dir]; path != "" {
		var err error
		if as, err = readDefaults(path); err != nil {
			return nil, err
		}
	}
	if as.socket == "" {
		sockets, err := i.Sockets()
		if err != nil {
			return nil, err
		}
		if len(sockets) == 0 {
			return nil, vss.E("Connect", vss.ErrWriterErrorRetryable,
				errors.New("the server has no unix socket; it may be starting")).
				Advise("wait until it has started, and check its setting socket")
		}
		as.socket = sockets[0]
	}
	c, err := i.open(ctx, as)
	if err != nil {
		return nil, i.failure("Connect", err)
	}
	return c, nil
}

func (i *instance) open(ctx context.Context, as credentials) (*client, error) {
	config := mysql.NewConfig()
	config.User, config.Passwd, config.Net, config.Addr = as.user, as.password, "unix", as.socket
	config.Logger = &mysql.NopLogger{} // errors are returned, too
	config.DialFunc = func(ctx context.Context, _, path string) (net.Conn, error) { return i.Dial(ctx, path) }
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	c := &client{db: sql.OpenDB(connector)}
	if c.conn, err = c.db.Conn(ctx); err == nil {
		err = c.settle(ctx)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// settle lifts limits for this session that an administrator set for applications.
func (c *client) settle(ctx context.Context) error {
	if err := c.conn.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&c.id); err != nil {
		return err
	}
	if err := c.do(ctx, fmt.Sprintf("SET SESSION wait_timeout = %d", int(keep/time.Second))); err != nil {
		return err
	}
	err := c.do(ctx, "SET SESSION max_statement_time = 0")
	if numbered(err, 1193) { // MySQL doesn't know it, and limits only SELECT
		return nil
	}
	return err
}

func (c *client) do(ctx context.Context, statement string) error {
	_, err := c.conn.ExecContext(ctx, statement)
	return err
}

// wait sets how long statements of the session wait for locks.
func (c *client) wait(ctx context.Context, d time.Duration) error {
	return c.do(ctx, fmt.Sprintf("SET SESSION lock_wait_timeout = %d", max(1, int(d/time.Second))))
}

// close ends the session; errors don't matter.
func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close() // a server that has ended has closed it
	}
	_ = c.db.Close()
}

// kill ends a session from another one. A server may notice only later that a client which waits for a lock has
// disconnected, and sessions behind it in the queue would wait as well.
func (i *instance) kill(id uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), killLimit)
	defer cancel()
	c, err := i.connect(ctx)
	if err == nil {
		err = c.do(ctx, fmt.Sprintf("KILL CONNECTION %d", id))
		c.close()
	}
	if err != nil && !numbered(err, 1094) { // the server has ended it by itself
		i.Logger.Warn(
			"can't end a session that waits for the backup lock",
			"instance",
			i.Dir,
			"session",
			id,
			"error",
			err,
		)
	}
}

// numbered reports whether an error is one of the server's with one of the numbers. Source: MariaDB error codes.
func numbered(err error, numbers ...uint16) bool {
	var refused *mysql.MySQLError
	if !errors.As(err, &refused) {
		return false
	}
	for _, n := range numbers {
		if refused.Number == n {
			return true
		}
	}
	return false
}

// failure adds code and advice to an error of the server. Errors that it doesn't know, and those of package vss, are
// returned unchanged.
func (i *instance) failure(op string, err error) error {
	fail := func(code vss.Code, advice string) error { return vss.E(op, code, err).On(i.Dir).Advise(advice) }
	var known *vss.Error
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case numbered(err, 1044, 1045, 1698):
		return fail(
			vss.ErrWriterErrorNonRetryable,
			"allow root to log in by unix_socket authentication, or name an option file for "+i.Dir+
				" in the writer's configuration (defaults)",
		)
	case numbered(err, 1227):
		return fail(
			vss.ErrWriterErrorNonRetryable,
			"the account in the option file needs the privileges RELOAD and BINLOG MONITOR (MySQL: REPLICATION "+
				"CLIENT), and SUPER where innodb_flush_log_at_trx_commit is 0",
		)
	case numbered(err, 1040, 1203):
		return fail(vss.ErrWriterErrorOutOfResources, "no connection is left at the server: raise max_connections")
	case numbered(err, 1205):
		return fail(
			vss.ErrWriterErrorRetryable,
			"a statement or transaction of a client takes too long (see SHOW FULL PROCESSLIST): try again when it "+
				"has ended, or raise lock_wait",
		)
	}
	return err
}
