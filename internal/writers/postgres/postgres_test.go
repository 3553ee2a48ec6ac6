package postgres_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/demo/pgserver"
	. "github.com/stillpoint-vss/stillpoint/internal/writers/engine/enginetest"
	"github.com/stillpoint-vss/stillpoint/internal/writers/postgres"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// TestCluster are the tests of one cluster that none of them changes for the others.
func TestCluster(t *testing.T) {
	t.Parallel() // servers take most of their time to wait
	s, v := three(t)
	for _, c := range []struct {
		name string
		test func(*testing.T, *pgserver.Server, []string)
	}{
		{"copies under load", backupUnderLoad}, {"a copy backup leaves no stamp", copyBackupLeavesNoStamp},
		{"a missing volume", missingVolume},
		{"Abort", abort}, {"Abort ends a checkpoint", abortEndsCheckpoint},
		{"a question ends with its context", queryEndsWithContext},
		// which stops it
		{"it lets nobody in", clusterRefuses}, {"fsync is off", fsyncOff}, {"the server dies", clusterDies},
		{"Identify", described},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, s, v) })
	}
}

func described(t *testing.T, s *pgserver.Server, v []string) {
	m, c := Identify(t, newWriter(t), s.Data)
	if c == nil {
		t.Fatalf("the cluster isn't among %v", m.Components)
	}
	version, err := filepath.Glob(v[2] + "/space/PG_*")
	must(t, err)
	const full = vss.FullBackupRequired | vss.FullSnapshotRequired
	for _, want := range []document.FileSet{
		{Path: v[1] + "/wal", FileSpec: "*", Recursive: true},
		{Path: s.Data, FileSpec: "*", Mask: full},
		{Path: s.Data + "/base", FileSpec: "*", Recursive: true, Mask: full},
		{Path: s.Data + "/pg_tblspc", FileSpec: "*", Recursive: true, Mask: full},
		{Path: version[0], FileSpec: "*", Recursive: true, Mask: full},
	} {
		if !slices.ContainsFunc(
			c.Files,
			func(f document.FileSet) bool { return f.String() == want.String() && f.Mask == want.Mask },
		) {
			t.Errorf("%s isn't among %v", want, c.Files)
		}
	}
	if c.Type != vss.ComponentFileGroup || !c.Selectable || m.RestoreMethod.WriterRestore != vss.WriterRestoreAlways {
		t.Errorf("component %+v, restore method %+v", c, m.RestoreMethod)
	}
	for _, want := range []document.FileSet{
		{Path: s.Data, FileSpec: "postmaster.pid"},
		{Path: s.Data + "/pg_stat_tmp", FileSpec: "*", Recursive: true},
		{Path: version[0] + "/pgsql_tmp", FileSpec: "*", Recursive: true},
	} {
		if !slices.ContainsFunc(m.ExcludeFiles, func(f document.FileSet) bool {
			return f.Path == want.Path && f.FileSpec == want.FileSpec && f.Recursive == want.Recursive
		}) {
			t.Errorf("%+v isn't excluded", want)
		}
	}
	must(t, s.Stop(ctx))
	if _, c := Identify(t, newWriter(t), s.Data); c != nil {
		t.Error("a cluster that doesn't run is still there")
	}
}

