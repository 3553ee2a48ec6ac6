package aside

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stillpoint-vss/stillpoint/document"
)

var owner = Owner{os.Geteuid(), os.Getegid()}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tree makes files in a new folder and gives its path and what is in it.
func tree(t *testing.T, files ...string) (dir string, list func() []string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	for _, f := range files {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o755))
		must(t, os.WriteFile(filepath.Join(dir, f), []byte(f), 0o644))
	}
	return dir, func() []string {
		var out []string
		entries, err := os.ReadDir(dir)
		must(t, err)
		for _, e := range entries {
			out = append(out, e.Name())
		}
		return out
	}
}

func TestSetAside(t *testing.T) {
	for _, c := range []struct {
		name string
		sets []document.FileSet
		left []string
	}{
		{"a whole folder", []document.FileSet{{FileSpec: "*", Recursive: true}}, nil},
		{"files of a kind, twice", []document.FileSet{{FileSpec: "ib_*"}, {FileSpec: "undo*"}},
			[]string{".before-restore-tag", "other", "sub"}},
		{"files but no folders", []document.FileSet{{FileSpec: "*"}}, []string{".before-restore-tag", "sub"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, list := tree(t, "ib_1", "ib_2", "undo1", "other", "sub/file")
			all := list()
			for i := range c.sets {
				c.sets[i].Path = dir
			}
			set := func() (moved []Moved) {
				for _, s := range c.sets {
					m, err := owner.Set(s, "tag")
					must(t, err)
					moved = append(moved, m...)
				}
				if got := list(); !slices.Equal(got, c.left) {
					t.Errorf("left %v, want %v", got, c.left)
				}
				if !Empty(c.sets) {
					t.Error("not empty")
				}
				return moved
			}
			must(t, owner.Back(set()))
			if got := list(); !slices.Equal(got, all) || Empty(c.sets) {
				t.Errorf("put back: %v, want %v", got, all)
			}
			moved := set()
			must(t, os.WriteFile(filepath.Join(dir, "ib_1"), []byte("restored"), 0o644))
			if err := owner.Back(moved); err == nil {
				t.Error("no error for a name that is taken")
			}
			if b, err := os.ReadFile(filepath.Join(dir, "ib_1")); err != nil || string(b) != "restored" {
				t.Errorf("a restored file was replaced: %q, %v", b, err)
			}
			if err := owner.Drop(moved); err != nil {
				t.Error(err)
			}
			if left, _ := filepath.Glob(dir + ".before-restore-*"); len(left) > 0 {
				t.Errorf("dropped, and %v are left", left)
			}
		})
	}
}

func TestFolderThatIsGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a/b")
	moved, err := owner.Set(document.FileSet{Path: dir, FileSpec: "*", Recursive: true}, "tag")
	if err != nil || moved != nil {
		t.Fatalf("%v, %v", moved, err)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", st, err)
	}
}
