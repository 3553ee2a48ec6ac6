package providertest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/conformance"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// hardwareCases are the cases for hardware providers.
var hardwareCases = append(of[*HardwareWorld](orderCases), []worldCase[*HardwareWorld]{
	{"HappyPath", happyPath},
	{"Attributes", attributes},
	{"Stranger", stranger},
	{"OriginalNotInSet", originalNotInSet},
	{"SecondImport", secondImport},
	{"Mask", mask},
	{"AfterRestart", afterRestart},
	{"OriginalsAreSafe", originalsAreSafe},
	{"Resync", resync},
}...)

// lunSet is a set of a hardware provider.
type lunSet struct {
	*creation
	w *HardwareWorld
	p provider.Hardware
}

func (w *HardwareWorld) creation() *lunSet {
	return &lunSet{w.subject().creation(), w, w.Provider}
}

// targets returns the descriptions of the copies of some originals.
func (c *lunSet) targets(t conformance.T, sources []vss.LUNInformation) []vss.LUNInformation {
	t.Helper()
	out, err := c.p.GetTargetLUNs(t.Context(), c.set, devices(sources), sources)
	must(t, "GetTargetLuns", err)
	if len(out) != len(sources) {
		t.Fatalf("GetTargetLuns: %d LUNs for %d", len(out), len(sources))
	}
	return out
}

// content checks what a LUN has.
func (w *HardwareWorld) content(t conformance.T, what string, l vss.LUNInformation, want byte) {
	t.Helper()
	if w.Read == nil {
		return
	}
	if got := w.Read(l); got != want {
		t.Errorf("%s has content %q, want %q", what, got, want)
	}
}

// fill gives the first two originals content.
func (w *HardwareWorld) fill(first byte) {
	if w.Write == nil {
		return
	}
	for i, o := range w.Originals[:2] {
		w.Write(o, first+byte(i))
	}
}

// visible checks whether the host may see a LUN.
func (w *HardwareWorld) visible(t conformance.T, what string, l vss.LUNInformation, want bool) {
	t.Helper()
	if w.Visible != nil && w.Visible(l) != want {
		t.Errorf("%s: visible is %v, want %v", what, !want, want)
	}
}

// happyPath creates a set of two volumes that share a LUN, imports it and deletes it.
func happyPath(t conformance.T, w *HardwareWorld) {
	c := w.creation()
	must(t, "OnLoad", c.p.OnLoad(t.Context()))
	w.fill('a')
	for _, v := range [][]vss.LUNInformation{w.Originals[:1], w.Originals[:2]} {
		ok, filled, err := c.p.AreLUNsSupported(t.Context(), vss.ContextAppRollback, devices(v), slices.Clone(v))
		if err != nil || !ok || len(filled) != len(v) {
			t.Fatalf("AreLunsSupported: %v, %d LUNs, %v", ok, len(filled), err)
		}
	}
	c.reach(t, 2)
	w.fill('c') // the copy shows the moment of CommitSnapshots, not of the preparation
	c.advance(t, 2, 3)
	w.fill('e')
	c.advance(t, 3, taken)
	c.left(t, "a LUN named twice is copied once", 2)

	targets := c.targets(t, w.Originals[:2])
	if first := c.targets(t, w.Originals[:1]); !cmp.Equal(first[0], targets[0]) {
		t.Errorf("the shared LUN has two descriptions:\n%s", cmp.Diff(first[0], targets[0]))
	}
	c.described(t, targets)
	must(t, "LocateLuns", c.p.LocateLUNs(t.Context(), append(slices.Clone(targets), targets[0]))) // one named twice
	for i, l := range targets {
		c.imported(t, fmt.Sprintf("copy %d", i), l, byte('c'+i))
	}
	originals := w.Originals[:2]
	must(t, "OnLunStateChange", c.p.OnLUNStateChange(t.Context(), targets, originals, vss.NotifyLUNPreRecovery))
	c.advance(t, taken, taken+1)
	must(t, "OnLunStateChange", c.p.OnLUNStateChange(t.Context(), targets, originals, vss.NotifyLUNPostRecovery))
	c.advance(t, taken+1, final)
	if again := c.targets(t, originals); !cmp.Equal(again, targets) {
		t.Errorf("GetTargetLuns returns something else when called again:\n%s", cmp.Diff(targets, again))
	}
	must(t, "OnLunEmpty", c.p.OnLUNEmpty(t.Context(), "", &targets[0]))
	c.left(t, "one LUN emptied", 1)
	must(t, "OnLunEmpty", c.p.OnLUNEmpty(t.Context(), "", &targets[1]))
	c.left(t, "both emptied", 0)
	wants(t, "OnLunEmpty of a deleted LUN", c.p.OnLUNEmpty(t.Context(), "", &targets[1]), vss.OK, vss.ErrObjectNotFound)
	for i, o := range originals {
		w.content(t, fmt.Sprintf("original %d", i), o, byte('e'+i))
	}
}

