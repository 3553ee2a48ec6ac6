package mariadb

import (
	"log/slog"

	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// WithReadLock makes a writer that uses FLUSH TABLES WITH READ LOCK, as for MySQL.
func WithReadLock(c Config) *engine.Writer {
	c.Logger = slog.New(slog.DiscardHandler)
	c.LockWait = DefaultLockWait
	return engine.New(writer.Info{ID: ID, Name: Name, Level: 2}, &servers{Config: c, readLock: true}, c.Logger)
}

// Stages is stages, LocksInstance is locksInstance.
var Stages, LocksInstance = stages, locksInstance

// ParseDefaults is parseDefaults.
func ParseDefaults(text string) (user, password, socket string, err error) {
	c, err := parseDefaults(text)
	return c.user, c.password, c.socket, err
}
