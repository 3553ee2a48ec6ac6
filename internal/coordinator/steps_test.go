package coordinator

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestDrawing: the drawing in doc.go is the table, step by step, with its states.
func TestDrawing(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^//\t  (\S+) +(.+)$`)
	var drawn [][2]string
	for _, m := range line.FindAllStringSubmatch(string(text), -1) {
		states, _, _ := strings.Cut(m[2], "  ")
		drawn = append(drawn, [2]string{m[1], states})
	}
	if len(drawn) != len(steps) {
		t.Fatalf("%d steps are drawn, the table has %d", len(drawn), len(steps))
	}
	state := vss.StatePreparing
	for i, s := range steps {
		want := state.String()
		if s.during != 0 {
			want, state = s.during.String(), s.during
		}
		if s.after != 0 && s.during != 0 {
			want += " -> " + s.after.String()
		}
		if s.after != 0 {
			state = s.after
			if s.during == 0 {
				want = s.after.String()
			}
		}
		if drawn[i][0] != s.name || drawn[i][1] != want {
			t.Errorf("step %d is %s (%s), drawn as %s (%s)", i, s.name, want, drawn[i][0], drawn[i][1])
		}
	}
	if state != vss.StateCreated {
		t.Errorf("the last step leaves the copies %s", state)
	}
}

// TestStatesReachable: a creation goes through every state of a copy but those before and after it.
func TestStatesReachable(t *testing.T) {
	reached := map[vss.SnapshotState]bool{
		vss.StateUnknown:   true,
		vss.StatePreparing: true,
		vss.StateAborted:   true,
		vss.StateDeleted:   true,
	}
	for _, s := range steps {
		reached[s.during], reached[s.after] = true, true
	}
	for s := vss.StateUnknown; s <= vss.StatePostCommitted; s++ {
		if !reached[s] {
			t.Errorf("no step leads to %s", s)
		}
	}
}

// TestUndo: while writes are held, no undo comes before the release. TestMatrix checks that all else is undone.
func TestUndo(t *testing.T) {
	seen := false
	for _, s := range steps {
		if s.name == "hold" {
			seen = true
		} else if seen && s.name == "release" {
			break
		} else if seen && s.undo != nil {
			t.Errorf("the undo of %s runs before the release", s.name)
		}
	}
}
