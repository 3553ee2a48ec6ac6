package testrequester

import (
	"os"
	"strings"
	"testing"
)

// TestDocumentation checks that the program accepts the script in the documentation.
func TestDocumentation(t *testing.T) {
	b, err := os.ReadFile("../../../docs/writers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(b), "vss-testrequester [--run DIR] [--json] [--calls] FILE\n")
	text, _, found := strings.Cut(text, "\n`--calls` lists")
	script, err := parse(strings.NewReader(text))
	if !found || err != nil || len(script) < 15 {
		t.Errorf("%d lines, %v", len(script), err)
	}
}
