package sqlite_test

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	. "github.com/stillpoint-vss/stillpoint/internal/writers/engine/enginetest"
	"github.com/stillpoint-vss/stillpoint/internal/writers/engine/load"
	"github.com/stillpoint-vss/stillpoint/internal/writers/sqlite"
	"github.com/stillpoint-vss/stillpoint/internal/writers/sqlite/sqlitetest"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

var ctx = context.Background()

const clients = 3

func newWriter(t testing.TB, patterns ...string) writer.Writer {
	return sqlite.New(
		sqlite.Config{
			Databases: patterns,
			LockWait:  10 * time.Second,
			Records:   t.TempDir(),
			Logger:    slog.New(slog.NewTextHandler(t.Output(), nil)),
		},
	)
}

func make1(t testing.TB, path, mode string) *sqlitetest.Database {
	t.Helper()
	d := &sqlitetest.Database{Path: path, Mode: mode}
	Must(t, d.Make(ctx, clients))
	return d
}

// journal starts clients that end with the test.
func journal(t testing.TB, d *sqlitetest.Database) *load.Journal {
	j := d.Journal(ctx, clients)
	t.Cleanup(func() { _ = j.Stop() }) // what it says counts where the test asks
	return j
}

// busy says whether a writer would wait.
func busy(t testing.TB, d *sqlitetest.Database) bool {
	t.Helper()
	out, err := exec.Command("sqlite3", "-batch", "-bail", d.Path, "BEGIN IMMEDIATE; ROLLBACK;").CombinedOutput()
	if err != nil && !strings.Contains(string(out), "locked") {
		t.Fatalf("sqlite3: %v: %s", err, out)
	}
	return err != nil
}

// components are all of the writer's, and their files.
func components(t testing.TB, w writer.Writer) (names []string, files, excludes []document.FileSet) {
	t.Helper()
	m, err := w.Identify(ctx)
	Must(t, err)
	Must(t, m.Validate())
	for _, c := range m.Components {
		names, files = append(names, c.Name), append(files, c.Files...)
	}
	return names, files, m.ExcludeFiles
}

func TestIdentify(t *testing.T) {
	v, _ := Volumes(t, "ext4")
	dir := v[0] + "/app"
	Must(t, os.Mkdir(dir, 0o755))
	a, b := make1(t, dir+"/a.db", "WAL"), make1(t, dir+"/b.db", "DELETE")
	Must(t, os.WriteFile(dir+"/c.db", []byte("no database"), 0o644))
	Must(t, os.WriteFile(dir+"/empty.db", nil, 0o644))
	Must(t, os.Mkdir(dir+"/folder.db", 0o755))
	Must(t, os.Symlink(a.Path, dir+"/link.db"))
	names, files, excludes := components(t, newWriter(t, dir+"/*.db", a.Path))
	if want := []string{a.Path, b.Path}; !slices.Equal(names, want) {
		t.Errorf("components %v, want %v", names, want)
	}
	var specs []string
	for _, f := range files[:4] {
		specs = append(specs, f.FileSpec)
	}
	if want := []string{"a.db", "a.db-wal*", "a.db-journal*", "a.db-mj*"}; !slices.Equal(specs, want) {
		t.Errorf("files %v, want %v", specs, want)
	}
	if excludes[0].FileSpec != "a.db-shm" {
		t.Errorf("excluded %v", excludes)
	}
	if _, err := newWriter(t, "[").Identify(ctx); err == nil {
		t.Error("no error for an invalid pattern")
	}
}

