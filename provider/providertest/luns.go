package providertest

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func properties(t *testing.T, w *HardwareWorld) {
	p, err := w.Provider.Properties(t.Context())
	must(t, "Properties", err)
	again, err := w.Restart(t).Properties(t.Context())
	must(t, "Properties", err)
	if d := cmp.Diff(p, again); d != "" {
		t.Errorf("it isn't the same after a restart:\n%s", d)
	}
	if p.ID.IsZero() || p.VersionID.IsZero() || p.Name == "" || p.Version == "" || p.Type != vss.ProviderHardware {
		t.Errorf("incomplete: %+v", p)
	}
}

// happyPath makes a set of two volumes that share a LUN, imports it and deletes it.
func happyPath(t *testing.T, w *HardwareWorld) {
	c := w.creation()
	must(t, "OnLoad", c.p.OnLoad(t.Context()))
	for i, o := range w.Originals[:2] {
		w.Write(t, o, byte('a'+i))
	}
	for _, v := range c.volumes() {
		ok, filled, err := c.p.AreLUNsSupported(t.Context(), vss.ContextAppRollback, devices(v), slices.Clone(v))
		if err != nil || !ok || len(filled) != len(v) {
			t.Fatalf("AreLunsSupported: %v, %d LUNs, %v", ok, len(filled), err)
		}
	}
	c.reach(t, 2)
	for i, o := range w.Originals[:2] { // the copy is of the moment of CommitSnapshots, not of the preparation
		w.Write(t, o, byte('c'+i))
	}
	must(t, calls[2].name, calls[2].do(t.Context(), c))
	for i, o := range w.Originals[:2] {
		w.Write(t, o, byte('e'+i))
	}
	must(t, calls[3].name, calls[3].do(t.Context(), c))
	c.left(t, "a LUN named twice is copied once", 2)

	targets := c.targets(t, w.Originals[:2])
	if first := c.targets(t, w.Originals[:1]); !cmp.Equal(first[0], targets[0]) {
		t.Errorf("the shared LUN has two descriptions:\n%s", cmp.Diff(first[0], targets[0]))
	}
	for i, l := range targets {
		switch {
		case l.Version != 1 || !l.DiskSignature.IsZero() || l.SerialNumber == "" || len(l.DeviceIDs) == 0:
			t.Errorf("copy %d is described badly: %+v", i, l)
		case l.SameLUN(&w.Originals[i]) || l.SerialNumber == w.Originals[i].SerialNumber:
			t.Errorf("copy %d can't be told from its original", i)
		case l.SameLUN(&targets[1-i]):
			t.Errorf("the copies are one LUN")
		case !slices.ContainsFunc(l.DeviceIDs, func(d vss.StorageIdentifier) bool { return d.Type.Unique() }):
			t.Errorf("copy %d has no designator that names it alone", i)
		}
		if w.Visible(t, l) {
			t.Errorf("copy %d is visible before LocateLuns", i)
		}
	}
	must(t, "LocateLuns", c.p.LocateLUNs(t.Context(), append(slices.Clone(targets), targets[0]))) // one named twice
	for i, l := range targets {
		if !w.Visible(t, l) {
			t.Errorf("copy %d isn't visible after LocateLuns", i)
		}
		if got := w.Read(t, l); got != byte('c'+i) {
			t.Errorf("copy %d has content %q, want %q", i, got, byte('c'+i))
		}
		// What a host reads of a disk lacks what only the array knows, and has interconnects that stay.
		info := vss.LUNInformation{Version: 1, DeviceIDs: l.DeviceIDs, SerialNumber: l.SerialNumber,
			Interconnects: []vss.Interconnect{{Type: vss.InterconnectSCSI, Address: []byte{1}}}}
		ok, err := c.p.FillInLUNInfo(t.Context(), "/dev/test", &info)
		if err != nil || !ok || !info.Matches(&l) {
			t.Errorf("FillInLunInfo: %v %v\n%s", ok, err, cmp.Diff(l, info))
		}
		if len(info.Interconnects) != 1 {
			t.Error("FillInLunInfo touched the interconnects")
		}
	}
	must(t, "OnLunStateChange", c.p.OnLUNStateChange(t.Context(), targets, w.Originals[:2], vss.NotifyLUNPreRecovery))
	must(t, calls[4].name, calls[4].do(t.Context(), c))
	must(t, "OnLunStateChange", c.p.OnLUNStateChange(t.Context(), targets, w.Originals[:2], vss.NotifyLUNPostRecovery))
	must(t, calls[5].name, calls[5].do(t.Context(), c))
	if again := c.targets(t, w.Originals[:2]); !cmp.Equal(again, targets) {
		t.Errorf("GetTargetLuns changed its mind:\n%s", cmp.Diff(targets, again))
	}
	must(t, "OnLunEmpty", c.p.OnLUNEmpty(t.Context(), "", &targets[0]))
	c.left(t, "one LUN emptied", 1)
	must(t, "OnLunEmpty", c.p.OnLUNEmpty(t.Context(), "", &targets[1]))
	c.left(t, "both emptied", 0)
	wants(t, "OnLunEmpty of a LUN that is gone", c.p.OnLUNEmpty(t.Context(), "", &targets[1]), vss.OK, vss.ErrObjectNotFound)
	for i, o := range w.Originals[:2] {
		if got := w.Read(t, o); got != byte('e'+i) {
			t.Errorf("original %d has content %q, want %q", i, got, byte('e'+i))
		}
	}
}

