package providertest

import (
	"slices"
	"strings"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// LUN describes a LUN of an Array, as the array's administrator sees it.
type LUN struct {
	Info     vss.LUNInformation
	Origin   *vss.LUNInformation // of a copy whose original exists
	Copy     bool
	Set      vss.SnapshotSetID // of a copy
	Final    bool              // its set is created
	Imported bool
	Visible  bool // the host may see it
}

// LUNs lists the LUNs in a fixed order.
func (a *Array) LUNs() []LUN {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []LUN
	for _, l := range a.luns {
		n := LUN{
			Info:     l.info,
			Copy:     l.origin != "",
			Set:      l.set,
			Final:    l.final,
			Imported: l.imported,
			Visible:  l.visible,
		}
		if o := a.luns[l.origin]; o != nil {
			n.Origin = &o.info
		}
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b LUN) int { return strings.Compare(key(&a.Info), key(&b.Info)) })
	return out
}

// Show makes a LUN visible to the host, or hides it.
func (a *Array) Show(l vss.LUNInformation, on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f := a.find(&l); f != nil {
		f.visible = on
	}
}

// Keep makes the copies of a set final, as PostFinalCommitSnapshots does.
func (a *Array) Keep(set vss.SnapshotSetID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.luns {
		if l.origin != "" && l.set == set {
			l.final = true
		}
	}
}

// MakePlain makes an ordinary LUN of a copy.
func (a *Array) MakePlain(l vss.LUNInformation) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f := a.find(&l); f != nil {
		f.origin, f.set, f.final = "", vss.SnapshotSetID{}, false
	}
}

// Remove deletes a LUN, as an array does that runs out of space.
func (a *Array) Remove(l vss.LUNInformation) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.luns, key(&l))
}
