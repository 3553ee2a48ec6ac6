package vsscmd

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// saver is a writer of file groups, and what a backup of all of them has.
func saver(components ...document.WMComponent) (*document.WriterMetadata, *document.WriterComponents) {
	m := &document.WriterMetadata{WriterID: vss.WriterID{GUID: vss.NewGUID()},
		InstanceID: vss.WriterInstanceID{GUID: vss.NewGUID()}, Name: "My Writer"}
	w := &document.WriterComponents{WriterID: m.WriterID, InstanceID: m.InstanceID}
	for _, c := range components {
		c.Type = vss.ComponentFileGroup
		m.Components = append(m.Components, c)
	}
	for _, c := range m.Top() {
		w.Components = append(w.Components, &document.Component{Type: c.Type, LogicalPath: c.LogicalPath, Name: c.Name,
			BackupSucceeded: true})
	}
	return m, w
}

func set(path, spec string, recursive bool, mask vss.FileSpecBackupType) document.FileSet {
	return document.FileSet{Path: path, FileSpec: spec, Recursive: recursive, Mask: mask}
}

// TestSharedFolders: what needn't come from a copy is read where it is, unless that would show a file that must.
func TestSharedFolders(t *testing.T) {
	live := vss.AllBackupRequired
	for _, c := range []struct {
		name string
		sets []document.FileSet
		want []string
	}{
		{"none", []document.FileSet{set("/d", "*", true, 0)}, nil},
		{"beside", []document.FileSet{set("/d/a", "*", true, 0), set("/d/b/", "*", true, live)}, []string{"/d/b"}},
		{"in the same folder", []document.FileSet{set("/d", "*.db", false, 0), set("/d", "*.log", false, live)}, nil},
		{"below", []document.FileSet{set("/d", "*.db", false, 0), set("/d/conf", "*", false, live)},
			[]string{"/d/conf"}},
		{"below a folder as a whole", []document.FileSet{set("/d", "*.db", true, 0),
			set("/d/conf", "*.conf", false, live)}, nil},
		{"around", []document.FileSet{set("/d/a", "*", true, 0), set("/d", "x", false, live)}, nil},
		{"a longer name", []document.FileSet{set("/d/a", "*", true, 0), set("/d/ab", "*", true, live)},
			[]string{"/d/ab"}},
	} {
		m, w := saver(document.WMComponent{Name: "c", Selectable: true, Files: c.sets})
		meta, e1 := m.XML()
		components, e2 := w.XML()
		if err := errors.Join(e1, e2); err != nil {
			t.Fatal(err)
		}
		l, err := (&listTask{Folder: "/lists", Type: vss.BackupFull,
			Writers: []struct{ Metadata, Components []byte }{{meta, components}}}).read()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := l.shared(), append([]string{"/lists"}, c.want...); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", c.name, got, want)
		}
	}
	if l, err := (*listTask)(nil).read(); err != nil || l.shared() != nil || l.write(nil) != nil {
		t.Errorf("without a task: %v, %v", l, err)
	}
}