func backupUnderLoad(t *testing.T, s *pgserver.Server, v []string) {
	stop, err := s.Bench(ctx, 2, 1)
	must(t, err)
	j, err := s.Journal(ctx, 4, "space")
	must(t, err)
	w := newWriter(t)
	for range 3 {
		b := New(t, w, v, s.Data)
		b.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot)
		j.Pauses()
		before, began := position(t, s), time.Now()
		b.Succeed(writer.OnFreeze)
		if _, c := Identify(t, w, s.Data); c == nil { // it may come at any time
			t.Error("Identify between Freeze and Thaw doesn't name the cluster")
		}
		b.Succeed(writer.OnThaw)
		window := time.Since(began)
		after := position(t, s)
		b.Succeed(writer.OnThaw, writer.OnPostSnapshot)
		commits, p50, p99, most := j.Pauses()
		t.Logf("window %v; %d commits meanwhile: p50 %v, p99 %v, longest %v", window, commits, p50, p99, most)

		c := b.Components.Components[0]
		var r struct {
			Data string
			LSN  string
			Thaw string `json:"lsn_at_thaw"`
		}
		must(t, json.Unmarshal([]byte(c.BackupMetadata), &r))
		if r.Data != s.Data || !ordered(t, s, before, r.LSN, r.Thaw, after) {
			t.Errorf("metadata %s: WAL was on disk up to %s before and %s after", c.BackupMetadata, before, after)
		}
		if !strings.Contains(c.BackupStamp, r.LSN) {
			t.Errorf("stamp %q has no %s", c.BackupStamp, r.LSN)
		}
		b.Succeed(writer.OnBackupComplete)
	}
	must(t, j.Stop())
	must(t, stop())
	must(t, s.Holds(ctx, j.Acknowledged()))
	if left(t, s, "true") {
		t.Error("a session of the writer is left")
	}
}

func copyBackupLeavesNoStamp(t *testing.T, s *pgserver.Server, v []string) {
	b := New(t, newWriter(t), v, s.Data)
	b.BackupType = vss.BackupCopy
	b.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw, writer.OnPostSnapshot)
	if c := b.Components.Components[0]; c.BackupStamp != "" || c.BackupMetadata == "" {
		t.Errorf("stamp %q, metadata %q", c.BackupStamp, c.BackupMetadata)
	}
}

func position(t testing.TB, s *pgserver.Server) string {
	t.Helper()
	lsn, err := s.SQL(ctx, "SELECT pg_current_wal_flush_lsn()")
	must(t, err)
	return lsn
}

// ordered says whether WAL positions don't go back.
func ordered(t testing.TB, s *pgserver.Server, lsns ...string) bool {
	t.Helper()
	answer, err := s.SQL(
		ctx,
		"SELECT bool_and(l <= next) FROM (SELECT l, lead(l) OVER (ORDER BY i) AS next FROM unnest('{"+
			strings.Join(lsns, ",")+"}'::pg_lsn[]) WITH ORDINALITY AS x(l, i)) AS pairs",
	)
	must(t, err)
	return answer == "t"
}

// left says whether sessions of the writer are left in the server. One that was closed takes a moment to end there.
func left(t testing.TB, s *pgserver.Server, which string) bool {
	t.Helper()
	query := "FROM pg_stat_activity WHERE application_name = 'vss' AND " + which
	n, err := s.SQL(
		ctx,
		`DO $$ BEGIN FOR i IN 1..30 LOOP PERFORM pg_stat_clear_snapshot(); EXIT WHEN NOT EXISTS (SELECT `+query+`);
		PERFORM pg_sleep(0.01); END LOOP; END $$; SELECT pg_stat_clear_snapshot(); SELECT count(*) `+query,
	)
	must(t, err)
	return n != "0"
}

func missingVolume(t *testing.T, s *pgserver.Server, v []string) {
	w := newWriter(t)
	for i, volume := range v {
		set := slices.Delete(slices.Clone(v), i, i+1)
		b := New(t, w, set, s.Data)
		b.Succeed(writer.OnPrepareBackup)
		if m := b.Vetoed(writer.OnPrepareSnapshot, vss.ErrWriterErrorInconsistentSnapshot); !strings.Contains(
			m,
			"add "+volume+" to the set",
		) {
			t.Errorf("without %s: %s", volume, m)
		}
	}
	other, _ := Volumes(t, "ext4")
	b := New(t, w, other, s.Data)
	b.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw, writer.OnPostSnapshot)
	if c := b.Components.Components[0]; c.BackupMetadata != "" {
		t.Errorf("a set without any of its volumes has metadata %s", c.BackupMetadata)
	}
}

