package config

import (
	"path/filepath"
	"time"

	"github.com/BurntSushi/toml"
)

// MariaDB is the writer of MariaDB and MySQL servers. Without a section it vouches for all that run and let root in.
type MariaDB struct {
	Servers  []string          `toml:"servers"`   // data directories; default all that run, an empty list none
	LockWait Duration          `toml:"lock_wait"` // the longest that a client's statement may keep the backup lock waiting; 1s to 30s, default 10s
	Defaults map[string]string `toml:"defaults"`  // data directory = file of options with user, password, socket; default root by unix_socket authentication
}

// Redis is the writer of Redis servers. Without a section it vouches for all that run and ask for no password.
type Redis struct {
	Servers     []string          `toml:"servers"`     // working directories; default all that run, an empty list none
	Credentials map[string]string `toml:"credentials"` // working directory = file with user and password; default none
}

// SQLite is the writer of SQLite databases.
type SQLite struct {
	Databases []string `toml:"databases"` // paths from the root, * and ? stand for characters; default none: there is no such writer
	LockWait  Duration `toml:"lock_wait"` // the longest that a transaction may keep the lock waiting; 1s to 30s, default 10s
}

// Of lock_wait: freezing must leave time for the copy in a writer's window of 60 s.
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
			why = "want paths from the root"
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
			return toml.Key{"writers", name, "servers"}, "want paths from the root"
		}
	}
	for s, file := range files {
		if !filepath.IsAbs(s) || !filepath.IsAbs(file) {
			return toml.Key{"writers", name, key, s}, "want a folder = a file, both by their paths from the root"
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
