package postgres_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	"github.com/stillpoint-vss/stillpoint/internal/writers/postgres/pgtest"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// FIFREEZE and FITHAW, which x/sys doesn't name.
const (
	fifreeze = 0xC0045877
	fithaw   = 0xC0045878
)

func sh(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// held holds the volumes' writes while f runs.
func held(t testing.TB, volumes []string, f func()) {
	t.Helper()
	for _, v := range volumes {
		d, err := os.Open(v)
		must(t, err)
		defer d.Close()
		must(t, unix.IoctlSetInt(int(d.Fd()), fifreeze, 0))
		defer func() { must(t, unix.IoctlSetInt(int(d.Fd()), fithaw, 0)) }()
	}
	f()
}

// saved is a backup and its files.
type saved struct {
	*backup
	archive string
	files   []string // from the root, without the /
	acked   []int64  // what clients were told before the copy
}

// save backs up a cluster under load.
func save(t testing.TB, s *pgtest.Server, volumes []string, name string) *saved {
	t.Helper()
	j, err := s.Journal(ctx, 4, "")
	must(t, err)
	k := newSaved(t, newWriter(t), volumes, name)
	k.run(j)
	must(t, j.Stop())
	return k
}

func newSaved(t testing.TB, w *engine.Writer, volumes []string, name string) *saved {
	return &saved{backup: newBackup(t, w, volumes, name), archive: elsewhere(t) + "/files.tar"}
}

// run makes the backup: of what is on the volumes at one instant, it saves what the writer's documents list.
func (k *saved) run(j *pgtest.Journal) {
	t, frozen := k.t, elsewhere(k.t)
	t.Helper()
	m, err := k.w.Identify(ctx)
	must(t, err)
	must(t, m.Validate())
	k.well(writer.OnPrepareBackup, writer.OnPrepareSnapshot)
	if j != nil {
		k.acked = j.Acknowledged()
	}
	k.well(writer.OnFreeze)
	held(t, k.e.Volumes, func() {
		for _, v := range k.e.Volumes {
			must(t, os.MkdirAll(frozen+v, 0o755))
			sh(t, "cp", "-a", v+"/.", frozen+v)
		}
	})
	k.well(writer.OnThaw, writer.OnPostSnapshot)
	list := m.BackupFiles(k.e.Components, k.e.BackupType)
	if len(list.Faults) > 0 {
		t.Fatalf("the documents contradict each other: %v", list.Faults)
	}
	for _, f := range list.Sets {
		if !f.FromCopy {
			must(t, os.MkdirAll(frozen+f.Path, 0o755))
			sh(t, "cp", "-a", f.Path+"/.", frozen+f.Path)
		}
	}
	must(t, list.Walk(frozen, func(f document.File, err error) error {
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
	sh(t, "tar", "-C", frozen, "-cf", k.archive, "--no-recursion", "-T", names)
	c := k.component()
	c.BackupSucceeded, c.SelectedForRestore = true, true
	k.well(writer.OnBackupComplete)
}

// elsewhere is a folder that isn't on the volumes.
func elsewhere(t testing.TB) string {
	dir, err := os.MkdirTemp("", "vss-test-copy-")
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

// putFiles restores the files of the backup and notes the outcome.
func (k *saved) putFiles() {
	k.t.Helper()
	sh(k.t, "tar", "-C", "/", "-xpf", k.archive)
	k.component().FileRestoreStatus = vss.RestoredAll
}

func (k *saved) component() *document.Component { return k.e.Components.Components[0] }

// nothingAside checks that what a restore replaced is gone.
func nothingAside(t testing.TB, s *pgtest.Server) {
	t.Helper()
	for _, dir := range append(slices.Collect(maps.Values(s.Tablespaces)), s.Data, s.WAL) {
		for _, pattern := range []string{dir + ".before-restore-*", dir + "/.before-restore-*", dir + "/PG_*.before-restore-*"} {
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
		damage func(t *testing.T, s *pgtest.Server, v []string)
	}{
		{"a server that runs", false, func(*testing.T, *pgtest.Server, []string) {}},
		{"a dropped cluster", true, func(t *testing.T, s *pgtest.Server, v []string) {
			must(t, s.Stop(ctx))
			for _, dir := range []string{s.Data, s.WAL, s.Tablespaces["space"]} {
				must(t, os.RemoveAll(dir))
			}
		}},
		{"a server whose files are damaged", false, func(t *testing.T, s *pgtest.Server, v []string) {
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
			k.well(writer.OnPreRestore)
			if entries, err := os.ReadDir(s.Data); err != nil || len(entries) > 0 {
				t.Fatalf("the data directory holds %v (%v) when files are to be restored", entries, err)
			}
			k.putFiles()
			k.well(writer.OnPostRestore)
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

func restoreThatFails(t *testing.T, s *pgtest.Server, v []string) {
	k := save(t, s, v, s.Data)
	_, err := s.SQL(ctx, "CREATE TABLE later AS SELECT 1")
	must(t, err)
	reset := func() { k.component().RestoreMetadata, k.component().FileRestoreStatus = "", vss.RestoredUndefined }

	t.Run("nothing was restored", func(t *testing.T) {
		reset()
		k.well(writer.OnPreRestore)
		k.component().FileRestoreStatus = vss.RestoredNone
		k.well(writer.OnPostRestore)
		_, err := s.SQL(ctx, "SELECT * FROM later")
		must(t, err)
		nothingAside(t, s)
	})
	t.Run("without PreRestore", func(t *testing.T) {
		reset()
		k.vetoed(writer.OnPostRestore, vss.ErrWriterErrorNonRetryable)
		_, err := s.SQL(ctx, "SELECT * FROM later")
		must(t, err)
	})
	t.Run("without backup metadata", func(t *testing.T) {
		reset()
		text := k.component().BackupMetadata
		defer func() { k.component().BackupMetadata = text }()
		for _, bad := range []string{"", "{}", `{"format":99}`, "<xml/>", `{"format":2,"data":"/d","layout":{"data":"/d"},"program":"/p","after":"x"}`} {
			k.component().BackupMetadata = bad
			k.vetoed(writer.OnPreRestore, vss.ErrWriterErrorNonRetryable)
			if k.component().PreRestoreFailure == "" {
				t.Errorf("%q: the component has no failure", bad)
			}
		}
		_, err := s.SQL(ctx, "SELECT * FROM later")
		must(t, err)
	})
	t.Run("not selected", func(t *testing.T) {
		reset()
		k.component().SelectedForRestore = false
		defer func() { k.component().SelectedForRestore = true }()
		k.well(writer.OnPreRestore, writer.OnPostRestore)
		_, err := s.SQL(ctx, "SELECT * FROM later")
		must(t, err)
	})
	t.Run("a part was restored", func(t *testing.T) {
		reset()
		k.well(writer.OnPreRestore)
		must(t, os.WriteFile(filepath.Join(s.Data, "PG_VERSION"), []byte("15\n"), 0o600))
		k.component().FileRestoreStatus = vss.RestoredFailed
		if m := k.vetoed(writer.OnPostRestore, vss.ErrWriterErrorNonRetryable); !strings.Contains(m, ".before-restore-") {
			t.Errorf("%s doesn't say where the former files are", m)
		}
		if aside, _ := filepath.Glob(s.Data + ".before-restore-*/base"); len(aside) != 1 {
			t.Error("the former files are gone")
		}
	})
	t.Run("more restores follow", func(t *testing.T) {
		reset()
		k.e.Session = vss.SessionID{GUID: vss.NewGUID()}
		k.component().AdditionalRestores = true
		k.well(writer.OnPreRestore)
		k.putFiles()
		k.well(writer.OnPostRestore)
		if _, err := s.SQL(ctx, "SELECT 1"); err == nil {
			t.Error("the server runs")
		}
		k.component().AdditionalRestores = false
		k.well(writer.OnPostRestore)
		must(t, s.Holds(ctx, k.acked))
	})
}

// TestRestoreDebian drops a cluster that Debian's tools made, configuration and all.
func TestRestoreDebian(t *testing.T) {
	t.Parallel() // servers take most of their time to wait
	v, run := volumes(t, "ext4")
	name := "vsstest" + vss.NewGUID().Plain()[:8]
	s := &pgtest.Server{Data: v[0] + "/data", Run: run}
	must(t, s.Own())
	t.Cleanup(func() { must(t, exec.Command("pg_dropcluster", "--stop", "15", name).Run()) })
	sh(t, "pg_createcluster", "-d", s.Data, "-s", run, "-p", "5432", "15", name)
	config := filepath.Join("/etc/postgresql/15", name)
	sh(t, "sh", "-c", "echo \"listen_addresses = ''\" >>"+config+"/postgresql.conf; echo 'local all client trust' >"+config+"/pg_hba.conf; echo 'local all postgres peer' >>"+config+"/pg_hba.conf")
	sh(t, "pg_ctlcluster", "15", name, "start")
	_, err := s.SQL(ctx, "CREATE ROLE client LOGIN")
	must(t, err)
	k := save(t, s, v, "15/"+name)
	k.well(writer.OnPreRestore)
	k.putFiles()
	k.well(writer.OnPostRestore)
	must(t, s.Holds(ctx, k.acked))
	nothingAside(t, s)

	m, c := identify(t, k.w, "15/"+name)
	if last := c.Files[len(c.Files)-1]; last.Path != config || last.Mask != vss.AllBackupRequired {
		t.Errorf("the configuration isn't among the files of %+v", m)
	}
	sh(t, "pg_dropcluster", "--stop", "15", name)
	k.e.Session, k.component().RestoreMetadata = vss.SessionID{GUID: vss.NewGUID()}, ""
	k.well(writer.OnPreRestore)
	k.putFiles()
	must(t, s.Own()) // Debian's tools deleted the folder of the sockets
	k.well(writer.OnPostRestore)
	must(t, s.Holds(ctx, k.acked))
	nothingAside(t, s)
}
