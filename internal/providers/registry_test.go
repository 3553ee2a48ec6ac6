package providers

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/provider"
	"github.com/stillpoint-vss/stillpoint/provider/providertest"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// fakeCoordinator keeps the providers that joined.
type fakeCoordinator struct {
	mu    sync.Mutex
	bound map[vss.ProviderID]provider.Provider
	inUse bool
}

func (f *fakeCoordinator) AddProvider(ctx context.Context, p provider.Provider) error {
	props, err := p.Properties(ctx)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bound[props.ID] != nil {
		return vss.E("AddProvider", vss.ErrProviderAlreadyRegistered, nil).On(props.Name)
	}
	f.bound[props.ID] = p
	return p.OnLoad(ctx)
}

func (f *fakeCoordinator) RemoveProvider(_ context.Context, id vss.ProviderID, dead bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inUse && !dead {
		return vss.E("RemoveProvider", vss.ErrProviderInUse, nil)
	}
	delete(f.bound, id)
	return nil
}

func (f *fakeCoordinator) get(id vss.ProviderID) provider.Provider {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bound[id]
}

type world struct {
	*Registry
	c    *fakeCoordinator
	dir  string // for sockets
	news chan News
}

func newWorld(t *testing.T, accounts ...string) *world {
	t.Helper()
	run, err := os.MkdirTemp("", "vss-providers-") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		c:    &fakeCoordinator{bound: map[vss.ProviderID]provider.Provider{}},
		dir:  filepath.Join(run, "providers"),
		news: make(chan News, 100),
	}
	w.Registry, err = New(
		Config{
			RunDir:   run,
			Accounts: accounts,
			Report:   func(n News) { w.news <- n },
			Logger:   slog.New(slog.NewTextHandler(t.Output(), nil)),
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.Close()
		_ = os.RemoveAll(run)
	})
	return w
}

func (w *world) start(t *testing.T) {
	t.Helper()
	if err := w.Start(t.Context(), w.c); err != nil {
		t.Fatal(err)
	}
}

// wants waits for news of a kind, which must be the next.
func (w *world) wants(t *testing.T, k NewsKind) News {
	t.Helper()
	select {
	case n := <-w.news:
		if n.Kind != k {
			t.Fatalf("news %+v, want kind %d", n, k)
		}
		return n
	case <-time.After(20 * time.Second):
		t.Fatalf("no news of kind %d", k)
	}
	return News{}
}

// ended waits for the end of a provider, whose socket may be removed before its connection is closed.
func (w *world) ended(t *testing.T) {
	t.Helper()
	if n := <-w.news; n.Kind != Left && n.Kind != Died {
		t.Fatalf("news %+v, want the end of a provider", n)
	}
}

func software() *providertest.MemorySoftware {
	h, _ := providertest.NewHost(1)
	return providertest.NewMemorySoftware(h)
}

// TestJoinAndLeave starts and ends providers before and after the registry: each is there at once.
func TestJoinAndLeave(t *testing.T) {
	w := newWorld(t)
	log := &providertest.Log{}
	a, _ := providertest.NewArray(1)
	stop := providertest.Serve(
		t,
		filepath.Join(w.dir, "hw.sock"),
		providertest.RecordHardware(providertest.NewMemory(a), log),
	)
	w.start(t)
	if n := w.wants(t, Joined); n.ID != providertest.MemoryID || n.Provider != "Memory Provider" {
		t.Errorf("%+v", n)
	}
	if _, ok := w.c.get(providertest.MemoryID).(provider.Hardware); !ok {
		t.Fatal("it hasn't joined as a hardware provider")
	}
	providertest.Serve(t, filepath.Join(w.dir, "sw.sock"), software())
	w.Look(t.Context())
	if _, ok := w.c.get(providertest.MemorySoftwareID).(provider.Software); !ok {
		t.Fatal("Look returned before the second one has joined")
	}
	w.wants(t, Joined)
	stop()
	w.ended(t)
	if w.c.get(providertest.MemoryID) != nil {
		t.Error("it is still there after its end")
	}
	providertest.Serve(t, filepath.Join(w.dir, "hw.sock"), providertest.RecordHardware(providertest.NewMemory(a), log))
	w.wants(t, Joined)
	if got := log.Methods(providertest.MemoryID); len(got) != 2 || got[0] != "OnLoad" || got[1] != "OnLoad" {
		t.Errorf("calls %v, want OnLoad of each process", got)
	}
}

// TestSameID refuses a second provider with the same id, reports that once, and lets it join when the first one has
// ended.
func TestSameID(t *testing.T) {
	w := newWorld(t)
	stop := providertest.Serve(t, filepath.Join(w.dir, "one.sock"), software())
	w.start(t)
	w.wants(t, Joined)
	providertest.Serve(t, filepath.Join(w.dir, "two.sock"), software())
	if n := w.wants(t, Refused); !errors.Is(n.Err, vss.ErrProviderAlreadyRegistered) ||
		filepath.Base(n.Path) != "two.sock" {
		t.Errorf("%+v", n)
	}
	stop()
	w.ended(t)
	if n := w.wants(t, Joined); filepath.Base(n.Path) != "two.sock" {
		t.Errorf("%+v", n)
	}
}

