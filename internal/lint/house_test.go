package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The rules of this file hold for every Go file that is written by hand.
const (
	widest      = 120 // columns of a line; a tab counts 4
	longestFunc = 60  // lines of a function outside tests
	longestCore = 400 // lines of a file of internal/coordinator outside tests
)

// file is one Go file of the module that is written by hand.
type file struct {
	pkg, path, name string // package without the module's path; path relative to the module; name of the file
	text            []byte
}

// test reports whether a file is a test, or belongs to a package that only supports tests.
func (f file) test() bool {
	return strings.HasSuffix(f.name, "_test.go") || strings.HasSuffix(f.pkg, "test")
}

// goFiles returns the Go files of all packages, tests included, without generated ones.
func goFiles(t *testing.T) []file {
	t.Helper()
	var all []file
	for _, s := range sources(t) {
		for _, name := range append(append(append([]string{}, s.GoFiles...), s.TestGoFiles...), s.XTestGoFiles...) {
			if strings.HasSuffix(name, ".pb.go") {
				continue
			}
			text, err := os.ReadFile(filepath.Join(s.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, file{s.name(), s.name() + "/" + name, name, text})
		}
	}
	return all
}

// report fails with the findings of each package.
func report(t *testing.T, findings map[string][]string, rule string) {
	t.Helper()
	for pkg, list := range findings {
		t.Errorf("%s: %d places: %s\n\t%s", pkg, len(list), rule, strings.Join(list, "\n\t"))
	}
}

func TestWidth(t *testing.T) {
	findings := map[string][]string{}
	for _, f := range goFiles(t) {
		for i, line := range bytes.Split(f.text, []byte("\n")) {
			if n := width(string(line)); n > widest {
				findings[f.pkg] = append(findings[f.pkg], fmt.Sprintf("%s:%d: %d columns", f.path, i+1, n))
			}
		}
	}
	report(t, findings, fmt.Sprintf("lines have at most %d columns, a tab counts 4", widest))
}

// width returns the number of columns of a line.
func width(line string) int {
	n := 0
	for _, r := range line {
		if r == '\t' {
			n += 3
		}
		n++
	}
	return n
}

func TestFunctions(t *testing.T) {
	findings := map[string][]string{}
	for _, f := range goFiles(t) {
		if f.test() {
			continue
		}
		set := token.NewFileSet()
		parsed, err := parser.ParseFile(set, f.path, f.text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			from, to := set.Position(fn.Pos()).Line, set.Position(fn.End()).Line
			if n := to - from + 1; n > longestFunc {
				findings[f.pkg] = append(
					findings[f.pkg],
					fmt.Sprintf("%s:%d: %s has %d lines", f.path, from, fn.Name.Name, n),
				)
			}
		}
	}
	report(t, findings, fmt.Sprintf("functions have at most %d lines", longestFunc))
}

// TestCoordinatorFiles: the coordinator stays in small files.
func TestCoordinatorFiles(t *testing.T) {
	findings := map[string][]string{}
	for _, f := range goFiles(t) {
		n := bytes.Count(f.text, []byte("\n"))
		if within(f.pkg, []string{"internal/coordinator"}) && !f.test() && n > longestCore {
			findings[f.pkg] = append(findings[f.pkg], fmt.Sprintf("%s has %d lines", f.path, n))
		}
	}
	report(t, findings, fmt.Sprintf("files of the coordinator have at most %d lines", longestCore))
}

// phrases are expressions that comments and messages avoid, with what to write instead.
var phrases = []struct {
	text    *regexp.Regexp
	instead string
}{
	{
		regexp.MustCompile(`(//|"|^[^/]*[.;] |^| )([Ww]ho|[Ww]hoever|[Ww]hatever)\b`),
		"name the caller, the process or the thing",
	},
	{regexp.MustCompile(`(//|").*\bis no [a-z]`), `write "invalid ..." or "is not a ..."`},
	{
		regexp.MustCompile(`(//|").*\b([Tt]ells|[Mm]end|[Mm]ends|[Mm]ended|[Cc]ure|[Cc]ures|[Cc]ured)\b`),
		`write "returns", "reports", "repair" or "fix"`,
	},
}

// common are uses of these expressions that are common English.
var common = regexp.MustCompile(
	`\b([Tt]here (is|are) no|is no longer|(users?|people|administrators?|developers?|readers?|those) who)\b`,
)

// TestPhrases looks for expressions that make comments and messages hard to read.
func TestPhrases(t *testing.T) {
	findings := map[string][]string{}
	for _, f := range goFiles(t) {
		if f.pkg == "internal/lint" {
			continue
		}
		for i, line := range strings.Split(string(f.text), "\n") {
			for _, p := range phrases {
				if p.text.MatchString(common.ReplaceAllString(line, "")) {
					findings[f.pkg] = append(findings[f.pkg],
						fmt.Sprintf("%s:%d: %s: %s", f.path, i+1, strings.TrimSpace(line), p.instead))
				}
			}
		}
	}
	report(t, findings, "comments and messages are in plain English")
}
