package provider_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// recorder is a software provider that answers what it is told to and keeps what it was asked.
type recorder struct {
	asked []any
	props provider.SnapshotProperties
	copy  provider.Copy
	event provider.Event
	err   error
}

func (r *recorder) note(a ...any) error { r.asked = append([]any{}, a...); return r.err }

func (r *recorder) Properties(context.Context) (provider.Properties, error) {
	return provider.Properties{
		ID:        providertest.MemoryID,
		Name:      "recorder",
		Type:      vss.ProviderSoftware,
		Version:   "2",
		VersionID: vss.NewGUID(),
	}, nil
}
func (r *recorder) OnLoad(context.Context) error                 { return r.err }
func (r *recorder) OnUnload(_ context.Context, force bool) error { return r.note(force) }
func (r *recorder) EndPrepareSnapshots(ctx context.Context, s vss.SnapshotSetID) error {
	provider.Report(ctx, 25)
	provider.Report(ctx, 75)
	return r.note("end", s)
}
func (r *recorder) PreCommitSnapshots(_ context.Context, s vss.SnapshotSetID) error {
	return r.note("pre", s)
}
func (r *recorder) CommitSnapshots(_ context.Context, s vss.SnapshotSetID) error {
	return r.note("commit", s)
}
func (r *recorder) PostCommitSnapshots(_ context.Context, s vss.SnapshotSetID, n int) error {
	return r.note("post", s, n)
}
func (r *recorder) PreFinalCommitSnapshots(_ context.Context, s vss.SnapshotSetID) error {
	return r.note("prefinal", s)
}
func (r *recorder) PostFinalCommitSnapshots(_ context.Context, s vss.SnapshotSetID) error {
	return r.note("postfinal", s)
}
func (r *recorder) AbortSnapshots(_ context.Context, s vss.SnapshotSetID) error {
	return r.note("abort", s)
}
func (r *recorder) IsVolumeSupported(_ context.Context, v provider.Volume, c vss.Context) (bool, error) {
	return r.err == nil, r.note(v, c)
}
func (r *recorder) Consider(_ context.Context, v provider.Volume, c vss.Context) (provider.Offer, error) {
	return provider.Offer{
			Hold:     provider.HoldSuspend,
			Suspends: []string{"/dev/a", "/dev/b"},
			Cost:     "much",
		}, r.note(
			v,
			c,
		)
}
func (r *recorder) IsVolumeSnapshotted(_ context.Context, v provider.Volume) (bool, vss.SnapshotCompatibility, error) {
	return true, vss.DisableContentIndex, r.note(v)
}

func (r *recorder) BeginPrepareSnapshot(
	_ context.Context,
	s vss.SnapshotSetID,
	id vss.SnapshotID,
	v provider.Volume,
	c vss.Context,
) error {
	return r.note(s, id, v, c)
}
func (r *recorder) WritePaths(_ context.Context, s vss.SnapshotSetID) ([]string, error) {
	return []string{"/x", "/y"}, r.note("paths", s)
}
func (r *recorder) Describe(_ context.Context, s vss.SnapshotSetID, id vss.SnapshotID) (provider.Copy, error) {
	return r.copy, r.note("describe", s, id)
}
func (r *recorder) Surface(_ context.Context, c provider.Ref) (provider.Location, error) {
	return provider.Location{Devices: []string{"/dev/x", "/dev/y"}, Folder: "/f", Subvolume: "s"}, r.note("surface", c)
}
func (r *recorder) SetWritable(_ context.Context, c provider.Ref, on bool) error {
	return r.note("writable", c, on)
}
func (r *recorder) Withdraw(_ context.Context, c provider.Ref, force bool) error {
	return r.note("withdraw", c, force)
}
func (r *recorder) GetSnapshotProperties(_ context.Context, id vss.SnapshotID) (provider.SnapshotProperties, error) {
	return r.props, r.note(id)
}
func (r *recorder) Query(context.Context) ([]provider.SnapshotProperties, error) {
	return []provider.SnapshotProperties{r.props, {}}, r.err
}
func (r *recorder) SetSnapshotProperty(_ context.Context, id vss.SnapshotID, p provider.Property, v any) error {
	return r.note(id, p, v)
}
func (r *recorder) DeleteSnapshots(_ context.Context, copies []provider.Ref, force bool) (int, vss.SnapshotID, error) {
	return 3, copies[0].ID, r.note(copies, force)
}
func (r *recorder) RevertToSnapshot(_ context.Context, c provider.Ref) error { return r.note(c) }
func (r *recorder) QueryRevertStatus(_ context.Context, v provider.Volume) (provider.RevertStatus, error) {
	return provider.RevertStatus{
			Done:    true,
			Percent: 50,
			Err:     vss.E("RevertToSnapshot", vss.ErrRevertVolumeLost, nil),
		}, r.note(
			v,
		)
}
func (r *recorder) Events(ctx context.Context) (<-chan provider.Event, error) {
	out := make(chan provider.Event)
	go func() {
		defer close(out)
		select {
		case out <- r.event:
			<-ctx.Done()
		case <-ctx.Done():
		}
	}()
	return out, r.err
}

