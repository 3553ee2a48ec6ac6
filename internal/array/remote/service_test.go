package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// served serves an array at a socket until the test or the context ends, and gives host a's connection to it.
func served(ctx context.Context, t *testing.T, socket string, a array.Array) array.Array {
	t.Helper()
	l, err := wire.Listen(socket, 0o600, "")
	must(t, err)
	serving, stop := context.WithCancel(ctx)
	over := make(chan error, 1)
	go func() { over <- Serve(serving, l, a, UnixCaller, slog.New(slog.NewTextHandler(t.Output(), nil))) }()
	t.Cleanup(func() {
		stop()
		must(t, <-over)
	})
	c, err := Connect(t.Context(), socket, AsHost("a"))
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in 20 s: %s", what)
		}
	}
}

// What an array says arrives as it was said, to the last field.
func TestSameAsHere(t *testing.T) {
	here := strict{t}
	far := served(t.Context(), t, filepath.Join(t.TempDir(), "s"), here)
	ctx := t.Context()
	for n := range standings {
		want := record(withStanding(n))
		want.Set, want.Origin, want.Skew, want.Percent, want.Flags = vss.SnapshotSetID{
			GUID: vss.NewGUID(),
		}, withStanding(
			free,
		), 3*time.Millisecond, 12.5, vss.FlagsShadowCopy
		var p reply
		if got := p.lun(lunOut(&want)); p.err != nil || !cmp.Equal(want, got) {
			t.Errorf("%v: %s", p.err, cmp.Diff(want, got))
		}
	}
	all, err := far.LUNs(ctx)
	must(t, err)
	if len(all) != standings-1 {
		t.Errorf("%d LUNs, want all but the one of a set in creation", len(all))
	}
	want, _ := here.Mappings(ctx, "a")
	got, err := far.Mappings(ctx, "a")
	must(t, err)
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	paths, err := far.WritePaths(ctx)
	if must(t, err); !cmp.Equal(paths, []string{"/pool"}) {
		t.Errorf("paths %q", paths)
	}
	if skew, err := far.CommitCopies(ctx, vss.SnapshotSetID{GUID: vss.NewGUID()}, "a"); skew != time.Millisecond ||
		err != nil {
		t.Errorf("skew %v, %v", skew, err)
	}
	events, err := far.Events(ctx)
	must(t, err)
	var seen []string
	for e := range events { // it ends as the array's do
		seen = append(seen, fmt.Sprint(e.What, " ", standing(e.LUN.ID), e.LUN.Pool, e.Text, e.Hint, e.Time.UnixNano()))
	}
	if len(seen) != standings || seen[standings-1] != "pool-low 0ptexthint1000000002" {
		t.Errorf("events %q", seen)
	}
}

// failing fails everything that it is asked for one LUN.
type failing struct {
	strict
	err error
}

func (f failing) LUN(context.Context, vss.LUNID) (array.LUN, error) { return array.LUN{}, f.err }

