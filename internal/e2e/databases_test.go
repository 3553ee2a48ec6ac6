package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/internal/writers/engine/load"
	"github.com/stillpoint-vss/stillpoint/internal/writers/mariadb/mariadbtest"
	"github.com/stillpoint-vss/stillpoint/internal/writers/redis/redistest"
	"github.com/stillpoint-vss/stillpoint/internal/writers/sqlite/sqlitetest"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// subject is a database that is copied while clients write to it.
type subject struct {
	component string // by which its writer knows it
	volumes   []string
	journal   func(context.Context) (*load.Journal, error) // starts clients, each of which begins with row 1
	// prove opens what the copies hold, mounted in the order of the volumes: it is whole, and has what was
	// acknowledged.
	prove func(ctx context.Context, roots []string, saved metadata, acknowledged []int64) error
	after func() error // what must be so when a set is made; nil: nothing
}

// metadata are what these tests read of a component's backup metadata.
type metadata struct {
	Frozen   time.Time
	File     string `json:"binlog_file"`
	Position uint64 `json:"binlog_position"`
}

// copies copies a database under load, as often as the issue wants, and proves each copy. What was acknowledged up to
// the moment that its writer notes as frozen must be there.
func (w *world) copies(full int, s subject) {
	w.Helper()
	var windows, holds, middles, slows, pauses []time.Duration
	for n := range lane.Soak(full) {
		func() {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
			defer cancel()
			j, err := s.journal(ctx)
			if err != nil {
				w.Fatal(err)
			}
			defer func() { _ = j.Stop() }() // else a failure leaves clients on the volume
			l := follow(ctx, j)
			defer l.stop()
			if err := j.Under(ctx, 1); err != nil {
				w.Error(err)
			}
			j.Pauses()
			made := w.component(ctx, s.component, s.volumes)
			writes, p50, p99, most := j.Pauses()
			l.stop()
			if err := j.Stop(); err != nil {
				w.Fatalf("the load failed: %v", err)
			}
			if made.Set.Consistency != "application" {
				w.Fatalf("the set is %s consistent: %s; writers %+v", made.Set.Consistency, made.Set.ConsistencyReason,
					made.Set.Writers)
			}
			if writes == 0 {
				w.Fatal("nobody wrote while the set was made")
			}
			windows, holds = append(windows, made.Set.WriterWindow), append(holds, made.Set.Hold)
			middles, slows, pauses = append(middles, p50), append(slows, p99), append(pauses, most)
			saved := w.saved(made.Document, s.component)
			acknowledged := l.before(saved.Frozen)
			var luns []string
			for _, k := range made.Set.Snapshots {
				luns = append(luns, k.LUNs[0].String())
			}
			roots := w.land(made.Set.ID.String(), luns)
			if err := s.prove(ctx, roots, saved, acknowledged); err != nil {
				w.Errorf("copy %d, with %v acknowledged: %v", n, acknowledged, err)
			}
			w.drop(luns)
			if s.after != nil {
				if err := s.after(); err != nil {
					w.Error(err)
				}
			}
		}()
		if w.Failed() {
			return
		}
	}
	w.Logf("%d copies; writer window %s; hold %s; writes while a set is made, by copy: the middle one %s; the 99th "+
		"percentile %s; the longest pause %s",
		len(windows), spread(windows), spread(holds), spread(middles), spread(slows), spread(pauses))
}

// ledger is what was acknowledged to clients, and when.
type ledger struct {
	stop  func() // nothing is noted any more when it returns
	at    []time.Time
	acked [][]int64
}

// follow notes what is acknowledged from now on, about each millisecond.
func follow(ctx context.Context, j *load.Journal) *ledger {
	ctx, cancel := context.WithCancel(ctx)
	l, ended := &ledger{}, make(chan struct{})
	l.stop = func() {
		cancel()
		<-ended
	}
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			acked := j.Acknowledged()
			l.acked, l.at = append(l.acked, acked), append(l.at, time.Now()) // the time is that of a moment after
			time.Sleep(time.Millisecond)
		}
	}()
	return l
}

// before is what had been acknowledged at a moment.
func (l *ledger) before(moment time.Time) []int64 {
	last := 0
	for i, at := range l.at {
		if at.Before(moment) {
			last = i
		}
	}
	return l.acked[last]
}

