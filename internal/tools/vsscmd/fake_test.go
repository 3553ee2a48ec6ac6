package vsscmd

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	setID    = "{11111111-0000-4000-8000-000000000001}"
	copyID   = "{22222222-0000-4000-8000-000000000001}"
	copy2ID  = "{22222222-0000-4000-8000-000000000002}"
	lunID    = "{33333333-0000-4000-8000-000000000001}"
	writerID = "{44444444-0000-4000-8000-000000000001}"
)

// fake is a coordinator and a disk manager with canned results. It records the calls.
type fake struct {
	vssv1.UnimplementedCoordinatorServer
	vssv1.UnimplementedDisksServer

	mu       sync.Mutex
	calls    []string
	open     int
	fail     map[string]error    // method: its error
	result   map[string]vss.Code // async method: its success code
	busy     int                 // times that StartSnapshotSet is refused
	copies   []*vssv1.Snapshot   // result of Query
	set      *vssv1.SnapshotSet  // result of GetSnapshotSet
	deletes  *vssv1.DeleteSnapshotsReply
	findings []*vssv1.Finding
	mount    string // path returned by MountSnapshot
	last     map[string]any
}

func snapshotOf(id, volume string, created int64) *vssv1.Snapshot {
	return &vssv1.Snapshot{
		Id: id, SetId: setID, State: int32(vss.StateCreated), Count: 1, OriginalVolume: volume,
		DeviceObject: "/dev/vss/HarddiskVolumeShadowCopy1",
		ProviderId:   "{55555555-0000-4000-8000-000000000001}", ProviderName: "lun",
		Attributes:      uint32(vss.ContextAppRollback | vss.AttrDifferential),
		CreatedUnixNano: created, OriginatingMachine: "db1", ServiceMachine: "db1", Luns: []string{lunID},
		Consistency: "application", FileSystem: "xfs",
	}
}

func newFake() *fake {
	one := snapshotOf(copyID, "/srv/data", 1e18)
	return &fake{
		fail: map[string]error{}, result: map[string]vss.Code{}, last: map[string]any{},
		copies: []*vssv1.Snapshot{one, snapshotOf(copy2ID, "/srv/data", 2e18)},
		set: &vssv1.SnapshotSet{
			SetId: setID, Context: uint32(vss.ContextAppRollback), CreatedUnixNano: 1e18, HoldMs: 12.5,
			WriterWindowMs: 40, Consistency: "application", Snapshots: []*vssv1.Snapshot{one},
			Writers: []*vssv1.WriterStatus{{Name: "db", WriterId: writerID, State: int32(vss.WriterStable),
				Level: "front-end", FrozenMs: 40, Components: 2}},
			Timeline: []*vssv1.TimelineStep{{Step: "hold", StartMs: 1, EndMs: 13.5}},
		},
		deletes: &vssv1.DeleteSnapshotsReply{Deleted: []string{copyID}},
	}
}

// called records the call and returns its error.
func (f *fake) called(method string, q any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, method)
	f.last[method] = q
	return f.fail[method]
}

func (f *fake) was(method string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if c == method {
			return true
		}
	}
	return false
}

func (f *fake) OpenSession(_ *vssv1.OpenSessionRequest, s grpc.ServerStreamingServer[vssv1.SessionEvent]) error {
	if err := f.called("OpenSession", nil); err != nil {
		return err
	}
	f.mu.Lock()
	f.open++
	f.mu.Unlock()
	if err := s.Send(&vssv1.SessionEvent{Session: "token"}); err != nil {
		return err
	}
	<-s.Context().Done()
	time.Sleep(20 * time.Millisecond) // a service needs time to release a session
	f.mu.Lock()
	f.open--
	f.mu.Unlock()
	return nil
}

func done(err error) (*vssv1.Done, error) { return &vssv1.Done{}, err }

func (f *fake) InitializeForBackup(_ context.Context, q *vssv1.InitializeForBackupRequest) (*vssv1.Done, error) {
	return done(f.called("InitializeForBackup", q))
}
func (f *fake) SetContext(_ context.Context, q *vssv1.SetContextRequest) (*vssv1.Done, error) {
	return done(f.called("SetContext", q))
}
func (f *fake) SetBackupState(_ context.Context, q *vssv1.SetBackupStateRequest) (*vssv1.Done, error) {
	return done(f.called("SetBackupState", q))
}
func (f *fake) EnableWriterClasses(_ context.Context, q *vssv1.WriterSelection) (*vssv1.Done, error) {
	return done(f.called("EnableWriterClasses", q))
}
func (f *fake) DisableWriterClasses(_ context.Context, q *vssv1.WriterSelection) (*vssv1.Done, error) {
	return done(f.called("DisableWriterClasses", q))
}
func (f *fake) AbortBackup(_ context.Context, q *vssv1.SessionRequest) (*vssv1.Done, error) {
	return done(f.called("AbortBackup", q))
}