func abort(t *testing.T, s *pgserver.Server, v []string) {
	w := newWriter(t)
	for _, upTo := range [][]writer.Handler{
		nil, {writer.OnPrepareBackup}, {writer.OnPrepareBackup, writer.OnPrepareSnapshot},
		{writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze},
		{writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw},
	} {
		b := New(t, w, v, s.Data)
		b.Succeed(upTo...)
		b.Succeed(writer.OnAbort, writer.OnAbort, writer.OnThaw)
		if left(t, s, "true") {
			t.Errorf("after %v and Abort a session is left", upTo)
		}
	}
}

func abortEndsCheckpoint(t *testing.T, s *pgserver.Server, v []string) {
	w := newWriter(t)
	b := New(t, w, v, s.Data)
	b.Succeed(writer.OnPrepareBackup)
	_, err := s.SQL(ctx, "CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
	must(t, err)
	checkpointer, err := s.SQL(ctx, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
	must(t, err)
	stand(t, checkpointer)
	e := b.Event
	e.Components = nil
	done := make(chan error, 1)
	go func() { done <- w.PrepareSnapshot(ctx, &e) }()
	for end := time.Now().Add(30 * time.Second); !left(t, s, "true"); {
		if time.Now().After(end) {
			t.Fatal("the writer doesn't connect")
		}
	}
	b.Succeed(writer.OnAbort)
	select {
	case err := <-done:
		must(t, err)
	case <-time.After(30 * time.Second):
		t.Fatal("PrepareSnapshot goes on after Abort")
	}
	if e.Failure == nil {
		t.Error("a checkpoint that was given up counts as success")
	}
}

func queryEndsWithContext(t *testing.T, s *pgserver.Server, v []string) {
	w := newWriter(t)
	b := New(t, w, v, s.Data)
	b.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot)
	backend, err := s.SQL(ctx, "SELECT pid FROM pg_stat_activity WHERE application_name = 'vss'")
	must(t, err)
	stand(t, backend)
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	e := b.Event
	began := time.Now()
	must(t, w.Freeze(short, &e))
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("Freeze took %v with a context of 200 ms", took)
	}
	if e.Failure == nil || e.Failure.Code != vss.ErrWriterErrorTimeout {
		t.Errorf("got %+v, want a timeout", e.Failure)
	}
}

func clusterDies(t *testing.T, s *pgserver.Server, v []string) {
	w := newWriter(t)
	for _, c := range []struct {
		name   string
		before []writer.Handler
		at     writer.Handler
	}{
		{"before PrepareSnapshot", []writer.Handler{writer.OnPrepareBackup}, writer.OnPrepareSnapshot},
		{"before Freeze", []writer.Handler{writer.OnPrepareBackup, writer.OnPrepareSnapshot}, writer.OnFreeze},
		{"frozen", []writer.Handler{writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze}, writer.OnThaw},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := New(t, w, v, s.Data)
			b.Succeed(c.before...)
			must(t, s.Crash(ctx))
			b.Vetoed(c.at, vss.ErrWriterErrorRetryable)
			must(t, s.Start(ctx))
			b.Succeed(writer.OnAbort)

			again := New(t, w, v, s.Data)
			again.Succeed(
				writer.OnPrepareBackup,
				writer.OnPrepareSnapshot,
				writer.OnFreeze,
				writer.OnThaw,
				writer.OnPostSnapshot,
			)
		})
	}
}

func clusterRefuses(t *testing.T, s *pgserver.Server, v []string) {
	hba := filepath.Join(s.Data, "pg_hba.conf")
	before, err := os.ReadFile(hba)
	must(t, err)
	must(t, os.WriteFile(hba, []byte("local all all reject\n"), 0o644))
	must(t, reload(s))
	defer func() { must(t, os.WriteFile(hba, before, 0o644), reload(s)) }()
	for refused := false; !refused; { // it reads it in its own time
		_, err := s.SQL(ctx, "SELECT 1")
		refused = err != nil
	}
	w := newWriter(t)
	if _, c := Identify(t, w, s.Data); c == nil {
		t.Fatal("a cluster that lets nobody in isn't named")
	}
	b := New(t, w, v, s.Data)
	b.Succeed(writer.OnPrepareBackup)
	if m := b.Vetoed(writer.OnPrepareSnapshot, vss.ErrWriterErrorNonRetryable); !strings.Contains(m, "pg_hba.conf") {
		t.Errorf("no advice in %q", m)
	}
}

