package writers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/config"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/internal/writers"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
	"github.com/stillpoint-vss/stillpoint/writer/writertest"
)

// TestMain is also the writer's process of tests that need one: it serves a recorder in a folder and, at an event that
// the environment names, dies.
func TestMain(m *testing.M) {
	folder := os.Getenv("TEST_WRITER_FOLDER")
	if folder == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	r := writertest.NewRecorder(os.Getenv("TEST_WRITER_NAME"))
	for _, h := range writer.Handlers() {
		if h.String() == os.Getenv("TEST_WRITER_DIES") {
			r.At(h, writertest.Die(func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) }))
		}
	}
	l, err := writer.Listen(folder, r.Who.Name)
	if err == nil {
		err = writer.Serve(ctx, l, r, slog.New(slog.DiscardHandler))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// process starts a writer's process under an account, 0 for ours, and waits for its socket.
func process(t *testing.T, folder, name string, uid uint32, diesAt string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Dir, cmd.Stderr = "/", t.Output()
	if uid != 0 {
		// The test binary is in a folder that the account can't reach.
		cmd.Path = filepath.Join(filepath.Dir(filepath.Dir(folder)), "exe")
		text, err := os.ReadFile(exe)
		if err == nil {
			err = os.WriteFile(cmd.Path, text, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	cmd.Env = []string{"TEST_WRITER_FOLDER=" + folder, "TEST_WRITER_NAME=" + name, "TEST_WRITER_DIES=" + diesAt}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(folder, name+".sock")); err == nil {
			return cmd
		}
		if time.Now().After(end) {
			t.Fatal("the writer's process doesn't serve")
		}
	}
}

// runDir is a run directory whose paths are short enough for sockets.
func runDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vss-run-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func registry(t *testing.T, c writers.Config) *writers.Registry {
	t.Helper()
	if c.Trust == nil {
		c.Trust = func(uid uint32) error {
			if int(uid) != os.Geteuid() {
				return errors.New("not ours")
			}
			return nil
		}
	}
	c.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	r, err := writers.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func names(all []*writer.Instance) string {
	var out []string
	for _, i := range all {
		out = append(out, i.Info.Name)
	}
	return strings.Join(out, " ")
}

// becomes waits until the registry lists these writers.
func becomes(t *testing.T, r *writers.Registry, want string) []*writer.Instance {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		all := r.Running(t.Context())
		if names(all) == want {
			return all
		}
		if time.Now().After(end) {
			t.Fatalf("running: %q, want %q", names(all), want)
		}
	}
}

func TestRunning(t *testing.T) {
	run := runDir(t)
	r := registry(
		t,
		writers.Config{
			RunDir: run,
			InBox:  []writer.Writer{writertest.NewRecorder("zebra"), writertest.NewRecorder("yak")},
		},
	)
	folder := filepath.Join(run, "writers")
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	stop := writertest.Serve(t, folder, "b", writertest.NewRecorder("b"))
	writertest.Serve(t, folder, "a", writertest.NewRecorder("a"))
	first := becomes(t, r, "zebra yak a b")
	again := r.Running(t.Context())
	for i, w := range again {
		if w.ID != first[i].ID || w.ID.IsZero() || w != first[i] {
			t.Errorf("%s is another instance the second time", w.Info.Name)
		}
		m, err := w.Writer.Identify(t.Context())
		if err != nil || m.InstanceID != w.ID || m.WriterID != w.Info.ID || m.Name != w.Info.Name {
			t.Errorf("%+v, %v", m, err)
		}
	}
	// One that starts again is another instance; the old one doesn't come back.
	stop()
	becomes(t, r, "zebra yak a")
	writertest.Serve(t, folder, "b", writertest.NewRecorder("b"))
	new := becomes(t, r, "zebra yak a b")
	if new[3].ID == first[3].ID {
		t.Error("the same instance id after a restart")
	}
	if err := first[3].Writer.Abort(t.Context(), &writer.Event{}); vss.CodeOf(err) != vss.ErrWriterNotResponding {
		t.Errorf("the instance that is gone: %v", err)
	}
}

func TestStaleSockets(t *testing.T) {
	run := runDir(t)
	r := registry(t, writers.Config{RunDir: run})
	folder := filepath.Join(run, "writers")
	left := func(name string, age time.Duration) string {
		path := filepath.Join(folder, name)
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		_ = l.Close()
		when := time.Now().Add(-age)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
		return path
	}
	old, young, other := left("old.sock", time.Hour), left("young.sock", 0), left("other.txt", time.Hour)
	future := left("future.sock", -365*24*time.Hour) // the clock was set back
	writertest.Serve(t, folder, "a", writertest.NewRecorder("a"))
	if err := os.Symlink(filepath.Join(folder, "a.sock"), filepath.Join(folder, "link.sock")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "file.sock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := names(r.Running(t.Context())); got != "a" {
		t.Errorf("running: %q", got)
	}
	for _, path := range []string{old, future} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s, at which nobody listens, stays", path)
		}
	}
	for _, path := range []string{young, other, filepath.Join(folder, "link.sock"),
		filepath.Join(folder, "file.sock")} {
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A writer that accepts connections and doesn't identify itself delays Running only once, for a limited time.
func TestHanging(t *testing.T) {
	run := runDir(t)
	r := registry(t, writers.Config{RunDir: run, InBox: []writer.Writer{&mute{writertest.NewRecorder("mute")}}})
	folder := filepath.Join(run, "writers")
	l, err := net.Listen("unix", filepath.Join(folder, "hangs.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	writertest.Serve(t, folder, "a", writertest.NewRecorder("a"))
	for i, most := range []time.Duration{20 * time.Second, time.Second} {
		began := time.Now()
		if got := names(r.Running(t.Context())); got != "a" {
			t.Errorf("running: %q", got)
		}
		if d := time.Since(began); d > most {
			t.Errorf("call %d took %v", i+1, d)
		}
	}
}

// mute is a writer in this process that doesn't identify itself.
type mute struct{ *writertest.Recorder }

func (mute) Info(ctx context.Context) (writer.Info, error) {
	<-ctx.Done()
	return writer.Info{}, ctx.Err()
}

func TestTwice(t *testing.T) {
	run := runDir(t)
	r := registry(t, writers.Config{RunDir: run})
	folder := filepath.Join(run, "writers")
	one := writertest.NewRecorder("one")
	one.Who.InstanceName = "main"
	stop := writertest.Serve(t, folder, "one", one)
	first := becomes(t, r, "one")
	two := writertest.NewRecorder("two")
	two.Who.ID, two.Who.InstanceName = one.Who.ID, "main"
	writertest.Serve(t, folder, "two", two)
	// Other instance names, and none at all, are fine.
	three, four, five := writertest.NewRecorder("three"), writertest.NewRecorder("four"), writertest.NewRecorder("five")
	three.Who.ID, three.Who.InstanceName = one.Who.ID, "second"
	four.Who.ID, five.Who.ID = one.Who.ID, one.Who.ID
	writertest.Serve(t, folder, "x3", three)
	writertest.Serve(t, folder, "x4", four)
	writertest.Serve(t, folder, "x5", five)
	if now := becomes(t, r, "one three four five"); now[0].ID != first[0].ID {
		t.Error("the second instance has pushed the first one out")
	}
	if err := first[0].Writer.Abort(t.Context(), &writer.Event{}); err != nil {
		t.Errorf("the first one suffers: %v", err)
	}
	// When the first one is gone the other may come, and does when it is asked again.
	stop()
	becomes(t, r, "three four five")
	becomes(t, r, "two three four five")
}

// liar is of another class from some moment on.
type liar struct {
	*writertest.Recorder
	lies chan struct{}
}

func (l liar) Info(ctx context.Context) (writer.Info, error) {
	i, err := l.Recorder.Info(ctx)
	select {
	case <-l.lies:
		i.ID = vss.WriterID{GUID: vss.NewGUID()}
	default:
	}
	return i, err
}

func TestLiar(t *testing.T) {
	for name, ask := range map[string]func(t *testing.T, w writer.Writer) error{
		"Identify": func(t *testing.T, w writer.Writer) error { _, err := w.Identify(t.Context()); return err },
		"GetInfo":  func(t *testing.T, w writer.Writer) error { _, err := w.Info(t.Context()); return err },
	} {
		t.Run(name, func(t *testing.T) {
			run := runDir(t)
			r := registry(t, writers.Config{RunDir: run})
			l := liar{writertest.NewRecorder("liar"), make(chan struct{})}
			writertest.Serve(t, filepath.Join(run, "writers"), "liar", l)
			writertest.Serve(t, filepath.Join(run, "writers"), "other", writertest.NewRecorder("other"))
			all := becomes(t, r, "liar other")
			id := vss.SessionID{GUID: vss.NewGUID()}
			for _, h := range []writer.Handler{writer.OnPrepareSnapshot, writer.OnFreeze} {
				if err := h.Call(t.Context(), all[0].Writer, &writer.Event{Session: id}); err != nil {
					t.Fatal(err)
				}
			}
			close(l.lies)
			if err := ask(t, all[0].Writer); vss.CodeOf(err) != vss.ErrWriterErrorNonRetryable {
				t.Errorf("%v", err)
			}
			if err := all[0].Writer.Thaw(t.Context(), &writer.Event{Session: id}); vss.CodeOf(
				err,
			) != vss.ErrWriterNotResponding {
				t.Errorf("it still takes part: %v", err)
			}
			for end := time.Now().Add(20 * time.Second); l.Frozen(); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("it was sent away frozen")
				}
			}
			if _, err := all[1].Writer.Identify(t.Context()); err != nil {
				t.Errorf("the other one suffers: %v", err)
			}
		})
	}
}

// A real process that is killed in an event, and one that serves on beside it.
func TestProcesses(t *testing.T) {
	run := runDir(t)
	r := registry(t, writers.Config{RunDir: run})
	folder := filepath.Join(run, "writers")
	process(t, folder, "good", 0, "")
	process(t, folder, "mortal", 0, "Freeze")
	all := becomes(t, r, "good mortal")
	e := &writer.Event{Session: vss.SessionID{GUID: vss.NewGUID()}}
	for _, w := range all {
		if err := w.Writer.PrepareSnapshot(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := all[1].Writer.Freeze(t.Context(), e); vss.CodeOf(err) != vss.ErrWriterNotResponding {
		t.Errorf("killed in Freeze: %v", err)
	}
	if err := all[0].Writer.Freeze(t.Context(), e); err != nil {
		t.Error(err)
	}
	if err := all[0].Writer.Thaw(t.Context(), e); err != nil {
		t.Error(err)
	}
	becomes(t, r, "good")
}

// Accounts have folders of their own; writers of other accounts, or in another account's folder, aren't registered.
func TestAccounts(t *testing.T) {
	lane.Host(t)
	const nobody = 65534
	c := config.Default()
	c.Accounts = map[string]config.Access{
		"nobody":          config.AccessWriter,
		"daemon":          config.AccessRequester,
		"no-such-account": config.AccessBoth,
	}
	run := runDir(t)
	r := registry(t, writers.Config{RunDir: run, Accounts: writers.Accounts(c), Trust: writers.Trust(c)})
	top := filepath.Join(run, "writers")
	own := filepath.Join(top, "nobody")
	info, err := os.Stat(own)
	if err != nil || info.Mode().Perm() != 0o700 || info.Sys().(*syscall.Stat_t).Uid != nobody {
		t.Fatalf("%v, %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(top, "daemon")); err == nil {
		t.Error("an account that may not be a writer has a folder")
	}
	process(t, own, "theirs", nobody, "")
	writertest.Serve(t, top, "root", writertest.NewRecorder("root"))
	writertest.Serve(t, own, "intruder", writertest.NewRecorder("intruder")) // root's process, in nobody's folder
	becomes(t, r, "theirs root")

	// The same process, with a configuration that doesn't allow it.
	c.Accounts = map[string]config.Access{"root": config.AccessNone}
	closed := registry(t, writers.Config{RunDir: run, Accounts: []string{"nobody"}, Trust: writers.Trust(c)})
	if got := names(closed.Running(t.Context())); got != "" {
		t.Errorf("running: %q", got)
	}
}

func TestManyWriters(t *testing.T) {
	run := runDir(t)
	r := registry(t, writers.Config{RunDir: run})
	for i := range 64 {
		writertest.Serve(
			t,
			filepath.Join(run, "writers"),
			fmt.Sprintf("w%02d", i),
			writertest.NewRecorder(fmt.Sprintf("w%02d", i)),
		)
	}
	began := time.Now()
	all := r.Running(t.Context())
	t.Logf("%d writers found in %v", len(all), time.Since(began))
	if len(all) != 64 {
		t.Errorf("%d writers", len(all))
	}
}

func TestClose(t *testing.T) {
	run := runDir(t)
	inBox, outside := writertest.NewRecorder("in"), writertest.NewRecorder("out")
	r := registry(t, writers.Config{RunDir: run, InBox: []writer.Writer{inBox}})
	writertest.Serve(t, filepath.Join(run, "writers"), "out", outside)
	e := &writer.Event{Session: vss.SessionID{GUID: vss.NewGUID()}}
	for _, w := range becomes(t, r, "in out") {
		for _, h := range []writer.Handler{writer.OnPrepareSnapshot, writer.OnFreeze} {
			if err := h.Call(t.Context(), w.Writer, e); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := r.Close(); err != nil || inBox.Frozen() {
		t.Errorf("%v; frozen in process: %v", err, inBox.Frozen())
	}
	for end := time.Now().Add(20 * time.Second); outside.Frozen(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("frozen behind its socket")
		}
	}
	if all := r.Running(t.Context()); len(all) != 0 {
		t.Errorf("after Close: %q", names(all))
	}
}
