package service

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/catalog"
	"github.com/stillpoint-vss/stillpoint/internal/coordinator"
	"github.com/stillpoint-vss/stillpoint/internal/copies"
	"github.com/stillpoint-vss/stillpoint/internal/events"
	"github.com/stillpoint-vss/stillpoint/internal/journal"
	"github.com/stillpoint-vss/stillpoint/internal/rpc"
	"github.com/stillpoint-vss/stillpoint/internal/vds"
	"github.com/stillpoint-vss/stillpoint/internal/volume"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

// bare is a service without arrays, providers and writers, called without a socket: a panic is not caught.
type bare struct {
	k       *coordinator.Coordinator
	methods []method
	peer    *peer.Peer
}

type method struct {
	name   string
	server any
	call   grpc.MethodHandler
}

func newBare(t testing.TB) *bare {
	t.Helper()
	fail := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	fail(err)
	store, err := catalog.Open(filepath.Join(dir, "catalog.db"))
	fail(err)
	t.Cleanup(func() { store.Close() })
	logger := slog.New(slog.DiscardHandler)
	disks, err := vds.New(vds.Config{Host: "fuzz", StateDir: dir, Logger: logger})
	fail(err)
	log := events.New(store, logger)
	host, err := copies.NewHost(copies.Config{Name: "fuzz", RunDir: dir, DeviceDir: filepath.Join(dir, "dev"),
		ExposeRoots: []string{filepath.Join(dir, "exposed")},
		LettersRoot: filepath.Join(dir, "letters"), Letters: func(string) bool { return false }, Catalog: store,
		Events: log, Disks: copies.Manager(disks), Logger: logger})
	fail(err)
	k, err := coordinator.New(t.Context(), coordinator.Config{Name: "fuzz", HoldLimit: time.Second, Catalog: store,
		Events:  log,
		Volumes: volume.New(volume.Options{}), Holder: &holder{runDir: dir, logger: logger}, Host: host,
		Writers: func(context.Context) []*writer.Instance { return nil },
		Quiet:   journal.NewRing(slog.DiscardHandler, 16), Logger: logger})
	fail(err)
	b := &bare{k: k}
	for _, s := range []struct {
		server any
		desc   grpc.ServiceDesc
	}{{rpc.New(k, logger), vssv1.Coordinator_ServiceDesc}, {vds.NewServer(disks), vssv1.Disks_ServiceDesc}} {
		for _, m := range s.desc.Methods {
			b.methods = append(b.methods, method{m.MethodName, s.server, m.Handler})
		}
	}
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	fail(err)
	defer listener.Close()
	client, err := net.Dial("unix", filepath.Join(dir, "s"))
	fail(err)
	defer client.Close()
	server, err := listener.Accept()
	fail(err)
	defer server.Close()
	_, auth, err := wire.TransportCredentials(nil).ServerHandshake(server) // our process, as reported by the kernel
	fail(err)
	b.peer = &peer.Peer{AuthInfo: auth}
	return b
}

// run makes the calls that the bytes stand for: a method's number, a length, a request, and so on.
func (b *bare) run(t *testing.T, bytes []byte) {
	ctx, cancel := context.WithTimeout(peer.NewContext(context.Background(), b.peer), 10*time.Second)
	defer cancel()
	s := b.k.OpenSession(b.uid(t))
	defer s.Close()
	async := ""
	for calls := 0; len(bytes) >= 3 && calls < 40; calls++ {
		m := b.methods[int(bytes[0])%len(b.methods)]
		n := min(int(binary.LittleEndian.Uint16(bytes[1:])), len(bytes)-3)
		request := bytes[3 : 3+n]
		bytes = bytes[3+n:]
		ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond) // of AsyncWait, above all
		reply, err := m.call(m.server, ctx, func(v any) error {
			msg, ok := v.(proto.Message)
			if !ok {
				t.Fatalf("%s takes a %T", m.name, v)
			}
			if err := proto.Unmarshal(request, msg); err != nil {
				return vss.E(m.name, vss.ErrInvalidArg, err)
			}
			fill(msg.ProtoReflect(), "session", s.Token)
			fill(msg.ProtoReflect(), "async", async)
			return nil
		}, nil)
		cancel()
		if a, ok := reply.(*vssv1.Async); ok && err == nil {
			async = a.GetId()
		}
		var known *vss.Error
		if err != nil && !errors.As(err, &known) && !errors.Is(err, context.Canceled) &&
			!errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: an error without a result: %v", m.name, err)
		}
	}
}