// described checks the descriptions of two copies that no host sees yet.
func (c *lunSet) described(t conformance.T, targets []vss.LUNInformation) {
	t.Helper()
	for i, l := range targets {
		switch original := &c.w.Originals[i]; {
		case l.Version != 1 || !l.DiskSignature.IsZero() || l.SerialNumber == "" || len(l.DeviceIDs) == 0:
			t.Errorf("the description of copy %d is incomplete, or has a disk signature: %+v", i, l)
		case l.SameLUN(original) || l.SerialNumber == original.SerialNumber:
			t.Errorf("copy %d can't be told from its original", i)
		case l.SameLUN(&targets[1-i]):
			t.Errorf("the copies are one LUN")
		case !slices.ContainsFunc(l.DeviceIDs, func(d vss.StorageIdentifier) bool { return d.Type.Unique() }):
			t.Errorf("copy %d has no unique identifier (type 1, 2, 3 or 8)", i)
		}
		c.w.visible(t, fmt.Sprintf("copy %d before LocateLuns", i), l, false)
	}
}

// imported checks a copy after LocateLuns. What a host reads of a disk lacks what only the array knows, and has
// interconnects, which FillInLunInfo keeps.
func (c *lunSet) imported(t conformance.T, what string, l vss.LUNInformation, content byte) {
	t.Helper()
	c.w.visible(t, what+" after LocateLuns", l, true)
	c.w.content(t, what, l, content)
	info := vss.LUNInformation{Version: 1, DeviceIDs: l.DeviceIDs, SerialNumber: l.SerialNumber,
		Interconnects: []vss.Interconnect{{Type: vss.InterconnectSCSI, Address: []byte{1}}}}
	ok, err := c.p.FillInLUNInfo(t.Context(), "/dev/test", &info)
	if err != nil || !ok || !info.Matches(&l) {
		t.Errorf("%s: FillInLunInfo: %v %v\n%s", what, ok, err, cmp.Diff(l, info))
	}
	if len(info.Interconnects) != 1 {
		t.Errorf("%s: FillInLunInfo changed the interconnects", what)
	}
}

// attributes asks for every context: a provider must honour or refuse it, and must keep what it promised.
func attributes(t conformance.T, w *HardwareWorld) {
	p, err := w.Provider.Properties(t.Context())
	must(t, "Properties", err)
	v := w.Originals[:2]
	for _, x := range append(contextCases(p),
		contextCase{"both methods", vss.ContextAppRollback | vss.AttrDifferential | vss.AttrPlex, false},
		contextCase{"transportable", vss.ContextAppRollback | vss.AttrTransportable, p.Can(provider.CanTransport)},
		contextCase{"client-accessible-writers", vss.ContextClientAccessibleWriters,
			p.Can(provider.CanClientAccessible)},
	) {
		ok, _, err := w.Provider.AreLUNsSupported(t.Context(), x.c, devices(v), slices.Clone(v))
		if err != nil || ok != x.want {
			t.Errorf("%s: supported %v, %v; want %v", x.name, ok, err, x.want)
		}
		c := w.creation()
		err = c.p.BeginPrepareSnapshot(t.Context(), c.set, vss.SnapshotID{GUID: vss.NewGUID()}, x.c, devices(v), v)
		x.begun(t, err)
		c.abort(t, x.name)
	}
}

