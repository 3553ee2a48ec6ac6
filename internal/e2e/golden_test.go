package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// recordJSON names the program, a vss of the commit 076ba50, of which TestJSON records the documents instead of
// comparing its own with them:
//
//	VSS_RECORD_JSON=/path/to/vss go test -run 'TestJSON$' ./internal/e2e
const recordJSON = "VSS_RECORD_JSON"

// golden compares documents with golden files.
type golden struct {
	testing.TB
	dir    string            // folder of the test, DIR in golden files
	record bool              // write the golden files instead
	names  map[string]string // what ids and the like are called in golden files
}

func newGolden(t testing.TB, dir string) *golden {
	return &golden{TB: t, dir: dir, record: os.Getenv(recordJSON) != "", names: map[string]string{}}
}

// readDocument returns the one document of a command's output; nil for none, since exec leaves standard output to its
// command; and a list for several, since events prints one a line.
func readDocument(b []byte) (any, error) {
	var all []any
	for d := json.NewDecoder(bytes.NewReader(b)); ; {
		var doc any
		switch err := d.Decode(&doc); {
		case errors.Is(err, io.EOF) && len(all) == 1:
			return all[0], nil
		case errors.Is(err, io.EOF) && len(all) == 0:
			return nil, nil
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		}
		all = append(all, doc)
	}
}

// compare compares a document with the golden file called name, or writes that file.
func (g *golden) compare(name string, args []string, doc any) {
	g.Helper()
	for k := range g.names { // numbered anew in each document: other programs use loop devices as well
		if strings.HasPrefix(k, "LOOP") {
			delete(g.names, k)
		}
	}
	path := filepath.Join("testdata", "json", name+".golden")
	title := "vss --json " + g.plain(strings.Join(args, " ")) + "\n"
	got := g.value("", doc)
	if g.record {
		if err := writeGolden(path, title, got); err != nil {
			g.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(path)
	_, body, _ := strings.Cut(string(text), "\n")
	var want any
	if err == nil {
		err = json.Unmarshal([]byte(body), &want)
	}
	if err != nil {
		g.Fatalf("%s: %v", path, err)
	}
	for _, d := range differences("", want, got) {
		g.Errorf("%s: %s: %s", name, strings.TrimSpace(title), d)
	}
}

func writeGolden(path, title string, doc any) error {
	var b bytes.Buffer
	b.WriteString(title)
	e := json.NewEncoder(&b)
	e.SetIndent("", "\t")
	e.SetEscapeHTML(false)
	if err := e.Encode(doc); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// free are the fields whose text may change; whether there is one may not.
var free = []string{"message", "cause", "hint"}

// differences lists where a document isn't what it was, by path. Fields that it has in addition are none.
func differences(path string, want, got any) (out []string) {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %v, not an object", path, got)}
		}
		for _, k := range slices.Sorted(maps.Keys(w)) {
			if v, ok := g[k]; ok {
				out = append(out, differences(path+"."+k, w[k], v)...)
			} else {
				out = append(out, fmt.Sprintf("%s.%s is missing", path, k))
			}
		}
		return out
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return []string{fmt.Sprintf("%s is %v, want %v", path, got, want)}
		}
		for i := range w {
			out = append(out, differences(fmt.Sprintf("%s[%d]", path, i), w[i], g[i])...)
		}
		return out
	}
	if want != got {
		out = append(out, fmt.Sprintf("%s is %#v, want %#v", path, got, want))
	}
	return out
}

// value is v with what differs from run to run replaced by names. Key is the field that v is in.
func (g *golden) value(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for _, k := range slices.Sorted(maps.Keys(v)) { // in the same order in each run, for the numbers in names
			out[g.plain(k)] = g.value(k, v[k])
		}
		return out
	case []any:
		out := make([]any, 0, len(v))
		for _, e := range v {
			out = append(out, g.value(key, e))
		}
		return out
	case string:
		switch {
		case key == "hresult":
			return v
		case slices.Contains(free, key) && v != "", key == "found", key == "claim": // texts of the demo, with figures
			return "TEXT"
		case key == "step" && v == "target-luns":
			return "collect"
		}
		return g.plain(v)
	case float64:
		if strings.HasSuffix(key, "_ms") || slices.Contains(varying, key) || v > 1<<33 { // of this machine's own disk
			return "NUMBER"
		}
	}
	return v
}

// varying are the fields with numbers that differ from run to run.
var varying = []string{"free", "used", "allocated", "commits_per_s", "acknowledged", "recovered", "counter_data",
	"counter_wal"}

// patterns are the kinds of text that differ from run to run.
var patterns = []struct {
	name string
	re   *regexp.Regexp
}{
	{"ID", regexp.MustCompile(`\{?\b[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b\}?`)},
	{"SERIAL", regexp.MustCompile(`\b[0-9a-f]{32}\b`)},
	{"SIGNATURE", regexp.MustCompile(`\b(0x)?[0-9a-f]{8}\b`)},
	{"DEMO", regexp.MustCompile(`vss-demo-[0-9]+`)},
	{"LOOP", regexp.MustCompile(`/dev/loop[0-9]+`)},
}

var timeText = regexp.MustCompile(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9:]+)`)

// plain is a text with what differs from run to run replaced by names: the same id has the same name in all documents.
func (g *golden) plain(s string) string {
	s = strings.ReplaceAll(s, g.dir, "DIR")
	s = timeText.ReplaceAllString(s, "TIME")
	for _, p := range patterns {
		s = p.re.ReplaceAllStringFunc(s, func(found string) string {
			key := p.name + strings.ToLower(strings.Trim(found, "{}"))
			if g.names[key] == "" {
				n := 1
				for k := range g.names {
					if strings.HasPrefix(k, p.name) {
						n++
					}
				}
				g.names[key] = p.name + strconv.Itoa(n)
			}
			if strings.HasPrefix(found, "{") {
				return "{" + g.names[key] + "}"
			}
			return g.names[key]
		})
	}
	return s
}

// What TestJSON must find, and what it must let pass.
func TestDifferences(t *testing.T) {
	const want = `{"a": 1, "list": [{"step": "hold"}, {"step": "release"}], "message": "TEXT", "no": null}`
	for _, c := range []struct {
		got   string
		found int
	}{
		{want, 0},
		{`{"a": 1, "b": 2, "list": [{"step": "hold", "new": {}}, {"step": "release"}], "message": "TEXT", "no": null}`,
			0},
		{`{"a": 2, "list": [{"step": "hold"}, {"step": "release"}], "message": "TEXT", "no": null}`, 1},
		{`{"a": "1", "list": [{"step": "hold"}, {"step": "release"}], "message": "", "no": null}`, 2},
		{`{"list": [{"step": "hold"}], "message": "TEXT", "no": {}}`, 3},
		{`{"a": 1, "list": [{"step": "release"}, {"step": "hold"}], "message": "TEXT"}`, 3},
		{`[]`, 1},
	} {
		var w, g any
		if err := errors.Join(json.Unmarshal([]byte(want), &w), json.Unmarshal([]byte(c.got), &g)); err != nil {
			t.Fatal(err)
		}
		if d := differences("", w, g); len(d) != c.found {
			t.Errorf("%s: %d differences, want %d: %q", c.got, len(d), c.found, d)
		}
	}
}