func (b *bare) uid(t *testing.T) uint32 {
	p, ok := wire.Peer(peer.NewContext(context.Background(), b.peer))
	if !ok {
		t.Fatal("no peer")
	}
	return p.UID
}

// fill gives a text field its value, if the message has it and it is empty.
func fill(m protoreflect.Message, name protoreflect.Name, value string) {
	if f := m.Descriptor().Fields().ByName(name); f != nil && f.Kind() == protoreflect.StringKind &&
		m.Get(f).String() == "" {
		m.Set(f, protoreflect.ValueOfString(value))
	}
}

// Calls in any order with any content don't panic, and each error has a code.
func FuzzRequests(f *testing.F) {
	b := newBare(f)
	number := map[string]byte{}
	for i, m := range b.methods {
		number[m.name] = byte(i)
	}
	calls := func(pairs ...any) (out []byte) {
		for i := 0; i < len(pairs); i += 2 {
			request, err := proto.Marshal(pairs[i+1].(proto.Message))
			if err != nil {
				f.Fatal(err)
			}
			out = append(out, number[pairs[i].(string)])
			out = append(binary.LittleEndian.AppendUint16(out, uint16(len(request))), request...)
		}
		return out
	}
	wait := &vssv1.AsyncRequest{TimeoutMs: 50}
	none := &vssv1.SessionRequest{}
	id := vss.NewGUID().String()
	f.Add(
		calls(
			"InitializeForBackup",
			&vssv1.InitializeForBackupRequest{},
			"SetContext",
			&vssv1.SetContextRequest{Context: uint32(vss.ContextNASRollback)},
			"StartSnapshotSet",
			none,
			"AddToSnapshotSet",
			&vssv1.AddToSnapshotSetRequest{Volume: "/proc"},
			"DoSnapshotSet",
			&vssv1.DoSnapshotSetRequest{HoldLimitMs: 10},
			"AsyncWait",
			wait,
			"SaveAsXML",
			none,
			"AbortBackup",
			none,
		),
	)
	f.Add(
		calls(
			"InitializeForBackup",
			&vssv1.InitializeForBackupRequest{},
			"SetBackupState",
			&vssv1.SetBackupStateRequest{BackupType: 1, SelectComponents: true},
			"GatherWriterMetadata",
			none,
			"AsyncWait",
			wait,
			"AddComponent",
			&vssv1.ComponentRequest{WriterId: id, InstanceId: id, Type: "database", Name: "x"},
			"StartSnapshotSet",
			none,
			"PrepareForBackup",
			none,
			"AsyncCancel",
			wait,
			"BackupComplete",
			none,
		),
	)
	f.Add(
		calls(
			"InitializeForBackup",
			&vssv1.InitializeForBackupRequest{
				Document: []byte(`<BACKUP_COMPONENTS xmlns="x-schema:#VssComponentMetadata" version="1.2"/>`),
			},
			"ImportSnapshots",
			none,
			"AsyncWait",
			wait,
			"Query",
			&vssv1.QueryRequest{ReturnedType: 3},
			"DeleteSnapshots",
			&vssv1.DeleteSnapshotsRequest{Id: id},
			"BreakSnapshotSet",
			&vssv1.SetRequest{SetId: id},
			"BreakSnapshotSetEx",
			&vssv1.BreakRequest{SetId: id, Flags: 0xff},
			"ExposeSnapshot",
			&vssv1.ExposeRequest{SnapshotId: id, Attributes: uint32(vss.AttrExposedLocally), Name: "P:"},
			"Check",
			&vssv1.CheckRequest{Repair: true},
		),
	)
	f.Add(
		calls(
			"CreateLun",
			&vssv1.CreateLunRequest{Name: "x", Size: -1},
			"FormatLun",
			&vssv1.FormatLunRequest{Lun: "x", FileSystem: "ext4"},
			"MountLun",
			&vssv1.MountLunRequest{Lun: id, Partition: -1, Path: "/"},
			"ChangeLunFlags",
			&vssv1.ChangeLunFlagsRequest{Lun: "\x00", Set: 0xffffffff},
			"ExtendLun",
			&vssv1.ExtendLunRequest{Lun: "x", Size: 1 << 62},
			"DeleteLun",
			&vssv1.DeleteLunRequest{Lun: "x", Force: true},
		),
	)
	f.Add([]byte{0, 255, 255, 1})
	f.Fuzz(func(t *testing.T, bytes []byte) { b.run(t, bytes) })
}
