// Package sqlitetest creates SQLite databases, and clients that write to them, with Debian's program sqlite3, for
// tests and demonstrations.
package sqlitetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/writers/engine/load"
)

// rest is the pause between two transactions of a client. A process that waits for the lock polls it at most every 100
// ms, and clients without pause would keep it out for seconds (tried with 3.40).
const rest = 2 * time.Millisecond

// Database is one database, or two that are written together.
type Database struct {
	Path   string
	Second string // attached to each connection, and written in the same transactions; "": none
	Mode   string // journal_mode: WAL, DELETE, MEMORY, ...
}

// patience is how long a client waits for a lock, in milliseconds.
const patience = 60000

// Make creates the tables. Each transaction writes a client's row together with one in the table sums, so that the two
// agree afterwards.
func (d *Database) Make(ctx context.Context, clients int) error {
	var b strings.Builder
	for _, schema := range d.schemas() {
		fmt.Fprintf(
			&b,
			"CREATE TABLE %s.journal (client INT, n INT, filler TEXT, PRIMARY KEY (client, n)); CREATE TABLE "+
				"%[1]s.sums (client INT PRIMARY KEY, n INT);",
			schema,
		)
		for i := range clients {
			fmt.Fprintf(&b, "INSERT INTO %s.sums VALUES (%d, 0);", schema, i)
		}
	}
	_, err := d.SQL(ctx, b.String())
	return err
}

func (d *Database) schemas() []string {
	if d.Second != "" {
		return []string{"main", "second"}
	}
	return []string{"main"}
}

// opening returns the statements at the beginning of each connection.
func (d *Database) opening() string {
	s := fmt.Sprintf(".timeout %d\n", patience)
	if d.Second != "" {
		s += fmt.Sprintf("ATTACH '%s' AS second;\n", d.Second)
	}
	if d.Mode != "" {
		for _, schema := range d.schemas() {
			s += fmt.Sprintf(".output /dev/null\nPRAGMA %s.journal_mode = %s;\n.output stdout\n", schema, d.Mode)
		}
	}
	return s
}

// SQL runs statements and returns the result, with fields separated by |.
func (d *Database) SQL(ctx context.Context, statements string) (string, error) {
	cmd := exec.CommandContext(ctx, "sqlite3", "-batch", "-bail", d.Path)
	cmd.Stdin = strings.NewReader(d.opening() + statements + "\n")
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil || errs.Len() > 0 {
		return out.String(), errors.Join(err, fmt.Errorf("sqlite3: %s", errs.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// Journal starts clients, each a process of its own, that write transactions of two rows.
func (d *Database) Journal(ctx context.Context, clients int) *load.Journal {
	return load.Start(ctx, clients, d.open)
}

func (d *Database) open(_ context.Context, client int) (load.Client, error) {
	c := &connection{Database: d, client: client, cmd: exec.Command("sqlite3", "-batch", "-bail", d.Path)}
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.cmd.Stderr = &c.said
	c.out = bufio.NewScanner(out)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	_, err = io.WriteString(c.in, d.opening())
	return c, err
}

// connection is a client.
type connection struct {
	*Database
	client int
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Scanner
	said   strings.Builder
}

// Write implements load.Client.
func (c *connection) Write(_ context.Context, n int64) error {
	var b strings.Builder
	b.WriteString("BEGIN IMMEDIATE;\n")
	for _, schema := range c.schemas() {
		fmt.Fprintf(
			&b,
			"INSERT INTO %s.journal VALUES (%d, %d, hex(randomblob(400)));\nUPDATE %[1]s.sums SET n = n + 1 WHERE "+
				"client = %[2]d;\n",
			schema,
			c.client,
			n,
		)
	}
	fmt.Fprintf(&b, "COMMIT;\nSELECT 'row %d';\n", n)
	if _, err := io.WriteString(c.in, b.String()); err != nil {
		return err
	}
	if !c.out.Scan() {
		return fmt.Errorf("sqlite3 ended: %s", errors.Join(c.out.Err(), c.cmd.Wait(), errors.New(c.said.String())))
	}
	if want := fmt.Sprintf("row %d", n); c.out.Text() != want {
		return fmt.Errorf("sqlite3 reports %q", c.out.Text())
	}
	return nil
}

// Rest implements load.Resting.
func (c *connection) Rest() { <-time.After(rest) }

var _ load.Resting = (*connection)(nil)

// Close implements load.Client.
func (c *connection) Close() error {
	return errors.Join(c.in.Close(), c.cmd.Wait())
}

// Check makes SQLite check the file, and checks what transactions leave unchanged.
func (d *Database) Check(ctx context.Context) error {
	for _, schema := range d.schemas() {
		answer, err := d.SQL(
			ctx,
			fmt.Sprintf(
				"PRAGMA %s.integrity_check; SELECT COUNT(*) FROM %[1]s.sums AS s WHERE n <> (SELECT COUNT(*) FROM "+
					"%[1]s.journal AS j WHERE j.client = s.client);",
				schema,
			),
		)
		if err != nil {
			return err
		}
		if answer != "ok\n0" {
			return fmt.Errorf("integrity_check of %s, and clients with half a transaction: %s", schema, answer)
		}
	}
	if d.Second == "" {
		return nil
	}
	answer, err := d.SQL(
		ctx,
		"SELECT COUNT(*) FROM main.sums AS a JOIN second.sums AS b USING (client) WHERE a.n <> b.n;",
	)
	if err == nil && answer != "0" {
		err = fmt.Errorf("%s clients have a transaction in one of the two databases", answer)
	}
	return err
}

// Holds checks a copy: it returns an error unless all rows that were acknowledged before the copy was made are
// present, without a gap.
func (d *Database) Holds(ctx context.Context, acknowledged []int64) error {
	answer, err := d.SQL(ctx, "SELECT client, COUNT(*), MAX(n) FROM journal GROUP BY client;")
	if err != nil {
		return err
	}
	return load.CheckText(answer, acknowledged)
}
