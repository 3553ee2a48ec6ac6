package document

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/stillpoint-vss/stillpoint/vss"
)

func TestMatchSpec(t *testing.T) {
	for _, c := range []struct {
		spec, name string
		want       bool
	}{
		{"a", "a", true}, {"a", "A", false}, {"a", "ab", false}, {"ab", "a", false}, {"", "", true}, {"", "a", false},
		{"*", "", true}, {"*", "any.thing", true}, {"*.*", "a.b", true}, {"*.*", "ab", false}, {"*.db", ".db", true},
		{"*.db", "a.db.db", true}, {"*.db", "a.dbx", false}, {"a*b*c", "axbxbxc", true}, {"a*b*c", "axcxb", false}, {"**", "a", true},
		{"?", "a", true}, {"?", "", false}, {"?", "ab", false}, {"?", "中", true}, {"??", "中", false}, {"*?", "中", true}, {"?*?", "a", false},
		{"[a]", "[a]", true}, {"[a]", "a", false}, {"a\\*", "a\\x", true}, {"?", "\xff", true}, {"*a", "\xff\xfea", true},
		{"pgsql_tmp*", "pgsql_tmp12.0", true}, {"*~", "x~", true},
	} {
		if got := MatchSpec(c.spec, c.name); got != c.want {
			t.Errorf("MatchSpec(%q, %q) = %v", c.spec, c.name, got)
		}
	}
	if MatchSpec(strings.Repeat("*a", 120), strings.Repeat("a", 119)+"b") {
		t.Error("matched")
	}
}

// TestSpecsMeet: two filespecs meet if and only if there is a name that fits both; over two letters short names are enough to
// find one.
func TestSpecsMeet(t *testing.T) {
	names := []string{""}
	for i := 0; len(names[i]) < 9; i++ {
		names = append(names, names[i]+"a", names[i]+"b")
	}
	spec := rapid.StringOfN(rapid.SampledFrom([]rune("ab?*")), 0, 5, -1)
	rapid.Check(t, func(t *rapid.T) {
		a, b := spec.Draw(t, "a"), spec.Draw(t, "b")
		want := false
		for _, n := range names {
			want = want || MatchSpec(a, n) && MatchSpec(b, n)
		}
		if got := specsMeet(a, b); got != want || specsMeet(b, a) != got {
			t.Fatalf("%q and %q: %v, want %v", a, b, got, want)
		}
	})
}

