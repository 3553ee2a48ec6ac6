package copies_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/disk"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// stages are the methods of a creation, with what brings a set to each.
var stages = []struct {
	method string
	steps  int
	limit  time.Duration
	codes  []vss.Code // that its page adds
}{
	{"EndPrepareSnapshots", 0, 5 * time.Minute, nil},
	{"PreCommitSnapshots", 3, time.Minute, nil},
	{"CommitSnapshots", 4, 10 * time.Second, nil},
	{"PostCommitSnapshots", 6, time.Minute, nil},
	{"GetTargetLuns", 9, time.Minute, nil},
	{"LocateLuns", 10, 5 * time.Minute, nil},
	{"OnLunStateChange", 11, 5 * time.Minute, nil},
	{"PreFinalCommitSnapshots", 12, 5 * time.Minute, nil},
	{"PostFinalCommitSnapshots", 14, 5 * time.Minute, nil},
}

// general are the codes that every method may return. Source: error-handling-in-shadow-copy-providers.
var general = []vss.Code{
	vss.ErrOutOfMemory,
	vss.ErrInvalidArg,
	vss.ErrAccessDenied,
	vss.ErrBadState,
	vss.ErrObjectNotFound,
	vss.ErrInsufficientStorage,
	vss.ErrVolumeNotSupported,
	vss.ErrVolumeNotSupportedByProvider,
	vss.ErrMaximumNumberOfSnapshotsReached,
	vss.ErrProviderVeto,
	vss.ErrCannotRevertDiskID,
}

// others are codes that are legal at some methods only, or never.
var others = []vss.Code{
	vss.ErrMaximumNumberOfVolumesReached,
	vss.ErrNestedVolumeLimit,
	vss.ErrUnsupportedContext,
	vss.ErrNotImpl,
	vss.ErrRebootRequired,
	vss.ErrUnexpected,
	vss.ErrFail,
	vss.ErrGenericUnexpected,
	vss.False,
	vss.SuccessAsyncPending,
	vss.ErrVolumeInUse,
	vss.VDSErrObjectNotFound,
}

// A method's legal codes come through, all others become VSS_E_UNEXPECTED_PROVIDER_ERROR; each failure is one event.
func TestCodes(t *testing.T) {
	x := newWorld(t)
	k, _, luns := x.hardware(1, disk.StyleGPT)
	v := x.w.Volume("/srv/a", "ext4", luns[0])
	for _, st := range stages {
		s := x.begin(k, vss.ContextBackup, v).reach(st.steps)
		try := s.steps()[st.steps]
		for _, code := range append(slices.Clone(general), others...) {
			want := vss.ErrUnexpectedProviderError
			if slices.Contains(general, code) || slices.Contains(st.codes, code) {
				want = code
			}
			before := len(x.happened())
			end := x.broken(st.method, vss.E("Own", code, errors.New("why")).On("its object"))
			err := try(t.Context())
			end()
			wantCode(t, fmt.Sprintf("%s returns %s", st.method, code.Name()), err, want)
			var e *vss.Error
			if !errors.As(err, &e) || e.Op != st.method || e.Object != k.Properties().Name ||
				!strings.Contains(err.Error(), "why") {
				t.Errorf("%s: %v", st.method, err)
			}
			if n := len(x.happened()); n != before+1 {
				t.Errorf("%s: %d events", st.method, n-before)
			}
			x.events.Failed("creation-failed", s.id, "", err)
			if n := len(x.happened()); n != before+1 {
				t.Errorf("%s: the failure is recorded twice", st.method)
			}
			s.records, s.rec.Flagged = nil, nil
		}
		end := x.broken(st.method, errors.New("without a code"))
		wantCode(t, st.method, try(t.Context()), vss.ErrUnexpectedProviderError)
		end()
		s.m.Release()
		must(t, s.m.Abort(t.Context()))
	}
	// BeginPrepareSnapshot has codes of its own
	own := []vss.Code{vss.ErrMaximumNumberOfVolumesReached, vss.ErrNestedVolumeLimit, vss.ErrUnsupportedContext}
	for _, code := range own {
		end := x.broken("BeginPrepareSnapshot", vss.E("Own", code, nil))
		o, err := k.Consider(t.Context(), v, vss.ContextBackup)
		must(t, err)
		wantCode(
			t,
			"BeginPrepareSnapshot",
			k.Join(vss.SnapshotSetID{}, 0).Begin(t.Context(), vss.SnapshotID{}, v, o),
			code,
		)
		end()
	}
	// AbortSnapshots isn't translated, and may not know the set
	m := k.Join(vss.SnapshotSetID{GUID: vss.NewGUID()}, 0)
	must(t, m.Abort(t.Context()))
	failure := errors.New("own")
	end := x.broken("AbortSnapshots", failure)
	if err := m.Abort(t.Context()); !errors.Is(err, failure) {
		t.Errorf("AbortSnapshots: %v", err)
	}
	end()
}

// A method that panics has failed; the service lives on.
func TestPanics(t *testing.T) {
	x := newWorld(t)
	k, _, luns := x.hardware(1, disk.StyleGPT)
	for _, st := range stages {
		s := x.begin(k, vss.ContextBackup, x.w.Volume("/srv/a", "ext4", luns[0])).reach(st.steps)
		x.calls.Before(func(_ context.Context, c providertest.Call) error {
			if c.Method == st.method {
				panic("at the disco")
			}
			return nil
		})
		err := s.steps()[st.steps](t.Context())
		x.calls.Before(nil)
		wantCode(t, st.method, err, vss.ErrUnexpectedProviderError)
		if !strings.Contains(err.Error(), "at the disco") {
			t.Errorf("%s: %v", st.method, err)
		}
		s.m.Release()
		_ = s.m.Abort(t.Context())
	}
}

