package lint

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// source is one package of the module, as go list knows it.
type source struct {
	ImportPath, Dir, Doc               string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports, TestImports, XTestImports []string
}

func (s source) name() string { return strings.TrimPrefix(s.ImportPath, module+"/") }

func sources(t *testing.T) []source {
	t.Helper()
	cmd := exec.Command(
		"go",
		"list",
		"-e",
		"-json=ImportPath,Dir,Doc,GoFiles,TestGoFiles,XTestGoFiles,Imports,TestImports,XTestImports",
		module+"/...",
	)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []source
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var s source
		if err := d.Decode(&s); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	if len(all) < 10 {
		t.Fatalf("go list found %d packages", len(all))
	}
	return all
}

func TestLayers(t *testing.T) {
	for _, s := range sources(t) {
		for _, to := range s.Imports {
			if ours, ok := strings.CutPrefix(to, module+"/"); ok {
				if why := mayImport(s.name(), ours); why != "" {
					t.Error(why)
				}
			}
			for _, o := range owners {
				if within(to, []string{o.path}) && !within(s.name(), o.owners) {
					t.Errorf("%s imports %s: %s", s.name(), to, o.reason)
					break
				}
			}
		}
	}
}

func TestMayImport(t *testing.T) {
	for _, c := range []struct {
		from, to string
		may      bool
	}{
		{"document", "vss", true},
		{"vss", "document", false},
		{"internal/coordinator", "internal/hold", true},
		{"internal/hold", "internal/coordinator", false},
		{"internal/coordinator", "internal/copies", true},
		{"internal/coordinator", "internal/vds", false},
		{"internal/coordinator", "internal/array", false},
		{"internal/providers/lun", "internal/coordinator", false},
		{"internal/providers/lun", "internal/providers/lvm", false},
		{"internal/service", "internal/providers/lun", true},
		{"internal/mount", "internal/disk", false},
		{"internal/copies", "internal/writerset", false},
		{"internal/rpc", "internal/coordinator", true},
		{"internal/writers/postgres", "internal/writers/hook", false},
		{"internal/writers/postgres", "internal/providers/lun", false},
		{"internal/array/pool", "internal/array", true},
		{"internal/array", "internal/array/pool", false},
		{"internal/array/pool/thin", "internal/array/pool/reflink", false},
		{"internal/array/target/loop", "internal/array/pool", false},
		{"internal/array/target/loop", "internal/array/loopdev", true},
		{"internal/array/pool/pooltest", "internal/array/pool", true},
		{"internal/tools/vsscmd", "requester", true},
		{"internal/tools/vsscmd", "internal/catalog", false},
		{"internal/tools/vsscmd", "api/vss/v1", false},
		{"internal/tools/diskshadow", "internal/tools/vsscmd", false},
		{"internal/tools/diskshadow", "internal/tools/cli", true},
		{"cmd/vss", "internal/tools/vsscmd", true},
		{"writer", "provider", false},
		{"elsewhere", "vss", false},
	} {
		if why := mayImport(c.from, c.to); (why == "") != c.may {
			t.Errorf("%s -> %s: may %v, but %q", c.from, c.to, c.may, why)
		}
	}
}

// TestNamedPackages checks that every name in the rules is a package, or a folder of packages.
func TestNamedPackages(t *testing.T) {
	names := map[string][]string{"strangers": strangers, "shared": shared, "mounters": mounters}
	for _, row := range layout {
		names["layout"] = append(names["layout"], row...)
	}
	for _, o := range owners {
		names["owners of "+o.path] = o.owners
	}
	for _, b := range banned {
		names["users of "+b.pkg+"."+b.name] = b.except
	}
	all := sources(t)
	for rule, list := range names {
		for _, n := range list {
			if !slices.ContainsFunc(all, func(s source) bool { return within(s.name(), []string{n}) }) {
				t.Errorf("%s: no package is %s, or is below it", rule, n)
			}
		}
	}
}

// TestPackageComments: every package has a package comment, except those with nothing but tests.
func TestPackageComments(t *testing.T) {
	for _, s := range sources(t) {
		if len(s.GoFiles) > 0 && s.Doc == "" {
			t.Errorf("%s has no package comment", s.name())
		}
	}
}

// longest is the maximum number of lines of a file that isn't generated.
const longest = 600

func TestFiles(t *testing.T) {
	for _, s := range sources(t) {
		for _, f := range append(append(append([]string{}, s.GoFiles...), s.TestGoFiles...), s.XTestGoFiles...) {
			if strings.HasSuffix(f, ".pb.go") {
				continue
			}
			checkFile(t, s.name(), filepath.Join(s.Dir, f), f)
		}
	}
}

func checkFile(t *testing.T, pkg, path, name string) {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Error(err)
		return
	}
	if n := files.File(f.FileStart).LineCount(); n > longest {
		t.Errorf("%s/%s has %d lines; split it", pkg, name, n)
	}
	imported := map[string]string{} // name in this file -> path
	for _, i := range f.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		as := p[strings.LastIndexByte(p, '/')+1:]
		if i.Name != nil {
			as = i.Name.Name
		}
		imported[as] = p
	}
	test := strings.HasSuffix(name, "_test.go")
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := call.X.(*ast.Ident)
		if !ok {
			return true
		}
		if test && pkg != "lab" && strings.HasPrefix(call.Sel.Name, "Skip") && (x.Name == "t" || x.Name == "b") {
			t.Errorf(
				"%v: a test that can't run says so by internal/lane, so that CI can demand it",
				files.Position(call.Pos()),
			)
		}
		for _, b := range banned {
			if !test && imported[x.Name] == b.pkg && call.Sel.Name == b.name && !within(pkg, b.except) {
				t.Errorf("%v: %s.%s: %s", files.Position(call.Pos()), b.pkg, b.name, b.reason)
			}
		}
		return true
	})
}
