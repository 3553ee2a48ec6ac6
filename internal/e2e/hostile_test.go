package e2e

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/counters"
	"github.com/stillpoint-vss/stillpoint/internal/counters/counterstest"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestHostileRequests throws sequences of calls at a live service that no honest requester makes: every method in any
// order, with what belongs to others, with values of any size, at once, cut off. Each refusal has a result; afterwards
// the service serves, its host is clean, and it has grown by nothing.
func TestHostileRequests(t *testing.T) {
	w := newWorld(t)
	w.configure("[service]\nidle_exit = \"1h\"\n[accounts]\nnobody = 2\n")
	if err := os.Chmod(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	volumes := []string{w.volume("a", "64M", "ext4", "gpt"), w.volume("b", "320M", "xfs", "mbr")}
	w.vss(nil, "lun", "create", "victim", "--size", "16M")
	bc := filepath.Join(w.dir, "bc.xml")
	w.create("--no-writers", "--transportable", "--bc", bc, volumes[0])
	document, err := os.ReadFile(bc)
	if err != nil {
		t.Fatal(err)
	}
	w.vss(nil, "delete", "--all")
	fresh := w.stacks()
	w.vss(nil, "list", "providers")
	h := &hostile{world: w, volumes: volumes, document: document, seed: seed(t)}
	for _, s := range []protoreflect.ServiceDescriptor{vssv1.File_api_vss_v1_coordinator_proto.Services().Get(0),
		vssv1.File_api_vss_v1_disks_proto.Services().Get(0)} {
		for i := range s.Methods().Len() {
			h.methods = append(h.methods, s.Methods().Get(i))
		}
	}
	load := counterstest.Start(t, volumes...)
	for i := range 5 { // what the service keeps once it has been used
		h.sequence(math.MaxUint64 - uint64(i))
	}
	before := w.usage()
	for i := range lane.Soak(1000) {
		h.sequence(uint64(i))
		if i%10 == 9 {
			h.serves(load)
		}
		if t.Failed() {
			t.Fatalf("sequence %d of seed %d", i, h.seed)
		}
	}
	counterstest.End(t, load)
	w.vss(nil, "delete", "--all", "--force")
	h.forgetLUNs()
	after := w.settle(before, 80<<10)
	t.Logf("%d calls, %d refused, with %d different results; the service before and after: %v, %v", h.calls, h.refused,
		len(h.results), before, after)
	w.clean()
	log, err := os.ReadFile(filepath.Join(w.run, "vssd.log"))
	if err != nil || strings.Contains(string(log), "panic") {
		t.Errorf("the log, %v, has a panic:\n%.4000s", err, log[max(0, strings.Index(string(log), "panic")):])
	}
	if n := w.stacks(); n > fresh+3 {
		t.Errorf("%d goroutines, %d in a fresh service", n, fresh)
	}
}

// seed is VSS_SEED, or a new one; it is logged, so that a run can be repeated.
func seed(t testing.TB) uint64 {
	n := rand.Uint64()
	if s, err := strconv.ParseUint(os.Getenv("VSS_SEED"), 10, 64); err == nil {
		n = s
	}
	t.Logf("VSS_SEED=%d", n)
	return n
}

// serves: writes go on, and an honest requester gets a copy.
func (h *hostile) serves(load *counters.Load) {
	h.Helper()
	h.flows(load, holdLimit+time.Second, "after hostile calls")
	r := h.try("create", "--no-writers", "--wait", "1m", h.volumes[0], h.volumes[1])
	if r.code != 0 {
		h.Fatalf("an honest requester is refused: %s%s\n%s", r.stdout, r.stderr, h.log())
	}
	h.vss(nil, "delete", "--all", "--force")
}

// forgetLUNs deletes all LUNs except those of the volumes, in any state.
func (h *hostile) forgetLUNs() {
	h.Helper()
	var luns []lunDoc
	h.vss(&luns, "lun", "list")
	for _, l := range luns {
		if l.Name == "a" || l.Name == "b" {
			continue
		}
		for _, host := range l.MappedTo {
			h.vss(nil, "lun", "mask", l.ID, "--from", host, "--force")
		}
		h.vss(nil, "lun", "delete", l.ID, "--force")
	}
}

// hostile is a malicious requester.
type hostile struct {
	*world
	volumes  []string
	document []byte
	seed     uint64
	methods  []protoreflect.MethodDescriptor

	mu      sync.Mutex
	random  *rand.Rand
	honest  bool                // the call that is being made up is one that makes sense
	known   map[string][]string // tokens and ids that were seen, by what they are of
	calls   int
	refused int
	results map[uint32]bool
}

// script is what an honest requester calls, in order.
var script = []string{"InitializeForBackup", "SetContext", "SetBackupState", "GatherWriterMetadata", "AsyncWait",
	"StartSnapshotSet", "AddToSnapshotSet",
	"PrepareForBackup", "AsyncWait", "DoSnapshotSet", "AsyncWait", "SaveAsXML", "Query", "ExposeSnapshot",
	"BackupComplete", "DeleteSnapshots"}

// sequence is one requester's life: of its calls some follow the script and some don't, by several callers at once.
func (h *hostile) sequence(n uint64) {
	h.Helper()
	h.random = rand.New(rand.NewPCG(h.seed, n))
	if h.known == nil {
		h.known, h.results = map[string][]string{}, map[uint32]bool{}
	}
	account := "root"
	if h.pick(4) == 0 {
		account = "nobody"
	}
	conn := h.dial(account)
	defer conn.Close()
	life, cut := context.WithTimeout(context.Background(), 30*time.Second)
	defer cut()
	stream, err := vssv1.NewCoordinatorClient(conn).OpenSession(life, &vssv1.OpenSessionRequest{Program: "hostile"})
	if err != nil {
		h.Fatalf("no session: %v", err)
	}
	first, err := stream.Recv()
	if err != nil {
		h.Fatalf("no session: %v\n%s", err, h.log())
	}
	h.learn("session", first.GetSession())
	var callers sync.WaitGroup
	for n := range 1 + h.pick(3) {
		callers.Go(func() {
			at := 0
			for range 8 + h.pick(16) {
				method := h.methods[h.pick(len(h.methods))]
				follow := n == 0 && at < len(script) && h.pick(6) > 0
				if follow {
					for _, m := range h.methods {
						if string(m.Name()) == script[at] {
							method = m
						}
					}
					at++
				}
				h.call(life, conn, method, first.GetSession(), follow && h.pick(12) > 0)
				if h.pick(150) == 0 {
					cut() // the stream is cut off; what still runs belongs to nobody
				}
			}
		})
	}
	callers.Wait()
}

// dial makes a bare connection as another account: its errors are the statuses as they came.
func (h *hostile) dial(account string) *grpc.ClientConn {
	h.Helper()
	u, err := user.Lookup(account)
	if err != nil {
		h.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	conn, err := grpc.NewClient("passthrough:///localhost",
		grpc.WithTransportCredentials(wire.TransportCredentials(nil)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			runtime.LockOSThread() // the kernel reports this thread to the service
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
				return nil, errno
			}
			c, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(h.run, "vssd.sock"))
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), 0, ^uintptr(0)); errno != 0 {
				return nil, errno // the thread stays locked, and ends with its goroutine
			}
			runtime.UnlockOSThread()
			return c, err
		}))
	if err != nil {
		h.Fatal(err)
	}
	return conn
}

