package config

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// Postgres configures the writer of PostgreSQL. A cluster is named as by pg_lsclusters (15/main), or by its data
// directory.
type Postgres struct {
	// clusters that the writer covers; default all running ones, an empty list none
	Clusters []string `toml:"clusters"`
	// cluster = connection string, if peer authentication doesn't suffice; default none
	Connections map[string]string `toml:"connections"`
	// retain the WAL for the next incremental backup by a replication slot; default false
	HoldWAL bool `toml:"hold_wal"`
}

var passwordKey = regexp.MustCompile(`(?i)\bpassword\s*=`)

// check rejects passwords: configuration files are shared and displayed. Source: libpq, connection strings.
func (p *Postgres) check() (toml.Key, string) {
	for _, cluster := range slices.Sorted(maps.Keys(p.Connections)) {
		text := p.Connections[cluster]
		u, err := url.Parse(text)
		isURL := strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
		inURL := false
		if err == nil {
			_, inURL = u.User.Password()
		}
		switch key := (toml.Key{"writers", "postgres", "connections", cluster}); {
		case cluster == "" || strings.TrimSpace(text) == "":
			return key, "want a cluster and its connection string"
		case isURL && err != nil: // the error itself might show a password
			return key, "invalid URL; want postgresql://USER@HOST:PORT/DATABASE"
		case passwordKey.MatchString(text), inURL:
			return key, "passwords aren't allowed here: use a file that only root can read, named by passfile="
		}
	}
	if slices.Contains(p.Clusters, "") {
		return toml.Key{"writers", "postgres", "clusters"}, "the name of a cluster must not be empty"
	}
	return nil, ""
}
