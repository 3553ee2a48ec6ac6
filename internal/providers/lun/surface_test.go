package lun_test

import (
	"context"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

func (w *world) wantHidden(what string, luns []vss.LUNInformation) {
	w.t.Helper()
	for i, info := range luns {
		if _, l, _ := w.find(info); len(l.MappedTo) > 0 || l.Imported {
			w.t.Errorf("%s: copy %d is mapped to %v, imported %v", what, i, l.MappedTo, l.Imported)
		}
	}
}

// An import that fails leaves nothing surfaced and nothing marked, and can be tried again; once it was done it can't.
func TestImport(t *testing.T) {
	w := newWorld(t, 4, folders(t, "xfs", "xfs")...)
	_, targets := w.create(vss.ContextBackup | vss.AttrTransportable)
	importer := w.provider("there")
	// The second array's records are written and the target fails.
	w.arrays[1].hook = func(_ context.Context, method string, call func() error) error {
		if err := call(); err != nil || method != "MapAll" {
			return err
		}
		return errBroken
	}
	wantCode(t, "unmasking fails", importer.LocateLUNs(ctx, targets), vss.ErrProviderVeto)
	w.wantHidden("unmasking failed", targets)
	w.arrays[1].hook = nil
	w.arrays[0].hook = broken("MarkImported", errBroken)
	wantCode(t, "marking fails", importer.LocateLUNs(ctx, targets), vss.ErrProviderVeto)
	w.wantHidden("marking failed", targets)
	w.arrays[0].hook = nil

	stranger, other := providertest.NewLUN(), providertest.NewLUN()
	err := importer.LocateLUNs(ctx, append(slices.Clone(targets), stranger, other))
	wantCode(t, "two are missing", err, vss.ErrObjectNotFound)
	for _, l := range []vss.LUNInformation{stranger, other} {
		if !strings.Contains(err.Error(), hexID(l)) {
			t.Errorf("it isn't said that %s is missing: %v", hexID(l), err)
		}
	}
	w.wantHidden("two are missing", targets)
	w.arrays[1].hook = broken("LUNs", errBroken)
	wantCode(t, "an array is silent", importer.LocateLUNs(ctx, targets), vss.ErrProviderVeto)
	w.arrays[1].hook = nil
	w.wantHidden("an array was silent", targets)

	maps := 0
	w.arrays[0].hook = func(_ context.Context, method string, call func() error) error {
		if method == "MapAll" {
			maps++
		}
		return call()
	}
	must(t, importer.LocateLUNs(ctx, append(slices.Clone(targets), targets[0])))
	if maps != 1 {
		t.Errorf("the first array's two copies were unmasked by %d calls", maps)
	}
	for _, p := range []string{"there", host} {
		wantCode(t, "second import on "+p, w.provider(p).LocateLUNs(ctx, targets), vss.ErrBadState)
	}
	for i, l := range targets {
		if !w.visible(l, "there") || w.visible(l, host) {
			t.Errorf("copy %d is not mapped to the importing host alone", i)
		}
	}
	// The host that made the set may not pull it away from under the one that imported it.
	wantCode(t, "deletion under another host", w.OnLUNEmpty(ctx, "", &targets[0]), vss.ErrProviderVeto)
	must(t, w.OnLUNStateChange(ctx, targets, w.sources(), vss.DoMaskLUNs))
	if !w.visible(targets[0], "there") {
		t.Error("masked from another host")
	}
	for i := range targets {
		must(t, importer.OnLUNEmpty(ctx, "", &targets[i]))
	}
	w.wantCopies("emptied by the importer", 0)
}

func hexID(l vss.LUNInformation) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, c := range l.DeviceIDs[0].ID {
		b.WriteString(string(digits[c>>4]) + string(digits[c&15]))
	}
	return b.String()
}

