package array

import (
	"slices"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// The copy that was made first goes first, though the clock was set back by a year between two; one that nobody was
// told of goes before all.
func TestDroppedInTheirOrder(t *testing.T) {
	p := NamedPool{Name: "p"}
	p.Pool = recordsIn{dir: t.TempDir()}
	c := &Controller{luns: map[vss.LUNID]*entry{}}
	now := time.Now()
	for _, l := range []struct {
		name string
		ago  time.Duration
	}{{"first", time.Hour}, {"second", time.Minute}, {"third", 365 * 24 * time.Hour}, {"untold", 0}} {
		e := &entry{sample(), p}
		e.Name, e.Created, e.Method, e.Order, e.Final = l.name, now.Add(
			-l.ago,
		), MethodDifferential, 0, l.name != "untold"
		if err := c.introduce(e); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, e := range c.droppable("p") {
		got = append(got, e.Name)
	}
	if want := []string{"untold", "first", "second", "third"}; !slices.Equal(got, want) {
		t.Errorf("they go in the order %v, want %v", got, want)
	}
	kept, err := readRecords(p.RecordDir())
	if err != nil || !slices.ContainsFunc(kept, func(l LUN) bool { return l.Name == "third" && l.Order == 2 }) {
		t.Errorf("the order isn't kept: %+v, %v", kept, err)
	}
}

// recordsIn is a pool that has nothing but a place for records.
type recordsIn struct {
	Pool
	dir string
}

func (p recordsIn) RecordDir() string { return p.dir }
