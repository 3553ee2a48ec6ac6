package remote_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stillpoint-vss/stillpoint/internal/array"
	"github.com/stillpoint-vss/stillpoint/internal/array/arraytest"
	"github.com/stillpoint-vss/stillpoint/internal/array/pool"
	"github.com/stillpoint-vss/stillpoint/internal/array/pool/pooltest"
	"github.com/stillpoint-vss/stillpoint/internal/array/remote"
	"github.com/stillpoint-vss/stillpoint/internal/array/target/loop"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const mib = 1 << 20

func TestConformance(t *testing.T) {
	lane.Host(t)
	for _, x := range []struct {
		name, pool string
		reach      func(w *world, host string) array.Array
	}{
		{"in process", "xfs", func(w *world, _ string) array.Array { return w.controller }},
		{"over a socket", "btrfs", (*world).at},
	} {
		t.Run(x.name, func(t *testing.T) {
			folder := pooltest.Folder(t, x.pool, 1<<30)
			arraytest.Run(t, func(t *testing.T) *arraytest.World {
				w := newWorld(t, folder)
				return &arraytest.World{
					At:      func(host string) array.Array { return x.reach(w, host) },
					Restart: w.restart,
					Write:   func(id vss.LUNID, b byte) { pooltest.Write(t, w.pool.Backing(id).Path, mib, b, 4096) },
					Read:    w.read,
				}
			})
		})
	}
}

// world is a controller on a pool and its server, which both may die and come back.
type world struct {
	t          *testing.T
	dir        string
	pool       array.Pool
	controller *array.Controller
	stop       func()
	hosts      map[string]array.Array // connections, by host; "" is the administrator's
}

func newWorld(t *testing.T, folder string) *world {
	t.Helper()
	dir, err := os.MkdirTemp(folder, "pool")
	must(t, err)
	w := &world{t: t, dir: dir}
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

func logger(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func (w *world) start() {
	w.t.Helper()
	var err error
	w.pool, err = pool.Open(w.dir)
	must(w.t, err)
	w.controller, err = array.Open(
		context.Background(),
		array.Config{
			Name:     "san",
			Pools:    []array.NamedPool{{Name: "p", Pool: w.pool}},
			Targets:  []array.Target{loop.Target{}},
			LowWater: 8 * mib,
			Logger:   logger(w.t),
		},
	)
	must(w.t, err)
	stop := serve(w.t, w.socket(), w.controller)
	w.hosts = map[string]array.Array{}
	w.stop = func() {
		for _, c := range w.hosts {
			_ = c.Close()
		}
		stop()
		if err := w.controller.Close(); err != nil {
			w.t.Error(err)
		}
	}
}

// socket is not below the pool, whose path is too long for one.
func (w *world) socket() string { return filepath.Join(os.TempDir(), filepath.Base(w.dir)+".sock") }

func (w *world) restart() {
	w.stop()
	w.start()
}

// at is the array as a host reaches it over the socket.
func (w *world) at(host string) array.Array {
	w.t.Helper()
	if w.hosts[host] == nil {
		w.hosts[host] = connect(w.t, w.socket(), host)
	}
	return w.hosts[host]
}

func (w *world) read(id vss.LUNID) byte {
	w.t.Helper()
	f, err := os.Open(w.pool.Backing(id).Path)
	must(w.t, err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, mib+4095)
	must(w.t, err)
	return b[0]
}

func serve(t *testing.T, socket string, a array.Array) (stop func()) {
	t.Helper()
	return serveAs(t, socket, a, remote.UnixCaller)
}

// serveAs answers for an array at a socket until stop is called.
func serveAs(t *testing.T, socket string, a array.Array, identify remote.Identify) (stop func()) {
	t.Helper()
	l, err := wire.Listen(socket, 0o600, "")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- remote.Serve(ctx, l, a, identify, logger(t)) }()
	return func() {
		cancel()
		if err := <-over; err != nil {
			t.Errorf("serve: %v", err)
		}
	}
}

func connect(t *testing.T, socket, host string) array.Array {
	t.Helper()
	if host == "" {
		a, err := remote.Connect(t.Context(), socket)
		must(t, err)
		return a
	}
	a, err := remote.Connect(t.Context(), socket, remote.AsHost(host))
	must(t, err)
	return a
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
