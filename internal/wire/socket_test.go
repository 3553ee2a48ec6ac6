package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"google.golang.org/grpc"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// The test binary is also the caller under another account.
func TestMain(m *testing.M) {
	if path := os.Getenv("WIRE_TEST_CALL"); path != "" {
		_, err := Dial(context.Background(), path)
		switch {
		case errors.Is(err, vss.ErrAccessDenied):
			os.Exit(5)
		case err != nil:
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestPeerIsThisProcess(t *testing.T) {
	var got PeerInfo
	var ok bool
	c, _, _ := serve(t, io.Discard, func(ctx context.Context) error { got, ok = Peer(ctx); return nil })
	if err := calls(t, c)["unary"]; err != nil {
		t.Fatal(err)
	}
	if !ok || got.UID != uint32(os.Getuid()) || got.GID != uint32(os.Getgid()) || got.PID != int32(os.Getpid()) {
		t.Errorf("got %+v, %v", got, ok)
	}
	want, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range want {
		if !got.In(uint32(g)) {
			t.Errorf("%+v lacks group %d", got, g)
		}
	}
	if _, ok := Peer(t.Context()); ok {
		t.Error("a peer outside of a call")
	}
}

// Another account with more groups than the first try has room for, and one that may not connect.
func TestPeerOfAnotherAccount(t *testing.T) {
	lane.Host(t)
	var mu sync.Mutex
	var seen []PeerInfo
	dir, err := os.MkdirTemp("", "wire")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// The test binary has to be where another account can run it.
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "call")
	if err := os.WriteFile(exe, self, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	l, err := Listen(path, 0o660, "daemon")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	trust := func(p PeerInfo) error { mu.Lock(); defer mu.Unlock(); seen = append(seen, p); return nil }
	srv := grpc.NewServer(grpc.Creds(TransportCredentials(trust)))
	go func() { _ = srv.Serve(l) }()
	defer srv.Stop()

	group, err := user.LookupGroup("daemon")
	if err != nil {
		t.Fatal(err)
	}
	if group.Gid != "1" {
		t.Fatalf("group daemon is %s here", group.Gid)
	}
	groups := []uint32{1}
	for g := uint32(2000); g < 2060; g++ {
		groups = append(groups, g)
	}
	call := func(groups []uint32) int {
		cmd := exec.CommandContext(t.Context(), exe)
		cmd.Env = []string{"WIRE_TEST_CALL=" + path}
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4711, Gid: 4712, Groups: groups}}
		_ = cmd.Run()
		return cmd.ProcessState.ExitCode()
	}
	if code := call(groups); code != 0 {
		t.Fatalf("a member of the group could not connect: exit %d", code)
	}
	mu.Lock()
	got := seen
	mu.Unlock()
	if len(got) != 1 || got[0].UID != 4711 || got[0].GID != 4712 || !slices.Equal(got[0].Groups, groups) ||
		!got[0].In(2059) ||
		got[0].In(2060) {
		t.Errorf("got %+v", got)
	}
	if code := call([]uint32{2000}); code != 5 {
		t.Errorf("a stranger: exit %d, want 5 (E_ACCESSDENIED)", code)
	}
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "dir", "s")
	l, err := Listen(path, 0o660, "no-such-group")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 || info.Mode().Type() != os.ModeSocket {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if l.Addr().String() != path {
		t.Errorf("address %s", l.Addr())
	}
	if _, err := Listen(path, 0o660, ""); !errors.Is(err, vss.ErrObjectAlreadyExists) || vss.Hint(err) == "" {
		t.Errorf("a second service: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays after Close: %v", err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

// A socket that a killed service left is replaced; the late Close of the old one leaves the new one alone.
func TestListenReplacesStale(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	_ = old.Close()
	a, err := Listen(path, 0o600, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.(*listener).UnixListener.Close(); err != nil { // as if killed
		t.Fatal(err)
	}
	b, err := Listen(path, 0o600, "")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	_ = a.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatalf("the new socket is gone: %v", err)
	}
	_ = c.Close()
}

func TestListenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file, 0o660, ""); !errors.Is(err, vss.ErrInvalidArg) {
		t.Errorf("a file in the way: %v", err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file suffered: %q, %v", b, err)
	}
	if _, err := Listen("/tmp/"+strings.Repeat("x", 100), 0o660, ""); !errors.Is(err, vss.ErrInvalidArg) ||
		vss.Hint(err) == "" {
		t.Errorf("too long a path: %v", err)
	}
}

// Of many that start at once exactly one serves.
func TestListenRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var wg sync.WaitGroup
	var mu sync.Mutex
	var won []net.Listener
	for range 20 {
		wg.Go(func() {
			l, err := Listen(path, 0o660, "")
			if err != nil {
				if !errors.Is(err, vss.ErrObjectAlreadyExists) {
					t.Error(err)
				}
				return
			}
			mu.Lock()
			defer mu.Unlock()
			won = append(won, l)
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Errorf("%d won", len(won))
	}
	for _, l := range won {
		_ = l.Close()
	}
}

func TestDialNobody(t *testing.T) {
	dir := t.TempDir()
	start := time.Now()
	for _, path := range []string{filepath.Join(dir, "none"), filepath.Join(dir, "no", "folder")} {
		if _, err := Dial(t.Context(), path); !errors.Is(err, vss.ErrUnexpected) || !errors.Is(err, ErrServiceGone) ||
			vss.Hint(err) == "" {
			t.Error(err)
		}
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("it took %v to know", d)
	}
}

// A service that ends while one connects is gone, not forbidden.
func TestDialHangUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	if _, err := Dial(t.Context(), path); !errors.Is(err, ErrServiceGone) || errors.Is(err, vss.ErrAccessDenied) {
		t.Error(err)
	}
}

// A service that accepts and says nothing doesn't hold its caller past the context.
func TestDialSilence(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, path); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestTrust(t *testing.T) {
	_, _, path := serve(t, io.Discard, func(context.Context) error { return nil })
	conn, err := Dial(t.Context(), path, Trust(func(p PeerInfo) error {
		if p.PID != int32(os.Getpid()) {
			return errors.New("not this process")
		}
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	no := errors.New("uid 0 must not be a writer")
	if _, err := Dial(t.Context(), path, Trust(func(PeerInfo) error { return no })); !errors.Is(
		err,
		vss.ErrAccessDenied,
	) ||
		!errors.Is(err, no) {
		t.Error(err)
	}
}

// TestFolderLocked: a lock that another process has on the socket's folder doesn't keep the service from starting;
// the lock that does is waited for with a limit (trust 13).
func TestFolderLocked(t *testing.T) {
	dir := t.TempDir()
	folder, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	if err := unix.Flock(int(folder.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	made := make(chan error, 1)
	go func() {
		l, err := Listen(path, 0o666, "")
		if err == nil {
			err = l.Close()
		}
		made <- err
	}()
	select {
	case err := <-made:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it waits for the lock of the folder")
	}
	// the lock itself is only for the owner, and has a limit
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if l, err := Listen(path, 0o666, ""); err == nil {
		l.Close()
		t.Error("a second service got the socket's lock")
	}
}
