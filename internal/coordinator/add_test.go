package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/recovery"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestAdd: which volume goes into a set, by whose copy, and why another doesn't.
func TestAdd(t *testing.T) {
	fail := func(method string, id vss.ProviderID, code vss.Code) func(*world) {
		return func(w *world) {
			w.calls.Before(func(_ context.Context, c providertest.Call) error {
				if c.Method == method && c.Provider == id {
					return vss.E(method, code, errors.New("harm"))
				}
				return nil
			})
		}
	}
	volumeOf := func(w *world, name string) *volume.Volume {
		return w.vols.all[slices.IndexFunc(w.vols.all, func(v *volume.Volume) bool { return v.Name == name })]
	}
	for _, c := range []struct {
		name     string
		context  vss.Context
		prepare  func(*world)
		volume   string
		provider string
		want     vss.Code
		by       vss.ProviderID
		text     string
	}{
		{"hardware goes first", 0, nil, "/a", "", 0, firstID, ""},
		{"the array decides", 0, nil, "/c", "", 0, secondID, ""},
		{"software where no array is", 0, nil, "/srv/memory0", "", 0, localID, ""},
		{"by its name", 0, nil, "/a", "FIRST", 0, firstID, ""},
		{"by its id", 0, nil, "/a", firstID.String(), 0, firstID, ""},
		{"no such provider", 0, nil, "/a", "none", vss.ErrProviderNotRegistered, firstID, "none"},
		{"a provider that can't", 0, nil, "/a", "local", vss.ErrVolumeNotSupportedByProvider, firstID, "/a"},
		{"no such volume", 0, nil, "/none", "", vss.ErrObjectNotFound, firstID, "/none"},
		{"a network file system", 0, nil, "/net", "", vss.ErrVolumeNotSupported, firstID, ""},
		{
			"in the set already", 0, func(w *world) { w.add("/a") }, "/a", "",
			vss.ErrObjectAlreadyExists, firstID, "as /a",
		},
		{
			"a read-only device", 0, func(w *world) { volumeOf(w, "/a").DeviceReadOnly = true }, "/a", "",
			vss.ErrVolumeNotSupported, firstID, "read-only",
		},
		{"one that carries another", 0, func(w *world) {
			w.vols.nested = func([]*volume.Volume, []string) error {
				return vss.E("CheckNesting", vss.ErrNestedVolumeLimit, nil)
			}
		}, "/a", "", vss.ErrNestedVolumeLimit, firstID, ""},
		{
			"a transient shortage, without a fallback", 0,
			fail("AreLunsSupported", firstID, vss.ErrInsufficientStorage), "/a", "", vss.ErrInsufficientStorage,
			firstID, "first",
		},
		{
			"a code that isn't legal", 0, fail("BeginPrepareSnapshot", firstID, vss.ErrWriterErrorRetryable), "/a",
			"", vss.ErrUnexpectedProviderError, firstID, "harm",
		},
		{
			"a context that no provider allows", vss.AttrTransportable, nil, "/srv/memory0", "",
			vss.ErrVolumeNotSupported, firstID, "",
		},
		{
			"a device that must be suspended", 0, func(w *world) { w.soft.Offer.Hold = provider.HoldSuspend },
			"/srv/memory0", "", vss.ErrVolumeNotSupported, firstID, "suspend",
		},
		{
			"a device that the commit suspends", 0, func(w *world) { w.soft.Offer.Suspends = []string{"/dev/dm-1"} },
			"/srv/memory0", "", vss.ErrVolumeNotSupported, firstID, "suspend",
		},
		{"one super block in two modes", 0, func(w *world) {
			w.add("/srv/memory0")
			w.soft.Offer.Hold = provider.HoldFlush
			volumeOf(w, "/srv/memory1").SuperKey = "/srv/memory0"
		}, "/srv/memory1", "", vss.ErrVolumeNotSupported, firstID, "held in mode"},
		{"one super block in one mode", 0, func(w *world) {
			w.add("/srv/memory0")
			volumeOf(w, "/srv/memory1").SuperKey = "/srv/memory0"
		}, "/srv/memory1", "", 0, localID, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			defer w.Shutdown()
			s := w.session(vss.ContextNASRollback | c.context)
			if c.prepare != nil {
				c.prepare(w)
			}
			before := len(s.set.copies)
			id, err := s.AddToSnapshotSet(t.Context(), c.volume, c.provider)
			if vss.CodeOf(err) != c.want || err != nil && !strings.Contains(err.Error()+"; "+vss.Hint(err), c.text) {
				t.Fatalf("%v (%s), want %v with %q", err, vss.Hint(err), c.want, c.text)
			}
			if err != nil {
				if len(s.set.copies) != before {
					t.Error("the volume that was refused is in the set")
				}
				if all := w.eventKinds(); !slices.Contains(all, string(events.VolumeRefused)) &&
					!slices.Contains(all, string(events.ProviderFailed)) {
					t.Errorf("no event: %v", all)
				}
				return
			}
			last := s.set.copies[len(s.set.copies)-1]
			if last.id != id || last.member.Kind().Properties().ID != c.by || !s.set.uses(c.by) {
				t.Errorf("by %v", last.member.Kind().Properties().Name)
			}
		})
	}
}

