package mariadb_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	. "github.com/stillpoint-vss/stillpoint/internal/writers/engine/enginetest"
	"github.com/stillpoint-vss/stillpoint/internal/writers/mariadb"
	"github.com/stillpoint-vss/stillpoint/internal/writers/mariadb/mariadbtest"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

func TestIdentify(t *testing.T) {
	s, v := three(t)
	outside := v[1] + "/outside"
	Must(t, os.Mkdir(outside, 0o777))
	Must(t, os.Chmod(outside, 0o777))
	_, err := s.SQL(
		ctx,
		"CREATE TABLE test.far (n INT) ENGINE=InnoDB DATA DIRECTORY='"+outside+"'; CREATE TABLE test.farm (n INT) "+
			"ENGINE=MyISAM DATA DIRECTORY='"+outside+"'",
	)
	Must(t, err)
	m, c := Identify(t, newWriter(t), s.Data)
	if c == nil {
		t.Fatalf("the server isn't among %v", m.Components)
	}
	var got []string
	for _, f := range c.Files {
		got = append(got, filepath.Join(f.Path, f.FileSpec))
	}
	want := []string{
		s.Data + "/*",
		s.Redo + "/ib_logfile*",
		s.Binlog + "/binlog.*",
		outside + "/test/far.ibd",
		outside + "/farm.MYD",
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("file sets %v, want %v", got, want)
	}
	if c.Type != vss.ComponentFileGroup || !c.Selectable || m.RestoreMethod.WriterRestore != vss.WriterRestoreAlways {
		t.Errorf("component %+v, restore method %+v", c, m.RestoreMethod)
	}
	for _, x := range []document.FileSet{{Path: s.Data, FileSpec: "ibtmp1"}, {Path: s.Run, FileSpec: "socket"},
		{Path: s.Run, FileSpec: "pid"}} {
		if !slices.ContainsFunc(
			m.ExcludeFiles,
			func(f document.FileSet) bool { return f.Path == x.Path && f.FileSpec == x.FileSpec },
		) {
			t.Errorf("%+v isn't excluded: %+v", x, m.ExcludeFiles)
		}
	}
	Must(t, s.Stop(ctx))
	if _, c := Identify(t, newWriter(t), s.Data); c != nil {
		t.Error("a server that doesn't run is still there")
	}
}

// TestCopies makes copies under load and proves each: the server starts on it, all tables are whole, what was
// acknowledged is there, and the copy with what the binary log has from the position on is what the server holds.
func TestCopies(t *testing.T) {
	s, v := three(t)
	w := newWriter(t)
	j, err := s.Journal(ctx, clients, engines...)
	Must(t, err)
	var copies []*saved
	for range lane.Soak(30) {
		Must(t, j.Under(ctx, 1))
		j.Pauses()
		began := time.Now()
		k := save(t, w, s, v, j.Acknowledged)
		window := time.Since(began)
		n, p50, p99, most := j.Pauses()
		t.Logf("backup with copying %v; %d writes meanwhile: p50 %v, p99 %v, longest %v", window, n, p50, p99, most)
		k.Succeed(writer.OnBackupComplete)
		r := recordOf(t, k.Backup)
		if r.File == "" || r.Position == 0 ||
			!strings.Contains(k.Component().BackupStamp, fmt.Sprintf("file=%s position=%d", r.File, r.Position)) {
			t.Errorf("metadata %s, stamp %q", k.Component().BackupMetadata, k.Component().BackupStamp)
		}
		copies = append(copies, k)
	}
	Must(t, j.Stop())
	want, err := s.Rows(ctx, clients)
	Must(t, err)
	for _, k := range copies {
		c := k.open(t, s)
		Must(t, c.Check(ctx))
		Must(t, c.Holds(ctx, k.acked))
		r := recordOf(t, k.Backup)
		all, err := filepath.Glob(s.Binlog + "/binlog.0*")
		Must(t, err)
		all = slices.DeleteFunc(all, func(name string) bool { return filepath.Base(name) < r.File })
		Must(t, c.Replay(ctx, r.Position, all...))
		got, err := c.Rows(ctx, clients)
		Must(t, err)
		for i, rows := range want {
			if got[i] != rows {
				t.Errorf(
					"client %d: the copy with the binary log from %s %d on has %+v, the server %+v",
					i,
					r.File,
					r.Position,
					got[i],
					rows,
				)
			}
		}
		Must(t, c.Stop(ctx))
	}
}