// A set of which one array's copies were imported before stays as it is at the other array.
func TestImportOfHalf(t *testing.T) {
	w := newWorld(t, 2, folders(t, "xfs", "xfs")...)
	_, targets := w.create(vss.ContextBackup | vss.AttrTransportable)
	must(t, w.LocateLUNs(ctx, targets[1:]))
	wantCode(t, "all", w.LocateLUNs(ctx, targets), vss.ErrBadState)
	w.wantHidden("the other half", targets[:1])
	// A LUN that two hosts see is deleted for neither, and not half masked either.
	a, l, _ := w.find(targets[1])
	_, err := a.Map(ctx, l.ID, "there")
	must(t, err)
	wantCode(t, "OnLunEmpty", w.OnLUNEmpty(ctx, "", &targets[1]), vss.ErrProviderVeto)
	if !w.visible(targets[1], host) || !w.visible(targets[1], "there") {
		t.Error("a refused deletion masked the copy")
	}
}

// Of two hosts that import a set at the same moment one gets all of it, the other nothing.
func TestTwoHostsImport(t *testing.T) {
	w := newWorld(t, 4, folders(t, "xfs", "xfs")...)
	_, targets := w.create(vss.ContextBackup | vss.AttrTransportable)
	// The second host is through with the whole import when the first one, having looked and unmasked, is about to
	// mark.
	var once bool
	w.arrays[0].hook = func(_ context.Context, method string, call func() error) error {
		if method == "MarkImported" && !once {
			once = true
			must(t, w.provider("second").LocateLUNs(ctx, targets))
		}
		return call()
	}
	wantCode(t, "the slower host", w.provider("first").LocateLUNs(ctx, targets), vss.ErrBadState)
	for i, l := range targets {
		if w.visible(l, "first") || !w.visible(l, "second") {
			t.Errorf("copy %d", i)
		}
	}
}

// "Gone" is said of a LUN only when every array was asked: else its record would be forgotten and the LUN stay for
// ever.
func TestSilentArray(t *testing.T) {
	w := newWorld(t, 2, folders(t, "xfs", "xfs")...)
	_, targets := w.create(vss.ContextBackup)
	w.arrays[1].hook = broken("LUNs", errBroken)
	must(t, w.OnLUNEmpty(ctx, "", &targets[0]))
	wantCode(t, "OnLunEmpty", w.OnLUNEmpty(ctx, "", &targets[1]), vss.ErrProviderVeto)
	wantCode(t, "mask", w.OnLUNStateChange(ctx, targets[1:], w.sources()[1:], vss.DoMaskLUNs), vss.ErrProviderVeto)
	info := targets[1]
	ok, err := w.FillInLUNInfo(ctx, "/dev/x", &info)
	if ok {
		t.Error("filled in by nobody")
	}
	wantCode(t, "FillInLunInfo", err, vss.ErrProviderVeto)
	w.arrays[1].hook = nil
	must(t, w.OnLUNEmpty(ctx, "", &targets[1]))
	w.wantCopies("emptied", 0)
}

