package mariadb

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
)

// layout describes where a server's files are, with links resolved.
type layout struct {
	Data    string             `json:"data"`
	Apart   []document.FileSet `json:"apart,omitempty"` // files outside the data directory
	exclude []document.FileSet // files of the running server that aren't data
	needs   []string           // folders of the data directory, which may be mount points
}

// variables are the global variables of a server.
type variables map[string]string

// variables returns the settings that determine files and durability. Servers lack some of them.
func (c *client) variables(ctx context.Context) (variables, error) {
	rows, err := c.conn.QueryContext(
		ctx,
		`SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'version_comment', 'server_id',
		'innodb_data_home_dir', 'innodb_data_file_path', 'innodb_log_group_home_dir', 'innodb_undo_directory',
		'log_bin', 'log_bin_basename', 'log_bin_index', 'relay_log_basename', 'relay_log_index', 'aria_log_dir_path',
		'tmpdir', 'pid_file', 'socket',
		'innodb_flush_log_at_trx_commit', 'innodb_doublewrite', 'sync_binlog')`,
	)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := variables{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, err
		}
		out[name] = value
	}
	return out, rows.Err()
}

// layout returns the files of the server with a data directory.
func (c *client) layout(ctx context.Context, data string) (*layout, error) {
	v, err := c.variables(ctx)
	if err != nil {
		return nil, err
	}
	l := &layout{Data: data}
	if err := l.configured(v); err != nil {
		return nil, err
	}
	return l, l.linked()
}

// configured adds the files named by settings. Their paths are relative to the data directory.
func (l *layout) configured(v variables) error {
	home := l.path(v["innodb_data_home_dir"])
	for _, file := range strings.Split(v["innodb_data_file_path"], ";") {
		if name, _, _ := strings.Cut(file, ":"); name != "" {
			if name[0] != '/' {
				name = filepath.Join(home, name)
			}
			if err := l.apart(filepath.Dir(name), filepath.Base(name), false); err != nil {
				return err
			}
		}
	}
	redo := l.path(v["innodb_log_group_home_dir"])
	sets := []document.FileSet{
		// of MySQL
		{
			Path:     redo,
			FileSpec: "ib_logfile*",
		}, {Path: filepath.Join(redo, "#innodb_redo"), FileSpec: "*", Recursive: true},
		{
			Path:     l.path(v["innodb_undo_directory"]),
			FileSpec: "undo*",
		}, {Path: l.path(v["aria_log_dir_path"]), FileSpec: "aria_log*"},
	}
	for _, log := range []string{"log_bin", "relay_log"} {
		if name := v[log+"_basename"]; name != "" {
			sets = append(
				sets,
				document.FileSet{Path: filepath.Dir(l.path(name)), FileSpec: filepath.Base(name) + ".*"},
			)
		}
		if name := v[log+"_index"]; name != "" && !strings.HasPrefix(name, v[log+"_basename"]+".") {
			sets = append(sets, document.FileSet{Path: filepath.Dir(l.path(name)), FileSpec: filepath.Base(name)})
		}
	}
	for _, s := range sets {
		if err := l.apart(s.Path, s.FileSpec, s.Recursive); err != nil {
			return err
		}
	}
	for _, name := range []string{v["pid_file"], v["socket"], filepath.Join(home, "ibtmp1")} {
		if name = l.path(name); name != l.Data {
			l.exclude = append(l.exclude, document.FileSet{Path: filepath.Dir(name), FileSpec: filepath.Base(name)})
		}
	}
	for _, dir := range []string{l.path(v["tmpdir"]), filepath.Join(l.Data, "#innodb_temp")} {
		if dir != l.Data && within(dir, l.Data) {
			l.exclude = append(l.exclude, document.FileSet{Path: dir, FileSpec: "*", Recursive: true})
		}
	}
	return nil
}

// path returns a path of a setting as an absolute path.
func (l *layout) path(s string) string {
	if !filepath.IsAbs(s) {
		return filepath.Join(l.Data, s)
	}
	return filepath.Clean(s)
}

// apart adds files unless they are below the data directory or already added. A folder that doesn't exist is ignored.
func (l *layout) apart(dir, spec string, recursive bool) error {
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	set := document.FileSet{Path: real, FileSpec: spec, Recursive: recursive}
	known := func(o document.FileSet) bool {
		return o.Path == real && o.FileSpec == spec || o.Recursive && o.FileSpec == "*" && within(real, o.Path)
	}
	if !within(real, l.Data) && !slices.ContainsFunc(l.Apart, known) {
		l.Apart = append(l.Apart, set)
	}
	return nil
}

// linked adds the targets of links in the data directory: databases linked to other folders, and tables created with
// DATA DIRECTORY, whose files are links (Aria, MyISAM) or named in a file .isl (InnoDB).
func (l *layout) linked() error {
	top, err := os.ReadDir(l.Data)
	if err != nil {
		return err
	}
	for _, e := range top {
		path := filepath.Join(l.Data, e.Name())
		if e.Type()&os.ModeSymlink != 0 {
			if err := l.follow(path); err != nil {
				return err
			}
		}
		if st, err := os.Stat(path); err != nil || !st.IsDir() {
			continue // or it was dropped meanwhile
		}
		l.needs = append(l.needs, path)
		tables, err := os.ReadDir(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, t := range tables {
			name := filepath.Join(path, t.Name())
			switch {
			case t.Type()&os.ModeSymlink != 0:
				err = l.follow(name)
			case strings.HasSuffix(t.Name(), ".isl"):
				err = l.named(name)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// follow adds the target of a link.
func (l *layout) follow(link string) error {
	to, err := filepath.EvalSymlinks(link)
	if err != nil {
		return err
	}
	st, err := os.Stat(to)
	if err != nil {
		return err
	}
	if st.IsDir() {
		return l.apart(to, "*", true)
	}
	return l.apart(filepath.Dir(to), filepath.Base(to), false)
}

// named adds the file that a file .isl names.
func (l *layout) named(isl string) error {
	text, err := os.ReadFile(isl)
	if err != nil {
		return err
	}
	to := l.path(strings.TrimSpace(string(text)))
	return l.apart(filepath.Dir(to), filepath.Base(to), false)
}

func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// files returns all file sets.
func (l *layout) files() []document.FileSet {
	return append([]document.FileSet{{Path: l.Data, FileSpec: "*", Recursive: true}}, l.Apart...)
}

func (l *layout) description() *engine.Description {
	return &engine.Description{Caption: "MariaDB " + l.Data, Files: l.files(), Excludes: l.exclude, Needs: l.needs}
}
