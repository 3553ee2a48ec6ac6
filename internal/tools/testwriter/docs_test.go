package testwriter

import (
	"os"
	"strings"
	"testing"
)

// TestDocumentation checks that the program accepts the sample in the documentation, and that the documentation
// contains every value of a fault.
func TestDocumentation(t *testing.T) {
	b, err := os.ReadFile("../../../docs/writers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "vss-testwriter [--run DIR] [--check] FILE\n")
	sample, table, found := strings.Cut(text, "\n| `do` |")
	if !found {
		t.Fatal("the sample is missing")
	}
	s, err := parse(strings.ReplaceAll(sample, "\n    ", "\n"))
	if err != nil || len(s.metadata.Components) != 1 || len(s.Faults) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, act := range acts {
		if !strings.Contains(table, "| `"+act+"` |") {
			t.Errorf("the documentation doesn't explain %s", act)
		}
	}
	for lie := range lies {
		if !strings.Contains(table, `"`+lie+`"`) {
			t.Errorf("the documentation doesn't explain the lie about %s", lie)
		}
	}
}