func connectionString(t *testing.T, s, other *pgserver.Server, v []string) {
	_, err := s.SQL(ctx, "CREATE ROLE vss LOGIN PASSWORD 'secret' IN ROLE pg_checkpoint, pg_read_all_settings")
	must(t, err)
	must(
		t,
		os.WriteFile(
			filepath.Join(s.Data, "pg_hba.conf"),
			[]byte("local all postgres peer\nlocal all vss scram-sha-256\n"),
			0o600,
		),
	)
	_, err = s.SQL(ctx, "SELECT pg_reload_conf()")
	must(t, err)
	passwords := filepath.Join(v[0], "passwords")
	must(t, os.WriteFile(passwords, []byte("*:*:*:vss:secret\n"), 0o600))
	w := postgres.New(
		postgres.Config{
			Connections: map[string]string{s.Data: "host=" + s.Run + " user=vss dbname=postgres passfile=" + passwords},
		},
	)
	b := New(t, w, v, s.Data)
	b.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot)
	if user, err := s.SQL(ctx, "SELECT usename FROM pg_stat_activity WHERE application_name = 'vss'"); err != nil ||
		user != "vss" {
		t.Errorf("connected as %q (%v)", user, err)
	}
	b.Succeed(writer.OnFreeze, writer.OnThaw, writer.OnPostSnapshot)

	wrong := postgres.New(
		postgres.Config{
			Connections: map[string]string{
				s.Data: "host=" + other.Run + " user=" + pgserver.Client + " dbname=postgres",
			},
		},
	)
	b = New(t, wrong, v, s.Data)
	b.Succeed(writer.OnPrepareBackup)
	if m := b.Vetoed(writer.OnPrepareSnapshot, vss.ErrWriterErrorNonRetryable); !strings.Contains(
		m,
		"system identifier",
	) {
		t.Errorf("a connection to another cluster: %s", m)
	}
}

// TestClusters are the tests of two clusters.
func TestClusters(t *testing.T) {
	t.Parallel() // servers take most of their time to wait
	v, run := Volumes(t, "ext4", "xfs")
	a := start(t, &pgserver.Server{Data: v[0] + "/a", Run: run + "a"})
	b := start(t, &pgserver.Server{Data: v[0] + "/b", WAL: v[1] + "/b", Run: run + "b"})
	t.Run("in one set", func(t *testing.T) { severalClusters(t, a, b, v) })
	t.Run("one fails", func(t *testing.T) { oneClusterFails(t, a, b, v) })
	t.Run("a connection string", func(t *testing.T) { connectionString(t, a, b, v) })
}

func severalClusters(t *testing.T, a, b *pgserver.Server, v []string) {
	w := newWriter(t)
	for _, c := range []struct {
		name       string
		volumes    []string
		components []string
		code       vss.Code
		saved      []string
	}{
		{"both", v, []string{a.Data, b.Data}, vss.OK, []string{a.Data, b.Data}},
		{"one of them", v, []string{b.Data}, vss.OK, []string{b.Data}},
		{"one whole, the other not", v[:1], []string{a.Data, b.Data}, vss.ErrWriterErrorPartialFailure,
			[]string{a.Data}},
		{"one whole, the other not chosen", v[:1], []string{a.Data}, vss.OK, []string{a.Data}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := New(t, w, c.volumes, c.components...)
			k.Succeed(writer.OnPrepareBackup)
			k.Succeed(writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw)
			if c.code == vss.OK {
				k.Succeed(writer.OnPostSnapshot)
			} else {
				k.Vetoed(writer.OnPostSnapshot, c.code)
			}
			var saved []string
			for _, m := range k.Components.Components {
				if m.BackupMetadata != "" {
					saved = append(saved, m.Name)
				}
				if failed := m.Failure != nil && m.PostSnapshotFailure != ""; failed == (m.BackupMetadata != "") {
					t.Errorf("%s: failure %+v, metadata %q", m.Name, m.Failure, m.BackupMetadata)
				}
			}
			if !slices.Equal(saved, c.saved) {
				t.Errorf("saved %v, want %v", saved, c.saved)
			}
		})
	}
}

