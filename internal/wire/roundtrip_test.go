package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// service answers every call with what the test says.
type service struct {
	vssv1.UnimplementedCoordinatorServer
	answer func(ctx context.Context) error
}

func (s *service) SetContext(ctx context.Context, _ *vssv1.SetContextRequest) (*vssv1.Done, error) {
	return &vssv1.Done{}, s.answer(ctx)
}

func (s *service) OpenSession(_ *vssv1.OpenSessionRequest, out grpc.ServerStreamingServer[vssv1.SessionEvent]) error {
	if err := out.Send(&vssv1.SessionEvent{Session: "1"}); err != nil {
		return err
	}
	return s.answer(out.Context())
}

// serve starts the service on a unix socket and connects to it by the package's own ways.
func serve(
	t *testing.T,
	log io.Writer,
	answer func(ctx context.Context) error,
) (vssv1.CoordinatorClient, *grpc.Server, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path, 0o660, "")
	if err != nil {
		t.Fatal(err)
	}
	srv := NewServer(slog.New(slog.NewTextHandler(log, nil)))
	vssv1.RegisterCoordinatorServer(srv, &service{answer: answer})
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-done; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := Dial(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return vssv1.NewCoordinatorClient(conn), srv, path
}

// calls makes the unary call and the streaming one, and gives the errors of both.
func calls(t *testing.T, c vssv1.CoordinatorClient) map[string]error {
	t.Helper()
	out := map[string]error{}
	_, out["unary"] = c.SetContext(t.Context(), &vssv1.SetContextRequest{})
	s, err := c.OpenSession(t.Context(), &vssv1.OpenSessionRequest{})
	for err == nil {
		_, err = s.Recv()
	}
	out["stream"] = err
	return out
}

func TestEveryCodeCrosses(t *testing.T) {
	var answer error
	c, _, _ := serve(t, io.Discard, func(context.Context) error { return answer })
	all := vss.Codes()
	if len(all) < 90 {
		t.Fatalf("only %d codes", len(all))
	}
	for _, code := range append(all, vss.MakeCode(0x80049999, ""), vss.MakeCode(0x80049999, "vds")) {
		if code == vss.OK {
			continue // not an error; see TestErrorsOfHandlers
		}
		inner := vss.ErrInsufficientStorage
		if code == inner {
			inner = vss.ErrObjectNotFound
		}
		answer = vss.E("AddToSnapshotSet", code, fmt.Errorf("while preparing: %w",
			vss.E("lvcreate", inner, errors.New("pool full")).On("pool0"))).
			On("/srv/data").
			Advise("add disks")
		for kind, got := range calls(t, c) {
			var e *vss.Error
			switch {
			case !errors.As(got, &e):
				t.Fatalf("%s %s: not a *vss.Error: %v", kind, code.Name(), got)
			case e.Op != "AddToSnapshotSet" || e.Object != "/srv/data" || e.Hint != "add disks" || e.Code != code:
				t.Errorf("%s %s: got %+v", kind, code.Name(), e)
			case !errors.Is(got, code) || !errors.Is(got, inner) ||
				errors.Is(got, vss.ErrPointer) != (code == vss.ErrPointer):
				t.Errorf("%s %s: errors.Is differs on the two sides", kind, code.Name())
			case got.Error() != answer.Error():
				t.Errorf("%s %s: text\n got %s\nwant %s", kind, code.Name(), got, answer)
			}
		}
	}
}

func TestEveryCodeHasGRPCCode(t *testing.T) {
	seen := map[vss.Code]codes.Code{}
	for g, list := range grpcCodes {
		if g == codes.OK {
			t.Error("codes.OK must be an error")
		}
		for _, c := range list {
			if before, twice := seen[c]; twice {
				t.Errorf("%s is under %v and %v", c.Name(), before, g)
			}
			seen[c] = g
		}
	}
	for _, c := range vss.Codes() {
		if _, ok := seen[c]; !ok {
			t.Errorf("%s has no gRPC code", c.Name())
		}
	}
}