// TestCopies makes copies under load in each mode and proves each: what was acknowledged is there, transactions are
// whole.
func TestCopies(t *testing.T) {
	for _, c := range []struct {
		mode   string
		second bool
		copies int
	}{
		{"WAL", false, 30}, {"DELETE", false, 10}, {"PERSIST", true, 10}, {"MEMORY", false, 10}, {"OFF", true, 10},
	} {
		name := c.mode
		if c.second {
			name += ", two databases on two volumes"
		}
		t.Run(name, func(t *testing.T) {
			v, _ := Volumes(t, "ext4", "xfs")
			d := &sqlitetest.Database{Path: v[0] + "/a.db", Mode: c.mode}
			if c.second {
				d.Second = v[1] + "/b.db"
			}
			Must(t, d.Make(ctx, clients))
			w := newWriter(t, v[0]+"/*.db", v[1]+"/*.db")
			j := journal(t, d)
			names, files, excludes := components(t, w)
			for range lane.Soak(c.copies) {
				Must(t, j.Under(ctx, slices.Min(j.Acknowledged())+3))
				j.Pauses()
				b := New(t, w, v, names...)
				b.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot)
				acked := j.Acknowledged()
				began := time.Now()
				b.Succeed(writer.OnFreeze)
				var copied Files
				Held(t, v, func() { copied = Copy(t, files, excludes) })
				b.Succeed(writer.OnThaw)
				window := time.Since(began)
				b.Succeed(writer.OnPostSnapshot, writer.OnBackupComplete)
				n, p50, p99, most := j.Pauses()
				t.Logf(
					"window with copying %v; %d writes meanwhile: p50 %v, p99 %v, longest %v",
					window,
					n,
					p50,
					p99,
					most,
				)
				at := &sqlitetest.Database{Path: copied.At(d.Path)}
				if c.second {
					at.Second = copied.At(d.Second)
				}
				Must(t, at.Check(ctx))
				Must(t, at.Holds(ctx, acked))
				if m := b.Component().BackupMetadata; !strings.Contains(m, d.Path) ||
					strings.Contains(m, `"wal"`) != (c.mode == "WAL") {
					t.Errorf("metadata %s", m)
				}
			}
			Must(t, j.Stop())
			Must(t, d.Check(ctx))
		})
	}
}

func TestLocks(t *testing.T) {
	v, _ := Volumes(t, "ext4")
	wal, del := make1(t, v[0]+"/wal.db", "WAL"), make1(t, v[0]+"/del.db", "DELETE")
	w := newWriter(t, v[0]+"/*.db")
	for _, end := range []writer.Handler{writer.OnThaw, writer.OnAbort, writer.OnBackupShutdown} {
		b := New(t, w, v, wal.Path, del.Path)
		b.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot)
		if busy(t, del) {
			t.Error("writers wait before Freeze")
		}
		b.Succeed(writer.OnFreeze)
		components(t, w) // opens and closes the files, which must not drop the locks
		if !busy(t, del) || busy(t, wal) {
			t.Errorf("frozen: writers wait: %v with a journal, %v with WAL", busy(t, del), busy(t, wal))
		}
		if n, err := (&sqlitetest.Database{Path: del.Path}).SQL(ctx, "SELECT COUNT(*) FROM sums;"); err != nil ||
			n != "3" {
			t.Errorf("frozen: a reader gets %q, %v", n, err)
		}
		if out, _ := exec.Command("sqlite3", wal.Path,
			"PRAGMA journal_mode = DELETE").CombinedOutput(); !strings.Contains(
			string(out),
			"locked",
		) {
			t.Errorf("frozen: the mode can be changed: %s", out)
		}
		b.Succeed(end)
		if busy(t, del) {
			t.Errorf("writers wait after %s", end)
		}
	}
}

func TestTransactionInTheWay(t *testing.T) {
	v, _ := Volumes(t, "ext4")
	d := make1(t, v[0]+"/a.db", "DELETE")
	w := sqlite.New(sqlite.Config{Databases: []string{d.Path}, LockWait: 200 * time.Millisecond})
	// busy's own look may be in its way
	cmd := exec.Command("sqlite3", "-batch", "-bail", "-cmd", ".timeout 20000", d.Path)
	in, err := cmd.StdinPipe()
	Must(t, err)
	Must(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill() }() // where the test ends early
	_, err = in.Write([]byte("BEGIN IMMEDIATE;\n"))
	Must(t, err)
	for end := time.Now().Add(20 * time.Second); !busy(t, d); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the transaction never began")
		}
	}
	b := New(t, w, v, d.Path)
	b.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot)
	if m := b.Vetoed(writer.OnFreeze, vss.ErrWriterErrorRetryable); !strings.Contains(m, "lock_wait") {
		t.Errorf("no advice in %q", m)
	}
	Must(t, in.Close())
	Must(t, cmd.Wait())
	b.Succeed(writer.OnAbort)
	New(
		t,
		w,
		v,
		d.Path,
	).Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw, writer.OnPostSnapshot)
}

