package vds_test

import (
	"context"
	"slices"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// asked counts how often an array is asked for its LUNs and mappings.
type asked struct {
	array.Array
	luns, mappings int
}

func (a *asked) LUNs(ctx context.Context) ([]array.LUN, error) {
	a.luns++
	return a.Array.LUNs(ctx)
}

func (a *asked) Mappings(ctx context.Context, host string) ([]array.Mapping, error) {
	a.mappings++
	return a.Array.Mappings(ctx, host)
}

// locateAll finds all LUNs at once by page 0x83, in any order, one of them twice and one that no array has.
func locateAll(t *testing.T, w *world) {
	t.Helper()
	disks, err := w.Disks(ctx)
	must(t, err)
	disks = append(disks, disks[0])
	slices.Reverse(disks)
	infos := make([]vss.LUNInformation, len(disks), len(disks)+1)
	for i := range disks {
		infos[i] = disks[i].LUN.Information()
	}
	none := array.LUN{NAA: "6000000000000000000000000000dead"}
	infos = append(infos, none.Information())
	a := &asked{Array: w.array}
	config := w.config
	config.Arrays, config.StateDir = []array.Array{a}, t.TempDir() // it knows of no place where a LUN is attached
	m, err := vds.New(config)
	must(t, err)
	found, err := m.Locate(ctx, infos)
	must(t, err)
	if a.luns != 1 || a.mappings > 1 {
		t.Errorf("the array was asked %d times for LUNs, %d times for mappings", a.luns, a.mappings)
	}
	for i, d := range disks {
		if f := found[i]; !f.Exists() || f.LUN.ID != d.LUN.ID || f.Device != d.Device {
			t.Errorf("%s at %q: found %s at %q", d.LUN.Name, d.Device, f.LUN.Name, f.Device)
		}
	}
	if found[len(disks)].Exists() {
		t.Error("a LUN was found that doesn't exist")
	}
}