// call makes one call and judges how it was refused.
func (h *hostile) call(ctx context.Context, conn *grpc.ClientConn, m protoreflect.MethodDescriptor, token string,
	honest bool) {
	in, out := newMessage(m.Input()), newMessage(m.Output())
	h.mu.Lock()
	h.honest = honest
	h.fill(in.ProtoReflect(), token)
	limit, garbage := 10*time.Second, false
	if !honest {
		limit = []time.Duration{0, time.Millisecond, 50 * time.Millisecond, time.Second, 5 * time.Second,
			5 * time.Second}[h.random.IntN(6)]
		garbage = h.random.IntN(25) == 0
	}
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var opts []grpc.CallOption
	if garbage {
		opts = append(opts, grpc.ForceCodec(scrambled{}))
	}
	full := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
	var err error
	if m.IsStreamingServer() {
		var s grpc.ClientStream
		if s, err = conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, full, opts...); err == nil {
			if err = s.SendMsg(in); err == nil {
				_ = s.CloseSend()
				err = s.RecvMsg(out)
			}
		}
		if err != nil && strings.Contains(err.Error(), "EOF") {
			err = nil // no event
		}
	} else {
		err = conn.Invoke(ctx, full, in, out, opts...)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
	if err == nil {
		h.harvest(out.ProtoReflect())
		return
	}
	h.refused++
	s := status.Convert(err)
	for _, d := range s.Details() {
		if e, ok := d.(*vssv1.ErrorDetail); ok && e.GetHresult()>>31 == 1 && e.GetOp() != "" {
			h.results[e.GetHresult()] = true
			return
		}
	}
	switch {
	case ctx.Err() != nil, s.Code() == codes.Canceled, s.Code() == codes.DeadlineExceeded: // we hung up
	case garbage && s.Code() == codes.Internal: // it can't be read: gRPC's own refusal
	case proto.Size(in) > wire.MaxMessage && s.Code() == codes.ResourceExhausted: // it isn't read: gRPC's own refusal
	default:
		h.Errorf("%s refused without a result: %v", m.Name(), err)
	}
}

