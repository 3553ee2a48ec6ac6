package redis_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	. "github.com/stillpoint-vss/stillpoint/internal/writers/engine/enginetest"
	"github.com/stillpoint-vss/stillpoint/internal/writers/redis"
	"github.com/stillpoint-vss/stillpoint/internal/writers/redis/redistest"
	"github.com/stillpoint-vss/stillpoint/writer"
)

var ctx = context.Background()

const clients = 4

// start starts a server for the time of the test.
func start(t testing.TB, s *redistest.Server) *redistest.Server {
	t.Helper()
	t.Cleanup(func() { Must(t, s.Stop(context.WithoutCancel(ctx))) })
	Must(t, s.Start(ctx))
	return s
}

// one is a server on one volume.
func one(t testing.TB, aof bool) (*redistest.Server, []string) {
	t.Helper()
	v, run := Volumes(t, "xfs")
	return start(t, &redistest.Server{Dir: v[0] + "/data", Run: run, AOF: aof}), v
}

func newWriter(t testing.TB, marks string, servers ...string) writer.Writer {
	return redis.New(
		redis.Config{Servers: servers, Marks: marks, Records: t.TempDir(),
			Logger: slog.New(slog.NewTextHandler(t.Output(), nil))},
	)
}

// marks is a folder that the writer makes.
func marks(t testing.TB) string { return filepath.Join(t.TempDir(), "marks") }

// settings are those of a server that a writer changes.
func settings(t testing.TB, s *redistest.Server) (sync, rewrite string) {
	t.Helper()
	sync, err := s.Setting(ctx, "appendfsync")
	Must(t, err)
	rewrite, err = s.Setting(ctx, "auto-aof-rewrite-percentage")
	Must(t, err)
	return sync, rewrite
}

// same checks that a server's settings are what they are without a writer.
func same(t testing.TB, when string, s *redistest.Server) {
	t.Helper()
	if sync, rewrite := settings(t, s); sync != "everysec" || rewrite != "100" {
		t.Errorf("%s: appendfsync %s, auto-aof-rewrite-percentage %s", when, sync, rewrite)
	}
}

// saved is a backup and its files.
type saved struct {
	*Backup
	files Files
	sets  []document.FileSet
	acked []int64
}

// save backs up a server: what its component lists, at one instant, without what is excluded.
func save(t testing.TB, w writer.Writer, s *redistest.Server, volumes []string, acked func() []int64) *saved {
	t.Helper()
	m, c := Identify(t, w, s.Dir)
	k := &saved{Backup: New(t, w, volumes, s.Dir), sets: c.Files}
	k.Succeed(writer.OnPrepareBackup)
	if !s.AOF {
		k.acked = acked() // a dump is of the moment at which it was begun
	}
	k.Succeed(writer.OnPrepareSnapshot)
	if s.AOF {
		k.acked = acked()
	}
	k.Succeed(writer.OnFreeze)
	Held(t, volumes, func() { k.files = Copy(t, c.Files, m.ExcludeFiles) })
	k.Succeed(writer.OnThaw, writer.OnPostSnapshot)
	return k
}

// open checks a copy and starts a server on it.
func (k *saved) open(t testing.TB, s *redistest.Server) *redistest.Server {
	t.Helper()
	c := &redistest.Server{Dir: k.files.At(s.Dir), Run: filepath.Join(k.files.Dir, "run"), AOF: s.AOF}
	Must(t, c.Check(ctx))
	return start(t, c)
}

type record struct {
	Frozen, Dumped time.Time
	Run            string `json:"run_id"`
}

func recordOf(t testing.TB, b *Backup) record {
	t.Helper()
	var r record
	Must(t, json.Unmarshal([]byte(b.Component().BackupMetadata), &r))
	return r
}
