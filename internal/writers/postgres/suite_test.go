package postgres_test

import (
	"log/slog"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/demo/pgserver"
	. "github.com/stillpoint-vss/stillpoint/internal/writers/engine/enginetest"
	"github.com/stillpoint-vss/stillpoint/internal/writers/postgres"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

func TestSuite(t *testing.T) {
	t.Parallel() // servers take most of their time to wait
	v, run := Volumes(t, "ext4")
	s := start(t, &pgserver.Server{Data: v[0] + "/data", Run: run})
	writertest.Run(t, func(t *testing.T) *writertest.World {
		return &writertest.World{
			Writer: postgres.New(
				postgres.Config{Only: []string{s.Data}, Records: t.TempDir(),
					Logger: slog.New(slog.NewTextHandler(t.Output(), nil))},
			),
			Volumes: v,
			Restore: func() { Run(t, "sh", "-c", "cp -a "+s.Data+".before-restore-*/. "+s.Data) },
			// From Freeze to Thaw the writer keeps a session whose last question was for the position.
			Frozen: func() bool { return left(t, s, "query LIKE '%pg_current_wal_flush_lsn%'") },
		}
	})
}
