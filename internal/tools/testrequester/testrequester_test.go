package testrequester

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/stillpoint-vss/stillpoint/vss"
)

func TestParse(t *testing.T) {
	script, err := parse(strings.NewReader(`
# a comment
initializeforbackup
SetContext backup transportable   # another
AddComponent 'My "Writer"' database 'a\b' ""   => VSS_E_OBJECT_NOT_FOUND
DoSnapshotSet 10s &   => 0x42309
Sleep '&'
`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range script {
		text := s.call.name + "|" + strings.Join(s.args, "|")
		if s.start {
			text += " begun"
		}
		if s.wants != nil {
			text += " wants " + s.wants.Name()
		}
		got = append(got, text)
	}
	want := []string{"InitializeForBackup|", "SetContext|backup|transportable",
		`AddComponent|My "Writer"|database|a\b| wants VSS_E_OBJECT_NOT_FOUND`,
		"DoSnapshotSet|10s begun wants VSS_S_ASYNC_PENDING", "Sleep|&"}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	if script[1].line != 4 {
		t.Errorf("line %d", script[1].line)
	}
}

func TestMistakes(t *testing.T) {
	for text, says := range map[string]string{
		"Dance":                           "unknown call Dance",
		"SetContext":                      "arguments: SetContext CONTEXT",
		"StartSnapshotSet now":            "arguments: StartSnapshotSet",
		"StartSnapshotSet &":              "is not asynchronous",
		"\n\nAddComponent 'x":             "line 3: missing closing quotation mark '",
		"AbortBackup => VSS_E_NONESUCH":   "unknown result code",
		"=> S_OK":                         "missing call",
		"&":                               "missing call",
		"SetBackupSucceeded w database a": "arguments: SetBackupSucceeded",
	} {
		_, err := parse(strings.NewReader(text))
		if vss.CodeOf(err) != vss.ErrInvalidArg || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestCalls checks that names are unique, that a call has either run or begin, and that the description of the
// arguments agrees with their number.
func TestCalls(t *testing.T) {
	seen := map[string]bool{}
	for i := range calls {
		c := &calls[i]
		if seen[c.name] || (c.run == nil) == (c.begin == nil) {
			t.Errorf("%s: twice, or run and begin don't fit", c.name)
		}
		seen[c.name] = true
		required := 0
		for _, w := range strings.Fields(c.args) {
			if !strings.HasPrefix(w, "[") {
				required++
			}
		}
		if required != c.min {
			t.Errorf("%s wants %d arguments, its usage says %d", c.name, c.min, required)
		}
	}
}

func TestContexts(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want vss.Context
		bad  bool
	}{
		{[]string{"backup"}, vss.ContextBackup, false},
		{[]string{"backup", "transportable", "plex"}, vss.ContextBackup | vss.AttrTransportable | vss.AttrPlex, false},
		{[]string{"0x40000000"}, 0x40000000, false},
		{[]string{"holiday"}, 0, true},
		{[]string{"backup", "holiday"}, 0, true},
	} {
		if got, err := contextOf(tc.args); got != tc.want || (err != nil) != tc.bad {
			t.Errorf("%v: %#x, %v", tc.args, got, err)
		}
	}
}

func TestUsage(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(t.Context(), nil, nil, &out, &errs); code != 2 || !strings.Contains(errs.String(),
		"exactly one script is required") {
		t.Errorf("exit %d: %s", code, &errs)
	}
	if code := run(t.Context(), []string{"--calls"}, nil, &out, &errs); code != 0 ||
		!strings.Contains(out.String(), "\nDoSnapshotSet [HOLD-LIMIT]\n") {
		t.Errorf("exit %d: %s", code, &out)
	}
	errs.Reset()
	if code := run(t.Context(), []string{"--run", t.TempDir(), "-"}, strings.NewReader("AbortBackup\n"), &out,
		&errs); code != 1 || !strings.Contains(errs.String(), "hint:  ") {
		t.Errorf("without a service: exit %d: %s", code, &errs)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("AddComponent 'a b' database \"\" x => E_INVALIDARG # c")
	f.Add("DoSnapshotSet &")
	f.Fuzz(func(t *testing.T, text string) {
		script, err := parse(strings.NewReader(text))
		for _, s := range script {
			if err != nil || s.call == nil || len(s.args) < s.call.min {
				t.Errorf("%+v, %v", s, err)
			}
		}
	})
}