func TestSoftwareOverSocket(t *testing.T) {
	r := &recorder{
		props: provider.SnapshotProperties{
			ID:              vss.SnapshotID{GUID: vss.NewGUID()},
			SetID:           vss.SnapshotSetID{GUID: vss.NewGUID()},
			Count:           2,
			DeviceObject:    "/dev/x",
			OriginalVolume:  "/srv",
			OriginatingHost: "a",
			ServiceHost:     "b",
			ExposedName:     "n",
			ExposedPath:     "/p",
			ProviderID:      providertest.MemoryID,
			Attributes:      vss.AttrPersistent | vss.AttrTxFRecovery,
			Created:         time.Unix(5, 7),
			State:           vss.StateCreated,
		},
	}
	p, ok := providertest.Socket(t, r).(provider.Software)
	if !ok {
		t.Fatal("not a software provider")
	}
	ctx := t.Context()
	set, id := r.props.SetID, r.props.ID
	srv := provider.Volume{
		Name:       "/srv",
		Mount:      "/srv",
		FileSystem: "btrfs",
		UUID:       "u",
		Subvolume:  "home",
		Device:     "/dev/c",
		Devices:    []string{"/dev/a", "/dev/b"},
		Extents:    []vss.Extent{{LUN: 1, Start: 1 << 20, Length: 1 << 40}},
		Size:       1 << 40,
	}
	ref := provider.Ref{ID: id, Payload: []byte{0, 255}}
	for _, c := range []struct {
		name string
		call func() error
		want []any
	}{
		{"OnUnload", func() error { return p.OnUnload(ctx, true) }, []any{true}},
		{"EndPrepare", func() error { return p.EndPrepareSnapshots(ctx, set) }, []any{"end", set}},
		{"PreCommit", func() error { return p.PreCommitSnapshots(ctx, set) }, []any{"pre", set}},
		{"Commit", func() error { return p.CommitSnapshots(ctx, set) }, []any{"commit", set}},
		{"PostCommit", func() error { return p.PostCommitSnapshots(ctx, set, 64) }, []any{"post", set, 64}},
		{"PreFinal", func() error { return p.PreFinalCommitSnapshots(ctx, set) }, []any{"prefinal", set}},
		{"PostFinal", func() error { return p.PostFinalCommitSnapshots(ctx, set) }, []any{"postfinal", set}},
		{"Abort", func() error { return p.AbortSnapshots(ctx, set) }, []any{"abort", set}},
		{"Begin", func() error { return p.BeginPrepareSnapshot(ctx, set, id, srv, vss.ContextNASRollback) },
			[]any{set, id, srv, vss.ContextNASRollback}},
		{"Surface", func() error { _, err := p.Surface(ctx, ref); return err }, []any{"surface", ref}},
		{"SetWritable", func() error { return p.SetWritable(ctx, ref, true) }, []any{"writable", ref, true}},
		{"Withdraw", func() error { return p.Withdraw(ctx, ref, true) }, []any{"withdraw", ref, true}},
		{"WritePaths", func() error { _, err := p.WritePaths(ctx, set); return err }, []any{"paths", set}},
		{"Describe", func() error { _, err := p.Describe(ctx, set, id); return err }, []any{"describe", set, id}},
		{"Consider", func() error { _, err := p.Consider(ctx, srv, vss.ContextBackup); return err },
			[]any{srv, vss.ContextBackup}},
		{"SetProperty text", func() error { return p.SetSnapshotProperty(ctx, id, provider.PropertyExposedName, "") },
			[]any{id, provider.PropertyExposedName, ""}},
		{"SetProperty attributes", func() error {
			return p.SetSnapshotProperty(ctx, id, provider.PropertyAttributes, vss.AttrExposedLocally)
		}, []any{id, provider.PropertyAttributes, vss.AttrExposedLocally}},
		{"Revert", func() error { return p.RevertToSnapshot(ctx, ref) }, []any{ref}},
		{"Delete", func() error {
			_, _,
				err := p.DeleteSnapshots(ctx, []provider.Ref{ref, {ID: id}}, true)
			return err
		},
			[]any{[]provider.Ref{ref, {ID: id}}, true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.err = nil
			if err := c.call(); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, r.asked); d != "" {
				t.Error(d)
			}
			r.err = vss.E("X", vss.ErrProviderVeto, vss.VDSErrNotEnoughSpace).On("o").Advise("do it")
			err := c.call()
			if !errors.Is(err, vss.ErrProviderVeto) || !errors.Is(err, vss.VDSErrNotEnoughSpace) ||
				vss.Hint(err) != "do it" {
				t.Errorf("the error arrived as %v", err)
			}
		})
	}
	r.err = nil
	if got, err := p.GetSnapshotProperties(ctx, id); err != nil || !cmp.Equal(got, r.props) {
		t.Errorf("%v\n%s", err, cmp.Diff(r.props, got))
	}
	if got, err := p.Query(ctx); err != nil || !cmp.Equal(got, []provider.SnapshotProperties{r.props, {}}) {
		t.Errorf("Query: %+v %v", got, err)
	}
	if ok, err := p.IsVolumeSupported(ctx, srv, vss.ContextBackup); !ok || err != nil {
		t.Error(ok, err)
	}
	if ok, c, err := p.IsVolumeSnapshotted(ctx, srv); !ok || c != vss.DisableContentIndex || err != nil {
		t.Error(ok, c, err)
	}
	if s, err := p.QueryRevertStatus(ctx, srv); err != nil || !s.Done || s.Percent != 50 ||
		!errors.Is(s.Err, vss.ErrRevertVolumeLost) {
		t.Errorf("%+v %v", s, err)
	}
	if err := p.SetSnapshotProperty(ctx, id, provider.PropertyAttributes, 1.5); !errors.Is(err, vss.ErrInvalidArg) {
		t.Errorf("a value of a strange type: %v", err)
	}
	if o, err := p.Consider(ctx, srv, 0); err != nil || o.Hold != provider.HoldSuspend || len(o.Suspends) != 2 ||
		o.Cost != "much" {
		t.Errorf("Consider: %+v %v", o, err)
	}
	if l, err := p.Surface(ctx, ref); err != nil || len(l.Devices) != 2 || l.Folder != "/f" || l.Subvolume != "s" {
		t.Errorf("Surface: %+v %v", l, err)
	}
	if paths, err := p.WritePaths(ctx, set); err != nil || !cmp.Equal(paths, []string{"/x", "/y"}) {
		t.Errorf("WritePaths: %v %v", paths, err)
	}
	r.copy = provider.Copy{
		Payload:    []byte{1, 0, 2},
		Version:    3,
		FirstCut:   time.Unix(5, 7),
		LastCut:    time.Unix(5, 9),
		Attributes: vss.AttrPlex,
	}
	if c, err := p.Describe(ctx, set, id); err != nil || !cmp.Equal(c, r.copy) {
		t.Errorf("Describe: %v\n%s", err, cmp.Diff(r.copy, c))
	}
	r.copy = provider.Copy{Payload: make([]byte, provider.MaxPayload+1)}
	if _, err := p.Describe(ctx, set, id); !errors.Is(err, vss.ErrInvalidArg) {
		t.Errorf("Describe with a payload that is too large: %v", err)
	}
	var progress []float64
	if err := p.EndPrepareSnapshots(provider.WithReport(ctx, func(f float64) { progress = append(progress, f) }),
		set); err != nil ||
		!cmp.Equal(progress, []float64{25, 75}) {
		t.Errorf("EndPrepareSnapshots reported %v, %v", progress, err)
	}
	r.err = vss.ErrObjectNotFound
	if n, failed, err := p.DeleteSnapshots(ctx, []provider.Ref{ref}, false); n != 3 || failed != id ||
		!errors.Is(err, vss.ErrObjectNotFound) {
		t.Errorf("a failed delete returns %d, %s, %v", n, failed, err)
	}
	r.err = vss.False
	if err := p.OnUnload(ctx, false); !errors.Is(err, vss.False) {
		t.Errorf("S_FALSE arrived as %v", err)
	}
}