func newMessage(d protoreflect.MessageDescriptor) proto.Message {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		panic(err) // it is in the generated code
	}
	return t.New().Interface()
}

// scrambled sends invalid messages.
type scrambled struct{}

func (scrambled) Name() string                { return "proto" }
func (scrambled) Marshal(any) ([]byte, error) { return []byte("\x0a\xff\xff\xff\xff\x0f\x08\xff"), nil }
func (scrambled) Unmarshal([]byte, any) error { return errors.New("an answer to an invalid message") }
func (h *hostile) pick(n int) int             { h.mu.Lock(); defer h.mu.Unlock(); return h.random.IntN(n) }
func (h *hostile) learn(kind string, values ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known[kind] = append(h.known[kind], values...)
}

// harvest remembers the ids in an answer. LUNs other than the victim stay unknown: a root user may do anything to them.
func (h *hostile) harvest(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsList() && f.Kind() == protoreflect.MessageKind && f.Name() == "snapshots":
			for i := range v.List().Len() {
				h.harvest(v.List().Get(i).Message())
			}
		case f.Kind() == protoreflect.StringKind && !f.IsList() && v.String() != "":
			switch name := string(f.Name()); {
			case name == "set_id" || name == "snapshot_id" || name == "session":
				h.known[name] = append(h.known[name], v.String())
			case name == "id" && m.Descriptor().Name() == "Snapshot":
				h.known["snapshot_id"] = append(h.known["snapshot_id"], v.String())
			case name == "id" && m.Descriptor().Name() == "Async":
				h.known["async"] = append(h.known["async"], v.String())
			}
		}
		return true
	})
}

// fill gives every field a value: a good one, another's, or none that makes sense. The caller holds mu.
func (h *hostile) fill(m protoreflect.Message, token string) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.IsList() {
			l := m.Mutable(f).List()
			for range h.random.IntN(4) {
				if f.Kind() == protoreflect.MessageKind {
					h.fill(l.AppendMutable().Message(), token)
				} else {
					l.Append(h.value(f, token))
				}
			}
			continue
		}
		if f.Kind() == protoreflect.MessageKind {
			h.fill(m.Mutable(f).Message(), token)
			continue
		}
		m.Set(f, h.value(f, token))
	}
}

// value returns a value for a field that isn't a message.
func (h *hostile) value(f protoreflect.FieldDescriptor, token string) protoreflect.Value {
	if v, ok := sensible[f.Name()]; ok && h.honest {
		return protoreflect.ValueOf(v[h.random.IntN(len(v))])
	}
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(h.word(string(f.Name()), string(f.Parent().Name()), token))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(h.bytes())
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(h.random.IntN(2) == 0)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32([]int32{0, 1, 2, 3, 4, 5, -1, math.MaxInt32, math.MinInt32}[h.random.IntN(9)])
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64([]int64{0, 1, 1000, -1, 4 << 20, math.MaxInt64, math.MinInt64,
			1 << 50}[h.random.IntN(8)])
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32([]uint32{0, 0, 0x19, 0x9, 0x10, 0x20009, 0x20019, 1, 0xffffffff,
			h.random.Uint32()}[h.random.IntN(10)])
	}
	panic(fmt.Sprintf("%s is of kind %v: say what is hostile there", f.FullName(), f.Kind()))
}