// A pool whose files were copied and adopted beside the first has the same LUNs: no guess is made which one is meant.
func TestOneLUNOnTwoArrays(t *testing.T) {
	dirs := folders(t, "xfs")
	w := newWorld(t, 1, dirs...)
	_, targets := w.create(vss.ContextBackup)
	twin := &link{t: t, dir: w.arrays[0].dir + "-twin", low: 8 * mib, name: "twin"}
	if out, err := exec.Command("cp", "-a", w.arrays[0].dir, twin.dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	twin.start()
	t.Cleanup(func() { must(t, twin.Array.Close()) })
	w.arrays = append(w.arrays, twin)
	if ok, _, err := w.AreLUNsSupported(ctx, vss.ContextBackup, []string{""}, w.sources()); ok || err != nil {
		t.Error(ok, err)
	}
	err := w.OnLUNEmpty(ctx, "", &targets[0])
	wantCode(t, "OnLunEmpty", err, vss.ErrProviderVeto)
	if !strings.Contains(err.Error(), "array0") || !strings.Contains(err.Error(), "twin") {
		t.Error(err)
	}
	wantCode(t, "LocateLuns", w.LocateLUNs(ctx, targets), vss.ErrProviderVeto)
}

// After a break the LUN is an ordinary one, and none of this provider's.
func TestBroken(t *testing.T) {
	w := newWorld(t, 1, folders(t, "xfs")...)
	set, targets := w.create(vss.ContextBackup)
	must(t, w.LocateLUNs(ctx, targets))
	a, l, _ := w.find(targets[0])
	must(t, a.MakePlain(ctx, []vss.LUNID{l.ID}))
	wantCode(t, "OnLunEmpty", w.OnLUNEmpty(ctx, "", &targets[0]), vss.ErrObjectNotFound)
	wantCode(t, "mask", w.OnLUNStateChange(ctx, targets, w.sources(), vss.DoMaskLUNs), vss.ErrObjectNotFound)
	wantCode(t, "AbortSnapshots at the next process", w.provider(host).AbortSnapshots(ctx, set), vss.ErrObjectNotFound)
	if !w.visible(targets[0], host) {
		t.Error("the broken LUN was masked or deleted")
	}
	if ok, _, err := w.AreLUNsSupported(ctx, vss.ContextBackup, []string{""}, targets); !ok || err != nil {
		t.Errorf("a copy of the broken LUN: %v, %v", ok, err)
	}
}

// Nothing is overwritten unless all pairs can be.
func TestResyncRefused(t *testing.T) {
	w := newWorld(t, 4, folders(t, "xfs", "xfs")...) // lun0 and lun2 on the first array
	_, targets := w.create(vss.ContextBackup)
	copies := []vss.LUNInformation{targets[0], targets[2]}
	o := w.sources()
	for _, l := range o {
		w.write(l, 'b')
	}
	refuse := func(what string, code vss.Code, sources []vss.LUNInformation, targets ...vss.LUNInformation) {
		t.Helper()
		wantCode(t, what, w.ResyncLUNs(ctx, sources, targets, func(float64) { t.Errorf("%s: it began", what) }), code)
	}
	refuse("no pair", vss.ErrInvalidArg, nil)
	refuse("the second is on another array", vss.ErrProviderVeto, copies, o[0], o[1])
	refuse("the second is a shadow copy", vss.ErrProviderVeto, copies, o[0], targets[2])
	refuse("one target twice", vss.ErrInvalidArg, copies, o[0], o[0])
	refuse("the second source isn't a copy", vss.ErrObjectNotFound, []vss.LUNInformation{targets[0], o[0]}, o[0], o[2])
	refuse("the second is nobody's", vss.ErrObjectNotFound, copies, o[0], providertest.NewLUN())
	_, err := w.arrays[0].Array.Map(ctx, w.originals[2].ID, "elsewhere")
	must(t, err)
	refuse("the second is mapped", vss.ErrProviderVeto, copies, o[0], o[2])
	if w.read(o[0]) != 'b' {
		t.Error("the first target was overwritten")
	}
	_, err = w.arrays[0].Array.Unmap(ctx, w.originals[2].ID, "elsewhere")
	must(t, err)
	cancelled, cancel := context.WithCancel(ctx)
	var last float64
	err = w.ResyncLUNs(cancelled, copies, []vss.LUNInformation{o[0], o[2]}, func(percent float64) {
		if last = percent; percent == 50 {
			cancel()
		}
	})
	wantCode(t, "cancelled between two LUNs", err, vss.ErrProviderVeto)
	if got := string([]byte{w.read(o[0]), w.read(o[2])}); last != 50 || got != "\x00b" {
		t.Errorf("cancelled at %v %%: %q", last, got)
	}
	if _, l, _ := w.find(o[2]); l.State != array.StateReady {
		t.Errorf("%+v", l)
	}
}
