package postgres_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/array/loopdev"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	"github.com/stillpoint-vss/stillpoint/internal/writers/postgres"
	"github.com/stillpoint-vss/stillpoint/internal/writers/postgres/pgtest"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

var ctx = context.Background()

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// TestMain puts what the tests write into memory: nothing of it hangs on what a disk does at a flush.
func TestMain(m *testing.M) {
	if memory := "/dev/shm"; os.Getenv("TMPDIR") == "" && exists(memory) {
		if err := os.Setenv("TMPDIR", memory); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// volumes makes mounted file systems for the time of the test, and a folder for sockets.
func volumes(t testing.TB, kinds ...string) (points []string, run string) {
	t.Helper()
	lane.Host(t)
	dir := lane.Scratch(t)
	must(t, os.Chmod(dir, 0o755)) // the server's account comes through
	for i, kind := range kinds {
		image := filepath.Join(dir, "image"+string(rune('0'+i)))
		f, err := os.Create(image)
		must(t, err)
		must(t, f.Truncate(512<<20))
		device, err := loopdev.Attach(f, 0)
		must(t, f.Close())
		must(t, err)
		t.Cleanup(func() { must(t, loopdev.Detach(device)) })
		if out, err := exec.Command("mkfs."+kind, "-q", device).CombinedOutput(); err != nil {
			t.Fatalf("mkfs: %v: %s", err, out)
		}
		point := filepath.Join(dir, "volume"+string(rune('0'+i)))
		must(t, os.Mkdir(point, 0o755))
		must(t, unix.Mount(device, point, kind, 0, ""))
		t.Cleanup(func() { must(t, unix.Unmount(point, 0)) })
		points = append(points, point)
	}
	return points, filepath.Join(dir, "run")
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// start makes a cluster and runs its server for the time of the test. Its WAL's files are small: they are copied often.
func start(t testing.TB, s *pgtest.Server) *pgtest.Server {
	t.Helper()
	t.Cleanup(func() { must(t, s.Stop(context.WithoutCancel(ctx))) })
	s.WALSegment = 1
	must(t, s.Make(ctx))
	return s
}

// three is a cluster with data, WAL and a tablespace on three volumes.
func three(t testing.TB) (*pgtest.Server, []string) {
	t.Helper()
	return threeWith(t, nil)
}

func threeWith(t testing.TB, settings map[string]string) (*pgtest.Server, []string) {
	t.Helper()
	v, run := volumes(t, "ext4", "xfs", "ext4")
	return start(t, &pgtest.Server{Data: v[0] + "/data", WAL: v[1] + "/wal", Tablespaces: map[string]string{"space": v[2] + "/space"},
		Run: run, Settings: settings}), v
}

func newWriter(t testing.TB) *engine.Writer {
	return postgres.New(postgres.Config{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
}

// backup is a session with one writer, in component mode.
type backup struct {
	t testing.TB
	w *engine.Writer
	e writer.Event
}

func newBackup(t testing.TB, w *engine.Writer, volumes []string, components ...string) *backup {
	comps := &document.WriterComponents{WriterID: postgres.ID}
	for _, name := range components {
		comps.Components = append(comps.Components, &document.Component{Type: vss.ComponentFileGroup, Name: name})
	}
	b := &backup{t, w, writer.Event{Session: vss.SessionID{GUID: vss.NewGUID()}, SetID: vss.SnapshotSetID{GUID: vss.NewGUID()},
		Volumes: volumes, BackupType: vss.BackupFull, Components: comps}}
	t.Cleanup(func() { must(t, b.do(writer.OnBackupShutdown)) })
	return b
}

// do delivers an event, as a service does: components are there only in some.
func (b *backup) do(h writer.Handler) error {
	b.t.Helper()
	e := b.e
	e.Failure = nil
	switch h {
	case writer.OnPrepareBackup, writer.OnPostSnapshot, writer.OnBackupComplete, writer.OnPreRestore, writer.OnPostRestore:
	default:
		e.Components = nil
	}
	err := h.Call(ctx, b.w, &e)
	b.e.Failure = e.Failure
	return err
}

// well delivers events that must succeed.
func (b *backup) well(all ...writer.Handler) {
	b.t.Helper()
	for _, h := range all {
		must(b.t, b.do(h))
		if b.e.Failure != nil {
			b.t.Fatalf("%s: %s: %s", h, b.e.Failure.Code.Name(), b.e.Failure.Message)
		}
	}
}

// vetoed delivers an event that the writer must veto with a code, and gives its message.
func (b *backup) vetoed(h writer.Handler, code vss.Code) string {
	b.t.Helper()
	must(b.t, b.do(h))
	if b.e.Failure == nil || b.e.Failure.Code != code {
		b.t.Fatalf("%s: got %+v, want %s", h, b.e.Failure, code.Name())
	}
	return b.e.Failure.Message
}

// stand stops a process, as an overloaded machine does, for the time of the test.
func stand(t testing.TB, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	must(t, err)
	must(t, unix.Kill(n, unix.SIGSTOP))
	t.Cleanup(func() { must(t, unix.Kill(n, unix.SIGCONT)) })
}