// A method that hangs has failed when its time is over, whether the provider notices that or not; nothing waits for it.
func TestHangs(t *testing.T) {
	for _, heeds := range []bool{true, false} {
		for _, st := range stages {
			t.Run(fmt.Sprintf("%s, heeds %v", st.method, heeds), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					x := newWorld(t)
					k, _, luns := x.hardware(1, disk.StyleGPT)
					s := x.begin(k, vss.ContextBackup, x.w.Volume("/srv/a", "ext4", luns[0])).reach(st.steps)
					done := make(chan struct{})
					x.calls.Before(func(ctx context.Context, c providertest.Call) error {
						if c.Method != st.method {
							return nil
						}
						if !heeds {
							<-done
							return nil
						}
						<-ctx.Done()
						return ctx.Err()
					})
					ctx, want, code := t.Context(), st.limit, vss.ErrUnexpectedProviderError
					if st.method == "CommitSnapshots" { // what is left of the hold
						var cancel func()
						ctx, cancel = context.WithTimeout(ctx, 3*time.Second)
						defer cancel()
						want, code = 3*time.Second, vss.ErrHoldWritesTimeout
					}
					began := time.Now()
					err := s.steps()[st.steps](ctx)
					took := time.Since(began)
					wantCode(t, "hanging", err, code)
					if took < want || took > want+time.Second || code == vss.ErrHoldWritesTimeout && took > want {
						t.Errorf("it took %v, want %v", took, want)
					}
					close(done)
					synctest.Wait()
				})
			})
		}
	}
}

// A preparation that shows progress may take as long as it likes; without any for five minutes it has failed. A
// cancelled one returns at once, and its cancellation isn't a failure of the provider.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newWorld(t)
		k, _, luns := x.hardware(1, disk.StyleGPT)
		s := x.begin(k, vss.ContextBackup, x.w.Volume("/srv/a", "ext4", luns[0]))
		x.calls.Before(func(ctx context.Context, c providertest.Call) error {
			for i := range 100 {
				if c.Method != "EndPrepareSnapshots" {
					break
				}
				time.Sleep(4 * time.Minute)
				provider.Report(ctx, float64(i))
			}
			return nil
		})
		var last float64
		_, err := s.m.EndPrepare(t.Context(), func(p float64) { last = p })
		must(t, err)
		if last != 99 {
			t.Errorf("progress %v", last)
		}
		x.calls.Before(nil)
		s = x.begin(k, vss.ContextBackup, x.w.Volume("/srv/b", "ext4", luns[0]))
		x.calls.Before(func(ctx context.Context, c providertest.Call) error {
			<-ctx.Done()
			return vss.E("EndPrepareSnapshots", vss.ErrProviderVeto, ctx.Err())
		})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		before := len(x.happened())
		_, err = s.m.EndPrepare(ctx, func(float64) {})
		if !errors.Is(err, context.Canceled) || len(x.happened()) != before {
			t.Errorf("cancelled: %v, events %v", err, x.happened())
		}
		x.calls.Before(nil)
	})
}

// neither is a provider of no known kind.
type neither struct{ provider.Provider }

func TestLoad(t *testing.T) {
	x := newWorld(t)
	a, _ := providertest.NewArray(1)
	m := providertest.NewMemory(a)
	_, err := x.host.Load(t.Context(), neither{m})
	wantCode(t, "neither hardware nor software", err, vss.ErrNotImpl)
	end := x.broken("OnLoad", vss.E("OnLoad", vss.ErrProviderVeto, nil))
	_, err = x.host.Load(t.Context(), providertest.RecordHardware(m, &x.calls))
	wantCode(t, "OnLoad", err, vss.ErrProviderVeto)
	end()
	_, err = x.host.Load(t.Context(), providertest.RecordHardware(mute{m}, &x.calls))
	wantCode(t, "Properties", err, vss.ErrOutOfMemory)
	k, err := x.host.Load(t.Context(), m)
	must(t, err)
	if k.Properties().Name != m.Name {
		t.Errorf("properties %+v", k.Properties())
	}
	must(t, k.Unload(t.Context(), false))
	if len(x.happened()) > 0 {
		t.Errorf("events %v", x.happened())
	}
	o := &copies.Obstacle{Err: vss.E("X", vss.ErrVolumeNotSupported, nil)}
	if !errors.Is(o, vss.ErrVolumeNotSupported) || o.Error() == "" {
		t.Errorf("obstacle %v", o)
	}
}

type mute struct{ provider.Hardware }

func (mute) Properties(context.Context) (provider.Properties, error) {
	return provider.Properties{}, vss.E("Properties", vss.ErrOutOfMemory, nil)
}

// A second LUN for a copy of one, or none, is a provider's error.
func TestTargetCount(t *testing.T) {
	x := newWorld(t)
	a, luns := x.w.Array(1, disk.StyleGPT)
	k := x.load(short{x.w.Hardware(vss.ProviderID{GUID: vss.NewGUID()}, "short", a)})
	s := x.begin(k, vss.ContextBackup, x.w.Volume("/srv/a", "ext4", luns[0])).reach(collected - 1)
	wantCode(t, "GetTargetLuns", s.collect(t.Context()), vss.ErrUnexpectedProviderError)
}

type short struct{ provider.Hardware }

func (short) GetTargetLUNs(
	context.Context,
	vss.SnapshotSetID,
	[]string,
	[]vss.LUNInformation,
) ([]vss.LUNInformation, error) {
	return nil, nil
}
