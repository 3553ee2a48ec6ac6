package filelist

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// plant makes what is named below a directory: "dir/", "file", "link -> target".
func plant(t *testing.T, names ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, n := range names {
		var err error
		name, target, link := strings.Cut(n, " -> ")
		at := filepath.Join(root, name)
		if err = os.MkdirAll(filepath.Dir(at), 0o700); err == nil {
			switch {
			case link:
				err = os.Symlink(target, at)
			case strings.HasSuffix(n, "/"):
				err = os.MkdirAll(at, 0o700)
			default:
				err = os.WriteFile(at, []byte(n), 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// walked are the paths visited, one line each: directories end in "/", what is read elsewhere says from where, errors
// "!".
func walked(t *testing.T, root string, l *List) []string {
	t.Helper()
	out := []string{}
	err := l.Walk(root, func(f File, err error) error {
		line := f.Path
		if f.Dir {
			line += "/"
		}
		if f.Source != f.Path {
			line += " from " + f.Source
		}
		if err != nil {
			out = append(out, "! "+line)
			return nil
		}
		if info, err := os.Lstat(f.At); err != nil || info.IsDir() != f.Dir {
			t.Errorf("%s isn't at %s: %v", line, f.At, err)
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return out
}

func TestWalk(t *testing.T) {
	root := plant(
		t,
		"a/x.db",
		"a/y.log",
		"a/sub/z.db",
		"a/sub/deep/z.log",
		"a/empty/",
		"a/out -> ../b",
		"a/dangling -> nowhere",
		"b/one",
		"b/two",
		"spit/x.db",
		"home/real/f",
		"home/abs -> /home/real",
		"home/up -> ../../../../home/real",
		"home/loop -> loop",
		"plain",
	)
	set := func(path, spec string, recursive bool) document.FileSet {
		return document.FileSet{Path: path, FileSpec: spec, Recursive: recursive}
	}
	for _, c := range []struct {
		name     string
		sets     []document.FileSet
		excludes []document.FileSet
		want     []string
	}{
		{"one directory: files and links, no directories", []document.FileSet{set("/a", "*", false)}, nil,
			[]string{"/a/dangling", "/a/out", "/a/x.db", "/a/y.log"}},
		{"a pattern", []document.FileSet{set("/a/", "?.db", false)}, nil, []string{"/a/x.db"}},
		{"a pattern that fits nothing", []document.FileSet{set("/a", "*.none", false)}, nil, []string{}},
		{"a file by name", []document.FileSet{set("/a", "x.db", false)}, nil, []string{"/a/x.db"}},
		{"a link by name", []document.FileSet{set("/a", "dangling", false)}, nil, []string{"/a/dangling"}},
		{"a file by name that isn't there", []document.FileSet{set("/a", "none", false)}, nil, []string{"! /a/none"}},
		{"a directory by the name of a file", []document.FileSet{set("/a", "sub", false)}, nil, []string{"! /a/sub"}},
		{"a directory that isn't there, by pattern", []document.FileSet{set("/none", "*", true)}, nil, []string{}},
		{"a directory that isn't there, by name", []document.FileSet{set("/none", "x", false)}, nil,
			[]string{"! /none/x"}},
		{"a file where a directory is named", []document.FileSet{set("/plain", "*", true)}, nil, []string{"! /plain"}},
		{"below a file", []document.FileSet{set("/plain/sub", "*", true)}, nil, []string{"! /plain/sub"}},
		{"recursive: directories too, empty ones as well; links aren't followed",
			[]document.FileSet{set("/a", "*", true)}, nil, []string{"/a/", "/a/dangling", "/a/empty/",
				"/a/out", "/a/sub/", "/a/sub/deep/", "/a/sub/deep/z.log", "/a/sub/z.db", "/a/x.db", "/a/y.log"}},
		{"recursive by pattern: directories in which nothing fits are there",
			[]document.FileSet{set("/a", "*.db", true)}, nil,
			[]string{"/a/", "/a/empty/", "/a/sub/", "/a/sub/deep/", "/a/sub/z.db", "/a/x.db"}},
		{"recursive by name", []document.FileSet{set("/a", "z.db", true)}, nil,
			[]string{"/a/", "/a/empty/", "/a/sub/", "/a/sub/deep/", "/a/sub/z.db"}},
		{"recursive by a name that isn't there", []document.FileSet{set("/b", "z.db", true)}, nil,
			[]string{"/b/", "! /b/z.db"}},
		{"from the top", []document.FileSet{set("/", "plain", false)}, nil, []string{"/plain"}},
		{"excluded", []document.FileSet{set("/a", "*", true)},
			[]document.FileSet{set("/a", "*.log", true), set("/a", "*", false), set("/b", "*", true)},
			[]string{"/a/", "/a/empty/", "/a/sub/", "/a/sub/deep/", "/a/sub/z.db"}},
		{"excluded: all below, though directories stay", []document.FileSet{set("/a", "*", true)},
			[]document.FileSet{set("/a/sub", "*", true), set("/a", "*", false)},
			[]string{"/a/", "/a/empty/", "/a/sub/", "/a/sub/deep/"}},
		{"excluded by name: not missed", []document.FileSet{set("/a", "x.db", false), set("/a", "none", false)},
			[]document.FileSet{set("/a", "*", false)}, []string{}},
		{"alternate path: read from there", []document.FileSet{{Path: "/a", FileSpec: "*.db", AlternatePath: "/spit"}},
			nil, []string{"/a/x.db from /spit/x.db"}},
		{"alternate path: excluded by where it belongs",
			[]document.FileSet{{Path: "/a", FileSpec: "*.db", AlternatePath: "/spit"}},
			[]document.FileSet{set("/a", "x.db", false)}, []string{}},
		{"alternate path: not excluded by where it is read",
			[]document.FileSet{{Path: "/a", FileSpec: "*.db", AlternatePath: "/spit"}},
			[]document.FileSet{set("/spit", "*", true)},
			[]string{"/a/x.db from /spit/x.db"}},
		{"two sets claim a file: once", []document.FileSet{set("/a/sub", "*.db", false), set("/a", "*.db", true)}, nil,
			[]string{"/a/sub/z.db", "/a/", "/a/empty/", "/a/sub/", "/a/sub/deep/", "/a/x.db"}},
		{"a link on the way, absolute: within the root", []document.FileSet{set("/home/abs", "*", true)}, nil,
			[]string{"/home/abs/", "/home/abs/f"}},
		{"a link on the way, out of the root: within the root", []document.FileSet{set("/home/up", "f", false)}, nil,
			[]string{"/home/up/f"}},
		{"a link to itself", []document.FileSet{set("/home/loop", "*", true)}, nil, []string{"! /home/loop/*"}},
		{"dots", []document.FileSet{set("/../../home/./real/..", "*", false)}, nil,
			[]string{"/home/abs", "/home/loop", "/home/up"}},
		{"a path of Windows", []document.FileSet{set(`C:\Data`, "*", true)}, nil, []string{`! C:\Data/*`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := tree("+a")
			m.Components[0].Files, m.ExcludeFiles = c.sets, c.excludes
			l := New(m, chosen("a"), vss.BackupFull)
			if d := cmp.Diff(c.want, walked(t, root, l)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestWalkSince: of a differenced set only what changed from a time on, and its directories; the mask's own set
// doesn't bring back what was passed over. A partial file is visited once, as such.
func TestWalkSince(t *testing.T) {
	root := plant(t, "a/old", "a/new", "a/same", "a/big", "a/sub/old", "a/link -> old")
	at := time.Date(2026, 3, 4, 5, 6, 7, 800, time.UTC)
	for name, by := range map[string]time.Duration{"old": -time.Microsecond, "sub/old": -time.Hour, "new": time.Hour,
		"same": 0, "big": time.Hour} {
		if err := os.Chtimes(filepath.Join(root, "a", name), at, at.Add(by)); err != nil {
			t.Fatal(err)
		}
	}
	m, w := tree("+a"), chosen("a")
	m.BackupSchema = vss.SchemaIncremental | vss.SchemaLastModify
	m.Components[0].Files = []document.FileSet{{Path: "/a", FileSpec: "*", Recursive: true}}
	k := w.Components[0]
	k.DifferencedFiles = []document.DifferencedFiles{
		{Path: "/a", FileSpec: "*", Recursive: true, Since: document.FileTime(at)},
	}
	want := []string{"/a/", "/a/big", "/a/link", "/a/new", "/a/same", "/a/sub/"}
	if d := cmp.Diff(want, unique(walked(t, root, New(m, w, vss.BackupIncremental)))); d != "" {
		t.Errorf("differenced (-want +got):\n%s", d)
	}
	k.DifferencedFiles, k.PartialFiles = nil, []document.PartialFile{
		{Path: "/a", FileName: "big", Ranges: "0:1"},
		{Path: "/a/sub", FileName: "none", Ranges: "0:1"},
	}
	l := New(m, w, vss.BackupIncremental)
	want = []string{"/a/big", "! /a/sub/none", "/a/", "/a/link", "/a/new", "/a/old", "/a/same", "/a/sub/", "/a/sub/old"}
	if d := cmp.Diff(want, walked(t, root, l)); d != "" {
		t.Errorf("partial (-want +got):\n%s", d)
	}
	if l.Sets[0].Partial != &k.PartialFiles[0] {
		t.Error("the partial file isn't marked")
	}
	if got := document.FileTime(time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)); got != 116444736000000000 {
		t.Errorf("1970 is %d", got)
	}
	if got := document.FileTime(time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC)); got != 0 {
		t.Errorf("1600 is %d", got)
	}
}

// unique drops repetitions: directories are visited for each of their sets.
func unique(list []string) []string {
	out, seen := []string{}, map[string]bool{}
	for _, s := range list {
		if !seen[s] {
			out = append(out, s)
		}
		seen[s] = true
	}
	return out
}

// TestWalkErrors: what isn't a file is passed over, the code of what is missing, and the visitor's own end.
func TestWalkErrors(t *testing.T) {
	root := plant(t, "a/file", "a/other")
	l, err := net.Listen("unix", filepath.Join(root, "a", "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := syscall.Mkfifo(filepath.Join(root, "a", "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := tree("+a")
	m.Components[0].Files = []document.FileSet{{Path: "/a", FileSpec: "*", Recursive: true}}
	list := New(m, chosen("a"), vss.BackupFull)
	if d := cmp.Diff([]string{"/a/", "/a/file", "/a/other"}, walked(t, root, list)); d != "" {
		t.Errorf("sockets and pipes (-want +got):\n%s", d)
	}
	enough, visits := errors.New("enough"), 0
	if err := list.Walk(root, func(File, error) error { visits++; return enough }); !errors.Is(err, enough) ||
		visits != 1 {
		t.Errorf("after %d visits: %v", visits, err)
	}
	m.Components[0].Files = []document.FileSet{{Path: "/a", FileSpec: "none"}}
	err = New(m, chosen("a"), vss.BackupFull).Walk(root, func(f File, err error) error {
		if f.Set.Explicit.Name != "a" || f.Set.Member != &m.Components[0] {
			t.Errorf("of %+v", f.Set)
		}
		return err
	})
	if !errors.Is(err, vss.ErrObjectNotFound) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that isn't there: %v", err)
	}
}
