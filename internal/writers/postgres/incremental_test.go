package postgres_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/demo/pgserver"
	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	. "github.com/stillpoint-vss/stillpoint/internal/writers/engine/enginetest"
	"github.com/stillpoint-vss/stillpoint/internal/writers/postgres"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// next makes a backup of a kind that goes on from another ("": from none).
func next(t testing.TB, w *engine.Writer, s *pgserver.Server, v []string, kind vss.BackupType, from string) *saved {
	t.Helper()
	k := newSaved(t, w, v, s.Data)
	k.BackupType = kind
	k.Component().PreviousBackupStamp = from
	k.run(nil)
	return k
}

// put restores a backup whose writer must be content.
func (k *saved) put(more bool) {
	k.t.Helper()
	k.again(more)
	k.Succeed(writer.OnPreRestore)
	k.putFiles()
	k.Succeed(writer.OnPostRestore)
}

// again begins a session that restores the backup.
func (k *saved) again(more bool) {
	k.Session = vss.SessionID{GUID: vss.NewGUID()}
	k.Component().RestoreMetadata, k.Component().FileRestoreStatus, k.Component().AdditionalRestores = "",
		vss.RestoredUndefined, more
}

// write adds rows that tell which backup has them, a file of WAL full of changes, and what isn't rows.
func write(t testing.TB, s *pgserver.Server, n int) {
	t.Helper()
	_, err := s.SQL(ctx, fmt.Sprintf(`CREATE TABLE IF NOT EXISTS rows (n int, filler text);
		INSERT INTO rows SELECT %d, repeat('x', 1000) FROM generate_series(1, 3000);
		CREATE TABLE made%d TABLESPACE space AS SELECT %d AS n; CREATE INDEX ON made%d (n)`, n, n, n, n))
	must(t, err)
}

func rows(t testing.TB, s *pgserver.Server) string {
	t.Helper()
	out, err := s.SQL(ctx, "SELECT n, count(*) FROM rows GROUP BY n ORDER BY n")
	must(t, err)
	return strings.ReplaceAll(out, "\n", " ")
}

func drop(t testing.TB, s *pgserver.Server) {
	t.Helper()
	must(t, s.Stop(ctx))
	dirs := []string{s.Data, s.WAL}
	for _, dir := range s.Tablespaces {
		dirs = append(dirs, dir)
	}
	for _, dir := range dirs {
		must(t, os.RemoveAll(dir))
	}
}

