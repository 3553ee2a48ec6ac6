package lint

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestFaultsNameTests: each test named in docs/faults.md exists in the package named before it, and each row about a
// fault names a test or the reason for its absence.
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
	// why a row names none; the last two head a table
	reasons := []string{"by construction", "documented", "next", "test", "---"}
	found := 0
	for _, row := range strings.Split(string(text), "\n") {
		cells := strings.Split(strings.Trim(row, "|"), "|")
		last := strings.TrimSpace(cells[len(cells)-1])
		pkg, before := "", found
		for _, m := range named.FindAllStringSubmatch(last, -1) {
			if m[1] != "" {
				pkg = m[1]
				continue
			}
			found++
			if !slices.ContainsFunc(
				where[m[2]],
				func(p string) bool { return strings.TrimPrefix(p, "internal/") == pkg },
			) {
				t.Errorf("docs/faults.md: %s isn't in %q, but in %q", m[2], pkg, where[m[2]])
			}
		}
		if len(cells) == 4 && found == before && !slices.Contains(reasons, last) {
			t.Errorf("docs/faults.md names no test, and no reason why there is none: %s", row)
		}
	}
	if found < 50 {
		t.Errorf("docs/faults.md names %d tests", found)
	}
}