// describe is one line for each set of a list.
func describe(l *FileList) []string {
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
	meta := func(schema vss.BackupSchema) *WriterMetadata {
		m := tree("+a", `a\b`, `+a\c`, "req", "+other")
		m.BackupSchema = schema
		m.Components[0].Files = []FileSet{{Path: "/a", FileSpec: "*", Recursive: true}, {Path: "/spit", FileSpec: "*.db", AlternatePath: "/var/spit"}}
		m.Components[1].Files = []FileSet{{Path: "/b", FileSpec: "full", Mask: vss.FullBackupRequired | all}, {Path: "/b", FileSpec: "diff", Mask: vss.DifferentialBackupRequired | all},
			{Path: "/b", FileSpec: "incr", Mask: vss.IncrementalBackupRequired | all}, {Path: "/b", FileSpec: "live", Mask: vss.AllBackupRequired}}
		m.Components[2].Type = vss.ComponentDatabase
		m.Components[2].DatabaseFiles = []FileSet{{Path: "/db", FileSpec: "*.mdf"}}
		m.Components[2].DatabaseLogFiles = []FileSet{{Path: "/db", FileSpec: "*.ldf"}, {Path: "/db", FileSpec: "*.trn", Mask: vss.FullBackupRequired}}
		m.Components[3].Files = []FileSet{{Path: "/req", FileSpec: "log", Mask: vss.LogBackupRequired | all}}
		m.Components[4].Files = []FileSet{{Path: "/other", FileSpec: "*"}}
		return m
	}
	const everything = vss.SchemaDifferential | vss.SchemaIncremental | vss.SchemaLog | vss.SchemaCopy | vss.SchemaLastModify
	whole := []string{"/a/* and below of a", "/spit/*.db of a from /var/spit"}
	full := append(append([]string{}, whole...), "/b/full of a", "/b/live of a, live", "/db/*.mdf of a", "/db/*.ldf of a", "/db/*.trn of a, live")
	diff := append(append([]string{}, whole...), "/b/diff of a", "/b/live of a, live", "/db/*.mdf of a", "/db/*.ldf of a")
	incr := append(append([]string{}, whole...), "/b/incr of a", "/b/live of a, live", "/db/*.mdf of a", "/db/*.ldf of a")
	changed := func(f func(*Component)) func(*WriterComponents) {
		return func(w *WriterComponents) { f(w.Component("", "a")) }
	}
	for _, c := range []struct {
		name   string
		schema vss.BackupSchema
		of     vss.BackupType
		chosen []string
		change func(*WriterComponents)
		want   []string
		faults int
	}{
		{"full: explicit and implicit; what carries the log bit only isn't there", everything, vss.BackupFull, []string{"a", "req"}, nil, full, 0},
		{"copy: as full", everything, vss.BackupCopy, []string{"a", "req"}, nil, full, 0},
		{"undefined: as full", everything, vss.BackupUndefined, []string{"a"}, nil, full, 0},
		{"other: as full", everything, vss.BackupOther, []string{"a"}, nil, full, 0},
		{"differential", everything, vss.BackupDifferential, []string{"a"}, nil, diff, 0},
		{"incremental", everything, vss.BackupIncremental, []string{"a"}, nil, incr, 0},
		{"log: the log files of databases only", everything, vss.BackupLog, []string{"a", "req"}, nil, []string{"/db/*.ldf of a"}, 0},
		{"outside the schema: full", vss.SchemaCopy, vss.BackupIncremental, []string{"a", "req"}, nil, full, 0},
		{"outside the schema: full, not log", vss.SchemaIncremental, vss.BackupLog, []string{"a"}, nil, full, 0},
		{"a nested one alone", everything, vss.BackupFull, []string{`a\c`}, nil, []string{`/db/*.mdf of a\c`, `/db/*.ldf of a\c`, `/db/*.trn of a\c, live`}, 0},
		{"a component without files", everything, vss.BackupDifferential, []string{"req"}, nil, []string{}, 0},
		{"nothing chosen", everything, vss.BackupFull, nil, nil, []string{}, 0},
		{"a component that the metadata don't have", everything, vss.BackupFull, []string{"gone", "other"}, nil, []string{"/other/* of other"}, 0},
		{"differenced: a set of the component, by time and once", everything, vss.BackupIncremental, []string{"a"}, changed(func(k *Component) {
			k.DifferencedFiles = []DifferencedFiles{{Path: "/a/", FileSpec: "*", Recursive: true, Since: 77}}
		}), append([]string{"/a/* and below of a, since 77"}, incr...), 0},
		{"differenced: a set that the mask leaves out", everything, vss.BackupIncremental, []string{"a"}, changed(func(k *Component) {
			k.DifferencedFiles = []DifferencedFiles{{Path: "/b", FileSpec: "full", Since: 77}}
		}), append([]string{"/b/full of a, since 77"}, incr...), 0},
		{"differenced: from the alternate path", everything, vss.BackupIncremental, []string{"a"}, changed(func(k *Component) {
			k.DifferencedFiles = []DifferencedFiles{{Path: "/spit", FileSpec: "*.db", Since: 77}}
		}), append([]string{"/spit/*.db of a from /var/spit, since 77"}, incr...), 0},
		{"differenced: new files, time left to the requester", everything, vss.BackupDifferential, []string{"a"}, changed(func(k *Component) {
			k.DifferencedFiles = []DifferencedFiles{{Path: "/new", FileSpec: "*"}}
		}), append([]string{"/new/* of a"}, diff...), 0},
		{"differenced: part of a set", everything, vss.BackupIncremental, []string{"a"}, changed(func(k *Component) {
			k.DifferencedFiles = []DifferencedFiles{{Path: "/a/deep", FileSpec: "x", Since: 77}}
		}), incr, 1},
		{"differenced: another component's", everything, vss.BackupIncremental, []string{"a", "other"}, changed(func(k *Component) {
			k.DifferencedFiles = []DifferencedFiles{{Path: "/other", FileSpec: "*", Since: 77}}
		}), append(append([]string{}, incr...), "/other/* of other"), 1},
		{"differenced: not in a full backup", everything, vss.BackupFull, []string{"a"}, changed(func(k *Component) {
			k.DifferencedFiles = []DifferencedFiles{{Path: "/a", FileSpec: "*", Recursive: true, Since: 77}}
		}), full, 0},
		{"differenced: not without its schema", vss.SchemaIncremental, vss.BackupIncremental, []string{"a"}, changed(func(k *Component) {
			k.DifferencedFiles = []DifferencedFiles{{Path: "/a", FileSpec: "*", Recursive: true, Since: 77}}
		}), incr, 0},
		{"partial: before the rest, after the differenced, its ranges file first", everything, vss.BackupIncremental, []string{"a"}, changed(func(k *Component) {
			k.DifferencedFiles = []DifferencedFiles{{Path: "/b", FileSpec: "diff", Since: 77}}
			k.PartialFiles = []PartialFile{{Path: "/a/deep", FileName: "big", Ranges: "0:8"}, {Path: "/db", FileName: "x.mdf", Ranges: "File=/tmp/x.ranges"},
				{Path: "/db", FileName: "y.mdf", Ranges: "/tmp/y.ranges"}}
		}), append([]string{"/b/diff of a, since 77", "/a/deep/big of a, ranges 0:8", "/tmp/x.ranges of a", "/db/x.mdf of a, ranges File=/tmp/x.ranges",
			"/tmp/y.ranges of a", "/db/y.mdf of a, ranges /tmp/y.ranges"}, incr...), 0},
		{"partial: a differenced one too", everything, vss.BackupIncremental, []string{"a"}, changed(func(k *Component) {
			k.DifferencedFiles = []DifferencedFiles{{Path: "/b", FileSpec: "diff", Since: 77}}
			k.PartialFiles = []PartialFile{{Path: "/b", FileName: "diff", Ranges: "0:8"}}
		}), append([]string{"/b/diff of a, since 77"}, incr...), 1},
		{"partial: of no path of the component", everything, vss.BackupFull, []string{"a", "other"}, changed(func(k *Component) {
			k.PartialFiles = []PartialFile{{Path: "/etc", FileName: "shadow", Ranges: "0:8"}, {Path: "/other", FileName: "x", Ranges: "0:8"}}
		}), append(append([]string{}, full...), "/other/* of other"), 2},
		{"partial: with wildcards", everything, vss.BackupFull, []string{"a"}, changed(func(k *Component) {
			k.PartialFiles = []PartialFile{{Path: "/a", FileName: "*", Ranges: "0:8"}, {Path: "/a", FileName: "../x", Ranges: "0:8"}}
		}), full, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, w := meta(c.schema), chosen(c.chosen...)
			if c.change != nil {
				c.change(w)
			}
			l := m.BackupFiles(w, c.of)
			if d := cmp.Diff(c.want, describe(l)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if len(l.Faults) != c.faults {
				t.Errorf("faults: %v, want %d", l.Faults, c.faults)
			}
			for _, s := range l.Sets {
				if s.Member != nil && s.Explicit != m.explicit(w, s.Member) {
					t.Errorf("%s: noted at %s", s.FileSet, s.Explicit.FullName())
				}
			}
		})
	}
}

func TestEffectiveType(t *testing.T) {
	bits := map[vss.BackupType]vss.BackupSchema{
		vss.BackupDifferential: vss.SchemaDifferential, vss.BackupIncremental: vss.SchemaIncremental,
		vss.BackupLog: vss.SchemaLog, vss.BackupCopy: vss.SchemaCopy,
	}
	for of := vss.BackupUndefined; of <= vss.BackupOther; of++ {
		with, without := of, vss.BackupFull
		if bits[of] == 0 {
			with = vss.BackupFull
		}
		if got := (&WriterMetadata{BackupSchema: 0xffff}).EffectiveType(of); got != with {
			t.Errorf("%s within the schema: %s", of, got)
		}
		if got := (&WriterMetadata{BackupSchema: 0xffff &^ bits[of]}).EffectiveType(of); got != without && bits[of] != 0 {
			t.Errorf("%s outside the schema: %s", of, got)
		}
	}
}