// async starts an operation whose name is its id.
func (f *fake) async(method string, q any) (*vssv1.Async, error) {
	return &vssv1.Async{Id: method}, f.called(method, q)
}
func (f *fake) GatherWriterMetadata(_ context.Context, q *vssv1.SessionRequest) (*vssv1.Async, error) {
	return f.async("GatherWriterMetadata", q)
}
func (f *fake) GatherWriterStatus(_ context.Context, q *vssv1.SessionRequest) (*vssv1.Async, error) {
	return f.async("GatherWriterStatus", q)
}
func (f *fake) PrepareForBackup(_ context.Context, q *vssv1.SessionRequest) (*vssv1.Async, error) {
	return f.async("PrepareForBackup", q)
}
func (f *fake) DoSnapshotSet(_ context.Context, q *vssv1.DoSnapshotSetRequest) (*vssv1.Async, error) {
	return f.async("DoSnapshotSet", q)
}
func (f *fake) BackupComplete(_ context.Context, q *vssv1.SessionRequest) (*vssv1.Async, error) {
	return f.async("BackupComplete", q)
}
func (f *fake) ImportSnapshots(_ context.Context, q *vssv1.SessionRequest) (*vssv1.Async, error) {
	return f.async("ImportSnapshots", q)
}
func (f *fake) BreakSnapshotSetEx(_ context.Context, q *vssv1.BreakRequest) (*vssv1.Async, error) {
	return f.async("BreakSnapshotSetEx", q)
}
func (f *fake) status(id string) (*vssv1.AsyncStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch err, code := f.fail["wait "+id], f.result[id]; {
	case id == "" && f.open > 0:
		return nil, vss.E("FindAsync", vss.ErrObjectNotFound, nil)
	case id == "":
		return nil, vss.E("FindSession", vss.ErrBadState, nil)
	case err != nil:
		return &vssv1.AsyncStatus{Result: vss.CodeOf(err).HRESULT(), Error: wire.MarshalError(err)}, nil
	case code != 0:
		return &vssv1.AsyncStatus{Result: code.HRESULT(), Percent: 100}, nil
	}
	return &vssv1.AsyncStatus{Result: vss.SuccessAsyncFinished.HRESULT(), Percent: 100}, nil
}
func (f *fake) AsyncWait(_ context.Context, q *vssv1.AsyncRequest) (*vssv1.AsyncStatus, error) {
	return f.status(q.GetAsync())
}
func (f *fake) AsyncQueryStatus(_ context.Context, q *vssv1.AsyncRequest) (*vssv1.AsyncStatus, error) {
	return f.status(q.GetAsync())
}
func (f *fake) GetWriterStatus(context.Context, *vssv1.SessionRequest) (*vssv1.WriterStatusList, error) {
	return &vssv1.WriterStatusList{Writers: f.set.Writers}, f.called("GetWriterStatus", nil)
}
func (f *fake) StartSnapshotSet(context.Context, *vssv1.SessionRequest) (*vssv1.StartSnapshotSetReply, error) {
	err := f.called("StartSnapshotSet", nil)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy > 0 {
		f.busy--
		return nil, vss.E("StartSnapshotSet", vss.ErrSnapshotSetInProgress, nil)
	}
	return &vssv1.StartSnapshotSetReply{SetId: setID}, err
}
func (f *fake) AddToSnapshotSet(
	_ context.Context, q *vssv1.AddToSnapshotSetRequest,
) (*vssv1.AddToSnapshotSetReply, error) {
	return &vssv1.AddToSnapshotSetReply{SnapshotId: copyID}, f.called("AddToSnapshotSet", q)
}
func (f *fake) SaveAsXML(context.Context, *vssv1.SessionRequest) (*vssv1.Document, error) {
	return &vssv1.Document{Xml: []byte("<document/>")}, f.called("SaveAsXML", nil)
}
func (f *fake) GetSnapshotSet(context.Context, *vssv1.SetRequest) (*vssv1.SnapshotSet, error) {
	return f.set, f.called("GetSnapshotSet", nil)
}
func (f *fake) GetSnapshotProperties(_ context.Context, q *vssv1.SnapshotRequest) (*vssv1.Snapshot, error) {
	for _, s := range f.copies {
		if s.GetId() == q.GetSnapshotId() {
			return s, nil
		}
	}
	return nil, vss.E("GetSnapshotProperties", vss.ErrObjectNotFound, nil).On(q.GetSnapshotId())
}
func (f *fake) Query(_ context.Context, q *vssv1.QueryRequest) (*vssv1.QueryReply, error) {
	return &vssv1.QueryReply{Snapshots: f.copies,
		Providers: []*vssv1.Provider{{Id: writerID, Name: "lun", Type: "hardware", Version: "1"}}}, f.called("Query", q)
}
func (f *fake) DeleteSnapshots(
	_ context.Context, q *vssv1.DeleteSnapshotsRequest,
) (*vssv1.DeleteSnapshotsReply, error) {
	return f.deletes, f.called("DeleteSnapshots", q)
}
func (f *fake) GetBreakResult(context.Context, *vssv1.AsyncRequest) (*vssv1.BreakReply, error) {
	return &vssv1.BreakReply{SetId: setID,
		Luns: []*vssv1.BrokenLun{{Lun: lunID, OriginalVolume: "/srv/data", Device: "/dev/loop7", ReadWrite: true}}}, nil
}
func (f *fake) exposed(method string, q *vssv1.SnapshotRequest, at string) (*vssv1.Snapshot, error) {
	s := snapshotOf(q.GetSnapshotId(), "/srv/data", 1e18)
	s.ExposedAt = at
	return s, f.called(method, q)
}
func (f *fake) ExposeSnapshot(_ context.Context, q *vssv1.ExposeRequest) (*vssv1.Snapshot, error) {
	return f.exposed("ExposeSnapshot", &vssv1.SnapshotRequest{SnapshotId: q.GetSnapshotId()}, q.GetName())
}
func (f *fake) UnexposeSnapshot(_ context.Context, q *vssv1.SnapshotRequest) (*vssv1.Snapshot, error) {
	return f.exposed("UnexposeSnapshot", q, "")
}
func (f *fake) MountSnapshot(_ context.Context, q *vssv1.SnapshotRequest) (*vssv1.Snapshot, error) {
	s, err := f.exposed("MountSnapshot", q, "")
	s.OriginalVolume, s.Path = f.set.Snapshots[0].GetOriginalVolume(), f.mount
	return s, err
}
func (f *fake) ListVolumes(context.Context, *vssv1.ListVolumesRequest) (*vssv1.ListVolumesReply, error) {
	return &vssv1.ListVolumesReply{Volumes: []*vssv1.Volume{{Volume: "/srv/data", Device: "/dev/loop3p1",
		FileSystem: "xfs", Uuid: "abc", MountPoints: []string{"/srv/data"}, Providers: []string{"lun"},
		Supported: true, Snapshots: []string{copyID, copy2ID}}}}, nil
}
func (f *fake) Events(_ *vssv1.EventsRequest, s grpc.ServerStreamingServer[vssv1.Event]) error {
	for _, what := range []string{"provider-failed", "dropped"} {
		if err := s.Send(&vssv1.Event{TimeUnixNano: 1e18, Severity: "error", What: what,
			Hresult: vss.ErrProviderVeto.HRESULT(), Result: "VSS_E_PROVIDER_VETO"}); err != nil {
			return err
		}
	}
	return nil
}
func (f *fake) Check(context.Context, *vssv1.CheckRequest) (*vssv1.CheckReply, error) {
	return &vssv1.CheckReply{Findings: f.findings}, nil
}