// What fails in one cluster, whenever it does, leaves the others in the backup.
func oneClusterFails(t *testing.T, good, bad *pgserver.Server, v []string) {
	w := newWriter(t)
	for _, c := range []struct {
		name   string
		kind   vss.BackupType
		before []writer.Handler
		code   vss.Code
	}{
		{"at PrepareBackup", vss.BackupIncremental, nil, vss.ErrWriterErrorNonRetryable},
		{"at PrepareSnapshot", vss.BackupFull, []writer.Handler{writer.OnPrepareBackup}, vss.ErrWriterErrorRetryable},
		{"at Freeze", vss.BackupFull, []writer.Handler{writer.OnPrepareBackup, writer.OnPrepareSnapshot},
			vss.ErrWriterErrorRetryable},
		{"at Thaw", vss.BackupFull, []writer.Handler{writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze},
			vss.ErrWriterErrorRetryable},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := New(t, w, v, good.Data, bad.Data)
			b.BackupType = c.kind
			one, other := b.Components.Components[0], b.Components.Components[1]
			if c.kind == vss.BackupIncremental { // the other has no stamp
				full := New(t, w, v, good.Data)
				full.Succeed(
					writer.OnPrepareBackup,
					writer.OnPrepareSnapshot,
					writer.OnFreeze,
					writer.OnThaw,
					writer.OnPostSnapshot,
				)
				one.PreviousBackupStamp = full.Components.Components[0].BackupStamp
			} else {
				b.Succeed(c.before...)
				must(t, bad.Crash(ctx))
				defer func() { must(t, bad.Start(ctx)) }()
			}
			b.Succeed(
				[]writer.Handler{writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze,
					writer.OnThaw}[len(c.before):]...)
			b.Vetoed(writer.OnPostSnapshot, vss.ErrWriterErrorPartialFailure)
			if one.BackupMetadata == "" || one.BackupStamp == "" || one.Failure != nil {
				t.Errorf("the cluster that is well: %+v", one)
			}
			if other.BackupMetadata != "" || other.Failure == nil || other.Failure.Code != c.code {
				t.Errorf("the cluster that failed: %+v, want %s", other, c.code.Name())
			}
			b.Succeed(writer.OnBackupComplete)
		})
	}
	t.Run("without components", func(t *testing.T) {
		b := New(t, postgres.New(postgres.Config{Only: []string{good.Data, bad.Data}}), v)
		b.Components = nil
		b.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot)
		must(t, bad.Crash(ctx))
		b.Vetoed(writer.OnFreeze, vss.ErrWriterErrorRetryable)
		must(t, bad.Start(ctx))
		b.Succeed(writer.OnAbort)
	})
}

func fsyncOff(t *testing.T, s *pgserver.Server, v []string) {
	set := func(statement, want string) {
		t.Helper()
		_, err := s.SQL(ctx, statement)
		must(t, err, reload(s))
		for is := ""; is != want; {
			is, err = s.SQL(ctx, "SHOW fsync")
			must(t, err)
		}
	}
	set("ALTER SYSTEM SET fsync = off", "off")
	defer set("ALTER SYSTEM RESET fsync", "on")
	b := New(t, newWriter(t), v, s.Data)
	b.Succeed(writer.OnPrepareBackup)
	if m := b.Vetoed(writer.OnPrepareSnapshot, vss.ErrWriterErrorNonRetryable); !strings.Contains(m, "fsync") {
		t.Errorf("%s", m)
	}
}