// TestRelaxed is a server that writes its redo log once a second: what it has acknowledged is in the copy all the same.
func TestRelaxed(t *testing.T) {
	v, run := Volumes(t, "xfs")
	s := start(
		t,
		&mariadbtest.Server{
			Data:     v[0] + "/data",
			Run:      run,
			Settings: map[string]string{"innodb-flush-log-at-trx-commit": "0"},
		},
	)
	j, err := s.Journal(ctx, 2, "InnoDB")
	Must(t, err)
	for range 3 {
		Must(t, j.Under(ctx, 50))
		k := save(t, newWriter(t), s, v, j.Acknowledged)
		c := k.open(t, s)
		Must(t, c.Holds(ctx, k.acked))
		Must(t, c.Stop(ctx))
		if now, err := s.SQL(ctx, "SELECT @@GLOBAL.innodb_flush_log_at_trx_commit"); err != nil || now != "0" {
			t.Errorf("the setting is %q afterwards, %v", now, err)
		}
		if k.Component().BackupStamp != "" {
			t.Errorf("a stamp without a binary log: %q", k.Component().BackupStamp)
		}
	}
	Must(t, j.Stop())
}

// TestReadLock is the way of servers that don't know BACKUP STAGE.
func TestReadLock(t *testing.T) {
	s, v := one(t)
	j, err := s.Journal(ctx, clients, engines...)
	Must(t, err)
	Must(t, j.Under(ctx, 5))
	k := save(t, mariadb.WithReadLock(mariadb.Config{}), s, v, j.Acknowledged)
	Must(t, j.Stop())
	c := k.open(t, s)
	Must(t, c.Check(ctx))
	Must(t, c.Holds(ctx, k.acked))
	for version, want := range map[string]bool{
		"10.4.1-MariaDB": true, "10.4.0-MariaDB": false, "10.11.6-MariaDB-0+deb12u1-log": true, "11.4.2-MariaDB": true,
		"5.5.5-MariaDB": false, "8.4.3": false, "": false,
	} {
		if mariadb.Stages(version) != want {
			t.Errorf("version %q: BACKUP STAGE is %v", version, !want)
		}
	}
}

func TestLockFromFreezeToThaw(t *testing.T) {
	s, v := one(t)
	watchLocks(t, s)
	w := newWriter(t)
	b := New(t, w, v, s.Data)
	for _, c := range []struct {
		at   writer.Handler
		want string
	}{
		{writer.OnPrepareBackup, ""}, {writer.OnPrepareSnapshot, "MDL_BACKUP_START"},
		{writer.OnFreeze, "MDL_BACKUP_WAIT_COMMIT"},
		{writer.OnThaw, ""}, {writer.OnPostSnapshot, ""},
	} {
		b.Succeed(c.at)
		if got := locks(t, s); got != c.want {
			t.Errorf("after %s: locks %q, want %q", c.at, got, c.want)
		}
		if _, c := Identify(t, w, s.Data); c == nil || len(c.Files) == 0 { // it may come at any time
			t.Error("Identify doesn't name the server")
		}
	}
}

func TestMissingVolume(t *testing.T) {
	s, v := three(t)
	w := newWriter(t)
	for i, volume := range v {
		b := New(t, w, slices.Delete(slices.Clone(v), i, i+1), s.Data)
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
	if m := b.Component().BackupMetadata; m != "" {
		t.Errorf("a set without any of its volumes has metadata %s", m)
	}
}

func TestAbort(t *testing.T) {
	s, v := one(t)
	watchLocks(t, s)
	w := newWriter(t)
	steps := []writer.Handler{writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw}
	for n := range len(steps) + 1 {
		b := New(t, w, v, s.Data)
		b.Succeed(steps[:n]...)
		b.Succeed(writer.OnAbort, writer.OnAbort, writer.OnThaw)
		if l := locks(t, s); l != "" {
			t.Errorf("after %v and Abort the locks %s are left", steps[:n], l)
		}
	}
}

// TestLongStatement has a client in the way of the lock: Freeze gives up in time, and nobody waits behind it
// afterwards.
func TestLongStatement(t *testing.T) {
	s, v := one(t)
	watchLocks(t, s)
	_, err := s.SQL(ctx, "CREATE TABLE test.t (n INT) ENGINE=MyISAM")
	Must(t, err)
	w := mariadb.New(mariadb.Config{LockWait: time.Second})
	b := New(t, w, v, s.Data)
	b.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot)
	done := make(chan error, 1)
	go func() {
		_, err := s.SQL(ctx, "LOCK TABLES test.t WRITE; SELECT SLEEP(6)")
		done <- err
	}()
	for n := ""; n != "1"; {
		n, err = s.SQL(ctx, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP(6)%'")
		Must(t, err)
	}
	if m := b.Vetoed(writer.OnFreeze, vss.ErrWriterErrorRetryable); !strings.Contains(m, "PROCESSLIST") {
		t.Errorf("no advice in %q", m)
	}
	if l := locks(t, s); strings.Contains(l, "WAIT") || strings.Contains(l, "START") {
		t.Errorf("locks %s are left", l)
	}
	b.Succeed(writer.OnAbort)
	Must(t, <-done)
}

func TestServerDies(t *testing.T) {
	s, v := one(t)
	w := newWriter(t)
	steps := []writer.Handler{writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw}
	for n := 1; n < len(steps); n++ {
		t.Run("before "+steps[n].String(), func(t *testing.T) {
			b := New(t, w, v, s.Data)
			b.Succeed(steps[:n]...)
			Must(t, s.Crash(ctx))
			b.Vetoed(steps[n], vss.ErrWriterErrorRetryable)
			Must(t, s.Start(ctx))
			b.Succeed(writer.OnAbort)
			again := New(t, w, v, s.Data)
			again.Succeed(append(slices.Clone(steps), writer.OnPostSnapshot)...)
		})
	}
}

// TestSessionKilled: if an administrator ends the session that has the lock, Thaw fails.
func TestSessionKilled(t *testing.T) {
	s, v := one(t)
	b := New(t, newWriter(t), v, s.Data)
	b.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot, writer.OnFreeze)
	id, err := s.SQL(ctx, "SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND USER = 'root'")
	Must(t, err)
	_, err = s.SQL(ctx, "KILL "+id)
	Must(t, err)
	b.Vetoed(writer.OnThaw, vss.ErrWriterErrorRetryable)
	b.Succeed(writer.OnPostSnapshot)
	if m := b.Component().BackupMetadata; m != "" {
		t.Errorf("metadata %s all the same", m)
	}
}