// component copies one component, as a backup program does that keeps the copies: a set made of volumes has no backup
// metadata.
func (w *world) component(ctx context.Context, name string, volumes []string) *requester.Created {
	w.Helper()
	client := w.connect()
	defer client.Close()
	made, err := client.Create(ctx, requester.Options{
		Program: "test", Context: vss.ContextAppRollback, Volumes: volumes,
		Choose: func(ctx context.Context, b *requester.BackupComponents, all []requester.WriterMetadata) error {
			for _, writer := range all {
				for _, c := range writer.Components {
					if c.Name == name {
						return b.AddComponent(ctx, c)
					}
				}
			}
			return fmt.Errorf("no writer has a component %s", name)
		},
	}, nil)
	if err != nil {
		w.Fatalf("%v\n%s", err, w.log())
	}
	defer made.Session.Close()
	if err := made.Finish(ctx); err != nil {
		w.Error(err)
	}
	return made
}

// saved reads a component's backup metadata from a Backup Components Document.
func (w *world) saved(text []byte, component string) metadata {
	w.Helper()
	d, err := document.Parse(text)
	if err != nil {
		w.Fatal(err)
	}
	for _, writer := range d.Writers {
		for _, c := range writer.Components {
			if c.Name != component {
				continue
			}
			var m metadata
			if err := json.Unmarshal([]byte(c.BackupMetadata), &m); err != nil || m.Frozen.IsZero() {
				w.Fatalf("backup metadata of %s: %q, %v", component, c.BackupMetadata, err)
			}
			return m
		}
	}
	w.Fatalf("%s isn't in the document:\n%s", component, text)
	return metadata{}
}

// land breaks a set and mounts what were its copies, each on one LUN, in the order given.
func (w *world) land(set string, luns []string) (roots []string) {
	w.Helper()
	w.vss(nil, "break", set, "--read-write", "--keep-identity")
	for i, lun := range luns {
		at := filepath.Join(w.dir, fmt.Sprintf("mnt-copy%d", i))
		if err := os.MkdirAll(at, 0o755); err != nil {
			w.Fatal(err)
		}
		w.vss(nil, "lun", "mount", lun, at)
		roots = append(roots, at)
	}
	return roots
}

// drop deletes LUNs, mounted or not.
func (w *world) drop(luns []string) {
	w.Helper()
	for _, lun := range luns {
		w.vss(nil, "lun", "delete", lun, "--force")
	}
}

// open lets the accounts of servers reach the volumes.
func (w *world) open() {
	w.Helper()
	if err := os.Chmod(w.dir, 0o755); err != nil {
		w.Fatal(err)
	}
}

// newMariaDB makes a server with data on one volume, redo log and binary log on another.
func newMariaDB(w *world) (*mariadbtest.Server, []string) {
	w.Helper()
	w.open()
	v := []string{w.volume("data", "512M", "ext4", "gpt"), w.volume("logs", "512M", "xfs", "gpt")}
	s := &mariadbtest.Server{Data: filepath.Join(v[0], "data"), Redo: filepath.Join(v[1], "redo"),
		Binlog: filepath.Join(v[1], "binlog"), Run: filepath.Join(w.dir, "server")}
	w.Cleanup(func() { _ = s.Stop(context.Background()) })
	if err := s.Make(context.Background()); err != nil {
		w.Fatal(err)
	}
	return s, v
}

// TestMariaDB copies a server under load, of clients that write to InnoDB and to Aria tables. On each copy a server
// starts, CHECK TABLE is content, every commit acknowledged before the freeze is there; and the position in the
// metadata is the end of the binary log, which has exactly the rows of the tables.
func TestMariaDB(t *testing.T) {
	w := newWorld(t)
	s, v := newMariaDB(w)
	const clients = 6
	w.copies(30, subject{
		component: s.Data, volumes: v,
		journal: func(ctx context.Context) (*load.Journal, error) {
			// so that the last file has all rows of these clients
			if _, err := s.SQL(ctx, "FLUSH BINARY LOGS"); err != nil {
				return nil, err
			}
			return s.Journal(ctx, clients, "InnoDB", "Aria")
		},
		prove: func(ctx context.Context, roots []string, saved metadata, acknowledged []int64) error {
			binlogs, err := filepath.Glob(filepath.Join(roots[1], "binlog", "binlog.0*"))
			if err != nil || len(binlogs) == 0 {
				return fmt.Errorf("binary logs on the copy: %v, %v", binlogs, err)
			}
			last := binlogs[len(binlogs)-1]
			st, err := os.Stat(last)
			if err != nil {
				return err
			}
			if filepath.Base(last) != saved.File || uint64(st.Size()) != saved.Position {
				return fmt.Errorf("the copy's binary log ends in %s at %d, the metadata say %s at %d",
					filepath.Base(last), st.Size(), saved.File, saved.Position)
			}
			logged, err := inserted(ctx, last)
			if err != nil {
				return err
			}
			there := &mariadbtest.Server{
				Data: filepath.Join(roots[0], "data"), Redo: filepath.Join(roots[1], "redo"),
				Binlog: filepath.Join(roots[1], "binlog"), Run: filepath.Join(w.dir, "server-copy"),
			}
			defer func() {
				if err := there.Stop(ctx); err != nil {
					t.Error(err)
				}
			}()
			if err := there.Start(ctx); err != nil {
				return err
			}
			if err := errors.Join(there.Check(ctx), there.Holds(ctx, acknowledged)); err != nil {
				return err
			}
			rows, err := there.Rows(ctx, clients)
			if err != nil {
				return err
			}
			for client, r := range rows {
				if logged[client] != r.Count {
					return fmt.Errorf("client %d has %d rows, the binary log up to %s %d has %d", client, r.Count,
						saved.File, saved.Position, logged[client])
				}
			}
			return nil
		},
	})
}