// attributes asks for what a provider must honour or refuse: yes is a promise.
func attributes(t *testing.T, w *HardwareWorld) {
	p, err := w.Provider.Properties(t.Context())
	must(t, "Properties", err)
	claims := func(c provider.Capability) bool { return slices.Contains(p.Capabilities, c) }
	v := w.Originals[:2]
	for _, x := range []struct {
		name string
		c    vss.Context
		want bool
	}{
		{"default method", vss.ContextBackup, true},
		{"app-rollback", vss.ContextAppRollback, true},
		{"nas-rollback", vss.ContextNASRollback, true},
		{"differential", vss.ContextAppRollback | vss.AttrDifferential, claims(provider.CanDifferential)},
		{"plex", vss.ContextAppRollback | vss.AttrPlex, claims(provider.CanPlex)},
		{"both methods", vss.ContextAppRollback | vss.AttrDifferential | vss.AttrPlex, false},
		{"transportable", vss.ContextAppRollback | vss.AttrTransportable, claims(provider.CanTransport)},
		{"client-accessible", vss.ContextClientAccessible, claims(provider.CanClientAccessible)},
		{"client-accessible-writers", vss.ContextClientAccessibleWriters, claims(provider.CanClientAccessible)},
	} {
		ok, _, err := w.Provider.AreLUNsSupported(t.Context(), x.c, devices(v), slices.Clone(v))
		if err != nil || ok != x.want {
			t.Errorf("%s: supported %v, %v; want %v", x.name, ok, err, x.want)
		}
		c := w.creation()
		err = c.p.BeginPrepareSnapshot(t.Context(), c.set, vss.SnapshotID{GUID: vss.NewGUID()}, x.c, devices(v), v)
		if x.want {
			wants(t, x.name+": BeginPrepareSnapshot", err, vss.OK)
		} else {
			wants(t, x.name+": BeginPrepareSnapshot", err, vss.ErrUnsupportedContext, vss.ErrVolumeNotSupportedByProvider, vss.ErrInvalidArg, vss.ErrProviderVeto)
		}
		c.abort(t, x.name)
	}
}

// stranger shows the provider a LUN of nobody: it is no error, and nothing happens to it.
func stranger(t *testing.T, w *HardwareWorld) {
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
	bad := []vss.Code{vss.ErrObjectNotFound, vss.ErrInvalidArg, vss.ErrProviderVeto, vss.ErrVolumeNotSupportedByProvider}
	list := []vss.LUNInformation{s}
	wants(t, "LocateLuns", w.Provider.LocateLUNs(t.Context(), list), bad...)
	wants(t, "OnLunEmpty", w.Provider.OnLUNEmpty(t.Context(), "", &s), bad...)
	wants(t, "OnLunStateChange", w.Provider.OnLUNStateChange(t.Context(), list, w.Originals[:1], vss.DoMaskLUNs), bad...)
	c := w.creation()
	wants(t, "BeginPrepareSnapshot", c.p.BeginPrepareSnapshot(t.Context(), c.set, vss.SnapshotID{GUID: vss.NewGUID()}, vss.ContextBackup, devices(mixed), mixed), bad...)
	c.abort(t, "with a stranger")
}

// targetsTooEarly asks for the copies before there are any.
func targetsTooEarly(t *testing.T, w *HardwareWorld) {
	for n := range 3 {
		c := w.creation()
		c.reach(t, n)
		_, err := c.p.GetTargetLUNs(t.Context(), c.set, devices(w.Originals[:1]), w.Originals[:1])
		wants(t, "GetTargetLuns after "+stepName(n), err, vss.ErrBadState, vss.ErrProviderVeto, vss.ErrObjectNotFound)
		c.abort(t, "after an early GetTargetLuns")
	}
	c := w.creation()
	c.reach(t, final)
	s := []vss.LUNInformation{NewLUN()}
	_, err := c.p.GetTargetLUNs(t.Context(), c.set, devices(s), s)
	wants(t, "GetTargetLuns of an original that isn't in the set", err, vss.ErrObjectNotFound, vss.ErrInvalidArg, vss.ErrProviderVeto)
}

