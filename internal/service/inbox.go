package service

import (
	"log/slog"
	"path/filepath"

	"github.com/stillpoint-vss/stillpoint/internal/config"
	"github.com/stillpoint-vss/stillpoint/internal/writers/hook"
	"github.com/stillpoint-vss/stillpoint/internal/writers/mariadb"
	"github.com/stillpoint-vss/stillpoint/internal/writers/postgres"
	"github.com/stillpoint-vss/stillpoint/internal/writers/redis"
	"github.com/stillpoint-vss/stillpoint/internal/writers/sqlite"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// inBoxWriters returns the writers that run in the service, and the errors of those that could not be loaded.
func inBoxWriters(cfg *config.Config, o Options, logger *slog.Logger) ([]writer.Writer, []error) {
	w, run := &cfg.Writers, o.Run
	records := filepath.Join(o.State, "writers")
	all := []writer.Writer{
		postgres.New(postgres.Config{
			Only: w.Postgres.Clusters, Connections: w.Postgres.Connections, HoldWAL: w.Postgres.HoldWAL,
			Accounts: w.Accounts, Records: records, Logger: logger,
		}),
		mariadb.New(mariadb.Config{
			Servers: w.MariaDB.Servers, Defaults: w.MariaDB.Defaults, LockWait: w.MariaDB.LockWait.Duration,
			Accounts: w.Accounts, Records: records, Logger: logger,
		}),
		redis.New(redis.Config{
			Servers: w.Redis.Servers, Credentials: w.Redis.Credentials, Marks: filepath.Join(run, "redis"),
			Accounts: w.Accounts, Records: records, Logger: logger,
		}),
	}
	if len(w.SQLite.Databases) > 0 {
		all = append(all, sqlite.New(sqlite.Config{
			Databases: w.SQLite.Databases, LockWait: w.SQLite.LockWait.Duration, Records: records, Logger: logger,
		}))
	}
	hooks, errs := hook.Load(w.Hooks, filepath.Join(run, "hooks"), logger)
	return append(all, hooks...), errs
}
