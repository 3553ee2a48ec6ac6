package service

import (
	"log/slog"

	"github.com/stillpoint-vss/stillpoint/internal/config"
	"github.com/stillpoint-vss/stillpoint/writer"
)

func inBoxWriters(cfg *config.Config, logger *slog.Logger) ([]writer.Writer, error) { return nil, nil }
