package filelist

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// describe is one line for each set of a list.
func describe(l *List) []string {
	out := []string{}
	for _, s := range l.Sets {
		line := s.FileSet.String() + " of " + s.Explicit.FullName()
		if s.Source != s.Path {
			line += " from " + s.Source
		}
		if !s.FromCopy {
			line += ", live"
		}
		if s.Since != 0 {
			line += fmt.Sprint(", since ", s.Since)
		}
		if s.Partial != nil {
			line += ", ranges " + s.Partial.Ranges
		}
		out = append(out, line)
	}
	return out
}

func TestBackupFiles(t *testing.T) {
	const all = vss.AllSnapshotRequired
	meta := func(schema vss.BackupSchema) *document.WriterMetadata {
		m := tree("+a", `a\b`, `+a\c`, "req", "+other")
		m.BackupSchema = schema
		m.Components[0].Files = []document.FileSet{
			{Path: "/a", FileSpec: "*", Recursive: true},
			{Path: "/spit", FileSpec: "*.db", AlternatePath: "/var/spit"},
		}
		m.Components[1].Files = []document.FileSet{
			{Path: "/b", FileSpec: "full", Mask: vss.FullBackupRequired | all},
			{Path: "/b", FileSpec: "diff", Mask: vss.DifferentialBackupRequired | all},
			{
				Path:     "/b",
				FileSpec: "incr",
				Mask:     vss.IncrementalBackupRequired | all,
			},
			{Path: "/b", FileSpec: "live", Mask: vss.AllBackupRequired},
		}
		m.Components[2].Type = vss.ComponentDatabase
		m.Components[2].DatabaseFiles = []document.FileSet{{Path: "/db", FileSpec: "*.mdf"}}
		m.Components[2].DatabaseLogFiles = []document.FileSet{
			{Path: "/db", FileSpec: "*.ldf"},
			{Path: "/db", FileSpec: "*.trn", Mask: vss.FullBackupRequired},
		}
		m.Components[3].Files = []document.FileSet{{Path: "/req", FileSpec: "log", Mask: vss.LogBackupRequired | all}}
		m.Components[4].Files = []document.FileSet{{Path: "/other", FileSpec: "*"}}
		return m
	}
	const everything = vss.SchemaDifferential | vss.SchemaIncremental | vss.SchemaLog | vss.SchemaCopy |
		vss.SchemaLastModify
	whole := []string{"/a/* and below of a", "/spit/*.db of a from /var/spit"}
	full := append(
		append([]string{}, whole...),
		"/b/full of a",
		"/b/live of a, live",
		"/db/*.mdf of a",
		"/db/*.ldf of a",
		"/db/*.trn of a, live",
	)
	diff := append(
		append([]string{}, whole...),
		"/b/diff of a",
		"/b/live of a, live",
		"/db/*.mdf of a",
		"/db/*.ldf of a",
	)
	incr := append(
		append([]string{}, whole...),
		"/b/incr of a",
		"/b/live of a, live",
		"/db/*.mdf of a",
		"/db/*.ldf of a",
	)
	changed := func(f func(*document.Component)) func(*document.WriterComponents) {
		return func(w *document.WriterComponents) { f(w.Component("", "a")) }
	}
	for _, c := range []struct {
		name   string
		schema vss.BackupSchema
		of     vss.BackupType
		chosen []string
		change func(*document.WriterComponents)
		want   []string
		faults int
	}{
		{"full: explicit and implicit; what carries the log bit only isn't there", everything, vss.BackupFull,
			[]string{"a", "req"}, nil, full, 0},
		{"copy: as full", everything, vss.BackupCopy, []string{"a", "req"}, nil, full, 0},
		{"undefined: as full", everything, vss.BackupUndefined, []string{"a"}, nil, full, 0},
		{"other: as full", everything, vss.BackupOther, []string{"a"}, nil, full, 0},
		{"differential", everything, vss.BackupDifferential, []string{"a"}, nil, diff, 0},
		{"incremental", everything, vss.BackupIncremental, []string{"a"}, nil, incr, 0},
		{"log: the log files of databases only", everything, vss.BackupLog, []string{"a", "req"}, nil,
			[]string{"/db/*.ldf of a"}, 0},
		{"outside the schema: full", vss.SchemaCopy, vss.BackupIncremental, []string{"a", "req"}, nil, full, 0},
		{"outside the schema: full, not log", vss.SchemaIncremental, vss.BackupLog, []string{"a"}, nil, full, 0},
		{"a nested one alone", everything, vss.BackupFull, []string{`a\c`}, nil,
			[]string{`/db/*.mdf of a\c`, `/db/*.ldf of a\c`, `/db/*.trn of a\c, live`}, 0},
		{"a component without files", everything, vss.BackupDifferential, []string{"req"}, nil, []string{}, 0},
		{"nothing chosen", everything, vss.BackupFull, nil, nil, []string{}, 0},
		{"a component that the metadata don't have", everything, vss.BackupFull, []string{"gone", "other"}, nil,
			[]string{"/other/* of other"}, 0},
		{"differenced: a set of the component, by time and once", everything, vss.BackupIncremental, []string{"a"},
			changed(func(k *document.Component) {
				k.DifferencedFiles = []document.DifferencedFiles{{
					Path: "/a/", FileSpec: "*", Recursive: true, Since: 77,
				}}
			}), append([]string{"/a/* and below of a, since 77"}, incr...), 0},
		{"differenced: a set that the mask leaves out", everything, vss.BackupIncremental, []string{"a"},
			changed(func(k *document.Component) {
				k.DifferencedFiles = []document.DifferencedFiles{{
					Path: "/b", FileSpec: "full", Since: 77,
				}}
			}), append([]string{"/b/full of a, since 77"}, incr...), 0},
		{"differenced: from the alternate path", everything, vss.BackupIncremental, []string{"a"},
			changed(func(k *document.Component) {
				k.DifferencedFiles = []document.DifferencedFiles{{
					Path: "/spit", FileSpec: "*.db", Since: 77,
				}}
			}), append([]string{"/spit/*.db of a from /var/spit, since 77"}, incr...), 0},
		{"differenced: new files, time left to the requester", everything, vss.BackupDifferential, []string{"a"},
			changed(func(k *document.Component) {
				k.DifferencedFiles = []document.DifferencedFiles{{
					Path: "/new", FileSpec: "*",
				}}
			}), append([]string{"/new/* of a"}, diff...), 0},
		{"differenced: part of a set", everything, vss.BackupIncremental, []string{"a"},
			changed(func(k *document.Component) {
				k.DifferencedFiles = []document.DifferencedFiles{{
					Path: "/a/deep", FileSpec: "x", Since: 77,
				}}
			}), incr, 1},
		{"differenced: another component's", everything, vss.BackupIncremental, []string{"a", "other"},
			changed(func(k *document.Component) {
				k.DifferencedFiles = []document.DifferencedFiles{{
					Path: "/other", FileSpec: "*", Since: 77,
				}}
			}), append(append([]string{}, incr...), "/other/* of other"), 1},
		{"differenced: not in a full backup", everything, vss.BackupFull, []string{"a"},
			changed(func(k *document.Component) {
				k.DifferencedFiles = []document.DifferencedFiles{{
					Path: "/a", FileSpec: "*", Recursive: true, Since: 77,
				}}
			}), full, 0},
		{"differenced: not without its schema", vss.SchemaIncremental, vss.BackupIncremental, []string{"a"},
			changed(func(k *document.Component) {
				k.DifferencedFiles = []document.DifferencedFiles{{
					Path: "/a", FileSpec: "*", Recursive: true, Since: 77,
				}}
			}), incr, 0},
		{"partial: before the rest, after the differenced, its ranges file first", everything, vss.BackupIncremental,
			[]string{"a"}, changed(func(k *document.Component) {
				k.DifferencedFiles = []document.DifferencedFiles{{
					Path: "/b", FileSpec: "diff", Since: 77,
				}}
				k.PartialFiles = []document.PartialFile{{Path: "/a/deep", FileName: "big", Ranges: "0:8"},
					{Path: "/db", FileName: "x.mdf", Ranges: "File=/tmp/x.ranges"},
					{Path: "/db", FileName: "y.mdf", Ranges: "/tmp/y.ranges"}}
			}), append([]string{"/b/diff of a, since 77", "/a/deep/big of a, ranges 0:8", "/tmp/x.ranges of a",
				"/db/x.mdf of a, ranges File=/tmp/x.ranges",
				"/tmp/y.ranges of a", "/db/y.mdf of a, ranges /tmp/y.ranges"}, incr...), 0},
		{"partial: a differenced one too", everything, vss.BackupIncremental, []string{"a"},
			changed(func(k *document.Component) {
				k.DifferencedFiles = []document.DifferencedFiles{{
					Path: "/b", FileSpec: "diff", Since: 77,
				}}
				k.PartialFiles = []document.PartialFile{{Path: "/b", FileName: "diff", Ranges: "0:8"}}
			}), append([]string{"/b/diff of a, since 77"}, incr...), 1},
		{"partial: of no path of the component", everything, vss.BackupFull, []string{"a", "other"},
			changed(func(k *document.Component) {
				k.PartialFiles = []document.PartialFile{{Path: "/etc", FileName: "shadow", Ranges: "0:8"},
					{Path: "/other", FileName: "x", Ranges: "0:8"}}
			}), append(append([]string{}, full...), "/other/* of other"), 2},
		{"partial: with wildcards", everything, vss.BackupFull, []string{"a"}, changed(func(k *document.Component) {
			k.PartialFiles = []document.PartialFile{{Path: "/a", FileName: "*", Ranges: "0:8"},
				{Path: "/a", FileName: "../x", Ranges: "0:8"}}
		}), full, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, w := meta(c.schema), chosen(c.chosen...)
			if c.change != nil {
				c.change(w)
			}
			l := New(m, w, c.of)
			if d := cmp.Diff(c.want, describe(l)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if len(l.Faults) != c.faults {
				t.Errorf("faults: %v, want %d", l.Faults, c.faults)
			}
			for _, s := range l.Sets {
				if s.Member != nil && s.Explicit != m.Explicit(w, s.Member) {
					t.Errorf("%s: noted at %s", s.FileSet, s.Explicit.FullName())
				}
			}
		})
	}
}

// tree makes components of full names: "+" in front for selectable, "r" for selectable for restore.
func tree(names ...string) *document.WriterMetadata {
	m := &document.WriterMetadata{Name: "tree", WriterID: vss.WriterID{GUID: vss.NewGUID()}}
	for _, full := range names {
		c := document.WMComponent{Type: vss.ComponentFileGroup}
		if full, c.SelectableForRestore = strings.CutPrefix(full, "r"); true {
			full, c.Selectable = strings.CutPrefix(full, "+")
		}
		c.LogicalPath, c.Name = split(full)
		m.Components = append(m.Components, c)
	}
	return m
}

func split(full string) (logicalPath, name string) {
	if i := strings.LastIndex(full, `\`); i >= 0 {
		return full[:i], full[i+1:]
	}
	return "", full
}

func chosen(names ...string) *document.WriterComponents {
	w := &document.WriterComponents{}
	for _, full := range names {
		k := &document.Component{Type: vss.ComponentFileGroup}
		k.LogicalPath, k.Name = split(full)
		w.Components = append(w.Components, k)
	}
	return w
}