func TestIncremental(t *testing.T) {
	t.Parallel() // servers take most of their time to wait
	s, v := threeWith(t, map[string]string{"wal_keep_size": "64MB", "checkpoint_timeout": "30s"})
	w := newWriter(t)
	write(t, s, 0)
	full := next(t, w, s, v, vss.BackupFull, "")
	write(t, s, 1)
	first := next(t, w, s, v, vss.BackupIncremental, full.Component().BackupStamp)
	copied := next(t, w, s, v, vss.BackupCopy, "")
	if c := copied.Component(); c.BackupStamp != "" || c.BackupMetadata == "" {
		t.Errorf("a copy backup has stamp %q, metadata %q", c.BackupStamp, c.BackupMetadata)
	}
	later := filepath.Join(v[2], "later")
	must(t, (&pgserver.Server{Data: s.Data, Run: s.Run, Tablespaces: map[string]string{"later": later}}).Own())
	_, err := s.SQL(ctx, fmt.Sprintf("CREATE TABLESPACE later LOCATION '%s'", later))
	must(t, err)
	for _, statement := range []string{"CREATE TABLE apart TABLESPACE later AS SELECT 7 AS n",
		"CREATE DATABASE another STRATEGY file_copy"} {
		_, err := s.SQL(ctx, statement)
		must(t, err)
	}
	write(t, s, 2)
	must(t, s.Stop(ctx)) // a checkpoint, and new processes
	must(t, s.Start(ctx))
	second := next(t, w, s, v, vss.BackupIncremental, first.Component().BackupStamp)
	write(t, s, 3)
	differential := next(t, w, s, v, vss.BackupDifferential, full.Component().BackupStamp)
	if stamp := differential.Component().BackupStamp; stamp != "" {
		t.Errorf("a differential backup has the stamp %q", stamp)
	}
	for _, k := range []*saved{first, second, differential} {
		if i := slices.IndexFunc(k.files, func(f string) bool { return !strings.HasPrefix("/"+f, s.WAL) }); i >= 0 {
			t.Errorf("an incremental backup has %s", k.files[i])
		}
	}
	if !slices.ContainsFunc(first.files, func(f string) bool { return !slices.Contains(second.files, f) }) {
		t.Errorf("the second incremental backup saves all of the first again: %v", second.files)
	}

	t.Run("full and both incremental ones", func(t *testing.T) {
		drop(t, s)
		must(t, os.RemoveAll(later))
		full.put(true)
		first.put(true)
		second.put(false)
		if got, want := rows(t, s), "0|3000 1|3000 2|3000"; got != want {
			t.Errorf("rows %s, want %s", got, want)
		}
		must(t, s.Check(ctx))
		if n, err := s.SQL(ctx, "SELECT n FROM apart"); err != nil || n != "7" {
			t.Errorf("the new tablespace: %q, %v", n, err)
		}
		nothingAside(t, s)
		if exists(filepath.Join(s.Data, "vss-restore.json")) {
			t.Error("the restore still counts as under way")
		}
	})
	t.Run("full and differential, over a server that runs", func(t *testing.T) {
		full.put(true)
		differential.put(false)
		if got, want := rows(t, s), "0|3000 1|3000 2|3000 3|3000"; got != want {
			t.Errorf("rows %s, want %s", got, want)
		}
		nothingAside(t, s)
	})
	t.Run("out of order", func(t *testing.T) {
		second.again(false)
		if m := second.Vetoed(writer.OnPreRestore, vss.ErrWriterErrorNonRetryable); !strings.Contains(
			m,
			"the server is running",
		) {
			t.Errorf("%s", m)
		}
		full.put(true)
		second.again(false)
		if m := second.Vetoed(writer.OnPreRestore, vss.ErrWriterErrorNonRetryable); !strings.Contains(
			m,
			"SetAdditionalRestores",
		) {
			t.Errorf("%s", m)
		}
		first.put(true)
		second.again(false)
		second.Succeed(writer.OnPreRestore)
	})
	t.Run("a file of WAL is missing", func(t *testing.T) {
		second.putFiles()
		all, err := filepath.Glob(filepath.Join(s.WAL, "0*"))
		must(t, err)
		from, to := walNumber(t, first.Component().BackupStamp), walNumber(t, second.Component().BackupStamp)
		i := slices.IndexFunc(all, func(path string) bool { n := filepath.Base(path); return n > from && n < to })
		if i < 0 {
			t.Fatalf("no file between %s and %s in %v", from, to, all)
		}
		must(t, os.Remove(all[i]))
		if m := second.Vetoed(writer.OnPostRestore, vss.ErrWriterErrorNonRetryable); !strings.Contains(
			m,
			filepath.Base(all[i]),
		) {
			t.Errorf("%s", m)
		}
		if _, err := s.SQL(ctx, "SELECT 1"); err == nil {
			t.Error("the server is running")
		}
		second.putFiles()
		second.Succeed(writer.OnPostRestore)
		if got, want := rows(t, s), "0|3000 1|3000 2|3000"; got != want {
			t.Errorf("rows %s, want %s", got, want)
		}
	})
	t.Run("the server was started meanwhile", func(t *testing.T) {
		full.put(true)
		must(t, s.Start(ctx))
		write(t, s, 1)
		write(t, s, 4)
		b := New(t, w, v, s.Data) // the WAL is there, on the same timeline, but it isn't what that backup saved
		b.BackupType = vss.BackupIncremental
		b.Components.Components[0].PreviousBackupStamp = first.Component().BackupStamp
		if m := b.Vetoed(writer.OnPrepareBackup, vss.ErrWriterErrorNonRetryable); !strings.Contains(
			m,
			"restored to an earlier state",
		) {
			t.Errorf("%s", m)
		}
		must(t, s.Stop(ctx))
		first.again(false)
		if m := first.Vetoed(writer.OnPreRestore, vss.ErrWriterErrorNonRetryable); !strings.Contains(m, "started") {
			t.Errorf("%s", m)
		}
	})
}

// walNumber is the name of the WAL file that a stamp is in.
func walNumber(t testing.TB, stamp string) string {
	t.Helper()
	_, lsn, _ := strings.Cut(stamp, "lsn=")
	var high, low uint32
	_, err := fmt.Sscanf(lsn, "%X/%X", &high, &low)
	must(t, err)
	return fmt.Sprintf("00000001%08X%08X", high, low>>20)
}

