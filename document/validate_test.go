package document

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// lawful is metadata that breaks no rule and has something of everything.
func lawful() *WriterMetadata {
	return &WriterMetadata{
		WriterID: vss.WriterID{
			GUID: vss.MustGUID("7c1f5d0e-0000-4000-8000-000000000001"),
		}, Name: "lawful", InstanceName: "one",
		Usage: vss.UsageUserData, Source: vss.SourceTransactedDB, BackupSchema: vss.SchemaDifferential |
			vss.SchemaIncremental | vss.SchemaLog,
		RestoreMethod: &RestoreMethod{Method: vss.RestoreIfCanReplace, WriterRestore: vss.WriterRestoreAlways,
			AlternateLocations: []FileSet{{Path: "/srv/a/", FileSpec: "*", Recursive: true, AlternatePath: "/srv/b"}}},
		Components: []WMComponent{
			{Type: vss.ComponentFileGroup, LogicalPath: `x\y`, Name: "files", Selectable: true, Files: []FileSet{
				{
					Path:      "/srv/a",
					FileSpec:  "*",
					Recursive: true,
				}, {Path: "/srv", FileSpec: "*"}, {Path: "/etc", FileSpec: "a.conf"}}},
			{Type: vss.ComponentDatabase, Name: "base", DatabaseFiles: []FileSet{{Path: "/db", FileSpec: "*.mdf"}},
				DatabaseLogFiles: []FileSet{{Path: "/db", FileSpec: "*.ldf"}},
				Dependencies:     []Dependency{{WriterID: vss.WriterID{GUID: vss.NewGUID()}, Name: "other"}}},
		},
		ExcludeFiles:             []FileSet{{Path: "/srv/a", FileSpec: "*.tmp", Recursive: true}},
		ExcludeFilesFromSnapshot: []FileSet{{Path: `\cache`, FileSpec: "*", Recursive: true}},
	}
}