// add puts a volume into the set that is open.
func (w *world) add(name string) {
	w.t.Helper()
	w.mu.Lock()
	c := w.creating
	w.mu.Unlock()
	_, err := c.add(w.t.Context(), name, w.loaded(), false)
	must(w.t, err)
}

// TestAddTooMany: a set has at most 64 volumes.
func TestAddTooMany(t *testing.T) {
	w := newWorld(t)
	defer w.Shutdown()
	s := w.session(vss.ContextNASRollback)
	for i := range vss.MaxVolumes {
		s.set.copies = append(s.set.copies, &shadow{vol: &volume.Volume{Key: fmt.Sprint(i)}})
	}
	if _, err := s.AddToSnapshotSet(t.Context(), "/a", ""); !errors.Is(err, vss.ErrMaximumNumberOfVolumesReached) {
		t.Error(err)
	}
	s.set.copies = nil
}

// TestHoldModes: each super block is given to the guards once, in the mode of its offer, with the devices that a commit
// suspends, which are durable before.
func TestHoldModes(t *testing.T) {
	w := newWorld(t)
	defer w.Shutdown()
	w.holder.suspends = true
	w.soft.Offer = provider.Offer{Hold: provider.HoldFlush, Suspends: []string{"/dev/dm-1"}}
	s := w.session(vss.ContextNASRollback, "/a", "/srv/memory0")
	if c, ok := w.creation(s.set.id); !ok || !slices.Equal(c, []string{"/dev/dm-1"}) {
		t.Errorf("recorded %v", c)
	}
	must(t, ended(s.DoSnapshotSet(0)))
	got := map[string]provider.HoldMode{}
	for _, v := range w.holder.vols {
		got[v.Name] = v.Mode
	}
	if len(got) != 2 || got["/a"] != provider.HoldFreeze || got["/srv/memory0"] != provider.HoldFlush ||
		!slices.Equal(w.holder.susp, []string{"/dev/dm-1"}) {
		t.Errorf("held %v, suspended %v", got, w.holder.susp)
	}
	if want := []string{"start", "preflush", "flush", "hold", "release", "close"}; !slices.Equal(w.holder.ops, want) {
		t.Errorf("the guard was called %v, want %v", w.holder.ops, want)
	}
}

// creation returns the devices that the record of a creation lists as suspended.
func (w *world) creation(set vss.SnapshotSetID) ([]string, bool) {
	r, err := recovery.Read(w.store)
	must(w.t, err)
	for _, c := range r.Creations {
		if c.Set == set {
			return c.Suspended, true
		}
	}
	return nil, false
}

// TestWritePathsAskedAgain: what a commit writes to may be known only after EndPrepareSnapshots; it is checked over
// the set.
func TestWritePathsAskedAgain(t *testing.T) {
	w := newWorld(t)
	defer w.Shutdown()
	s := w.session(vss.ContextNASRollback, "/a", "/srv/memory0")
	w.soft.Paths = []string{"/a/area"}
	w.vols.nested = func(vols []*volume.Volume, writes []string) error {
		if len(vols) == 2 && slices.Contains(writes, "/a/area") && slices.Contains(writes, "/var/lib/memory-pool") {
			return vss.E("CheckNesting", vss.ErrNestedVolumeLimit, nil)
		}
		return nil
	}
	if err := ended(s.DoSnapshotSet(0)); !errors.Is(err, vss.ErrNestedVolumeLimit) {
		t.Error(err)
	}
	w.clean("nested")
}
