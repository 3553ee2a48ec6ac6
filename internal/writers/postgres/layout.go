package postgres

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/aside"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// volatile are folders of the data directory whose content a starting server creates anew. Source: PostgreSQL manual,
// making a base backup.
var volatile = []string{"pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"}

// layout describes where a cluster's files are, with links resolved.
type layout struct {
	Data        string   `json:"data"`
	WAL         string   `json:"wal,omitempty"`         // if it isn't below the data directory
	Tablespaces []string `json:"tablespaces,omitempty"` // the folders of this server's version in them
	links       []string // other folders of data that are links out of the data directory
	files       []string // files, such as keys, that are links out of the data directory
}

// folders are the folders of the data directory, besides pg_wal, that a server can't start without. Others, such as
// those of logs, aren't data. Source: PostgreSQL manual, database file layout.
var folders = []string{"base", "global", "pg_commit_ts", "pg_logical", "pg_multixact", "pg_replslot", "pg_stat",
	"pg_tblspc", "pg_twophase", "pg_xact", "pg_clog"}

// layout reads the data directory.
func (c *Cluster) layout() (*layout, error) {
	l := &layout{Data: c.Data}
	entries, err := os.ReadDir(c.Data)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Type()&os.ModeSymlink == 0 || slices.Contains(volatile, e.Name()) {
			continue
		}
		to, err := filepath.EvalSymlinks(filepath.Join(c.Data, e.Name()))
		required := e.Name() == "pg_wal" || slices.Contains(folders, e.Name())
		if err != nil && required {
			return nil, err
		}
		switch st, err := os.Stat(to); {
		case err != nil || within(to, c.Data): // the server runs without the target
		case e.Name() == "pg_wal":
			l.WAL = to
		case required:
			l.links = append(l.links, to)
		case st.Mode().IsRegular() && !slices.Contains(l.files, to):
			l.files = append(l.files, to)
		}
	}
	spaces, err := os.ReadDir(filepath.Join(c.Data, "pg_tblspc"))
	if err != nil {
		return nil, err
	}
	for _, e := range spaces {
		if e.Type()&os.ModeSymlink == 0 {
			continue // a folder within the data directory
		}
		to, err := filepath.EvalSymlinks(filepath.Join(c.Data, "pg_tblspc", e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // lost with a RAM disk: the server runs without it, and a server on the copy will, too
		}
		if err != nil {
			return nil, err
		}
		if !within(to, c.Data) {
			l.Tablespaces = append(l.Tablespaces, versionFolder(to, c.Major))
		}
	}
	return l, nil
}

// steering are files in the data directory that change what a starting server does. A server that runs has renamed or
// removed them, but for the signal of a standby; so one that is there was left by another program, and a server on the
// copy would obey it. Source: PostgreSQL, xlogrecovery.h.
var steering = []string{"backup_label", "recovery.signal", "standby.signal", "recovery.conf"}

// checkStartable checks that a server on a copy does what a server after a crash does. Errors:
// VSS_E_WRITERERROR_NONRETRYABLE.
func (c *Cluster) checkStartable(standby bool) error {
	for _, name := range steering {
		path := filepath.Join(c.Data, name)
		_, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && standby && name != "backup_label" {
			continue
		}
		if err == nil {
			err = fmt.Errorf("%s exists though the server runs: a server on the copy would obey it and not start", path)
		}
		return vss.E("PrepareSnapshot", vss.ErrWriterErrorNonRetryable, err).On(c.Name).
			Advise("end an exclusive backup that is in progress, or else remove " + path)
	}
	return nil
}

// versionFolder returns the folder in a tablespace for servers of one major version. Other versions may have folders
// beside it.
func versionFolder(tablespace, major string) string {
	if all, _ := filepath.Glob(filepath.Join(tablespace, "PG_"+major+"_*")); len(all) == 1 {
		return all[0]
	}
	return tablespace
}

func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// roots returns the folders that hold the cluster, each with everything below it.
func (l *layout) roots() []string {
	out := []string{l.Data}
	if l.WAL != "" {
		out = append(out, l.WAL)
	}
	return append(out, l.Tablespaces...)
}

// needed returns the paths whose volumes a copy must have: the roots, and mounts and links that lead out of them.
func (l *layout) needed() []string {
	out := append(l.roots(), l.links...)
	entries, _ := os.ReadDir(l.Data)
	for _, e := range entries {
		if e.IsDir() && !slices.Contains(volatile, e.Name()) {
			out = append(out, filepath.Join(l.Data, e.Name()))
		}
	}
	return out
}

// walFolder returns the folder of the WAL.
func (l *layout) walFolder() string {
	if l.WAL != "" {
		return l.WAL
	}
	return filepath.Join(l.Data, "pg_wal")
}

// walSet returns the file set of the WAL, the only one in incremental and differential backups.
func (l *layout) walSet() document.FileSet {
	return folder(l.walFolder())
}

// fileSets returns the component's files. The data directory is split into several sets, since the WAL may be one of
// its folders and the sets of a writer must not overlap.
func (l *layout) fileSets() ([]document.FileSet, error) {
	const whole = vss.FullBackupRequired | vss.FullSnapshotRequired
	out := []document.FileSet{l.walSet(), {Path: l.Data, FileSpec: "*", Mask: whole}}
	entries, err := os.ReadDir(l.Data)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if path := filepath.Join(l.Data, e.Name()); e.IsDir() && path != l.walFolder() &&
			!slices.Contains(volatile, e.Name()) &&
			!strings.HasPrefix(e.Name(), aside.Mark) {
			out = append(out, document.FileSet{Path: path, FileSpec: "*", Recursive: true, Mask: whole})
		}
	}
	for _, dir := range slices.Concat(l.Tablespaces, l.links) {
		out = append(out, document.FileSet{Path: dir, FileSpec: "*", Recursive: true, Mask: whole})
	}
	roots := slices.Concat(l.roots(), l.links)
	for _, file := range l.files {
		if !slices.ContainsFunc(roots, func(dir string) bool { return within(file, dir) }) {
			// they may be read from their original place, like the configuration
			out = append(out, document.FileSet{Path: filepath.Dir(file), FileSpec: filepath.Base(file),
				Mask: vss.AllBackupRequired})
		}
	}
	return out, nil
}

// configuration returns the file set of the configuration that Debian keeps outside the data directory. It rarely
// changes and is rarely on the volume of the databases, so it may be read from its original place.
func (c *Cluster) configuration() []document.FileSet {
	if c.Config == "" {
		return nil
	}
	return []document.FileSet{{Path: c.Config, FileSpec: "*", Recursive: true, Mask: vss.AllBackupRequired}}
}

// excludes returns files of the running server that aren't data.
func (l *layout) excludes() []document.FileSet {
	out := []document.FileSet{{Path: l.Data, FileSpec: "postmaster.pid"}, {Path: l.Data, FileSpec: "postmaster.opts"}}
	for _, v := range volatile {
		out = append(out, document.FileSet{Path: filepath.Join(l.Data, v), FileSpec: "*", Recursive: true})
	}
	for _, dir := range append([]string{filepath.Join(l.Data, "base")}, l.Tablespaces...) {
		out = append(out, document.FileSet{Path: filepath.Join(dir, "pgsql_tmp"), FileSpec: "*", Recursive: true})
	}
	return out
}