// secondImport surfaces copies again, also when one of several was surfaced before: then none is.
func secondImport(t *testing.T, w *HardwareWorld) {
	c := w.creation()
	c.reach(t, final)
	targets := c.targets(t, w.Originals[:2])
	must(t, "LocateLuns", c.p.LocateLUNs(t.Context(), targets[:1]))
	wants(t, "LocateLuns again", c.p.LocateLUNs(t.Context(), targets[:1]), vss.ErrBadState)
	for _, order := range [][]vss.LUNInformation{targets, {targets[1], targets[0]}} {
		wants(t, "LocateLuns of one that was imported and one that wasn't", c.p.LocateLUNs(t.Context(), order), vss.ErrBadState)
	}
	if w.Visible(t, targets[1]) {
		t.Error("a refused import surfaced a copy")
	}
	c.p = w.Restart(t)
	wants(t, "LocateLuns at another process", c.p.LocateLUNs(t.Context(), targets[:1]), vss.ErrBadState)
	must(t, "LocateLuns of the other", c.p.LocateLUNs(t.Context(), targets[1:]))
}

// mask takes copies from the host, twice, and keeps them.
func mask(t *testing.T, w *HardwareWorld) {
	c := w.creation()
	c.reach(t, final)
	targets := c.targets(t, w.Originals[:2])
	must(t, "LocateLuns", c.p.LocateLUNs(t.Context(), targets))
	for _, what := range []string{"mask", "mask again"} {
		must(t, what, c.p.OnLUNStateChange(t.Context(), targets, w.Originals[:2], vss.DoMaskLUNs))
		for i, l := range targets {
			if w.Visible(t, l) {
				t.Errorf("%s: copy %d is visible", what, i)
			}
		}
	}
	c.left(t, "masked", 2)
	wants(t, "lists of different lengths", c.p.OnLUNStateChange(t.Context(), targets, w.Originals[:1], vss.DoMaskLUNs), vss.ErrInvalidArg)
	must(t, "notification", c.p.OnLUNStateChange(t.Context(), targets, w.Originals[:2], vss.NotifyReadWrite))
}

// originalsAreSafe orders for an original what only a copy may suffer.
func originalsAreSafe(t *testing.T, w *HardwareWorld) {
	o := w.Originals[0]
	w.Write(t, o, 'x')
	visible := w.Visible(t, o)
	refused := []vss.Code{vss.ErrObjectNotFound, vss.ErrInvalidArg, vss.ErrProviderVeto, vss.ErrBadState}
	wants(t, "OnLunEmpty of an original", w.Provider.OnLUNEmpty(t.Context(), "", &o), refused...)
	wants(t, "LocateLuns of an original", w.Provider.LocateLUNs(t.Context(), []vss.LUNInformation{o}), refused...)
	list := []vss.LUNInformation{o}
	wants(t, "masking an original", w.Provider.OnLUNStateChange(t.Context(), list, list, vss.DoMaskLUNs), refused...)
	if got := w.Read(t, o); got != 'x' || w.Visible(t, o) != visible {
		t.Errorf("the original suffered: content %q, visible %v", got, w.Visible(t, o))
	}
}

// resync brings an original back to its copy, where the provider can.
func resync(t *testing.T, w *HardwareWorld) {
	c := w.creation()
	for _, o := range w.Originals[:2] {
		w.Write(t, o, 'a')
	}
	c.reach(t, final)
	targets := c.targets(t, w.Originals[:2])
	for _, o := range w.Originals[:2] {
		w.Write(t, o, 'b')
	}
	p, err := c.p.Properties(t.Context())
	must(t, "Properties", err)
	if !slices.Contains(p.Capabilities, provider.CanResync) {
		if err := c.p.ResyncLUNs(t.Context(), targets, w.Originals[:2], nil); !errors.Is(err, vss.ErrNotImpl) {
			t.Errorf("ResyncLuns, which it doesn't claim: %v", err)
		}
		return
	}
	wants(t, "ResyncLuns with lists of different lengths", c.p.ResyncLUNs(t.Context(), targets, w.Originals[:1], nil), vss.ErrInvalidArg, vss.ErrProviderVeto)
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
		if got := w.Read(t, o); got != 'a' {
			t.Errorf("original %d has content %q", i, got)
		}
	}
}
