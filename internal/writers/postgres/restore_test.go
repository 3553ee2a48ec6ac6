package postgres_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/demo/pgserver"
	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	. "github.com/stillpoint-vss/stillpoint/internal/writers/engine/enginetest"
	"github.com/stillpoint-vss/stillpoint/internal/writers/engine/load"
	"github.com/stillpoint-vss/stillpoint/requester/filelist"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// saved is a backup and its files.
type saved struct {
	*Backup
	t       testing.TB
	w       *engine.Writer
	archive string
	files   []string // from the root, without the /
	acked   []int64  // what clients were told before the copy
}

// save backs up a cluster under load.
func save(t testing.TB, s *pgserver.Server, volumes []string, name string) *saved {
	t.Helper()
	j, err := s.Journal(ctx, 4, "")
	must(t, err)
	k := newSaved(t, newWriter(t), volumes, name)
	k.run(j)
	must(t, j.Stop())
	return k
}

func newSaved(t testing.TB, w *engine.Writer, volumes []string, name string) *saved {
	return &saved{Backup: New(t, w, volumes, name), t: t, w: w, archive: Elsewhere(t) + "/files.tar"}
}

// run makes the backup: of what is on the volumes at one instant, it saves what the writer's documents list.
func (k *saved) run(j *load.Journal) {
	t, frozen := k.t, Elsewhere(k.t)
	t.Helper()
	m, err := k.w.Identify(ctx)
	must(t, err)
	must(t, m.Validate())
	k.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot)
	if j != nil {
		k.acked = j.Acknowledged()
	}
	k.Succeed(writer.OnFreeze)
	Held(t, k.Volumes, func() {
		for _, v := range k.Volumes {
			must(t, os.MkdirAll(frozen+v, 0o755))
			Run(t, "cp", "-a", v+"/.", frozen+v)
		}
	})
	k.Succeed(writer.OnThaw, writer.OnPostSnapshot)
	list := filelist.New(m, k.Components, k.BackupType)
	if len(list.Faults) > 0 {
		t.Fatalf("the documents contradict each other: %v", list.Faults)
	}
	for _, f := range list.Sets {
		if !f.FromCopy {
			must(t, os.MkdirAll(frozen+f.Path, 0o755))
			Run(t, "cp", "-a", f.Path+"/.", frozen+f.Path)
		}
	}
	must(t, list.Walk(frozen, func(f filelist.File, err error) error {
		if err == nil && f.Dir { // programs that save a list of files make no empty folders
			var below []os.DirEntry
			if below, err = os.ReadDir(f.At); len(below) == 0 {
				return err
			}
		}
		k.files = append(k.files, strings.TrimPrefix(f.Path, "/"))
		return err
	}))
	names := frozen + "/names"
	must(t, os.WriteFile(names, []byte(strings.Join(k.files, "\n")), 0o600))
	Run(t, "tar", "-C", frozen, "-cf", k.archive, "--no-recursion", "-T", names)
	c := k.Component()
	c.BackupSucceeded, c.SelectedForRestore = true, true
	k.Succeed(writer.OnBackupComplete)
}

// putFiles restores the files of the backup and notes the outcome.
func (k *saved) putFiles() {
	k.t.Helper()
	Run(k.t, "tar", "-C", "/", "-xpf", k.archive)
	k.Component().FileRestoreStatus = vss.RestoredAll
}

// nothingAside checks that what a restore replaced is gone.
func nothingAside(t testing.TB, s *pgserver.Server) {
	t.Helper()
	for _, dir := range append(slices.Collect(maps.Values(s.Tablespaces)), s.Data, s.WAL) {
		for _, pattern := range []string{dir + ".before-restore-*", dir + "/.before-restore-*", dir +
			"/PG_*.before-restore-*"} {
			if left, _ := filepath.Glob(pattern); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
		}
	}
}

func TestRestore(t *testing.T) {
	t.Parallel() // servers take most of their time to wait
	s, v := three(t)
	for _, c := range []struct {
		name   string
		checks bool // every table and index: it takes its time
		damage func(t *testing.T, s *pgserver.Server, v []string)
	}{
		{"a server that runs", false, func(*testing.T, *pgserver.Server, []string) {}},
		{"a dropped cluster", true, func(t *testing.T, s *pgserver.Server, v []string) {
			must(t, s.Stop(ctx))
			for _, dir := range []string{s.Data, s.WAL, s.Tablespaces["space"]} {
				must(t, os.RemoveAll(dir))
			}
		}},
		{"a server whose files are damaged", false, func(t *testing.T, s *pgserver.Server, v []string) {
			must(t, os.RemoveAll(filepath.Join(s.Data, "base")))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := s.SQL(ctx, "CREATE TABLE apart TABLESPACE space AS SELECT 7 AS n")
			must(t, err)
			k := save(t, s, v, s.Data)
			_, err = s.SQL(ctx, "DROP TABLE apart; INSERT INTO journal VALUES (0, 1000000000)")
			must(t, err)
			c.damage(t, s, v)
			k.Succeed(writer.OnPreRestore)
			if entries, err := os.ReadDir(s.Data); err != nil || len(entries) > 0 {
				t.Fatalf("the data directory holds %v (%v) when files are to be restored", entries, err)
			}
			k.putFiles()
			k.Succeed(writer.OnPostRestore)
			must(t, s.Holds(ctx, k.acked))
			if c.checks {
				must(t, s.Check(ctx))
			}
			if n, err := s.SQL(ctx, "SELECT n FROM apart"); err != nil || n != "7" {
				t.Errorf("the table in the tablespace: %q, %v", n, err)
			}
			nothingAside(t, s)
			_, err = s.SQL(ctx, "DROP TABLE apart")
			must(t, err)
		})
	}
	t.Run("that fails", func(t *testing.T) { restoreThatFails(t, s, v) })
}