// TestReplaced starts a provider's next process at the socket while the connection to the former one still stands.
func TestReplaced(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(w.dir, "p.sock")
	stop := providertest.Serve(t, path, software())
	w.start(t)
	w.wants(t, Joined)
	if err := os.Remove(path); err != nil { // a process that ends badly leaves it, and the next one replaces it
		t.Fatal(err)
	}
	w.wants(t, Left)
	providertest.Serve(t, path, software())
	w.wants(t, Joined)
	stop()
	w.Look(t.Context())
	if w.c.get(providertest.MemorySoftwareID) == nil {
		t.Error("the next process isn't there")
	}
}

// TestDied ends a provider whose socket remains, as kill -9 leaves it; the next process replaces the socket.
func TestDied(t *testing.T) {
	w := newWorld(t)
	hidden, path := filepath.Join(w.dir, "hidden"), filepath.Join(w.dir, "p.sock")
	stop := providertest.Serve(t, hidden, software())
	if err := os.Link(hidden, path); err != nil {
		t.Fatal(err)
	}
	w.start(t)
	w.wants(t, Joined)
	stop()
	w.wants(t, Died)
	if w.c.get(providertest.MemorySoftwareID) != nil {
		t.Error("it is still there")
	}
	providertest.Serve(t, path, software())
	w.Look(t.Context())
	if w.c.get(providertest.MemorySoftwareID) == nil {
		t.Error("the next process isn't there")
	}
}

// TestInUse removes the socket of a provider that is in use: it stays until its process ends.
func TestInUse(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(w.dir, "p.sock")
	stop := providertest.Serve(t, path, software())
	w.start(t)
	w.wants(t, Joined)
	w.c.mu.Lock()
	w.c.inUse = true
	w.c.mu.Unlock()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	w.Look(t.Context())
	time.Sleep(50 * time.Millisecond)
	if w.c.get(providertest.MemorySoftwareID) == nil {
		t.Error("a provider in use was removed")
	}
	stop()
	w.wants(t, Died)
}

// badProperties returns properties that can't be accepted.
type badProperties struct {
	provider.Software
	change func(*provider.Properties)
}

func (b badProperties) Properties(ctx context.Context) (provider.Properties, error) {
	p, err := b.Software.Properties(ctx)
	b.change(&p)
	return p, err
}

func TestRefused(t *testing.T) {
	for name, change := range map[string]func(*provider.Properties){
		"system":             func(p *provider.Properties) { p.Type = vss.ProviderSystem },
		"no id":              func(p *provider.Properties) { p.ID = vss.ProviderID{} },
		"no name":            func(p *provider.Properties) { p.Name = "" },
		"unknown capability": func(p *provider.Properties) { p.Capabilities = []provider.Capability{"fly"} },
		"wrong capability": func(p *provider.Properties) {
			p.Capabilities = []provider.Capability{provider.CanTransport}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			providertest.Serve(t, filepath.Join(w.dir, "p.sock"), badProperties{software(), change})
			w.start(t)
			if n := w.wants(t, Refused); !errors.Is(n.Err, vss.ErrInvalidArg) {
				t.Errorf("%+v", n)
			}
			if len(w.c.bound) != 0 {
				t.Error("it has joined")
			}
		})
	}
}

// TestForeignAccount refuses a process of an account that isn't configured, and reports it once.
func TestForeignAccount(t *testing.T) {
	w := newWorld(t)
	if err := w.trust(uint32(os.Geteuid())); err != nil {
		t.Errorf("the service's own account: %v", err)
	}
	if err := w.trust(uint32(os.Geteuid()) + 4711); err == nil {
		t.Error("a foreign account is trusted")
	}
	denied := vss.E("Connect", vss.ErrAccessDenied, errors.New("uid 4711 may not run providers")).On("/x.sock")
	w.refuse("/x.sock", provider.Properties{}, denied)
	w.refuse("/x.sock", provider.Properties{}, denied)
	if n := w.wants(t, Refused); !errors.Is(n.Err, vss.ErrAccessDenied) || n.Path != "/x.sock" {
		t.Errorf("%+v", n)
	}
	if len(w.news) != 0 {
		t.Errorf("reported again: %+v", <-w.news)
	}
}

// TestSilent has a socket whose process never answers: Look waits a limited time, once.
func TestSilent(t *testing.T) {
	w := newWorld(t)
	l, err := wire.Listen(filepath.Join(w.dir, "p.sock"), 0o600, "")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	began := time.Now()
	w.start(t)
	if d := time.Since(began); d < connectLimit || d > 3*connectLimit {
		t.Errorf("Start took %v", d)
	}
	w.wants(t, Refused)
}