// stranger shows the provider a LUN that isn't its own: no error, and nothing happens to it.
func stranger(t conformance.T, w *HardwareWorld) {
	s := NewLUN()
	mixed := []vss.LUNInformation{w.Originals[0], s}
	ok, _, err := w.Provider.AreLUNsSupported(t.Context(), vss.ContextBackup, devices(mixed), slices.Clone(mixed))
	if ok || err != nil {
		t.Errorf("AreLunsSupported with a stranger: %v %v, want false and no error", ok, err)
	}
	info := s
	ok, err = w.Provider.FillInLUNInfo(t.Context(), "/dev/test", &info)
	if ok || err != nil || !cmp.Equal(info, s) {
		t.Errorf("FillInLunInfo of a stranger: %v %v, want false, no error, nothing changed", ok, err)
	}
	bad := []vss.Code{
		vss.ErrObjectNotFound,
		vss.ErrInvalidArg,
		vss.ErrProviderVeto,
		vss.ErrVolumeNotSupportedByProvider,
	}
	list := []vss.LUNInformation{s}
	wants(t, "LocateLuns", w.Provider.LocateLUNs(t.Context(), list), bad...)
	wants(t, "OnLunEmpty", w.Provider.OnLUNEmpty(t.Context(), "", &s), bad...)
	wants(
		t,
		"OnLunStateChange",
		w.Provider.OnLUNStateChange(t.Context(), list, w.Originals[:1], vss.DoMaskLUNs),
		bad...)
	c := w.creation()
	wants(
		t,
		"BeginPrepareSnapshot",
		c.p.BeginPrepareSnapshot(
			t.Context(),
			c.set,
			vss.SnapshotID{GUID: vss.NewGUID()},
			vss.ContextBackup,
			devices(mixed),
			mixed,
		),
		bad...)
	c.abort(t, "with a stranger")
}

// originalNotInSet asks for the copy of an original that has none.
func originalNotInSet(t conformance.T, w *HardwareWorld) {
	c := w.creation()
	c.reach(t, final)
	s := []vss.LUNInformation{NewLUN()}
	_, err := c.p.GetTargetLUNs(t.Context(), c.set, devices(s), s)
	wants(
		t,
		"GetTargetLuns of an original that isn't in the set",
		err,
		vss.ErrObjectNotFound,
		vss.ErrInvalidArg,
		vss.ErrProviderVeto,
	)
}

// afterRestart uses copies at the next process, which knows them by their descriptions alone.
func afterRestart(t conformance.T, w *HardwareWorld) {
	c := w.creation()
	c.reach(t, final)
	targets := c.targets(t, w.Originals[:2])
	c.p = c.newProcess(t).(provider.Hardware)
	for i := range targets {
		info := targets[i]
		ok, err := c.p.FillInLUNInfo(t.Context(), "/dev/test", &info)
		if err != nil || !ok || !info.Matches(&targets[i]) {
			t.Errorf("FillInLunInfo at the next process: %v %v", ok, err)
		}
	}
	must(t, "LocateLuns at the next process", c.p.LocateLUNs(t.Context(), targets))
	for i := range targets {
		must(t, "OnLunEmpty at the next process", c.p.OnLUNEmpty(t.Context(), "", &targets[i]))
	}
	c.left(t, "emptied by the next process", 0)
}