func TestErrorsOfHandlers(t *testing.T) {
	var typedNil *vss.Error
	for _, tc := range []struct {
		name   string
		answer error
		op     string
		code   vss.Code
		is     []error
		isNot  []error
		text   string
	}{
		{name: "bare code", answer: vss.ErrBadState, code: vss.ErrBadState},
		{name: "wrapped", answer: fmt.Errorf("x: %w", vss.E("Import", vss.ErrMissingDisk, nil)),
			code: vss.ErrMissingDisk, text: "x: Import"},
		{name: "plain", answer: errors.New("disk on fire"), code: vss.ErrUnexpected, text: "disk on fire"},
		{name: "no operation", answer: vss.E("", vss.ErrProviderVeto, nil), code: vss.ErrProviderVeto},
		{name: "own operation", answer: vss.E("Commit", vss.ErrProviderVeto, vss.ErrOutOfMemory), op: "Commit",
			code: vss.ErrProviderVeto, is: []error{vss.ErrOutOfMemory}},
		{
			name: "joined", answer: vss.E("Freeze", vss.ErrUnexpectedWriterError,
				errors.Join(vss.ErrWriterNotResponding, vss.VDSErrDeviceInUse)),
			op: "Freeze", code: vss.ErrUnexpectedWriterError,
			is: []error{vss.ErrWriterNotResponding, vss.VDSErrDeviceInUse},
		},
		{name: "vds isn't vss", answer: vss.E("Delete", vss.VDSErrNotSupported, nil), op: "Delete",
			code: vss.VDSErrNotSupported, isNot: []error{vss.ErrClusterError}},
		{name: "cancelled", answer: context.Canceled, code: vss.ErrUnexpected, is: []error{context.Canceled},
			isNot: []error{context.DeadlineExceeded}},
		{name: "deadline inside", answer: vss.E("Hold", vss.ErrFlushWritesTimeout, context.DeadlineExceeded),
			op: "Hold", code: vss.ErrFlushWritesTimeout, is: []error{context.DeadlineExceeded}},
		{name: "a success code as an error", answer: vss.E("Query", vss.OK, nil), op: "Query", code: vss.ErrUnexpected},
		{name: "success code", answer: vss.SuccessSomeSnapshotsNotImported, code: vss.SuccessSomeSnapshotsNotImported},
		{name: "typed nil", answer: typedNil, code: vss.ErrUnexpected},
		{name: "foreign status", answer: status.Error(codes.NotFound, "no such thing"), code: vss.ErrObjectNotFound,
			text: "no such thing"},
		{name: "bytes that are no text", answer: vss.E("Add", vss.ErrInvalidArg, nil).On("/srv/\xff\xfe"), op: "Add",
			code: vss.ErrInvalidArg, text: "/srv/?"},
		{name: "long", answer: vss.E("Add", vss.ErrInvalidArg, errors.New(strings.Repeat("long ", 100_000))), op: "Add",
			code: vss.ErrInvalidArg},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, _, _ := serve(t, io.Discard, func(context.Context) error { return tc.answer })
			for kind, got := range calls(t, c) {
				op := tc.op
				if op == "" {
					op = map[string]string{"unary": "SetContext", "stream": "OpenSession"}[kind]
				}
				var e *vss.Error
				if !errors.As(got, &e) || e.Op != op || e.Code != tc.code || vss.CodeOf(got) != tc.code {
					t.Fatalf("%s: got %#v, want operation %s and %s", kind, got, op, tc.code.Name())
				}
				for _, want := range tc.is {
					if !errors.Is(got, want) {
						t.Errorf("%s: %v is not %v", kind, got, want)
					}
				}
				for _, not := range tc.isNot {
					if errors.Is(got, not) {
						t.Errorf("%s: %v is %v", kind, got, not)
					}
				}
				if !strings.Contains(got.Error(), tc.text) {
					t.Errorf("%s: %q lacks %q", kind, got, tc.text)
				}
			}
		})
	}
}

func TestSuccessPasses(t *testing.T) {
	c, _, _ := serve(t, io.Discard, func(context.Context) error { return nil })
	got := calls(t, c)
	if got["unary"] != nil || got["stream"] != io.EOF { //nolint:errorlint // io.EOF comes bare
		t.Error(got)
	}
}

func TestUnimplemented(t *testing.T) {
	c, _, _ := serve(t, io.Discard, nil)
	_, err := c.DoSnapshotSet(t.Context(), &vssv1.DoSnapshotSetRequest{})
	if !errors.Is(err, vss.ErrNotImpl) {
		t.Error(err)
	}
}