func TestValidate(t *testing.T) {
	if err := lawful().Validate(); err != nil {
		t.Fatal(err)
	}
	files := func(sets ...FileSet) func(*WriterMetadata) {
		return func(m *WriterMetadata) { m.Components[0].Files = sets; m.RestoreMethod = nil }
	}
	schema := func(s vss.BackupSchema) func(*WriterMetadata) { return func(m *WriterMetadata) { m.BackupSchema = s } }
	method := func(f func(*RestoreMethod)) func(*WriterMetadata) {
		return func(m *WriterMetadata) { f(m.RestoreMethod) }
	}
	group := func(f func(*WMComponent)) func(*WriterMetadata) {
		return func(m *WriterMetadata) { f(&m.Components[0]) }
	}
	base := func(f func(*WMComponent)) func(*WriterMetadata) {
		return func(m *WriterMetadata) { f(&m.Components[1]) }
	}
	for _, c := range []struct {
		name   string
		change func(*WriterMetadata)
		want   error
	}{
		{"no component at all", func(m *WriterMetadata) { m.Components, m.RestoreMethod, m.BackupSchema = nil, nil, 0 },
			nil},
		{"an empty component", group(func(c *WMComponent) { c.Name = "head"; c.LogicalPath = "" }), nil},
		{"no name", group(func(c *WMComponent) { c.Name = "" }), vss.ErrInvalidArg},
		{`a \ in a name`, group(func(c *WMComponent) { c.Name = `a\b` }), vss.ErrInvalidArg},
		{`a \ before a logical path`, group(func(c *WMComponent) { c.LogicalPath = `\a` }), vss.ErrInvalidArg},
		{`a \ after a logical path`, group(func(c *WMComponent) { c.LogicalPath = `a\` }), vss.ErrInvalidArg},
		{"a long name", group(func(c *WMComponent) { c.Name = strings.Repeat("x", maxName) }), vss.ErrInvalidArg},
		{"the same twice", base(func(c *WMComponent) { c.LogicalPath, c.Name = `x\y`, "files" }),
			vss.ErrObjectAlreadyExists},
		{"the same but for case", base(func(c *WMComponent) { c.LogicalPath, c.Name = `x\y`, "Files" }), nil},
		{"no type", group(func(c *WMComponent) { c.Type = 0 }), vss.ErrInvalidArg},
		{"all flags", group(func(c *WMComponent) { c.Flags = 7 }), nil},
		{"an unknown flag", group(func(c *WMComponent) { c.Flags = 8 }), vss.ErrInvalidArg},
		{"a file group with database files", group(func(c *WMComponent) { c.DatabaseFiles = c.Files }),
			vss.ErrInvalidArg},
		{"a database with files", base(func(c *WMComponent) { c.Files = c.DatabaseFiles }), vss.ErrInvalidArg},
		{"a recursive database", base(func(c *WMComponent) { c.DatabaseFiles[0].Recursive = true }), vss.ErrInvalidArg},
		{"a database with an alternate path", base(func(c *WMComponent) { c.DatabaseLogFiles[0].AlternatePath = "/x" }),
			vss.ErrInvalidArg},
		{"a dependency within the writer",
			base(func(c *WMComponent) { c.Dependencies[0].WriterID = lawful().WriterID }), vss.ErrInvalidArg},
		{"a dependency on the same writer elsewhere", base(func(c *WMComponent) {
			c.Dependencies[0].WriterID, c.Dependencies[0].LogicalPath = lawful().WriterID, `\\host\x`
		}), nil},
		{"a dependency without a name", base(func(c *WMComponent) { c.Dependencies[0].Name = "" }), vss.ErrInvalidArg},
		{"a dependency without a writer", base(func(c *WMComponent) { c.Dependencies[0].WriterID = vss.WriterID{} }),
			vss.ErrInvalidArg},
		{"usage out of range", func(m *WriterMetadata) { m.Usage = 5 }, vss.ErrInvalidArg},
		{"source out of range", func(m *WriterMetadata) { m.Source = -1 }, vss.ErrInvalidArg},
		{"text that XML hasn't", func(m *WriterMetadata) { m.Components[0].Caption = "\x00" }, vss.ErrInvalidArg},
		{"no path", files(FileSet{FileSpec: "*"}), vss.ErrInvalidArg},
		{"a path with wildcards", files(FileSet{Path: "/a*", FileSpec: "*"}), vss.ErrInvalidArg},
		{"a volume's GUID path", files(FileSet{Path: `\\?\Volume{x}\a`, FileSpec: "*"}), nil},
		{"no filespec", files(FileSet{Path: "/a"}), vss.ErrInvalidArg},
		{"a filespec with a directory", files(FileSet{Path: "/a", FileSpec: "b/*"}), vss.ErrInvalidArg},
		{"a long filespec", files(FileSet{Path: "/a", FileSpec: strings.Repeat("x", 256)}), vss.ErrInvalidArg},
		{"an alternate path with wildcards", files(FileSet{Path: "/a", FileSpec: "x", AlternatePath: "/?"}),
			vss.ErrInvalidArg},
		{"an unknown bit in a mask", files(FileSet{Path: "/a", FileSpec: "x", Mask: 0x20000}), vss.ErrInvalidArg},
		{"an exclusion without a path", func(m *WriterMetadata) { m.ExcludeFiles[0].Path = "" }, vss.ErrInvalidArg},
		{"a snapshot exclusion without a filespec",
			func(m *WriterMetadata) { m.ExcludeFilesFromSnapshot[0].FileSpec = "" }, vss.ErrInvalidArg},

		{"overlap: the same set twice", files(FileSet{Path: "/a", FileSpec: "x"}, FileSet{Path: "/a/", FileSpec: "x"}),
			vss.ErrInvalidArg},
		{"overlap: one file in a pattern", files(FileSet{Path: "/a", FileSpec: "*.db"},
			FileSet{Path: "/a", FileSpec: "x.db"}), vss.ErrInvalidArg},
		{"overlap: patterns with a name in common",
			files(FileSet{Path: "/a", FileSpec: "a*"}, FileSet{Path: "/a", FileSpec: "*b"}), vss.ErrInvalidArg},
		{"overlap: below a recursive one", files(FileSet{Path: "/a/b/c", FileSpec: "x"},
			FileSet{Path: "/a", FileSpec: "*", Recursive: true}), vss.ErrInvalidArg},
		{"overlap: below the root", files(FileSet{Path: "/", FileSpec: "*", Recursive: true},
			FileSet{Path: "/a", FileSpec: "x"}), vss.ErrInvalidArg},
		{"overlap: below a recursive one of Windows",
			files(FileSet{Path: `C:\a\b`, FileSpec: "x"}, FileSet{Path: `C:\a`, FileSpec: "*", Recursive: true}),
			vss.ErrInvalidArg},
		{"overlap: of another component", base(func(c *WMComponent) { c.DatabaseFiles[0].Path = "/srv/a/deep" }),
			vss.ErrInvalidArg},
		{"no overlap: other names", files(FileSet{Path: "/a", FileSpec: "*.db"},
			FileSet{Path: "/a", FileSpec: "*.log"}), nil},
		{"no overlap: beside a recursive one", files(FileSet{Path: "/ab", FileSpec: "x"},
			FileSet{Path: "/a", FileSpec: "*", Recursive: true}), nil},
		{"no overlap: below one that isn't recursive",
			files(FileSet{Path: "/a/b", FileSpec: "*"}, FileSet{Path: "/a", FileSpec: "*"}), nil},
		{"no overlap: above a recursive one", files(FileSet{Path: "/a", FileSpec: "*"},
			FileSet{Path: "/a/b", FileSpec: "*", Recursive: true}), nil},
		{"too many file sets", files(make([]FileSet, maxFileSets+1)...), vss.ErrInvalidArg},

		{"schema: full only", schema(0), nil},
		{"schema: exclusive with both", schema(0x7), nil},
		{"schema: exclusive without incremental", schema(0x5), vss.ErrInvalidArg},
		{"schema: exclusive without differential", schema(0x6), vss.ErrInvalidArg},
		{"schema: log without log files", func(m *WriterMetadata) { m.Components[1].DatabaseLogFiles = nil },
			vss.ErrInvalidArg},
		{"schema: timestamped alone", schema(0x20), vss.ErrInvalidArg},
		{"schema: timestamped with incremental", schema(0x22), nil},
		{"schema: last modify alone", schema(0x40), vss.ErrInvalidArg},
		{"schema: last modify with differential", schema(0x41), nil},
		{"schema: reserved", schema(0x80), vss.ErrInvalidArg},
		{"schema: unused", schema(0x800), vss.ErrInvalidArg},
		{"schema: beyond", schema(0x10000), vss.ErrInvalidArg},
		{"schema: all that has a meaning", schema(0xf77f), nil},
		{"schema: move without an instance name", func(m *WriterMetadata) {
			m.BackupSchema, m.InstanceName = 0x200,
				""
		}, vss.ErrInvalidArg},
		{"schema: that of a real database writer", schema(881), nil},

		{"restore: no method", method(func(r *RestoreMethod) { r.Method = 0 }), vss.ErrInvalidArg},
		{"restore: a method beyond", method(func(r *RestoreMethod) { r.Method = 9 }), vss.ErrInvalidArg},
		{"restore: the writer's part unknown", method(func(r *RestoreMethod) { r.WriterRestore = 0 }),
			vss.ErrInvalidArg},
		{"restore: stop without a service", method(func(r *RestoreMethod) { r.Method = 3 }), vss.ErrInvalidArg},
		{"restore: stop with a service", method(func(r *RestoreMethod) { r.Method, r.Service = 3, "x" }), nil},
		{"restore: restart with a service", method(func(r *RestoreMethod) { r.Method, r.Service = 8, "x" }), nil},
		{"restore: a service that nobody stops", method(func(r *RestoreMethod) { r.Service = "x" }), vss.ErrInvalidArg},
		{"restore: to the mapping", method(func(r *RestoreMethod) { r.Method = 4 }), nil},
		{"restore: to the mapping, and there is none",
			method(func(r *RestoreMethod) { r.Method, r.AlternateLocations = 4, nil }), vss.ErrInvalidArg},
		{"mapping: no such path", method(func(r *RestoreMethod) { r.AlternateLocations[0].Path = "/srv/z" }),
			vss.ErrObjectNotFound},
		{"mapping: no such filespec", method(func(r *RestoreMethod) { r.AlternateLocations[0].FileSpec = "?" }),
			vss.ErrObjectNotFound},
		{"mapping: not recursive", method(func(r *RestoreMethod) { r.AlternateLocations[0].Recursive = false }),
			vss.ErrObjectNotFound},
		{"mapping: no destination", method(func(r *RestoreMethod) { r.AlternateLocations[0].AlternatePath = "" }),
			vss.ErrInvalidArg},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := lawful()
			c.change(m)
			if err := m.Validate(); c.want == nil && err != nil || !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

// TestValidateMany: a large writer is checked, and one that was made to take hours is refused.
func TestValidateMany(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(i, j int) FileSet
		want error
	}{
		{"directories of their own", func(i, j int) FileSet {
			return FileSet{Path: fmt.Sprintf("/srv/%d/%d", i, j), FileSpec: "*", Recursive: true}
		}, nil},
		{"files of one directory", func(i,
			j int) FileSet {
			return FileSet{Path: "/srv", FileSpec: fmt.Sprintf("%d.%d", i, j)}
		}, nil},
		{"patterns of one directory", func(i,
			j int) FileSet {
			return FileSet{Path: "/srv", FileSpec: fmt.Sprintf("?%d.%d.*", i, j)}
		},
			vss.ErrInvalidArg},
		{"directories within each other", func(i, j int) FileSet {
			return FileSet{Path: "/" + strings.Repeat("a/", (16*i+j)%2000), FileSpec: fmt.Sprintf("%d.%d?*", i, j),
				Recursive: true}
		}, vss.ErrInvalidArg},
	} {
		m := &WriterMetadata{Name: "large"}
		for i := range maxFileSets / 16 {
			g := WMComponent{Type: vss.ComponentFileGroup, Name: fmt.Sprint(i), Selectable: true}
			for j := range 16 {
				g.Files = append(g.Files, c.set(i, j))
			}
			m.Components = append(m.Components, g)
		}
		start := time.Now()
		err := m.Validate()
		t.Logf("%s: %v", c.name, time.Since(start))
		if c.want == nil && err != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}