// secondImport surfaces copies again, also when only one of several was surfaced before: then none is surfaced.
func secondImport(t conformance.T, w *HardwareWorld) {
	c := w.creation()
	c.reach(t, final)
	targets := c.targets(t, w.Originals[:2])
	must(t, "LocateLuns", c.p.LocateLUNs(t.Context(), targets[:1]))
	wants(t, "LocateLuns again", c.p.LocateLUNs(t.Context(), targets[:1]), vss.ErrBadState)
	for _, order := range [][]vss.LUNInformation{targets, {targets[1], targets[0]}} {
		wants(
			t,
			"LocateLuns of one that was imported and one that wasn't",
			c.p.LocateLUNs(t.Context(), order),
			vss.ErrBadState,
		)
	}
	w.visible(t, "after a refused import", targets[1], false)
	must(t, "LocateLuns of the other", c.p.LocateLUNs(t.Context(), targets[1:]))
	if c.restart == nil {
		return
	}
	c.p = c.newProcess(t).(provider.Hardware)
	wants(t, "LocateLuns at another process", c.p.LocateLUNs(t.Context(), targets[:1]), vss.ErrBadState)
}

// mask masks copies from the host, twice; they are kept.
func mask(t conformance.T, w *HardwareWorld) {
	c := w.creation()
	c.reach(t, final)
	targets := c.targets(t, w.Originals[:2])
	must(t, "LocateLuns", c.p.LocateLUNs(t.Context(), targets))
	for _, what := range []string{"mask", "mask again"} {
		must(t, what, c.p.OnLUNStateChange(t.Context(), targets, w.Originals[:2], vss.DoMaskLUNs))
		for _, l := range targets {
			w.visible(t, what, l, false)
		}
	}
	c.left(t, "masked", 2)
	wants(
		t,
		"lists of different lengths",
		c.p.OnLUNStateChange(t.Context(), targets, w.Originals[:1], vss.DoMaskLUNs),
		vss.ErrInvalidArg,
	)
	must(t, "notification", c.p.OnLUNStateChange(t.Context(), targets, w.Originals[:2], vss.NotifyReadWrite))
}

// originalsAreSafe makes calls with an original that are meant for copies only.
func originalsAreSafe(t conformance.T, w *HardwareWorld) {
	o := w.Originals[0]
	w.fill('x')
	visible := w.Visible != nil && w.Visible(o)
	refused := []vss.Code{vss.ErrObjectNotFound, vss.ErrInvalidArg, vss.ErrProviderVeto, vss.ErrBadState}
	wants(t, "OnLunEmpty of an original", w.Provider.OnLUNEmpty(t.Context(), "", &o), refused...)
	wants(t, "LocateLuns of an original", w.Provider.LocateLUNs(t.Context(), []vss.LUNInformation{o}), refused...)
	list := []vss.LUNInformation{o}
	wants(t, "masking an original", w.Provider.OnLUNStateChange(t.Context(), list, list, vss.DoMaskLUNs), refused...)
	w.content(t, "the original", o, 'x')
	w.visible(t, "the original", o, visible)
}

// resync brings an original back to its copy, where the provider can.
func resync(t conformance.T, w *HardwareWorld) {
	c := w.creation()
	w.fill('a')
	c.reach(t, final)
	targets := c.targets(t, w.Originals[:2])
	w.fill('c')
	p, err := c.p.Properties(t.Context())
	must(t, "Properties", err)
	if !p.Can(provider.CanResync) {
		if err := c.p.ResyncLUNs(t.Context(), targets, w.Originals[:2], nil); !errors.Is(err, vss.ErrNotImpl) {
			t.Errorf("ResyncLuns, which it doesn't claim: %v", err)
		}
		return
	}
	wants(
		t,
		"ResyncLuns with lists of different lengths",
		c.p.ResyncLUNs(t.Context(), targets, w.Originals[:1], nil),
		vss.ErrInvalidArg,
		vss.ErrProviderVeto,
	)
	var last float64
	must(t, "ResyncLuns", c.p.ResyncLUNs(t.Context(), targets, w.Originals[:2], func(percent float64) {
		if percent < last {
			t.Errorf("progress went back from %v to %v", last, percent)
		}
		last = percent
	}))
	if last != 100 {
		t.Errorf("progress ended at %v %%", last)
	}
	for i, o := range w.Originals[:2] {
		w.content(t, fmt.Sprintf("original %d", i), o, byte('a'+i))
	}
}