// TestListsOfOddNames: a line can't hold a line break, NUL ends all.
func TestListsOfOddNames(t *testing.T) {
	dir := t.TempDir()
	l, err := newLists(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"/a b", "/c\nd", "/\xff", "/e"} {
		if err := l.add(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{listLines: "/a b\n/\xff\n/e\n",
		listNULs: "/a b\x00/c\nd\x00/\xff\x00/e\x00"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestSelectors(t *testing.T) {
	m, _ := saver()
	for _, c := range []struct {
		text, full string
		all, one   bool
	}{
		{"My Writer", "c", true, false}, {"my writer", "c", true, false}, {m.WriterID.String(), "c", true, false},
		{m.WriterID.Plain(), "c", true, false},
		{m.InstanceID.Plain(), "c", true, false}, {"My Writer/c", "c", false, true},
		{"My Writer/c", `p\c`, false, false}, {"My Writer/p/c", `p\c`, false, true},
		{`My Writer/p\c`, `p\c`, false, true}, {"My Writer//srv/data", "/srv/data", false, true},
		{"My Writer/C", "c", false, false},
		{"My Writer 2", "c", false, false}, {"My Writer 2/c", "c", false, false}, {"My", "c", false, false},
		{"", "c", false, false}, {"My Writer/", "c", false, false},
		{strings.ToUpper(m.WriterID.Plain()) + "/15/main", "15/main", false, true},
	} {
		if all, one := (&selector{text: c.text}).matches(m, c.full); all != c.all || one != c.one {
			t.Errorf("%q of %q: %v, %v", c.text, c.full, all, one)
		}
	}
}

// restoring writes the documents of a backup and has restore read them.
func restoring(
	t *testing.T, m *document.WriterMetadata, w *document.WriterComponents, wanted ...string,
) (*restore, string, error) {
	t.Helper()
	dir := t.TempDir()
	meta, e1 := m.XML()
	doc, e2 := (&document.Components{SelectComponents: true, BackupType: vss.BackupFull,
		Writers: []*document.WriterComponents{w}}).XML()
	if err := errors.Join(e1, e2, os.WriteFile(filepath.Join(dir, "wm.xml"), meta, 0o600),
		os.WriteFile(filepath.Join(dir, "bc.xml"), doc, 0o600),
		os.WriteFile(filepath.Join(dir, "other.xml"), []byte("<x/>"), 0o600)); err != nil {
		t.Fatal(err)
	}
	var diag bytes.Buffer
	r := &restore{app: &app{Tool: cli.Tool{Name: programName, Stderr: &diag}}, selectors: parseSelectors(wanted)}
	err := r.load(filepath.Join(dir, "bc.xml"))
	return r, diag.String(), err
}

// TestRestoreChoice: which components are restored, and what is listed for them.
func TestRestoreChoice(t *testing.T) {
	full := []document.WMComponent{
		{Name: "a", Selectable: true, Files: []document.FileSet{set("/d/a/", "*", true, 0),
			set("/d/log", "*.log", false, vss.LogBackupRequired)}},
		{LogicalPath: "a", Name: "part", SelectableForRestore: true,
			Files: []document.FileSet{set("/d/part", "x.*", true, 0)}},
		{LogicalPath: "a", Name: "rest", Files: []document.FileSet{set("/d/rest", "one", false, 0)}},
		{Name: "b", Selectable: true, Files: []document.FileSet{set("/d/b", "*", false, 0)}},
	}
	for _, c := range []struct {
		name   string
		change func(*document.WriterMetadata, *document.WriterComponents)
		wanted []string
		want   []string // lines
		code   vss.Code
		told   string
	}{
		{name: "all", want: []string{"/d/a", "/d/part/x.*", "/d/rest/one", "/d/b/*"}},
		{name: "one", wanted: []string{"My Writer/b"}, want: []string{"/d/b/*"}},
		{name: "a set", wanted: []string{"My Writer/a"}, want: []string{"/d/a", "/d/part/x.*", "/d/rest/one"}},
		{name: "a subcomponent", wanted: []string{"My Writer/a/part"}, want: []string{"/d/part/x.*"}},
		{name: "a subcomponent that comes along only", wanted: []string{"My Writer/a/rest"}, code: vss.ErrInvalidArg},
		{name: "none", wanted: []string{"My Writer/c"}, code: vss.ErrObjectNotFound},
		{name: "a backup that failed", change: func(_ *document.WriterMetadata, w *document.WriterComponents) {
			w.Components[0].BackupSucceeded = false
		},
			want: []string{"/d/b/*"}, told: "its backup failed"},
		{name: "a backup that failed, wanted", change: func(_ *document.WriterMetadata, w *document.WriterComponents) {
			w.Components[1].BackupSucceeded = false
		},
			wanted: []string{"My Writer/b"}, want: []string{"/d/b/*"}},
		{name: "a private procedure", change: func(m *document.WriterMetadata, _ *document.WriterComponents) {
			m.RestoreMethod = &document.RestoreMethod{Method: vss.RestoreCustom, WriterRestore: vss.WriterRestoreAlways}
		}, code: vss.ErrObjectNotFound, told: "custom restore"},
		{name: "metadata of another backup", change: func(m *document.WriterMetadata, _ *document.WriterComponents) {
			m.InstanceID = vss.WriterInstanceID{GUID: vss.NewGUID()}
		}, code: vss.ErrObjectNotFound},
		{name: "to another place", change: func(m *document.WriterMetadata, _ *document.WriterComponents) {
			m.RestoreMethod = &document.RestoreMethod{Method: vss.RestoreToAlternateLocation,
				WriterRestore: vss.WriterRestoreAlways}
		}, code: vss.ErrNotSupported},
		{name: "to where the writer says", change: func(_ *document.WriterMetadata, w *document.WriterComponents) {
			w.Components[1].RestoreTarget = vss.TargetDirected
		}, wanted: []string{"My Writer/b"}, code: vss.ErrNotSupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, w := saver(full...)
			if c.change != nil {
				c.change(m, w)
			}
			r, told, err := restoring(t, m, w, c.wanted...)
			var lines []string
			if err == nil {
				for _, i := range r.items {
					if err = i.list(r.backup.Writers, vss.BackupFull,
						func(p string) error { lines = append(lines, p); return nil }); err != nil {
						break
					}
				}
			}
			if vss.CodeOf(err) != c.code || err != nil && vss.Hint(err) == "" {
				t.Errorf("%v, want %v", err, c.code)
			}
			if c.code == vss.OK && !slices.Equal(lines, c.want) {
				t.Errorf("listed %q, want %q", lines, c.want)
			}
			if !strings.Contains(told, c.told) || c.told == "" && told != "" {
				t.Errorf("told: %q", told)
			}
		})
	}
}
