package mount

import (
	"slices"
	"testing"
)

func TestParse(t *testing.T) {
	const text = `22 1 0:21 / /proc rw,nosuid - proc proc rw
nonsense
30 1 8:2 /sub /with\040space ro,relatime shared:1 master:7 - ext4 /dev/sda2 ro,errors=remount-ro
`
	want := []Info{
		{
			ID:           22,
			Device:       "0:21",
			Root:         "/",
			Point:        "/proc",
			Type:         "proc",
			Source:       "proc",
			SuperOptions: "rw",
			Prefix:       "/p",
		},
		{ID: 30, Device: "8:2", Root: "/sub", Point: "/with space", Type: "ext4", Source: "/dev/sda2",
			SuperOptions: "ro,errors=remount-ro", Shared: 1, Master: 7, Prefix: "/p"},
	}
	got := Parse(text, "/p")
	if !slices.Equal(got, want) {
		t.Errorf("Parse = %+v", got)
	}
	if got[0].ReadOnly() || !got[1].ReadOnly() || got[0].Here() || got[0].Path() != "/p/proc" {
		t.Errorf("Parse = %+v", got)
	}
}

func TestData(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		want []string
	}{
		{"none", Options{}, []string{""}},
		{"tries", Options{Data: []string{"", "a,b"}}, []string{"", "a,b"}},
		{"others", Options{Others: []string{"/dev/x", "/dev/y"}}, []string{"device=/dev/x,device=/dev/y"}},
		{
			"both", Options{Data: []string{"", "a"}, Others: []string{"/dev/x"}},
			[]string{"device=/dev/x", "a,device=/dev/x"},
		},
	} {
		if got := c.o.data(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
