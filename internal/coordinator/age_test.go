package coordinator

import (
	"slices"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Copies of this host are listed in the order in which they were made, though the clock was set back by a year
// meanwhile; an imported one stands where its time says.
func TestOldestFirst(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, n) }
	made := func(number int, at time.Time) catalog.Snapshot {
		return catalog.Snapshot{DeviceNumber: number, Created: at, OriginatingMachine: "a", ServiceMachine: "a"}
	}
	imported := catalog.Snapshot{DeviceNumber: 9, Created: day(2), OriginatingMachine: "b", ServiceMachine: "a"}
	late := catalog.Snapshot{
		DeviceNumber:       8,
		Created:            day(4),
		OriginatingMachine: "a",
		ServiceMachine:     "a",
		Attributes:         vss.AttrTransportable,
	}
	for _, c := range []struct {
		name string
		all  []catalog.Snapshot
		want []int
	}{
		{
			"a clock that goes on",
			[]catalog.Snapshot{late, made(3, day(5)), imported, made(2, day(3)), made(1, day(1))},
			[]int{1, 9, 2, 8, 3},
		},
		{
			"set back", []catalog.Snapshot{made(3, day(-360)), made(1, day(1)), made(4, day(-359)), made(2, day(3))},
			[]int{1, 2, 3, 4},
		},
		{
			"set back, with an imported one",
			[]catalog.Snapshot{made(3, day(-360)), imported, made(1, day(1)), made(2, day(3))}, []int{1, 2, 9, 3},
		},
		{"two of a set", []catalog.Snapshot{made(2, day(1)), made(1, day(1))}, []int{1, 2}},
	} {
		oldestFirst(c.all)
		var got []int
		for _, r := range c.all {
			got = append(got, r.DeviceNumber)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