// lun answers every method of the disk manager.
func (f *fake) lun(method string, q any) (*vssv1.Lun, error) {
	return &vssv1.Lun{
		Id: lunID, Name: "data", Array: "local", Pool: "main", Size: 2 << 30, Serial: "S1", Vpd83: "naa.6",
		Kind: "plain", CompletePercent: 100, MappedTo: []string{"db1"}, Device: "/dev/loop3",
		Disk: &vssv1.LunDisk{Style: "gpt", Id: lunID,
			Partitions: []*vssv1.LunPartition{{Number: 1, Device: "/dev/loop3p1", Start: 1 << 20, Size: 1 << 30,
				FileSystem: "xfs", Flags: uint32(vss.FlagReadOnly)}}},
	}, f.called(method, q)
}
func (f *fake) CreateLun(_ context.Context, q *vssv1.CreateLunRequest) (*vssv1.Lun, error) {
	return f.lun("CreateLun", q)
}
func (f *fake) ShowLun(_ context.Context, q *vssv1.LunRequest) (*vssv1.Lun, error) {
	return f.lun("ShowLun", q)
}
func (f *fake) FormatLun(_ context.Context, q *vssv1.FormatLunRequest) (*vssv1.Lun, error) {
	return f.lun("FormatLun", q)
}
func (f *fake) MountLun(_ context.Context, q *vssv1.MountLunRequest) (*vssv1.Lun, error) {
	return f.lun("MountLun", q)
}
func (f *fake) ChangeLunFlags(_ context.Context, q *vssv1.ChangeLunFlagsRequest) (*vssv1.Lun, error) {
	return f.lun("ChangeLunFlags", q)
}
func (f *fake) DeleteLun(_ context.Context, q *vssv1.DeleteLunRequest) (*vssv1.Lun, error) {
	return f.lun("DeleteLun", q)
}
func (f *fake) MaskLun(_ context.Context, q *vssv1.MaskLunRequest) (*vssv1.Lun, error) {
	return f.lun("MaskLun", q)
}
func (f *fake) UnmaskLun(_ context.Context, q *vssv1.UnmaskLunRequest) (*vssv1.Lun, error) {
	return f.lun("UnmaskLun", q)
}
func (f *fake) SetLunReadOnly(_ context.Context, q *vssv1.SetLunReadOnlyRequest) (*vssv1.Lun, error) {
	return f.lun("SetLunReadOnly", q)
}
func (f *fake) UnmountLun(_ context.Context, q *vssv1.UnmountLunRequest) (*vssv1.Lun, error) {
	return f.lun("UnmountLun", q)
}
func (f *fake) RenameLun(_ context.Context, q *vssv1.RenameLunRequest) (*vssv1.Lun, error) {
	return f.lun("RenameLun", q)
}
func (f *fake) ExtendLun(_ context.Context, q *vssv1.ExtendLunRequest) (*vssv1.Lun, error) {
	return f.lun("ExtendLun", q)
}
func (f *fake) RescanLuns(_ context.Context, q *vssv1.RescanLunsRequest) (*vssv1.LunList, error) {
	l, err := f.lun("RescanLuns", q)
	return &vssv1.LunList{Luns: []*vssv1.Lun{l}}, err
}
func (f *fake) ListLuns(context.Context, *vssv1.ListLunsRequest) (*vssv1.LunList, error) {
	return &vssv1.LunList{}, nil
}
func (f *fake) ListArrays(context.Context, *vssv1.ListArraysRequest) (*vssv1.ListArraysReply, error) {
	return &vssv1.ListArraysReply{Arrays: []*vssv1.StorageArray{{Name: "local",
			Pools:   []*vssv1.StoragePool{{Name: "main", Type: "reflink", Size: 10, Free: 5}},
			Targets: []string{"loop"},
		}}},
		nil
}

// world is a fake service at a socket.
type world struct {
	*fake
	run string
}

func serve(t *testing.T) *world {
	t.Helper()
	w := &world{newFake(), t.TempDir()}
	l, err := wire.Listen(filepath.Join(w.run, "vssd.sock"), 0o666, "")
	if err != nil {
		t.Fatal(err)
	}
	s := wire.NewServer(slog.New(slog.DiscardHandler))
	vssv1.RegisterCoordinatorServer(s, w.fake)
	vssv1.RegisterDisksServer(s, w.fake)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return w
}

// vss runs the program.
func (w *world) vss(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, diag bytes.Buffer
	a := &app{Tool: cli.Tool{Name: programName, Stdin: strings.NewReader("\n"), Stdout: &out, Stderr: &diag}}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	code = a.run(ctx, append([]string{"--run", w.run, "--state", w.run}, args...))
	if w.fake != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.open != 0 {
			t.Errorf("vss %s left %d sessions open", strings.Join(args, " "), w.open)
		}
	}
	return code, out.String(), diag.String()
}

var errBoom = errors.New("boom")
