package mariadb_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stillpoint-vss/stillpoint/document"
	. "github.com/stillpoint-vss/stillpoint/internal/writers/engine/enginetest"
	"github.com/stillpoint-vss/stillpoint/internal/writers/mariadb"
	"github.com/stillpoint-vss/stillpoint/internal/writers/mariadb/mariadbtest"
	"github.com/stillpoint-vss/stillpoint/writer"
)

var ctx = context.Background()

// clients write to tables of these engines.
const clients = 6

var engines = []string{"InnoDB", "Aria", "MyISAM"}

// start makes a server for the time of the test.
func start(t testing.TB, s *mariadbtest.Server) *mariadbtest.Server {
	t.Helper()
	t.Cleanup(func() { Must(t, s.Stop(context.WithoutCancel(ctx))) })
	Must(t, s.Make(ctx))
	return s
}

// three is a server with data, redo log and binary log on three volumes.
func three(t testing.TB) (*mariadbtest.Server, []string) {
	t.Helper()
	v, run := Volumes(t, "ext4", "xfs", "ext4")
	return start(
		t,
		&mariadbtest.Server{Data: v[0] + "/data", Redo: v[1] + "/redo", Binlog: v[2] + "/binlog", Run: run},
	), v
}

// one is a server on one volume.
func one(t testing.TB) (*mariadbtest.Server, []string) {
	t.Helper()
	v, run := Volumes(t, "ext4")
	return start(t, &mariadbtest.Server{Data: v[0] + "/data", Binlog: v[0] + "/data", Run: run}), v
}

func newWriter(t testing.TB) writer.Writer {
	return mariadb.New(mariadb.Config{Records: t.TempDir(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
}

// record is what tests look at of backup metadata.
type record struct {
	File     string `json:"binlog_file"`
	Position uint64 `json:"binlog_position"`
	GTID     string `json:"gtid_binlog"`
}

func recordOf(t testing.TB, b *Backup) record {
	t.Helper()
	var r record
	Must(t, json.Unmarshal([]byte(b.Component().BackupMetadata), &r))
	return r
}

// saved is a backup and its files.
type saved struct {
	*Backup
	files Files
	sets  []document.FileSet
	acked []int64
}

// save backs up a server: what its component lists, at one instant, without what is excluded.
func save(t testing.TB, w writer.Writer, s *mariadbtest.Server, volumes []string, acked func() []int64) *saved {
	t.Helper()
	m, c := Identify(t, w, s.Data)
	k := &saved{Backup: New(t, w, volumes, s.Data), sets: c.Files}
	k.Succeed(writer.OnPrepareBackup, writer.OnPrepareSnapshot)
	k.acked = acked()
	k.Succeed(writer.OnFreeze)
	Held(t, volumes, func() { k.files = Copy(t, c.Files, m.ExcludeFiles) })
	k.Succeed(writer.OnThaw, writer.OnPostSnapshot)
	return k
}

// open starts a server on a copy.
func (k *saved) open(t testing.TB, s *mariadbtest.Server) *mariadbtest.Server {
	t.Helper()
	c := &mariadbtest.Server{Data: k.files.At(s.Data), Run: filepath.Join(k.files.Dir, "run"), Settings: s.Settings}
	if s.Redo != "" {
		c.Redo = k.files.At(s.Redo)
	}
	if s.Binlog != "" {
		c.Binlog = k.files.At(s.Binlog)
	}
	if s.Binlog != "" {
		c.Binlog = k.files.At(s.Binlog)
		Must(t, c.Moved(s.Binlog))
	}
	Must(t, c.Start(ctx))
	t.Cleanup(func() { Must(t, c.Stop(context.WithoutCancel(ctx))) })
	return c
}

// locks are the backup locks that the server has given.
func locks(t testing.TB, s *mariadbtest.Server) string {
	t.Helper()
	all, err := s.SQL(
		ctx,
		"SELECT LOCK_MODE FROM information_schema.METADATA_LOCK_INFO WHERE LOCK_MODE LIKE 'MDL_BACKUP%'",
	)
	Must(t, err)
	return strings.Join(strings.Fields(all), " ")
}

func watchLocks(t testing.TB, s *mariadbtest.Server) {
	t.Helper()
	_, err := s.SQL(ctx, "INSTALL SONAME 'metadata_lock_info'")
	Must(t, err)
}
