package postgres

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/aside"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// volatile are folders of the data directory that a starting server makes anew: nothing in them is worth saving. Source:
// PostgreSQL manual, making a base backup.
var volatile = []string{"pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"}

// layout is where a cluster's files are, links resolved.
type layout struct {
	Data        string   `json:"data"`
	WAL         string   `json:"wal,omitempty"`         // where it isn't below the data directory
	Tablespaces []string `json:"tablespaces,omitempty"` // the folders of this server's version in them
	links       []string // other entries of the data directory that lead out of it
}

// layout looks at the data directory as it is now.
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
		if err != nil {
			return nil, err
		}
		switch {
		case within(to, c.Data):
		case e.Name() == "pg_wal":
			l.WAL = to
		default:
			l.links = append(l.links, to)
		}
	}
	spaces, err := os.ReadDir(filepath.Join(c.Data, "pg_tblspc"))
	if err != nil {
		return nil, err
	}
	for _, e := range spaces {
		if e.Type()&os.ModeSymlink == 0 {
			continue // one within the data directory
		}
		to, err := filepath.EvalSymlinks(filepath.Join(c.Data, "pg_tblspc", e.Name()))
		if err != nil {
			return nil, err
		}
		if !within(to, c.Data) {
			l.Tablespaces = append(l.Tablespaces, versionFolder(to, c.Major))
		}
	}
	return l, nil
}

// versionFolder is the folder that servers of one major version have in a tablespace: those of others may be beside it.
func versionFolder(tablespace, major string) string {
	if all, _ := filepath.Glob(filepath.Join(tablespace, "PG_"+major+"_*")); len(all) == 1 {
		return all[0]
	}
	return tablespace
}

func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// roots are the folders that hold the cluster, each with all below it.
func (l *layout) roots() []string {
	out := []string{l.Data}
	if l.WAL != "" {
		out = append(out, l.WAL)
	}
	return append(out, l.Tablespaces...)
}

// needed are the paths whose volumes a copy must have: the roots, and what lies apart from them by a mount or a link.
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

// walFolder is where the WAL is.
func (l *layout) walFolder() string {
	if l.WAL != "" {
		return l.WAL
	}
	return filepath.Join(l.Data, "pg_wal")
}

// walSet is the file set of the WAL: all that incremental and differential backups save, and the only one they save of.
func (l *layout) walSet() document.FileSet {
	return folder(l.walFolder())
}

// fileSets are the component's files. Those of the data directory are many sets, since the WAL may be one of its folders and
// sets of a writer have no file in common.
func (l *layout) fileSets() ([]document.FileSet, error) {
	const whole = vss.FullBackupRequired | vss.FullSnapshotRequired
	out := []document.FileSet{l.walSet(), {Path: l.Data, FileSpec: "*", Mask: whole}}
	entries, err := os.ReadDir(l.Data)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if path := filepath.Join(l.Data, e.Name()); e.IsDir() && path != l.walFolder() && !slices.Contains(volatile, e.Name()) && !strings.HasPrefix(e.Name(), aside.Mark) {
			out = append(out, document.FileSet{Path: path, FileSpec: "*", Recursive: true, Mask: whole})
		}
	}
	for _, dir := range slices.Concat(l.Tablespaces, l.links) {
		out = append(out, document.FileSet{Path: dir, FileSpec: "*", Recursive: true, Mask: whole})
	}
	return out, nil
}

// configuration is a file set for what Debian keeps apart from the data directory. It hardly changes, and its volume is
// seldom one of the databases': it may be read from where it is.
func (c *Cluster) configuration() []document.FileSet {
	if c.Config == "" {
		return nil
	}
	return []document.FileSet{{Path: c.Config, FileSpec: "*", Recursive: true, Mask: vss.AllBackupRequired}}
}

// excludes are files that belong to the running server and not to its data.
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
