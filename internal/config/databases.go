package config

import (
	"path/filepath"
	"time"

	"github.com/BurntSushi/toml"
)

// MariaDB configures the writer of MariaDB and MySQL servers. Without a section it covers all running servers that
// allow root to log in.
type MariaDB struct {
	Servers  []string `toml:"servers"`   // data directories; default all running servers, an empty list none
	LockWait Duration `toml:"lock_wait"` // longest wait for the backup lock in Freeze; 1s to 30s, default 10s
	// data directory = option file with user, password, socket; default root by unix_socket authentication
	Defaults map[string]string `toml:"defaults"`
}

// Redis configures the writer of Redis servers. Without a section it covers all running servers that don't require a
// password.
type Redis struct {
	// working directories; default all running servers, an empty list none
	Servers     []string          `toml:"servers"`
	Credentials map[string]string `toml:"credentials"` // working directory = file with user and password; default none
}

// SQLite configures the writer of SQLite databases.
type SQLite struct {
	Databases []string `toml:"databases"` // absolute patterns with * and ?; default none: no such writer
	LockWait  Duration `toml:"lock_wait"` // longest wait for transactions in Freeze; 1s to 30s, default 10s
}

// Range of lock_wait: Freeze must leave time for the copy within a writer's window of 60 s.
const (
	minLockWait     = time.Second
	maxLockWait     = 30 * time.Second
	defaultLockWait = 10 * time.Second
)

func (m *MariaDB) check() (toml.Key, string) {
	if key, why := checkServers("mariadb", m.Servers, "defaults", m.Defaults); why != "" {
		return key, why
	}
	return checkLockWait("mariadb", m.LockWait)
}

func (r *Redis) check() (toml.Key, string) {
	return checkServers("redis", r.Servers, "credentials", r.Credentials)
}

func (s *SQLite) check() (toml.Key, string) {
	for _, pattern := range s.Databases {
		why := ""
		if _, err := filepath.Match(pattern, ""); err != nil {
			why = err.Error()
		} else if !filepath.IsAbs(pattern) {
			why = "want absolute paths"
		}
		if why != "" {
			return toml.Key{"writers", "sqlite", "databases"}, why
		}
	}
	return checkLockWait("sqlite", s.LockWait)
}

func checkServers(name string, servers []string, key string, files map[string]string) (toml.Key, string) {
	for _, s := range servers {
		if !filepath.IsAbs(s) {
			return toml.Key{"writers", name, "servers"}, "want absolute paths"
		}
	}
	for s, file := range files {
		if !filepath.IsAbs(s) || !filepath.IsAbs(file) {
			return toml.Key{"writers", name, key, s}, "want a folder = a file, both as absolute paths"
		}
	}
	return nil, ""
}

func checkLockWait(name string, d Duration) (toml.Key, string) {
	if d.Duration < minLockWait || d.Duration > maxLockWait {
		return toml.Key{"writers", name, "lock_wait"}, "want 1s to 30s"
	}
	return nil, ""
}
