package postgres

import (
	"os"
	"path/filepath"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/aside"
	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
)

// owner returns the account as which files are moved.
func (c *Cluster) owner() aside.Owner { return aside.Owner{UID: c.UID, GID: c.GID} }

// folder returns the file set of a folder with everything in it.
func folder(dir string) document.FileSet {
	return document.FileSet{Path: dir, FileSpec: "*", Recursive: true}
}

// replaced returns the folders that a restore replaces.
func (l *layout) replaced() []document.FileSet {
	var out []document.FileSet
	for _, dir := range l.roots() {
		out = append(out, folder(dir))
	}
	return out
}

// hollow are folders of a data directory that may be empty. Programs that restore only files don't create them.
var hollow = append(
	[]string{"pg_commit_ts", "pg_replslot", "pg_stat", "pg_tblspc", "pg_twophase", "pg_wal/archive_status",
		"pg_logical/mappings", "pg_logical/snapshots"},
	volatile...)

// fill creates the folders that a server needs and that the restore didn't create.
func (c *Cluster) fill() error {
	return server.As(c.UID, c.GID, func() error {
		for _, dir := range hollow {
			if err := os.MkdirAll(filepath.Join(c.Data, dir), 0o700); err != nil {
				return err
			}
		}
		if c.Config != "" {
			_ = os.Mkdir(filepath.Join(c.Config, "conf.d"), 0o755) // if it is needed and missing, the server reports it
		}
		return c.owner().Owns([]document.FileSet{folder(c.Data)})
	})
}
