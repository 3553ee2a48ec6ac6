package mariadb_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/stillpoint-vss/stillpoint/internal/writers/engine/enginetest"
	"github.com/stillpoint-vss/stillpoint/internal/writers/mariadb/mariadbtest"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// put puts the files of the backup back and notes the outcome.
func (k *saved) put(t testing.TB) {
	t.Helper()
	k.files.Put(t, k.sets)
	k.Component().FileRestoreStatus = vss.RestoredAll
}

// aside are the folders with what restores have replaced.
func aside(t testing.TB, volumes []string) []string {
	t.Helper()
	var out []string
	for _, v := range volumes {
		for _, pattern := range []string{"/*.before-restore-*", "/*/.before-restore-*"} {
			found, err := filepath.Glob(v + pattern)
			Must(t, err)
			out = append(out, found...)
		}
	}
	return out
}

func TestRestore(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, s *mariadbtest.Server)
	}{
		{"a server that runs", func(*testing.T, *mariadbtest.Server) {}},
		{"a server whose files are gone", func(t *testing.T, s *mariadbtest.Server) {
			Must(t, s.Stop(ctx))
			for _, dir := range []string{s.Data, s.Redo, s.Binlog} {
				Must(t, os.RemoveAll(dir))
			}
		}},
		{"a server whose files are damaged", func(t *testing.T, s *mariadbtest.Server) {
			Must(t, os.RemoveAll(filepath.Join(s.Data, "mysql")))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, v := three(t)
			Must(t, os.WriteFile(filepath.Join(s.Redo, "stranger"), nil, 0o644))
			j, err := s.Journal(ctx, clients, engines...)
			Must(t, err)
			Must(t, j.Under(ctx, 20))
			k := save(t, newWriter(t), s, v, j.Acknowledged)
			Must(t, j.Stop())
			_, err = s.SQL(ctx, "DROP TABLE test.journal0; INSERT INTO test.journal1 (n) VALUES (1000000000)")
			Must(t, err)
			c.damage(t, s)
			k.Again()
			k.Succeed(writer.OnPreRestore)
			if entries, err := os.ReadDir(s.Data); err != nil || len(entries) > 0 {
				t.Fatalf("the data directory holds %v (%v) when files are to be restored", entries, err)
			}
			if left, _ := filepath.Glob(s.Redo + "/ib_logfile*"); len(left) > 0 {
				t.Fatalf("%v are left when files are to be restored", left)
			}
			k.put(t)
			k.Succeed(writer.OnPostRestore)
			Must(t, s.Check(ctx))
			Must(t, s.Holds(ctx, k.acked))
			if left := aside(t, v); len(left) > 0 {
				t.Errorf("%v are left", left)
			}
			_, err = os.Stat(filepath.Join(s.Redo, "stranger"))
			if there := err == nil; there != (c.name != "a server whose files are gone") {
				t.Errorf("a file that isn't the server's: %v", err)
			}
		})
	}
}

func TestRestoreThatFails(t *testing.T) {
	s, v := three(t)
	k := save(t, newWriter(t), s, v, func() []int64 { return nil })
	_, err := s.SQL(ctx, "CREATE TABLE test.later AS SELECT 1 AS n")
	Must(t, err)
	lives := func(t *testing.T) {
		t.Helper()
		_, err := s.SQL(ctx, "SELECT * FROM test.later")
		Must(t, err)
	}
	t.Run("nothing was restored", func(t *testing.T) {
		k.Again()
		k.Succeed(writer.OnPreRestore)
		k.Component().FileRestoreStatus = vss.RestoredNone
		k.Succeed(writer.OnPostRestore)
		lives(t)
		if left := aside(t, v); len(left) > 0 {
			t.Errorf("%v are left", left)
		}
	})
	t.Run("without PreRestore", func(t *testing.T) {
		k.Again()
		k.Vetoed(writer.OnPostRestore, vss.ErrWriterErrorNonRetryable)
		lives(t)
	})
	t.Run("without backup metadata", func(t *testing.T) {
		k.Again()
		text := k.Component().BackupMetadata
		defer func() { k.Component().BackupMetadata = text }()
		for _, bad := range []string{"", "{}", `{"format":99}`, "<xml/>"} {
			k.Component().BackupMetadata = bad
			k.Vetoed(writer.OnPreRestore, vss.ErrWriterErrorNonRetryable)
			if k.Component().PreRestoreFailure == "" {
				t.Errorf("%q: the component has no failure", bad)
			}
		}
		lives(t)
	})
	t.Run("not selected", func(t *testing.T) {
		k.Again()
		k.Component().SelectedForRestore = false
		k.Succeed(writer.OnPreRestore, writer.OnPostRestore)
		lives(t)
	})
	t.Run("a part was restored", func(t *testing.T) {
		k.Again()
		k.Succeed(writer.OnPreRestore)
		Must(t, os.WriteFile(filepath.Join(s.Data, "ibdata1"), nil, 0o600))
		k.Component().FileRestoreStatus = vss.RestoredFailed
		if m := k.Vetoed(writer.OnPostRestore, vss.ErrWriterErrorNonRetryable); !strings.Contains(
			m,
			".before-restore-",
		) {
			t.Errorf("%s doesn't say where the former files are", m)
		}
		if former, _ := filepath.Glob(s.Data + ".before-restore-*/mysql"); len(former) != 1 {
			t.Error("the former files are gone")
		}
	})
	t.Run("more restores follow", func(t *testing.T) {
		k.Again()
		k.Component().AdditionalRestores = true
		k.Succeed(writer.OnPreRestore)
		k.put(t)
		k.Succeed(writer.OnPostRestore)
		if p, err := s.Process(ctx); err != nil || p != nil {
			t.Errorf("the server runs: %v", err)
		}
		k.Component().AdditionalRestores = false
		k.Succeed(writer.OnPostRestore)
		Must(t, s.Check(ctx))
	})
}