// TestWAL: WAL for the next backup is retained by a slot, and missed without one.
func TestWAL(t *testing.T) {
	t.Parallel() // servers take most of their time to wait
	s, v := three(t)
	t.Run("held", func(t *testing.T) { heldWAL(t, s, v) })
	t.Run("gone", func(t *testing.T) { goneWAL(t, s, v) })
}

// The server keeps no WAL for the writer: each checkpoint removes it.
func goneWAL(t *testing.T, s *pgserver.Server, v []string) {
	w := newWriter(t)
	full := next(t, w, s, v, vss.BackupFull, "")
	write(t, s, 100)
	_, err := s.SQL(ctx, "SELECT pg_switch_wal(); CHECKPOINT")
	must(t, err)
	b := New(t, w, v, s.Data)
	b.BackupType = vss.BackupIncremental
	refused := func(stamp, says string) {
		t.Helper()
		c := b.Components.Components[0]
		c.PreviousBackupStamp, c.Failure = stamp, nil
		if m := b.Vetoed(writer.OnPrepareBackup, vss.ErrWriterErrorNonRetryable); !strings.Contains(m, says) ||
			!strings.Contains(m, "make a full backup") {
			t.Errorf("stamp %q: %s", stamp, m)
		}
		if c.PrepareForBackupFailure == "" || c.Failure == nil || c.Failure.Code != vss.ErrWriterErrorNonRetryable {
			t.Errorf("stamp %q: the component has no failure: %+v", stamp, c)
		}
	}
	refused(full.Component().BackupStamp, "was removed")
	refused("", "missing")
	refused("yesterday", "invalid backup stamp")
	refused("system=1 timeline=1 lsn=0/1500000 wal=00", "system identifier")
	full = next(t, w, s, v, vss.BackupFull, "")
	must(t, s.Stop(ctx))
	s.Settings = map[string]string{"wal_level": "minimal", "max_wal_senders": "0"}
	must(t, s.Start(ctx))
	refused(full.Component().BackupStamp, "minimal")
	if stamp := next(t, w, s, v, vss.BackupFull, "").Component().BackupStamp; stamp != "" {
		t.Errorf("a backup of a server whose WAL hasn't all has the stamp %q", stamp)
	}
}

// A slot of the writer keeps WAL up to the backup that saved it.
func heldWAL(t *testing.T, s *pgserver.Server, v []string) {
	w := postgres.New(postgres.Config{Only: []string{s.Data}, HoldWAL: true})
	full := next(t, w, s, v, vss.BackupFull, "")
	held := func() string {
		t.Helper()
		lsn, err := s.SQL(ctx, "SELECT pg_walfile_name(restart_lsn) FROM pg_replication_slots WHERE slot_name = 'vss'")
		must(t, err)
		return lsn
	}
	if got, want := held(), walNumber(t, full.Component().BackupStamp); got != want {
		t.Errorf("WAL is held from %s on, want %s", got, want)
	}
	checkpoint := func(n int) {
		t.Helper()
		write(t, s, n)
		_, err := s.SQL(ctx, "SELECT pg_switch_wal(); CHECKPOINT")
		must(t, err)
	}
	checkpoint(1)
	first := next(t, w, s, v, vss.BackupIncremental, full.Component().BackupStamp)
	if got, want := held(), walNumber(t, first.Component().BackupStamp); got != want {
		t.Errorf("WAL is held from %s on, want %s", got, want)
	}
	for _, c := range []struct {
		name string
		kind vss.BackupType
		well bool
	}{{"a copy", vss.BackupCopy, true}, {"one that failed", vss.BackupFull, false}} {
		checkpoint(2 + len(c.name))
		before := held()
		b := New(t, w, v, s.Data)
		b.BackupType = c.kind
		b.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw,
			writer.OnPostSnapshot)
		b.Components.Components[0].BackupSucceeded = c.well
		b.Succeed(writer.OnBackupComplete)
		if after := held(); after != before {
			t.Errorf("%s: WAL was held from %s on, now from %s", c.name, before, after)
		}
	}
	_, err := s.SQL(ctx, "SELECT pg_drop_replication_slot('vss')") // by which the server refuses wal_level = minimal
	must(t, err)
}