func restoreThatFails(t *testing.T, s *pgserver.Server, v []string) {
	k := save(t, s, v, s.Data)
	_, err := s.SQL(ctx, "CREATE TABLE later AS SELECT 1")
	must(t, err)
	reset := func() { k.Component().RestoreMetadata, k.Component().FileRestoreStatus = "", vss.RestoredUndefined }

	t.Run("nothing was restored", func(t *testing.T) {
		reset()
		k.Succeed(writer.OnPreRestore)
		k.Component().FileRestoreStatus = vss.RestoredNone
		k.Succeed(writer.OnPostRestore)
		_, err := s.SQL(ctx, "SELECT * FROM later")
		must(t, err)
		nothingAside(t, s)
	})
	t.Run("without PreRestore", func(t *testing.T) {
		reset()
		k.Vetoed(writer.OnPostRestore, vss.ErrWriterErrorNonRetryable)
		_, err := s.SQL(ctx, "SELECT * FROM later")
		must(t, err)
	})
	t.Run("without backup metadata", func(t *testing.T) {
		reset()
		text := k.Component().BackupMetadata
		defer func() { k.Component().BackupMetadata = text }()
		for _, bad := range []string{"", "{}", `{"format":99}`, "<xml/>",
			`{"format":2,"data":"/d","layout":{"data":"/d"},"program":"/p","after":"x"}`} {
			k.Component().BackupMetadata = bad
			k.Vetoed(writer.OnPreRestore, vss.ErrWriterErrorNonRetryable)
			if k.Component().PreRestoreFailure == "" {
				t.Errorf("%q: the component has no failure", bad)
			}
		}
		_, err := s.SQL(ctx, "SELECT * FROM later")
		must(t, err)
	})
	t.Run("not selected", func(t *testing.T) {
		reset()
		k.Component().SelectedForRestore = false
		defer func() { k.Component().SelectedForRestore = true }()
		k.Succeed(writer.OnPreRestore, writer.OnPostRestore)
		_, err := s.SQL(ctx, "SELECT * FROM later")
		must(t, err)
	})
	t.Run("a part was restored", func(t *testing.T) {
		reset()
		k.Succeed(writer.OnPreRestore)
		must(t, os.WriteFile(filepath.Join(s.Data, "PG_VERSION"), []byte("15\n"), 0o600))
		k.Component().FileRestoreStatus = vss.RestoredFailed
		if m := k.Vetoed(writer.OnPostRestore, vss.ErrWriterErrorNonRetryable); !strings.Contains(
			m,
			".before-restore-",
		) {
			t.Errorf("%s doesn't say where the former files are", m)
		}
		if aside, _ := filepath.Glob(s.Data + ".before-restore-*/base"); len(aside) != 1 {
			t.Error("the former files are gone")
		}
	})
	t.Run("more restores follow", func(t *testing.T) {
		reset()
		k.Session = vss.SessionID{GUID: vss.NewGUID()}
		k.Component().AdditionalRestores = true
		k.Succeed(writer.OnPreRestore)
		k.putFiles()
		k.Succeed(writer.OnPostRestore)
		if _, err := s.SQL(ctx, "SELECT 1"); err == nil {
			t.Error("the server runs")
		}
		k.Component().AdditionalRestores = false
		k.Succeed(writer.OnPostRestore)
		must(t, s.Holds(ctx, k.acked))
	})
}

// TestRestoreDebian drops a cluster that Debian's tools made, configuration and all.
func TestRestoreDebian(t *testing.T) {
	t.Parallel() // servers take most of their time to wait
	v, run := Volumes(t, "ext4")
	name := "vsstest" + vss.NewGUID().Plain()[:8]
	s := &pgserver.Server{Data: v[0] + "/data", Run: run}
	must(t, s.Own())
	t.Cleanup(func() { must(t, exec.Command("pg_dropcluster", "--stop", "15", name).Run()) })
	Run(t, "pg_createcluster", "-d", s.Data, "-s", run, "-p", "5432", "15", name)
	config := filepath.Join("/etc/postgresql/15", name)
	Run(
		t,
		"sh",
		"-c",
		"echo \"listen_addresses = ''\" >>"+config+"/postgresql.conf;"+
			" echo 'local all client trust' >"+config+"/pg_hba.conf;"+
			" echo 'local all postgres peer' >>"+config+"/pg_hba.conf",
	)
	Run(t, "pg_ctlcluster", "15", name, "start")
	_, err := s.SQL(ctx, "CREATE ROLE client LOGIN")
	must(t, err)
	k := save(t, s, v, "15/"+name)
	k.Succeed(writer.OnPreRestore)
	k.putFiles()
	k.Succeed(writer.OnPostRestore)
	must(t, s.Holds(ctx, k.acked))
	nothingAside(t, s)

	m, c := Identify(t, k.w, "15/"+name)
	if last := c.Files[len(c.Files)-1]; last.Path != config || last.Mask != vss.AllBackupRequired {
		t.Errorf("the configuration isn't among the files of %+v", m)
	}
	Run(t, "pg_dropcluster", "--stop", "15", name)
	k.Session, k.Component().RestoreMetadata = vss.SessionID{GUID: vss.NewGUID()}, ""
	k.Succeed(writer.OnPreRestore)
	k.putFiles()
	must(t, s.Own()) // Debian's tools deleted the folder of the sockets
	k.Succeed(writer.OnPostRestore)
	must(t, s.Holds(ctx, k.acked))
	nothingAside(t, s)
}