// sensible are the values of an honest requester, where they aren't names.
var sensible = map[protoreflect.Name][]any{
	"document": {[]byte(nil)},
	"context": {uint32(vss.ContextBackup), uint32(vss.ContextAppRollback), uint32(vss.ContextFileShareBackup),
		uint32(vss.ContextNASRollback)},
	"backup_type":    {int32(vss.BackupFull), int32(vss.BackupCopy)},
	"timeout_ms":     {int64(5000)},
	"hold_limit_ms":  {int64(0), int64(1000)},
	"returned_type":  {int32(vss.ObjectSnapshot)},
	"type":           {int32(0)},
	"attributes":     {uint32(vss.AttrExposedLocally)},
	"path_from_root": {""},
}

// word is a value for a text field.
func (h *hostile) word(field, message, token string) string {
	good := func(values ...string) string {
		if len(values) > 0 && (h.honest || h.random.IntN(4) > 0) {
			return values[h.random.IntN(len(values))]
		}
		return h.text()
	}
	switch field {
	case "session":
		if h.honest || h.random.IntN(8) > 0 {
			return token
		}
		return good(h.known["session"]...)
	case "set_id", "snapshot_id", "async":
		return good(last(h.known[field])...)
	case "id":
		return good(append(last(h.known["set_id"]), last(h.known["snapshot_id"])...)...)
	case "volume":
		return good(h.volumes...)
	case "provider":
		return good("", "", "lun")
	case "lun":
		return good("victim")
	case "file_system":
		return good("ext4", "btrfs", "xfs")
	case "style":
		return good("gpt", "mbr", "none")
	case "host", "array", "pool":
		return good("", "local", "default")
	case "path": // of MountLun: nowhere but below the test's own folder
		return good(filepath.Join(h.dir, "mnt-v"), filepath.Join(h.dir, "mnt-a", "..", "mnt-v"))
	case "name":
		if message == "ExposeRequest" {
			return good(filepath.Join(h.run, "exposed", "x"),
				filepath.Join(h.run, "exposed", strings.Repeat("y/", 3000)),
				filepath.Join(h.dir, "mnt-a", "lost+found"))
		}
	}
	return h.text()
}

// last are the newest few of a list.
func last(all []string) []string { return all[max(0, len(all)-6):] }

// text is one that means nothing: never the name of something that is there.
func (h *hostile) text() string {
	hard := []string{"", "{}", "{00000000-0000-0000-0000-000000000000}", "{11111111-2222-3333-4444-555555555555}",
		"nowhere\x00below", "nowhere/../../..", "UUID=", "LABEL=%s%n",
		"\u202enowhere", "nowhere\n[error] forged", `\\?\Volume{nowhere}\`, "-rf", "nowhere'; rm",
		strings.Repeat("nowhere", 1000)}
	if h.random.IntN(100) == 0 {
		return strings.Repeat("n", []int{1 << 20, wire.MaxMessage - 200, wire.MaxMessage + 1}[h.random.IntN(3)])
	}
	return hard[h.random.IntN(len(hard))]
}

// bytes is a document: a good one, one with something wrong, or none at all.
func (h *hostile) bytes() []byte {
	switch h.random.IntN(5) {
	case 0:
		return nil
	case 1:
		return h.document
	case 2:
		return []byte(strings.Repeat("<a>", 1<<h.random.IntN(20)))
	case 3:
		return h.document[:h.random.IntN(len(h.document))]
	}
	b := []byte(string(h.document))
	for range 1 + h.random.IntN(4) {
		b[h.random.IntN(len(b))] = byte(h.random.IntN(256))
	}
	return b
}