// TestEventsOverSocket receives an event, ends the subscription, and gets the error of one that fails.
func TestEventsOverSocket(t *testing.T) {
	r := &recorder{
		event: provider.Event{
			Time:     time.Unix(5, 7),
			Kind:     provider.EventCopyLost,
			Snapshot: vss.SnapshotID{GUID: vss.NewGUID()},
			Object:   "/srv",
			Percent:  99.5,
			Text:     "no space",
			Hint:     "delete it",
		},
	}
	p := providertest.Socket(t, r).(provider.Software)
	ctx, stop := context.WithCancel(t.Context())
	events, err := p.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if e := <-events; !cmp.Equal(e, r.event) {
		t.Error(cmp.Diff(r.event, e))
	}
	stop()
	if e, ok := <-events; ok {
		t.Errorf("an event after the end: %+v", e)
	}
	r.err = vss.E("Events", vss.ErrProviderVeto, nil).Advise("do it")
	if _, err := p.Events(t.Context()); !errors.Is(err, vss.ErrProviderVeto) || vss.Hint(err) != "do it" {
		t.Errorf("the error arrived as %v", err)
	}
}

// TestNeitherKind tries to serve a provider that is neither hardware nor software.
func TestNeitherKind(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var only struct{ provider.Provider }
	if err := provider.Serve(t.Context(), l, only, slog.New(slog.DiscardHandler)); !errors.Is(err, vss.ErrInvalidArg) {
		t.Errorf("got %v", err)
	}
}