// inserted counts the rows of each client in a binary log.
func inserted(ctx context.Context, binlog string) (map[int]int64, error) {
	out, err := exec.CommandContext(ctx, "mariadb-binlog", "--no-defaults", "--verify-binlog-checksum",
		"--base64-output=decode-rows", "-v", binlog).Output()
	if err != nil {
		return nil, fmt.Errorf("mariadb-binlog: %w", err)
	}
	n := map[int]int64{}
	for line := range strings.Lines(string(out)) {
		var client int
		if _, err := fmt.Sscanf(line, "### INSERT INTO `test`.`journal%d`", &client); err == nil {
			n[client]++
		}
	}
	return n, nil
}

// TestRedis copies a server with append-only file under load, that syncs it every second and rewrites it often.
// Redis's own program finds each copy's files whole, a server starts on them, and every write acknowledged before the
// freeze is there.
func TestRedis(t *testing.T) {
	w := newWorld(t)
	w.open()
	v := w.volume("data", "512M", "xfs", "gpt")
	s := &redistest.Server{Dir: filepath.Join(v, "data"), Run: filepath.Join(w.dir, "server"), AOF: true,
		Settings: map[string]string{"auto-aof-rewrite-min-size": "1mb"}}
	ctx := context.Background()
	t.Cleanup(func() { _ = s.Stop(ctx) })
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	w.copies(30, subject{
		component: s.Dir, volumes: []string{v},
		journal: func(ctx context.Context) (*load.Journal, error) { return s.Journal(ctx, 4), nil },
		prove: func(ctx context.Context, roots []string, _ metadata, acknowledged []int64) error {
			there := &redistest.Server{Dir: filepath.Join(roots[0], "data"), Run: filepath.Join(w.dir, "server-copy"),
				AOF: true}
			if err := there.Check(ctx); err != nil {
				return err
			}
			err := there.Start(ctx)
			if err == nil {
				err = there.Holds(ctx, acknowledged)
			}
			return errors.Join(err, there.Stop(ctx))
		},
		after: func() error {
			if now, err := s.Setting(ctx, "appendfsync"); err != nil || now != "everysec" {
				return fmt.Errorf("appendfsync is %q after a copy, %v", now, err)
			}
			return nil
		},
	})
}

// TestSQLite copies a database in WAL mode under load of several processes, without a stop of any. SQLite finds each
// copy whole, and every transaction acknowledged before the freeze is there.
func TestSQLite(t *testing.T) {
	w := newWorld(t)
	v := filepath.Join(w.dir, "mnt-data")
	w.configure(fmt.Sprintf("[writers.sqlite]\ndatabases = [%q]\n", v+"/*.db"))
	w.volume("data", "256M", "ext4", "gpt")
	d := &sqlitetest.Database{Path: filepath.Join(v, "app.db"), Mode: "WAL"}
	const clients = 4
	if err := d.Make(context.Background(), clients); err != nil {
		t.Fatal(err)
	}
	w.copies(30, subject{
		component: d.Path, volumes: []string{v},
		journal: func(ctx context.Context) (*load.Journal, error) {
			if _, err := d.SQL(ctx, "DELETE FROM journal; UPDATE sums SET n = 0;"); err != nil {
				return nil, err
			}
			return d.Journal(ctx, clients), nil
		},
		prove: func(ctx context.Context, roots []string, _ metadata, acknowledged []int64) error {
			there := &sqlitetest.Database{Path: filepath.Join(roots[0], "app.db")}
			if st, err := os.Stat(there.Path + "-wal"); err != nil || st.Size() == 0 {
				return fmt.Errorf("the copy has no log to recover from: %v", err)
			}
			return errors.Join(there.Check(ctx), there.Holds(ctx, acknowledged))
		},
	})
}

