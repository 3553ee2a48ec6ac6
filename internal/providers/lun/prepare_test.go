package lun_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// What is promised for a context is what is made; what isn't promised is refused by name.
func TestContexts(t *testing.T) {
	w := newWorld(t, 1, folders(t, "xfs")...)
	for name, x := range map[string]struct {
		c    vss.Context
		want array.Method // "" refuses
	}{
		"backup":                    {vss.ContextBackup, array.MethodDifferential},
		"file-share-backup":         {vss.ContextFileShareBackup, array.MethodDifferential},
		"nas-rollback":              {vss.ContextNASRollback, array.MethodDifferential},
		"app-rollback":              {vss.ContextAppRollback, array.MethodDifferential},
		"no recovery":               {vss.ContextBackup | vss.AttrNoAutoRecovery, array.MethodDifferential},
		"rollback recovery":         {vss.ContextAppRollback | vss.AttrRollbackRecovery, array.MethodDifferential},
		"differential":              {vss.ContextBackup | vss.AttrDifferential, array.MethodDifferential},
		"plex":                      {vss.ContextBackup | vss.AttrPlex, array.MethodPlex},
		"transportable":             {vss.ContextBackup | vss.AttrTransportable, array.MethodDifferential},
		"transportable plex":        {vss.ContextAppRollback | vss.AttrTransportable | vss.AttrPlex, array.MethodPlex},
		"both methods":              {vss.ContextBackup | vss.AttrPlex | vss.AttrDifferential, ""},
		"client-accessible":         {vss.ContextClientAccessible, ""},
		"client-accessible-writers": {vss.ContextClientAccessibleWriters, ""},
		"all":                       {vss.ContextAll, ""},
		"file share":                {vss.ContextBackup | vss.AttrFileShare, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ok, _, err := w.AreLUNsSupported(ctx, x.c, []string{"/dev/a"}, w.sources())
			if err != nil || ok != (x.want != "") {
				t.Errorf("supported %v, %v", ok, err)
			}
			if x.want == "" {
				wantCode(
					t,
					"BeginPrepareSnapshot",
					begin(w.Provider, newSet(), x.c, w.sources()...),
					vss.ErrUnsupportedContext,
				)
				return
			}
			_, targets := w.create(x.c)
			if _, l, _ := w.find(targets[0]); l.Method != x.want || l.Host != host {
				t.Errorf("%+v", l)
			}
			must(t, w.OnLUNEmpty(ctx, "", &targets[0]))
		})
	}
}

// What can't be copied now is false, not an error, and says why in the log.
func TestNotSupported(t *testing.T) {
	dirs := folders(t, "xfs", "xfs")
	w := newWorld(t, 2, dirs...)
	refused := func(what, reason string, code vss.Code, luns ...vss.LUNInformation) {
		t.Helper()
		w.log.Reset()
		ok, out, err := w.AreLUNsSupported(ctx, vss.ContextBackup, make([]string, len(luns)), luns)
		if ok || err != nil || len(out) != len(luns) {
			t.Errorf("%s: %v, %v", what, ok, err)
		}
		if !strings.Contains(w.log.String(), reason) {
			t.Errorf("%s: the log has no %q: %s", what, reason, w.log)
		}
		wantCode(t, what, begin(w.Provider, newSet(), vss.ContextBackup, luns...), code)
	}
	_, targets := w.create(vss.ContextBackup)
	refused("no LUN", "", vss.ErrInvalidArg)
	refused("a shadow copy", "break its set first", vss.ErrVolumeNotSupportedByProvider, targets[0])
	refused(
		"a stranger among ours",
		"no array that this host speaks to",
		vss.ErrVolumeNotSupportedByProvider,
		w.sources()[0],
		providertest.NewLUN(),
	)
	w.arrays[1].hook = broken("LUNs", errBroken)
	refused("a LUN of a silent array", "the line is dead", vss.ErrVolumeNotSupportedByProvider, w.sources()[1])
	if ok, _, err := w.AreLUNsSupported(ctx, vss.ContextBackup, []string{""}, w.sources()[:1]); !ok || err != nil {
		t.Errorf("a LUN of the other array: %v, %v", ok, err)
	}
	w.arrays[1].hook = nil
	w.arrays[1].low = 1 << 30 // more than the pool has: nothing is left for copies
	w.arrays[1].restart()
	refused("a shortage at one array of two", "VSS_E_INSUFFICIENT_STORAGE", vss.ErrInsufficientStorage, w.sources()...)
}

// A set's copies must fit together, not one by one.
func TestShortageOfTheSet(t *testing.T) {
	w := newWorld(t, 2, folders(t, "xfs")...)
	info, err := w.arrays[0].Info(ctx)
	must(t, err)
	w.arrays[0].low = info.Pools[0].Free - 24*mib
	w.arrays[0].restart()
	set := newSet()
	for i := range w.originals {
		if ok, _, err := w.AreLUNsSupported(ctx, vss.ContextBackup, []string{""}, w.sources()[i:i+1]); !ok ||
			err != nil {
			t.Errorf("%d alone: %v, %v", i, ok, err)
		}
	}
	must(t, begin(w.Provider, set, vss.ContextBackup, w.sources()[0]))
	must(t, begin(w.Provider, set, vss.ContextBackup, w.sources()[0]))
	wantCode(t, "both", begin(w.Provider, set, vss.ContextBackup, w.sources()[1]), vss.ErrInsufficientStorage)
	for _, s := range steps { // the volume that didn't fit isn't in the set, the others are
		must(t, s.do(w.Provider, set))
	}
	w.wantCopies("without the one that didn't fit", 1)
}

