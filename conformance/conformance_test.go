package conformance

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
)

var _ T = (*testing.T)(nil)

func TestRun(t *testing.T) {
	var dir string
	var order []string
	cases := []Case{
		{"passes", func(c T) { c.Logf("not part of the verdict") }},
		{"fails twice", func(c T) { c.Error("one"); c.Errorf("%d", 2) }},
		{"ends at once", func(c T) { c.Fatal("now"); c.Error("never") }},
		{"skipped", func(c T) { c.Skipf("no %s", "reason"); c.Error("never") }},
		{"failed, then skipped", func(c T) { c.Error("one"); c.Skipf("two") }},
		{"panics", func(T) { panic("oh") }},
		{"cleans up", func(c T) {
			dir = c.TempDir()
			c.Cleanup(func() { order = append(order, "first") })
			c.Cleanup(func() {
				order = append(order, "last")
				if c.Context().Err() == nil {
					c.Error("the context lasts into the clean-up")
				}
			})
			c.Fatal("in the middle")
		}},
	}
	want := []Outcome{Pass, Fail, Fail, Skip, Fail, Fail, Fail}
	messages := [][]string{nil, {"one", "2"}, {"now"}, {"no reason"}, {"one", "two"}, nil, {"in the middle"}}
	var got []Verdict
	Run(t.Context(), cases, func(v Verdict) { got = append(got, v) })
	if len(got) != len(cases) {
		t.Fatalf("%d verdicts for %d cases", len(got), len(cases))
	}
	for i, v := range got {
		if v.Case != cases[i].Name || v.Outcome != want[i] {
			t.Errorf("%s: %+v, want %s", cases[i].Name, v, want[i])
		}
		if messages[i] != nil && !slices.Equal(v.Messages, messages[i]) {
			t.Errorf("%s: messages %q, want %q", v.Case, v.Messages, messages[i])
		}
	}
	if m := got[5].Messages; len(m) != 1 || !strings.HasPrefix(m[0], "panic: oh\n") {
		t.Errorf("a panic's messages: %q", m)
	}
	if _, err := os.Stat(dir); err == nil || dir == "" {
		t.Errorf("the folder %q is still there", dir)
	}
	if !slices.Equal(order, []string{"last", "first"}) {
		t.Errorf("cleaned up in the order %v", order)
	}
}

func TestRunEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	stop := Case{"stop", func(T) { n++; cancel() }}
	Run(ctx, []Case{stop, stop}, func(Verdict) {})
	if n != 1 {
		t.Errorf("%d cases ran", n)
	}
}
