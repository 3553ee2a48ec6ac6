package service

import (
	"log/slog"
	"path/filepath"

	"github.com/stillpoint-vss/stillpoint/internal/config"
	"github.com/stillpoint-vss/stillpoint/internal/writers/hook"
	"github.com/stillpoint-vss/stillpoint/internal/writers/postgres"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// inBoxWriters are those that run in the service, and why others could not be loaded.
func inBoxWriters(cfg *config.Config, run string, logger *slog.Logger) ([]writer.Writer, []error) {
	pg := cfg.Writers.Postgres
	all := []writer.Writer{postgres.New(postgres.Config{Only: pg.Clusters, Connections: pg.Connections, HoldWAL: pg.HoldWAL, Logger: logger})}
	hooks, errs := hook.Load(cfg.Writers.Hooks, filepath.Join(run, "hooks"), logger)
	return append(all, hooks...), errs
}