// TestProviderDies ends the process at the socket in the middle of a set: each call fails, also when another process
// serves at the socket, until one connects to that.
func TestProviderDies(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.sock")
	a, originals := providertest.NewArray(1)
	release := a.Slow()
	defer release()
	stop := providertest.Serve(t, path, providertest.NewMemory(a))
	connect := func() provider.Remote {
		c, err := provider.Connect(t.Context(), path, func(uid uint32) error {
			if int(uid) != os.Geteuid() {
				t.Errorf("uid %d", uid)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	first := connect()
	hw := first.(provider.Hardware)
	set, id := vss.SnapshotSetID{GUID: vss.NewGUID()}, vss.SnapshotID{GUID: vss.NewGUID()}
	if err := hw.BeginPrepareSnapshot(t.Context(), set, id, vss.ContextBackup, []string{"/dev/x"},
		originals); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() { waiting <- hw.EndPrepareSnapshots(context.Background(), set) }()
	time.Sleep(20 * time.Millisecond)
	select {
	case <-first.Gone():
		t.Error("gone while it lives")
	default:
	}
	stop()
	if err := <-waiting; !errors.Is(err, wire.ErrServiceGone) || !errors.Is(err, vss.ErrUnexpected) {
		t.Errorf("the call under way: %v", err)
	}
	<-first.Gone()
	providertest.Serve(t, path, providertest.NewMemory(a))
	if err := hw.PreCommitSnapshots(t.Context(), set); !errors.Is(err, wire.ErrServiceGone) {
		t.Errorf("the next call: %v", err)
	}
	if err := connect().AbortSnapshots(t.Context(), set); err != nil || a.Copies() != 0 {
		t.Errorf("abort at the next process: %v, %d copies left", err, a.Copies())
	}
	refused := errors.New("no")
	if _, err := provider.Connect(t.Context(), path, func(uint32) error { return refused }); !errors.Is(
		err,
		vss.ErrAccessDenied,
	) ||
		!errors.Is(err, refused) {
		t.Errorf("a process that isn't trusted: %v", err)
	}
}