func TestPanicIsAnError(t *testing.T) {
	var log strings.Builder
	first := true
	c, _, _ := serve(t, &log, func(context.Context) error {
		if first {
			var m map[string]int
			m["x"] = 1 //lint:ignore SA5000 the handler is to panic
		}
		return nil
	})
	for kind, err := range calls(t, c) {
		if !errors.Is(err, vss.ErrUnexpected) || vss.Hint(err) == "" || strings.Contains(err.Error(), "nil map") {
			t.Errorf("%s: %v", kind, err)
		}
	}
	first = false
	if err := calls(t, c)["unary"]; err != nil {
		t.Errorf("after a panic: %v", err)
	}
	if !strings.Contains(log.String(), "nil map") || !strings.Contains(log.String(), "roundtrip_test.go") {
		t.Errorf("the log lacks the panic or its stack: %s", log.String())
	}
}

func TestTransportFailures(t *testing.T) {
	t.Run("caller cancels", func(t *testing.T) {
		c, _, _ := serve(t, io.Discard, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(50*time.Millisecond, cancel)
		_, err := c.SetContext(ctx, &vssv1.SetContextRequest{})
		if !errors.Is(err, vss.ErrUnexpected) || !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("deadline", func(t *testing.T) {
		c, _, _ := serve(t, io.Discard, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := c.SetContext(ctx, &vssv1.SetContextRequest{})
		if !errors.Is(err, vss.ErrUnexpected) || !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
	t.Run("service stops in the call", func(t *testing.T) {
		entered := make(chan struct{}, 1)
		c, srv, _ := serve(
			t,
			io.Discard,
			func(ctx context.Context) error { entered <- struct{}{}; <-ctx.Done(); return ctx.Err() },
		)
		go func() { <-entered; srv.Stop() }()
		_, err := c.SetContext(t.Context(), &vssv1.SetContextRequest{})
		if !errors.Is(err, vss.ErrUnexpected) || !errors.Is(err, ErrServiceGone) || vss.Hint(err) == "" {
			t.Error(err)
		}
	})
	t.Run("message too large", func(t *testing.T) {
		c, _, _ := serve(t, io.Discard, nil)
		_, err := c.InitializeForBackup(
			t.Context(),
			&vssv1.InitializeForBackupRequest{Document: make([]byte, MaxMessage+1)},
		)
		if !errors.Is(err, vss.ErrOutOfMemory) || !strings.Contains(err.Error(), "larger than max") {
			t.Error(err)
		}
	})
}

func TestMarshalError(t *testing.T) {
	if MarshalError(nil) != nil || UnmarshalError(nil) != nil {
		t.Error("nil must stay nil")
	}
	want := vss.E("DoSnapshotSet", vss.ErrHoldWritesTimeout, vss.VDSErrDeviceInUse).On("/srv").Advise("try again")
	got := UnmarshalError(MarshalError(want))
	if got.Error() != want.Error() || !errors.Is(got, vss.VDSErrDeviceInUse) || vss.Hint(got) != "try again" {
		t.Errorf("got %v, want %v", got, want)
	}
	if err := UnmarshalError([]byte("\xff\xff")); !errors.Is(err, vss.ErrUnexpected) {
		t.Error(err)
	}
}

// A chain deeper or wider than what is carried keeps its surface, and stays small.
func TestLimits(t *testing.T) {
	deep := vss.E("bottom", vss.ErrVolumeInUse, nil)
	for i := range 1000 {
		deep = vss.E(fmt.Sprintf("level%d", i), vss.ErrBadState, deep)
	}
	var many []error
	for range 1000 {
		many = append(many, vss.E("one", vss.ErrObjectNotFound, errors.New(strings.Repeat("x", 100))))
	}
	for name, err := range map[string]error{"deep": deep, "wide": vss.E("all", vss.ErrBadState, errors.Join(many...))} {
		b := MarshalError(err)
		if len(b) > maxDetail {
			t.Errorf("%s: %d bytes", name, len(b))
		}
		if got := UnmarshalError(b); !errors.Is(got, vss.ErrBadState) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
