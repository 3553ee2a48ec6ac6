package mariadb_test

import (
	"log/slog"
	"strings"
	"testing"

	. "github.com/stillpoint-vss/stillpoint/internal/writers/engine/enginetest"
	"github.com/stillpoint-vss/stillpoint/internal/writers/mariadb"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

func TestSuite(t *testing.T) {
	s, v := one(t)
	watchLocks(t, s)
	writertest.Run(t, func(t *testing.T) *writertest.World {
		return &writertest.World{
			Writer: mariadb.New(
				mariadb.Config{Servers: []string{s.Data}, Records: t.TempDir(),
					Logger: slog.New(slog.NewTextHandler(t.Output(), nil))},
			),
			Volumes: v,
			Restore: func() { Run(t, "sh", "-c", "cp -a "+s.Data+".before-restore-*/. "+s.Data) },
			Frozen:  func() bool { return strings.Contains(locks(t, s), "WAIT_COMMIT") },
		}
	})
}