func TestErrorsAreUnchanged(t *testing.T) {
	for _, want := range []error{
		vss.E(
			"GetLun", vss.VDSErrDeviceInUse, vss.E("x", vss.ErrInsufficientStorage, errors.New("why")),
		).On("l").Advise("do that"),
		vss.E("CommitCopies", vss.ErrProviderVeto, nil).On("{set}"),
		vss.E("GetLun", vss.ErrUnexpected, context.DeadlineExceeded),
	} {
		far := served(t.Context(), t, filepath.Join(t.TempDir(), "s"), failing{strict{t}, want})
		_, got := far.LUN(t.Context(), withStanding(free))
		if got == nil || got.Error() != want.Error() || vss.CodeOf(got) != vss.CodeOf(want) ||
			vss.Hint(got) != vss.Hint(want) ||
			errors.Is(want, vss.ErrInsufficientStorage) != errors.Is(got, vss.ErrInsufficientStorage) ||
			errors.Is(want, context.DeadlineExceeded) != errors.Is(got, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

// pausing reports when it is paused.
type pausing struct {
	strict
	paused chan bool
	wait   bool // pausing takes until the caller gives up
}

func (p pausing) PauseBackground(ctx context.Context) (func(), error) {
	if p.wait {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	p.paused <- true
	return func() { p.paused <- false }, nil
}

// A pause ends by its resume, or with its host, and not with the context it was asked for under.
func TestPause(t *testing.T) {
	for what, end := range map[string]func(resume func(), host array.Array){
		"resume":      func(resume func(), _ array.Array) { resume() },
		"a dead host": func(_ func(), host array.Array) { _ = host.Close() },
	} {
		a := pausing{strict{t}, make(chan bool, 2), false}
		far := served(t.Context(), t, filepath.Join(t.TempDir(), "s"), a)
		ctx, cancel := context.WithCancel(t.Context())
		resume, err := far.PauseBackground(ctx)
		must(t, err)
		cancel()
		<-a.paused
		select {
		case <-a.paused:
			t.Errorf("%s: the pause is over before", what)
		case <-time.After(50 * time.Millisecond):
		}
		end(resume, far)
		select {
		case <-a.paused:
		case <-time.After(10 * time.Second): // earlier than the pause's own limit
			t.Errorf("%s doesn't end the pause", what)
		}
		resume()
	}
	far := served(t.Context(), t, filepath.Join(t.TempDir(), "s"), pausing{strict{t}, nil, true})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := far.PauseBackground(ctx); !errors.Is(err, context.DeadlineExceeded) ||
		vss.CodeOf(err) != vss.ErrUnexpected {
		t.Errorf("gave up: %v", err)
	}
}

// While the service is away calls say so, at once; when it is back the same array goes on.
func TestServiceGoesAndComes(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	life, kill := context.WithCancel(t.Context())
	far := served(life, t, socket, strict{t})
	kill()
	eventually(t, "gone", func() bool {
		_, err := far.Info(t.Context())
		return errors.Is(err, wire.ErrServiceGone) && vss.CodeOf(err) == vss.ErrUnexpected && vss.Hint(err) != ""
	})
	_, err := far.Events(t.Context())
	if !errors.Is(err, wire.ErrServiceGone) {
		t.Errorf("events: %v", err)
	}
	eventually(
		t,
		"the socket is free",
		func() bool { _, err := os.Lstat(socket); return errors.Is(err, fs.ErrNotExist) },
	)
	served(t.Context(), t, socket, strict{t})
	eventually(t, "back", func() bool { _, err := far.Info(t.Context()); return err == nil })
}

// liar answers what no array of ours does.
type liar struct {
	vssv1.UnimplementedArrayServer
	lun *vssv1.ArrayLun
}

func (l liar) GetLun(context.Context, *vssv1.ArrayLunRequest) (*vssv1.ArrayLun, error) {
	return l.lun, nil
}

func (l liar) ListLuns(context.Context, *vssv1.ListArrayLunsRequest) (*vssv1.ArrayLunList, error) {
	return &vssv1.ArrayLunList{Luns: []*vssv1.ArrayLun{l.lun}}, nil
}

func (l liar) ListMappings(context.Context, *vssv1.ListArrayMappingsRequest) (*vssv1.ArrayMappingList, error) {
	return &vssv1.ArrayMappingList{Mappings: []*vssv1.ArrayMapping{{Lun: l.lun}}}, nil
}

func (l liar) WatchEvents(_ *vssv1.WatchEventsRequest, s grpc.ServerStreamingServer[vssv1.ArrayEvent]) error {
	for range 2 {
		if err := s.Send(&vssv1.ArrayEvent{Lun: l.lun}); err != nil {
			return err
		}
	}
	return nil
}

// A host believes no array that answers nonsense.
func TestHostileReplies(t *testing.T) {
	spoil := func(f func(*vssv1.ArrayLun)) *vssv1.ArrayLun {
		l := record(withStanding(own))
		m := lunOut(&l)
		f(m)
		return m
	}
	for what, m := range map[string]*vssv1.ArrayLun{
		"nothing":      {},
		"bad id":       spoil(func(m *vssv1.ArrayLun) { m.Id = "x" }),
		"bad set":      spoil(func(m *vssv1.ArrayLun) { m.SetId = "x" }),
		"bad name":     spoil(func(m *vssv1.ArrayLun) { m.Name = "../../etc" }),
		"bad page 83":  spoil(func(m *vssv1.ArrayLun) { m.Naa = "6x" }),
		"bad size":     spoil(func(m *vssv1.ArrayLun) { m.Size = -1 }),
		"bad kind":     spoil(func(m *vssv1.ArrayLun) { m.Kind = "pet" }),
		"bad state":    spoil(func(m *vssv1.ArrayLun) { m.State = "mind" }),
		"bad flags":    spoil(func(m *vssv1.ArrayLun) { m.Flags = 256 }),
		"bad host":     spoil(func(m *vssv1.ArrayLun) { m.MappedTo = []string{"a\x1b[2J"} }),
		"bad maker":    spoil(func(m *vssv1.ArrayLun) { m.Host = "a\n" }),
		"newer format": spoil(func(m *vssv1.ArrayLun) { m.Format = array.Format + 1 }),
	} {
		socket := filepath.Join(t.TempDir(), "s")
		l, err := wire.Listen(socket, 0o600, "")
		must(t, err)
		s := wire.NewServer(slog.New(slog.DiscardHandler))
		vssv1.RegisterArrayServer(s, liar{lun: m})
		go func() { _ = s.Serve(l) }()
		a, err := Connect(t.Context(), socket)
		must(t, err)
		_, one := a.LUN(t.Context(), withStanding(own))
		_, all := a.LUNs(t.Context())
		_, maps := a.Mappings(t.Context(), "a")
		for _, err := range []error{one, all, maps} {
			if err == nil || vss.Hint(err) == "" {
				t.Errorf("%s: %v", what, err)
			}
		}
		events, err := a.Events(t.Context())
		must(t, err)
		if e, open := <-events; open {
			t.Errorf("%s: event %+v", what, e)
		}
		must(t, a.Close())
		s.Stop()
	}
}

// On a network it is the connection, too, that names the host; the paths of the array's machine mean nothing there.
func TestOverTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	identify := func(ctx context.Context) (Caller, error) {
		if _, err := UnixCaller(ctx); err == nil {
			t.Error("a host of the network was taken for a process of this machine")
		}
		return Caller{Host: "a"}, nil
	}
	serving, stop := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() {
		over <- Serve(
			serving, l, strict{t}, identify, slog.New(slog.DiscardHandler), grpc.Creds(insecure.NewCredentials()),
		)
	}()
	conn, err := grpc.NewClient(
		l.Addr().String(),
		append(wire.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()), AsHost("b"))...)
	must(t, err)
	a := New(conn, "san.example:7400")
	info, err := a.Info(t.Context())
	if must(t, err); info.Address != "san.example:7400" || info.Name != "x" || len(info.Pools) != 1 {
		t.Errorf("info %+v", info)
	}
	if paths, err := a.WritePaths(t.Context()); err != nil || len(paths) > 0 {
		t.Errorf("paths %q, %v", paths, err)
	}
	if _, err := a.Mappings(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if _, err := a.Mappings(t.Context(), "b"); vss.CodeOf(err) != vss.ErrAccessDenied {
		t.Errorf("the name that a client claims is taken: %v", err)
	}
	must(t, a.Close())
	stop()
	must(t, <-over)
}
