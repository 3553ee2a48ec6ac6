package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestFaultsNameTests: a test that docs/faults.md calls a proof is there, in the package named before it.
func TestFaultsNameTests(t *testing.T) {
	text, err := os.ReadFile("../../docs/faults.md")
	if err != nil {
		t.Fatal(err)
	}
	where := map[string][]string{} // test -> packages, by their path in the module
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz)\w+)\(`)
	for _, s := range sources(t) {
		for _, f := range append(append([]string{}, s.TestGoFiles...), s.XTestGoFiles...) {
			b, err := os.ReadFile(filepath.Join(s.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range declared.FindAllStringSubmatch(string(b), -1) {
				where[m[1]] = append(where[m[1]], s.name())
			}
		}
	}
	named := regexp.MustCompile("`([a-z0-9/-]+)`|\\b((?:Test|Benchmark|Fuzz)[A-Z]\\w*)")
	found := 0
	for _, line := range strings.Split(string(text), "\n") {
		if i := strings.LastIndex(strings.TrimSuffix(line, " |"), "| "); i >= 0 {
			line = line[i:]
		}
		pkg := ""
		for _, m := range named.FindAllStringSubmatch(line, -1) {
			if m[1] != "" {
				pkg = m[1]
				continue
			}
			found++
			there := false
			for _, p := range where[m[2]] {
				there = there || strings.TrimPrefix(p, "internal/") == pkg
			}
			if !there {
				t.Errorf("docs/faults.md: %s isn't in %q, but in %q", m[2], pkg, where[m[2]])
			}
		}
	}
	if found < 50 {
		t.Errorf("docs/faults.md names %d tests", found)
	}
}
