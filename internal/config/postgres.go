package config

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// Postgres is the writer of PostgreSQL. A cluster is named as pg_lsclusters does (15/main), or by its data directory.
type Postgres struct {
	Clusters    []string          `toml:"clusters"`    // those that the writer vouches for; default all that run, []: none
	Connections map[string]string `toml:"connections"` // cluster = connection string, where peer authentication doesn't let the writer in; default none
	HoldWAL     bool              `toml:"hold_wal"`    // a replication slot keeps the WAL that the next incremental backup needs; default false
}

var passwordKey = regexp.MustCompile(`(?i)\bpassword\s*=`)

// check: a password in a file that is passed around and shown is soon no secret. Source: libpq, connection strings.
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
		case isURL && err != nil: // what is wrong with it might show a password
			return key, "this is no URL; want postgresql://USER@HOST:PORT/DATABASE"
		case passwordKey.MatchString(text), inURL:
			return key, "no passwords here: put it into a file that only root can read and name that with passfile="
		}
	}
	if slices.Contains(p.Clusters, "") {
		return toml.Key{"writers", "postgres", "clusters"}, "a cluster has a name"
	}
	return nil, ""
}
