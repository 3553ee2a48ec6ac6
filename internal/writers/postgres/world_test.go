package postgres_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/demo/pgserver"
	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	. "github.com/stillpoint-vss/stillpoint/internal/writers/engine/enginetest"
	"github.com/stillpoint-vss/stillpoint/internal/writers/postgres"
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

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// start makes a cluster and runs its server for the time of the test. Its WAL's files are small: they are copied often.
func start(t testing.TB, s *pgserver.Server) *pgserver.Server {
	t.Helper()
	t.Cleanup(func() { must(t, s.Stop(context.WithoutCancel(ctx))) })
	s.WALSegment = 1
	must(t, s.Make(ctx))
	return s
}

// three is a cluster with data, WAL and a tablespace on three volumes.
func three(t testing.TB) (*pgserver.Server, []string) {
	t.Helper()
	return threeWith(t, nil)
}

func threeWith(t testing.TB, settings map[string]string) (*pgserver.Server, []string) {
	t.Helper()
	v, run := Volumes(t, "ext4", "xfs", "ext4")
	return start(
		t,
		&pgserver.Server{
			Data:        v[0] + "/data",
			WAL:         v[1] + "/wal",
			Tablespaces: map[string]string{"space": v[2] + "/space"},
			Run:         run,
			Settings:    settings,
		},
	), v
}

func newWriter(t testing.TB) *engine.Writer {
	return postgres.New(postgres.Config{Records: t.TempDir(), Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
}

// stand stops a process, as an overloaded machine does, for the time of the test.
func stand(t testing.TB, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	must(t, err)
	must(t, unix.Kill(n, unix.SIGSTOP))
	t.Cleanup(func() { must(t, unix.Kill(n, unix.SIGCONT)) })
}

// reload makes a server read its configuration again. It does not wait until the server has done so.
func reload(s *pgserver.Server) error {
	lock, err := os.ReadFile(filepath.Join(s.Data, "postmaster.pid"))
	if err != nil {
		return err
	}
	line, _, _ := strings.Cut(string(lock), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return err
	}
	return unix.Kill(pid, unix.SIGHUP)
}
