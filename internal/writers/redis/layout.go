package redis

import (
	"context"
	"os"
	"path/filepath"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
)

// layout describes where a server's files are.
type layout struct {
	Dir     string `json:"dir"`               // links resolved
	RDB     string `json:"rdb"`               // name of the dump
	Saves   bool   `json:"saves"`             // the server makes dumps on its own
	AOF     string `json:"aof"`               // name of the append-only files' folder; before version 7, of the file
	Single  bool   `json:"single,omitempty"`  // AOF is a file
	Appends bool   `json:"appends"`           // the AOF is on: a starting server reads it instead of the dump
	Cluster string `json:"cluster,omitempty"` // name of the file with the cluster's nodes; "" outside a cluster
}

// layout asks the server for the settings that determine its files.
func (c *client) layout(ctx context.Context) (*layout, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	v := map[string]string{}
	for _, name := range []string{"dir", "dbfilename", "save", "appendonly", "appenddirname", "appendfilename",
		"cluster-enabled", "cluster-config-file"} {
		var err error
		if v[name], err = c.setting(ctx, name); err != nil {
			return nil, err
		}
	}
	dir, err := filepath.EvalSymlinks(v["dir"])
	if err != nil {
		return nil, err
	}
	l := &layout{
		Dir:     dir,
		RDB:     v["dbfilename"],
		Saves:   v["save"] != "",
		AOF:     v["appenddirname"],
		Appends: v["appendonly"] == "yes",
	}
	if l.AOF == "" {
		l.AOF, l.Single = v["appendfilename"], true
	}
	if v["cluster-enabled"] == "yes" {
		l.Cluster = v["cluster-config-file"]
	}
	return l, nil
}

// persistent reports whether the server keeps data across a restart.
func (l *layout) persistent() bool { return l.Saves || l.Appends }

func (l *layout) rdb() document.FileSet { return document.FileSet{Path: l.Dir, FileSpec: l.RDB} }

func (l *layout) aof() document.FileSet {
	if l.Single {
		return document.FileSet{Path: l.Dir, FileSpec: l.AOF}
	}
	path := filepath.Join(l.Dir, l.AOF)
	if real, err := filepath.EvalSymlinks(path); err == nil { // it may be a link to another volume
		path = real
	}
	return document.FileSet{Path: path, FileSpec: "*", Recursive: true}
}

func (l *layout) description() *engine.Description {
	d := &engine.Description{
		Caption:  "Redis " + l.Dir,
		Excludes: []document.FileSet{{Path: l.Dir, FileSpec: "temp-*.rdb"}, {Path: l.Dir, FileSpec: "temp-*.aof"}},
	}
	if l.Appends {
		d.Files = append(d.Files, l.aof())
		if !l.Single {
			d.Excludes = append(d.Excludes, document.FileSet{Path: l.aof().Path, FileSpec: "temp-*"})
		}
	}
	// PrepareSnapshot makes a dump if that is what the server reads. Otherwise the dump may be missing, and only files
	// that exist may be listed.
	if _, err := os.Stat(filepath.Join(l.Dir, l.RDB)); err == nil || !l.Appends {
		d.Files = append(d.Files, l.rdb())
	}
	if l.Cluster != "" {
		d.Files = append(d.Files, document.FileSet{Path: l.Dir, FileSpec: l.Cluster})
	}
	return d
}

// replaced returns all files that a starting server would read, including those that a restore doesn't bring.
func (l *layout) replaced() []document.FileSet {
	out := []document.FileSet{l.rdb(), l.aof()}
	if l.Cluster != "" {
		out = append(out, document.FileSet{Path: l.Dir, FileSpec: l.Cluster})
	}
	return out
}
