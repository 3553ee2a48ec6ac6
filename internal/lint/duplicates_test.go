package lint

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// repeated is the number of equal lines from which on two places are a duplicate. Blank lines, lines of nothing but
// brackets and punctuation, imports and package clauses don't count.
const repeated = 6

// place is a line of a file that counts, numbered from 1.
type place struct {
	file, line int
	text       string
}

// duplicate is a run of equal lines in two places.
type duplicate struct {
	a, b   string // paths of the files
	where  string // both places, for a message
	length int
}

// TestDuplicates finds code that stands in two places. ../../tools/duplicates.txt lists the exceptions with their
// reasons.
func TestDuplicates(t *testing.T) {
	excused, used := exceptions(t), map[string]bool{}
	var files []file
	for _, f := range goFiles(t) {
		if !strings.HasSuffix(f.name, "_test.go") {
			files = append(files, f)
		}
	}
	for _, d := range duplicates(files) {
		key := d.a + " " + d.b
		if _, ok := excused[key]; !ok {
			t.Errorf("%d equal lines: %s: write the code once, or give a reason in tools/duplicates.txt", d.length,
				d.where)
		}
		used[key] = true
	}
	for key := range excused {
		if !used[key] {
			t.Errorf("tools/duplicates.txt excuses %s, which have no equal lines", key)
		}
	}
}

// exceptions reads tools/duplicates.txt: two paths in the order of the alphabet, then the reason.
func exceptions(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../tools/duplicates.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, line := range strings.Split(string(text), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Fields(line)
		if len(f) < 4 || f[0] > f[1] {
			t.Errorf("tools/duplicates.txt: %q: want two paths in alphabetical order and a reason", line)
			continue
		}
		all[f[0]+" "+f[1]] = strings.Join(f[2:], " ")
	}
	return all
}

// duplicates returns the runs of at least repeated equal lines in files, longest first.
func duplicates(files []file) []duplicate {
	var lines []place
	for i, f := range files {
		lines = append(lines, counted(i, f.text)...)
		lines = append(lines, place{file: -1 - i}) // no run crosses the end of a file
	}
	at := map[string][]int{} // repeated lines from each index on -> the indexes
	for i := 0; i+repeated <= len(lines); i++ {
		if w, ok := window(lines[i : i+repeated]); ok {
			at[w] = append(at[w], i)
		}
	}
	var found []duplicate
	for _, places := range at {
		for i, x := range places {
			for _, y := range places[i+1:] {
				if d, ok := run(files, lines, x, y); ok {
					found = append(found, d)
				}
			}
		}
	}
	slices.SortFunc(found, func(a, b duplicate) int {
		if a.length != b.length {
			return b.length - a.length
		}
		return strings.Compare(a.where, b.where)
	})
	return found
}

// run returns the longest run of equal lines that begins at x and y; false if an earlier line belongs to it too, or the
// two places overlap.
func run(files []file, lines []place, x, y int) (duplicate, bool) {
	if x > 0 && lines[x-1].file == lines[x].file && lines[y-1].file == lines[y].file &&
		lines[x-1].text == lines[y-1].text {
		return duplicate{}, false
	}
	n := 0
	for y+n < len(lines) && lines[x+n].file == lines[x].file && lines[y+n].file == lines[y].file &&
		lines[x+n].text == lines[y+n].text {
		n++
	}
	if lines[x].file == lines[y].file && x+n > y {
		n = y - x
	}
	if n < repeated {
		return duplicate{}, false
	}
	a, b := files[lines[x].file].path, files[lines[y].file].path
	d := duplicate{a: a, b: b, length: n, where: fmt.Sprintf("%s:%d-%d and %s:%d-%d",
		a, lines[x].line, lines[x+n-1].line, b, lines[y].line, lines[y+n-1].line)}
	if a > b {
		d.a, d.b = b, a
	}
	return d, true
}

// window joins the texts of lines; false if they are of more than one file.
func window(lines []place) (string, bool) {
	var b strings.Builder
	for _, l := range lines {
		if l.file != lines[0].file {
			return "", false
		}
		b.WriteString(l.text)
		b.WriteByte('\n')
	}
	return b.String(), true
}

// counted returns the lines of a file that count.
func counted(file int, text []byte) []place {
	var lines []place
	imports := false
	for i, raw := range bytes.Split(text, []byte("\n")) {
		line := strings.TrimSpace(string(raw))
		switch {
		case line == "import (":
			imports = true
		case imports:
			imports = line != ")"
		case strings.HasPrefix(line, "package "), strings.HasPrefix(line, "import "):
		case strings.IndexFunc(line, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) < 0:
		default:
			lines = append(lines, place{file: file, line: i + 1, text: line})
		}
	}
	return lines
}

// TestDuplicatesFindsThem: copies of six lines are found across files and within one, and five aren't enough.
func TestDuplicatesFindsThem(t *testing.T) {
	six := "a()\nb()\n\nc()\nd()\n}\ne()\nf()\n"
	five := "a()\nb()\nc()\nd()\ne()\n"
	for _, c := range []struct {
		name  string
		texts []string
		want  int
	}{
		{"two files", []string{"x()\n" + six, six + "y()\n"}, 1},
		{"one file", []string{six + "x()\n" + six}, 1},
		{"three files", []string{six, six, six}, 3},
		{"five lines", []string{five + "x()\n", five + "y()\n"}, 0},
		{"imports", []string{"import (\n" + six + ")\n", "import (\n" + six + ")\n"}, 0},
		{"the end of a file", []string{five, "f()\n", five, "f()\n"}, 0},
	} {
		var files []file
		for i, text := range c.texts {
			files = append(files, file{path: fmt.Sprint(i), text: []byte(text)})
		}
		if got := duplicates(files); len(got) != c.want {
			t.Errorf("%s: %d duplicates, want %d: %v", c.name, len(got), c.want, got)
		}
	}
}