func TestCredentials(t *testing.T) {
	s, v := one(t)
	other := start(t, &mariadbtest.Server{Data: v[0] + "/other", Run: s.Run + "2"})
	_, err := s.SQL(
		ctx,
		`CREATE USER vss@localhost IDENTIFIED BY 'se#cret "x'; GRANT RELOAD, BINLOG MONITOR ON *.* TO vss@localhost;
		CREATE USER weak@localhost IDENTIFIED BY 'weak'; ALTER USER root@localhost IDENTIFIED BY 'unknown'`,
	)
	Must(t, err)
	file := filepath.Join(v[0], "options")
	for _, c := range []struct {
		name, text string
		mode       os.FileMode
		code       vss.Code
		says       string
	}{
		{"none", "", 0, vss.ErrWriterErrorNonRetryable, "unix_socket"},
		{"right", "[client]\nuser = vss\npassword = 'se#cret \\\"x'\n[mysqld]\nuser=mysql\n", 0o600, vss.OK, ""},
		{"a wrong password", "[client]\nuser=vss\npassword=guess\n", 0o600, vss.ErrWriterErrorNonRetryable,
			"Access denied"},
		{"not enough rights", "[client]\nuser=weak\npassword=weak\n", 0o600, vss.ErrWriterErrorNonRetryable, "RELOAD"},
		{"open to all", "[client]\nuser=vss\n", 0o644, vss.ErrWriterErrorNonRetryable, "chmod 600"},
		{"another server's socket", "[client]\nuser=root\nsocket=" + other.Socket() + "\n", 0o600,
			vss.ErrWriterErrorRetryable, "not to the server"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := mariadb.Config{Servers: []string{s.Data}}
			if c.mode != 0 {
				Must(t, os.WriteFile(file, []byte(c.text), 0o600))
				Must(t, os.Chmod(file, c.mode))
				config.Defaults = map[string]string{s.Data: file}
			}
			w := mariadb.New(config)
			if _, c := Identify(t, w, s.Data); c == nil {
				t.Error("a server that lets nobody in isn't named")
			}
			b := New(t, w, v, s.Data)
			b.Succeed(writer.OnPrepareBackup)
			if c.code == vss.OK {
				b.Succeed(writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw, writer.OnPostSnapshot)
				return
			}
			if m := b.Vetoed(writer.OnPrepareSnapshot, c.code); !strings.Contains(m, c.says) {
				t.Errorf("%q doesn't say %q", m, c.says)
			}
		})
	}
	_, err = other.SQL(ctx, "SHUTDOWN")
	Must(t, err)
}

func TestSeveralServers(t *testing.T) {
	v, run := Volumes(t, "ext4", "xfs")
	a := start(t, &mariadbtest.Server{Data: v[0] + "/a", Run: run + "a"})
	b := start(t, &mariadbtest.Server{Data: v[0] + "/b", Redo: v[1] + "/b", Run: run + "b"})
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
		{"one whole, the other not", v[:1], []string{a.Data, b.Data}, vss.ErrWriterErrorInconsistentSnapshot, nil},
		{"one whole, the other not chosen", v[:1], []string{a.Data}, vss.OK, []string{a.Data}},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := New(t, w, c.volumes, c.components...)
			k.Succeed(writer.OnPrepareBackup)
			if c.code != vss.OK {
				k.Vetoed(writer.OnPrepareSnapshot, c.code)
				return
			}
			k.Succeed(writer.OnPrepareSnapshot, writer.OnFreeze, writer.OnThaw, writer.OnPostSnapshot)
			var saved []string
			for _, m := range k.Components.Components {
				if m.BackupMetadata != "" {
					saved = append(saved, m.Name)
				}
			}
			if !slices.Equal(saved, c.saved) {
				t.Errorf("saved %v, want %v", saved, c.saved)
			}
		})
	}
}
