package providertest

import (
	"context"
	"fmt"
	"slices"

	"github.com/stillpoint-vss/stillpoint/conformance"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// subject is a provider of either kind. Its sets have two copies.
type subject struct {
	Storage
	kind     vss.ProviderType
	provider provider.Provider
	restart  func() provider.Provider // nil: it can't be done
	// begin begins a set's copies at p.
	begin func(ctx context.Context, p provider.Provider, c *creation) error
	// describe makes the call that asks for the set's copies after the commit.
	describe func(ctx context.Context, p provider.Provider, c *creation) error
	hold     func() (release func())
}

func (w *HardwareWorld) subject() *subject {
	s := &subject{Storage: w.Storage, kind: vss.ProviderHardware, provider: w.Provider}
	if w.Restart != nil {
		s.restart = func() provider.Provider { return w.Restart() }
	}
	// The first volume lies on the first original, the second on both.
	s.begin = func(ctx context.Context, p provider.Provider, c *creation) error {
		for i, luns := range [][]vss.LUNInformation{w.Originals[:1], w.Originals[:2]} {
			err := p.(provider.Hardware).BeginPrepareSnapshot(
				ctx,
				c.set,
				c.ids[i],
				vss.ContextAppRollback,
				devices(luns),
				luns,
			)
			if err != nil {
				return err
			}
		}
		return nil
	}
	s.describe = func(ctx context.Context, p provider.Provider, c *creation) error {
		_, err := p.(provider.Hardware).GetTargetLUNs(ctx, c.set, devices(w.Originals[:1]), w.Originals[:1])
		return err
	}
	return s
}

func (w *SoftwareWorld) subject() *subject {
	s := &subject{Storage: w.Storage, kind: vss.ProviderSoftware, provider: w.Provider, hold: w.Hold}
	if w.Restart != nil {
		s.restart = func() provider.Provider { return w.Restart() }
	}
	s.begin = func(ctx context.Context, p provider.Provider, c *creation) error {
		for i, v := range w.Volumes[:2] {
			err := p.(provider.Software).BeginPrepareSnapshot(ctx, c.set, c.ids[i], v, vss.ContextAppRollback)
			if err != nil {
				return err
			}
		}
		return nil
	}
	s.describe = func(ctx context.Context, p provider.Provider, c *creation) error {
		_, err := p.(provider.Software).Describe(ctx, c.set, c.ids[0])
		return err
	}
	return s
}

// creation is one set, as the service creates it.
type creation struct {
	*subject
	set vss.SnapshotSetID
	ids [2]vss.SnapshotID
	p   provider.Provider
}

func (s *subject) creation() *creation {
	c := &creation{subject: s, set: vss.SnapshotSetID{GUID: vss.NewGUID()}, p: s.provider}
	for i := range c.ids {
		c.ids[i] = vss.SnapshotID{GUID: vss.NewGUID()}
	}
	return c
}

// newProcess ends the provider's process and starts another one, or skips the case.
func (s *subject) newProcess(t conformance.T) provider.Provider {
	t.Helper()
	if s.restart == nil {
		t.Skipf("the provider's process can't be restarted here")
	}
	s.provider = s.restart()
	return s.provider
}

// step is one call that moves a set.
type step struct {
	name string
	do   func(context.Context, *creation) error
}

var begin = step{"BeginPrepareSnapshot", func(ctx context.Context, c *creation) error { return c.begin(ctx, c.p, c) }}

// steps are the calls after begin, in their order.
var steps = []step{
	{
		"EndPrepareSnapshots",
		func(ctx context.Context, c *creation) error { return c.p.EndPrepareSnapshots(ctx, c.set) },
	},
	{"PreCommitSnapshots", func(ctx context.Context, c *creation) error { return c.p.PreCommitSnapshots(ctx, c.set) }},
	{"CommitSnapshots", func(ctx context.Context, c *creation) error {
		if c.hold != nil {
			defer c.hold()()
		}
		return c.p.CommitSnapshots(ctx, c.set)
	}},
	{
		"PostCommitSnapshots",
		func(ctx context.Context, c *creation) error { return c.p.PostCommitSnapshots(ctx, c.set, 2) },
	},
	{
		"PreFinalCommitSnapshots",
		func(ctx context.Context, c *creation) error { return c.p.PreFinalCommitSnapshots(ctx, c.set) },
	},
	{
		"PostFinalCommitSnapshots",
		func(ctx context.Context, c *creation) error { return c.p.PostFinalCommitSnapshots(ctx, c.set) },
	},
}

// final is how many steps make a set created, taken how many until its copies are taken.
var (
	final = len(steps)
	taken = 4
)

// reach begins a set and makes the first n steps.
func (c *creation) reach(t conformance.T, n int) {
	t.Helper()
	must(t, begin.name, begin.do(t.Context(), c))
	c.advance(t, 0, n)
}

// advance makes the steps from the one number up to another.
func (c *creation) advance(t conformance.T, from, to int) {
	t.Helper()
	for _, s := range steps[from:to] {
		must(t, s.name, s.do(t.Context(), c))
	}
}

// left checks how many copies the storage has.
func (s *subject) left(t conformance.T, when string, want int) {
	t.Helper()
	if s.Copies == nil {
		return
	}
	if n := s.Copies(); n != want {
		t.Errorf("%s: %d copies in the storage, want %d", when, n, want)
	}
}

// abort undoes the set and checks that nothing is left of it.
func (c *creation) abort(t conformance.T, when string) {
	t.Helper()
	wants(t, "AbortSnapshots "+when, c.p.AbortSnapshots(t.Context(), c.set), vss.OK, vss.ErrObjectNotFound)
	c.left(t, "aborted "+when, 0)
}

// stepName names the last call of a set that has made n steps.
func stepName(n int) string {
	if n == 0 {
		return begin.name
	}
	return steps[n-1].name
}

func devices(luns []vss.LUNInformation) []string {
	var out []string
	for i := range luns {
		out = append(out, fmt.Sprintf("/dev/test%d", i))
	}
	return out
}

// legal are the results that any method may have.
var legal = []vss.Code{
	vss.OK,
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

// legalSome are results that some methods may have besides.
var legalSome = []vss.Code{vss.ErrUnsupportedContext, vss.ErrVolumeInUse, vss.ErrNotImpl, vss.ErrRevertInProgress}

// wants checks a result: one of the codes, and a legal one.
func wants(t conformance.T, what string, err error, codes ...vss.Code) {
	t.Helper()
	got := vss.CodeOf(err)
	if !slices.Contains(codes, got) {
		t.Errorf("%s: %v (%s), want %v", what, err, got.Name(), codeNames(codes))
	}
	if !slices.Contains(legal, got) && !slices.Contains(legalSome, got) {
		t.Errorf("%s: a provider must not return %s", what, got.Name())
	}
}

func codeNames(codes []vss.Code) []string {
	var out []string
	for _, c := range codes {
		out = append(out, c.Name())
	}
	return out
}

// must checks that a call succeeded, or ends the case.
func must(t conformance.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
