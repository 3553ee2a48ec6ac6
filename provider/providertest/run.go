package providertest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Fixture says how to make what is proven.
type Fixture struct {
	// Hardware makes a hardware provider with fresh storage, for one case.
	Hardware func(t *testing.T) *HardwareWorld
}

// HardwareWorld is a hardware provider and the storage behind it.
type HardwareWorld struct {
	Provider  provider.Hardware
	Originals []vss.LUNInformation // two or more plain LUNs, not mapped to any host that would mind a resync
	// Restart stands for a provider process that died: another one over the same storage.
	Restart func(t *testing.T) provider.Hardware
	// Copies counts what copies take in the storage, finished or not.
	Copies func(t *testing.T) int
	// Visible says whether the provider's host may see a LUN.
	Visible func(t *testing.T, l vss.LUNInformation) bool
	// Write and Read are the content of a LUN, as one byte that stands for it.
	Write func(t *testing.T, l vss.LUNInformation, b byte)
	Read  func(t *testing.T, l vss.LUNInformation) byte
	// Slow makes EndPrepareSnapshots wait until release is called. Nil where preparing can't be slowed: the abort races
	// with it instead.
	Slow func() (release func())
}

// Run proves a provider. Each case has a world of its own.
func Run(t *testing.T, f Fixture) {
	if f.Hardware == nil {
		t.Fatal("the fixture makes no provider")
	}
	for _, c := range hardwareCases {
		t.Run(c.name, func(t *testing.T) { c.run(t, f.Hardware(t)) })
	}
}

// Socket serves a provider at a unix socket and connects to it, until the test ends.
func Socket(t *testing.T, p provider.Provider) provider.Provider {
	t.Helper()
	dir, err := os.MkdirTemp("", "vss-provider-") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "p.sock")
	l, err := wire.Listen(path, 0o600, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- provider.Serve(ctx, l, p, slog.New(slog.NewTextHandler(t.Output(), nil))) }()
	c, err := provider.Connect(t.Context(), path)
	t.Cleanup(func() {
		if c, ok := c.(io.Closer); ok {
			_ = c.Close()
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// legal are the results that any method may give.
var legal = []vss.Code{vss.OK, vss.ErrOutOfMemory, vss.ErrInvalidArg, vss.ErrAccessDenied, vss.ErrBadState, vss.ErrObjectNotFound,
	vss.ErrInsufficientStorage, vss.ErrVolumeNotSupported, vss.ErrVolumeNotSupportedByProvider,
	vss.ErrMaximumNumberOfSnapshotsReached, vss.ErrProviderVeto, vss.ErrCannotRevertDiskID}

// wants checks a result: one of the codes, and a legal one.
func wants(t *testing.T, what string, err error, codes ...vss.Code) {
	t.Helper()
	got := vss.CodeOf(err)
	if !slices.Contains(codes, got) {
		t.Errorf("%s: %v (%s), want %v", what, err, got.Name(), codeNames(codes))
	}
	if !slices.Contains(legal, got) && got != vss.ErrUnsupportedContext {
		t.Errorf("%s: %s is no legal result of a provider", what, got.Name())
	}
}

func codeNames(codes []vss.Code) []string {
	var out []string
	for _, c := range codes {
		out = append(out, c.Name())
	}
	return out
}

// must is wants S_OK, or the case is over.
func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// creation is one set, as the coordinator makes it: the first volume is on the first original, the second on both.
type creation struct {
	*HardwareWorld
	set vss.SnapshotSetID
	p   provider.Hardware
}

func (w *HardwareWorld) creation() *creation {
	return &creation{w, vss.SnapshotSetID{GUID: vss.NewGUID()}, w.Provider}
}

func devices(luns []vss.LUNInformation) []string {
	var out []string
	for i := range luns {
		out = append(out, fmt.Sprintf("/dev/test%d", i))
	}
	return out
}

func (c *creation) volumes() [][]vss.LUNInformation {
	return [][]vss.LUNInformation{c.Originals[:1], c.Originals[:2]}
}

type call struct {
	name string
	do   func(context.Context, *creation) error
}

var begin = call{"BeginPrepareSnapshot", func(ctx context.Context, c *creation) error {
	for _, v := range c.volumes() {
		if err := c.p.BeginPrepareSnapshot(ctx, c.set, vss.SnapshotID{GUID: vss.NewGUID()}, vss.ContextAppRollback, devices(v), v); err != nil {
			return err
		}
	}
	return nil
}}

// calls are the steps after begin, in their order.
var calls = []call{
	{"EndPrepareSnapshots", func(ctx context.Context, c *creation) error { return c.p.EndPrepareSnapshots(ctx, c.set) }},
	{"PreCommitSnapshots", func(ctx context.Context, c *creation) error { return c.p.PreCommitSnapshots(ctx, c.set) }},
	{"CommitSnapshots", func(ctx context.Context, c *creation) error { return c.p.CommitSnapshots(ctx, c.set) }},
	{"PostCommitSnapshots", func(ctx context.Context, c *creation) error { return c.p.PostCommitSnapshots(ctx, c.set, 2) }},
	{"PreFinalCommitSnapshots", func(ctx context.Context, c *creation) error { return c.p.PreFinalCommitSnapshots(ctx, c.set) }},
	{"PostFinalCommitSnapshots", func(ctx context.Context, c *creation) error { return c.p.PostFinalCommitSnapshots(ctx, c.set) }},
}

// reach makes a set and does the first n of calls.
func (c *creation) reach(t *testing.T, n int) {
	t.Helper()
	must(t, begin.name, begin.do(t.Context(), c))
	for _, s := range calls[:n] {
		must(t, s.name, s.do(t.Context(), c))
	}
}

// left checks how many copies the storage has.
func (c *creation) left(t *testing.T, when string, want int) {
	t.Helper()
	if n := c.Copies(t); n != want {
		t.Errorf("%s: %d copies in the storage, want %d", when, n, want)
	}
}

// abort undoes the set and checks that nothing is left of it.
func (c *creation) abort(t *testing.T, when string) {
	t.Helper()
	wants(t, "AbortSnapshots "+when, c.p.AbortSnapshots(t.Context(), c.set), vss.OK, vss.ErrObjectNotFound)
	c.left(t, "aborted "+when, 0)
}

func (c *creation) targets(t *testing.T, sources []vss.LUNInformation) []vss.LUNInformation {
	t.Helper()
	out, err := c.p.GetTargetLUNs(t.Context(), c.set, devices(sources), sources)
	must(t, "GetTargetLuns", err)
	if len(out) != len(sources) {
		t.Fatalf("GetTargetLuns: %d LUNs for %d", len(out), len(sources))
	}
	return out
}

// stepName names how far a set is after n of calls.
func stepName(n int) string {
	if n == 0 {
		return begin.name
	}
	return calls[n-1].name
}