func TestMissingAndReplaced(t *testing.T) {
	v, _ := Volumes(t, "ext4", "ext4")
	a, b := make1(t, v[0]+"/a.db", "WAL"), make1(t, v[1]+"/b.db", "WAL")
	w := newWriter(t, v[0]+"/*.db", v[1]+"/*.db")
	k := New(t, w, v[:1], a.Path, b.Path)
	k.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw, writer.OnPostSnapshot)
	if m := k.Components.Components; m[0].BackupMetadata == "" || m[1].BackupMetadata != "" {
		t.Errorf("a set with the volume of one of the two: %q, %q", m[0].BackupMetadata, m[1].BackupMetadata)
	}
	k = New(t, w, v, a.Path)
	k.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot)
	Must(t, os.Rename(make1(t, v[0]+"/other", "WAL").Path, a.Path))
	k.Vetoed(writer.OnFreeze, vss.ErrWriterErrorRetryable)
	Must(t, os.Remove(b.Path))
	k = New(t, w, v, b.Path)
	k.Succeed(writer.OnPrepareBackup)
	k.Vetoed(writer.OnPrepareSnapshot, vss.ErrWriterErrorRetryable)
}

func TestRestore(t *testing.T) {
	v, _ := Volumes(t, "ext4")
	d := make1(t, v[0]+"/a.db", "WAL")
	w := newWriter(t, d.Path)
	j := journal(t, d)
	Must(t, j.Under(ctx, 5))
	names, files, excludes := components(t, w)
	b := New(t, w, v, names...)
	b.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot)
	acked := j.Acknowledged()
	b.Succeed(writer.OnFreeze)
	var copied Files
	Held(t, v, func() { copied = Copy(t, files, excludes) })
	b.Succeed(writer.OnThaw, writer.OnPostSnapshot)

	b.Again()
	if m := b.Vetoed(writer.OnPreRestore, vss.ErrWriterErrorRetryable); !strings.Contains(m, "(sqlite3)") {
		t.Errorf("%q doesn't name the process that has it open", m)
	}
	Must(t, j.Stop())
	_, err := d.SQL(ctx, "DELETE FROM journal;")
	Must(t, err)
	// A log of the former database is left by an application that was killed.
	Must(t, os.WriteFile(d.Path+"-wal", []byte("stale"), 0o644))
	b.Again()
	b.Succeed(writer.OnPreRestore)
	if left, _ := filepath.Glob(d.Path + "*"); len(left) > 0 {
		t.Fatalf("%v are left when files are to be restored", left)
	}
	copied.Put(t, files)
	b.Component().FileRestoreStatus = vss.RestoredAll
	b.Succeed(writer.OnPostRestore)
	Must(t, d.Check(ctx))
	Must(t, d.Holds(ctx, acked))
	if left, _ := filepath.Glob(v[0] + "/.before-restore-*"); len(left) > 0 {
		t.Errorf("%v are left", left)
	}

	_, err = d.SQL(ctx, "DELETE FROM journal WHERE n > 1; DELETE FROM sums;")
	Must(t, err)
	b.Again()
	b.Succeed(writer.OnPreRestore)
	b.Component().FileRestoreStatus = vss.RestoredNone
	b.Succeed(writer.OnPostRestore)
	if n, err := d.SQL(ctx, "SELECT COUNT(*) FROM journal;"); err != nil || n != "3" {
		t.Errorf("nothing was restored, and the former database has %q rows, %v", n, err)
	}
}

func TestSuite(t *testing.T) {
	v, _ := Volumes(t, "ext4")
	d := make1(t, v[0]+"/a.db", "DELETE")
	writertest.Run(t, func(t *testing.T) *writertest.World {
		copied := filepath.Join(Elsewhere(t), "a.db")
		Run(t, "cp", "-a", d.Path, copied)
		return &writertest.World{
			Writer: newWriter(t, d.Path), Volumes: v,
			Frozen:  func() bool { return busy(t, d) },
			Restore: func() { Run(t, "cp", "-a", copied, d.Path) },
		}
	})
}