// Descriptions that a host read badly are completed; what only the host knows stays.
func TestDescriptionsAreCompleted(t *testing.T) {
	w := newWorld(t, 1, folders(t, "xfs")...)
	full := w.sources()[0]
	read := vss.LUNInformation{
		Version:       1,
		BusType:       vss.BusISCSI,
		DiskSignature: vss.NewGUID(),
		DeviceIDs:     full.DeviceIDs,
		Interconnects: []vss.Interconnect{{Type: vss.InterconnectSCSI, Address: []byte{1}}},
	}
	ok, out, err := w.AreLUNsSupported(ctx, vss.ContextBackup, []string{""}, []vss.LUNInformation{read})
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	want := full
	want.BusType, want.DiskSignature, want.Interconnects = read.BusType, read.DiskSignature, read.Interconnects
	if d := cmp.Diff(want, out[0]); d != "" {
		t.Error(d)
	}
	info := read
	ok, err = w.FillInLUNInfo(ctx, "", &info)
	want.DiskSignature = vss.GUID{}
	if d := cmp.Diff(want, info); d != "" || !ok || err != nil {
		t.Error(ok, err, d)
	}
}

// One LUN in a set is copied by one method.
func TestTwoMethods(t *testing.T) {
	w := newWorld(t, 2, folders(t, "xfs")...)
	set := newSet()
	must(t, begin(w.Provider, set, vss.ContextBackup|vss.AttrPlex, w.sources()[0]))
	wantCode(
		t,
		"the other method",
		begin(w.Provider, set, vss.ContextBackup|vss.AttrDifferential, w.sources()[0]),
		vss.ErrUnsupportedContext,
	)
	must(t, begin(w.Provider, set, vss.ContextBackup|vss.AttrDifferential, w.sources()[1]))
	for _, s := range steps {
		must(t, s.do(w.Provider, set))
	}
	for i, want := range []array.Method{array.MethodPlex, array.MethodDifferential} {
		if _, l, _ := w.find(w.targets(set)[i]); l.Method != want {
			t.Errorf("%d: %s", i, l.Method)
		}
	}
}

// Every array gets one call with all of its LUNs, each once, and all arrays prepare at the same time.
func TestOneCallPerArray(t *testing.T) {
	w := newWorld(t, 6, folders(t, "xfs", "btrfs")...)
	var calls, there atomic.Int32
	both := make(chan struct{})
	for _, a := range w.arrays {
		a.hook = func(_ context.Context, method string, call func() error) error {
			if method == "PrepareCopies" || method == "CommitCopies" {
				calls.Add(1)
			}
			if method == "PrepareCopies" {
				if there.Add(1) == 2 {
					close(both)
				}
				select {
				case <-both:
				case <-time.After(20 * time.Second):
					t.Error("the arrays don't prepare at the same time")
				}
			}
			return call()
		}
	}
	for i, l := range w.sources() {
		w.write(l, byte('a'+i))
	}
	set := newSet()
	for i := range w.sources() { // volumes that share LUNs
		must(t, begin(w.Provider, set, vss.ContextBackup, w.sources()[i/2:i+1]...))
	}
	for _, s := range steps {
		must(t, s.do(w.Provider, set))
	}
	if n := calls.Load(); n != 4 {
		t.Errorf("%d calls that prepare or commit at two arrays", n)
	}
	w.wantCopies("created", 6)
	for i, l := range w.targets(set) {
		if got := w.read(l); got != byte('a'+i) {
			t.Errorf("copy %d has content %q", i, got)
		}
	}
}

// An abort frees EndPrepareSnapshots at once, even while an array doesn't listen; nothing is left when the abort
// returns.
func TestAbortWhileAnArrayDoesNotListen(t *testing.T) {
	w := newWorld(t, 2, folders(t, "xfs", "xfs")...)
	set, busy, gate := newSet(), make(chan struct{}), make(chan struct{})
	w.arrays[1].hook = func(_ context.Context, method string, call func() error) error {
		if method == "PrepareCopies" {
			close(busy)
			<-gate
			_, err := w.arrays[1].Array.PrepareCopies(
				context.Background(),
				set,
				host,
				[]array.CopyRequest{{Origin: w.originals[1].ID}},
			)
			return err
		}
		return call()
	}
	must(t, begin(w.Provider, set, vss.ContextBackup, w.sources()...))
	ended, aborted := make(chan error, 1), make(chan error, 1)
	go func() { ended <- w.EndPrepareSnapshots(ctx, set) }()
	<-busy
	go func() { aborted <- w.AbortSnapshots(ctx, set) }()
	select {
	case err := <-ended:
		wantCode(t, "EndPrepareSnapshots", err, vss.ErrProviderVeto)
	case <-time.After(20 * time.Second):
		t.Error("EndPrepareSnapshots waits for the array")
	}
	select {
	case <-aborted:
		t.Fatal("the abort is over while an array still prepares")
	case <-time.After(100 * time.Millisecond):
	}
	close(gate)
	must(t, <-aborted)
	w.wantCopies("aborted", 0)
}

// What one array can't prepare none keeps.
func TestPrepareFailsAtOneArray(t *testing.T) {
	w := newWorld(t, 2, folders(t, "xfs", "xfs")...)
	full := vss.E("PrepareCopies", vss.VDSErrNotEnoughSpace, nil)
	w.arrays[1].hook = broken("PrepareCopies", full)
	set := newSet()
	must(t, begin(w.Provider, set, vss.ContextBackup, w.sources()...))
	wantCode(t, "EndPrepareSnapshots", w.EndPrepareSnapshots(ctx, set), vss.ErrInsufficientStorage)
	must(t, w.AbortSnapshots(ctx, set))
	w.wantCopies("aborted", 0)
	w.arrays[1].hook = nil
	w.create(vss.ContextBackup)
	w.wantCopies("created when the array was well again", 2)
}