// TestBackupMariaDB: a server on two volumes is backed up by tar, then damaged and restored: the writer stops the
// server and starts it again, what was committed before the backup is there, and the binary log from the stamp on
// brings back what came after.
func TestBackupMariaDB(t *testing.T) {
	w := newWorld(t)
	s, v := newMariaDB(w)
	ctx := context.Background()
	sql := func(text string) string {
		t.Helper()
		out, err := s.SQL(ctx, text)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	sql("CREATE TABLE test.kept (n INT PRIMARY KEY) ENGINE=InnoDB SELECT seq AS n FROM test.seq_1_to_10000; CREATE " +
		"TABLE test.apart (n INT) ENGINE=Aria SELECT seq AS n FROM test.seq_1_to_5000")
	bc, wm, archive := filepath.Join(w.dir, "b.xml"), filepath.Join(w.dir, "wm"), filepath.Join(w.dir, "b.tar")
	var b backupDoc
	w.vss(&b, "backup", "--bc", bc, "--wm", wm, v[0], v[1], "--", "sh", "-c",
		`tar -cPf `+archive+` --no-recursion --null -T "$VSS_FILES_FROM0"`)
	if len(b.Components) != 1 || !b.Components[0].Succeeded || b.Components[0].Stamp == "" || len(b.WM) != 1 ||
		b.Consistency != "application" {
		t.Fatalf("%+v", b)
	}
	text, err := os.ReadFile(bc)
	if err != nil {
		t.Fatal(err)
	}
	saved := w.saved(text, s.Data)
	sql("DROP TABLE test.apart; INSERT INTO test.kept SELECT seq FROM test.seq_10001_to_20000; FLUSH BINARY LOGS")
	later := w.binlogs(s, saved.File)
	for _, damage := range []string{"running", "dropped"} {
		before, err := s.Process(ctx)
		if err != nil || before == nil {
			t.Fatalf("no server: %v", err)
		}
		if damage == "dropped" {
			if err := s.Stop(ctx); err != nil {
				t.Fatal(err)
			}
			for _, dir := range []string{s.Data, s.Redo, s.Binlog} {
				if err := os.RemoveAll(dir); err != nil {
					t.Fatal(err)
				}
			}
		}
		if r := w.try("restore", "--bc", bc, "--wm", wm, "--", "sh", "-c", "exit 4"); r.code != 4 {
			t.Errorf("a restore whose command restores nothing and exits with 4: exit %d\n%s%s", r.code, r.stdout,
				r.stderr)
		}
		if damage == "running" {
			if n := sql("SELECT COUNT(*) FROM test.kept"); n != "20000" {
				t.Errorf("after a restore of nothing the server has %s rows, not all", n)
			}
		}
		var r restoreDoc
		w.vss(&r, "restore", "--bc", bc, "--wm", wm, "--", "sh", "-c",
			fmt.Sprintf("! mariadb -u root -S %s -e 'SELECT 1' && test ! -e %s/ibdata1 && tar -xPf %s", s.Socket(),
				s.Data, archive))
		if len(r.Components) != 1 || r.Components[0].Status != "all" || r.Components[0].Failure != "" ||
			r.ExitCode != 0 || r.SessionID == "" {
			t.Errorf("%s: %+v", damage, r)
		}
		if p, err := s.Process(ctx); err != nil || p == nil || p.PID == before.PID {
			t.Fatalf("%s: the server after the restore: %+v, %v; before: process %d", damage, p, err, before.PID)
		}
		if got := sql("SELECT COUNT(*), SUM(n) FROM test.kept; " +
			"SELECT COUNT(*) FROM test.apart"); got != "10000\t50005000\n5000" {
			t.Errorf("%s: the tables have %q", damage, got)
		}
		if err := s.Check(ctx); err != nil {
			t.Errorf("%s: %v", damage, err)
		}
		if err := s.Replay(ctx, saved.Position, later...); err != nil {
			t.Fatalf("%s: %v", damage, err)
		}
		if got := sql("SELECT COUNT(*) FROM test.kept; SHOW TABLES IN test LIKE 'apart'"); got != "20000" {
			t.Errorf("%s: with the binary log from the stamp on the tables are %q", damage, got)
		}
	}
}

// binlogs puts a server's binary logs from one on aside, as an archive of them would.
func (w *world) binlogs(s *mariadbtest.Server, from string) []string {
	w.Helper()
	all, err := filepath.Glob(filepath.Join(s.Binlog, "binlog.0*"))
	if err != nil {
		w.Fatal(err)
	}
	var out []string
	for _, path := range all {
		if filepath.Base(path) < from {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			w.Fatal(err)
		}
		out = append(out, filepath.Join(w.dir, filepath.Base(path)))
		w.write(out[len(out)-1], string(text))
	}
	return out
}
