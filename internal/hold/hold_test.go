package hold

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/vss"
)

func TestHold(t *testing.T) {
	scratch := setUp(t)
	var all []*fileSystem
	for i := range 8 {
		kind := kinds[i%len(kinds)]
		all = append(all, makeFS(t, scratch, kind, 320))
	}
	for _, n := range []int{1, 3, 8} {
		t.Run(fmt.Sprintf("%d volumes", n), func(t *testing.T) {
			g := start(t, scratch, 5*time.Second, all[:n]...)
			if err := g.Preflush(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := g.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if err := g.Hold(t.Context()); err != nil {
				t.Fatal(err)
			}
			frozen := time.Now()
			if records(t, scratch) != 1 {
				t.Error("nothing in RUN/held while volumes are held")
			}
			var writers []<-chan struct{}
			for _, fs := range all[:n] {
				writers = append(writers, fs.write())
			}
			time.Sleep(100 * time.Millisecond)
			for i, w := range writers {
				if within(w, 0) {
					t.Errorf("%s was written to while it was held", all[i].dir)
				}
			}
			r, err := g.Release()
			if err != nil {
				t.Fatal(err)
			}
			done := time.Now()
			for i, w := range writers {
				if !within(w, time.Second) {
					t.Errorf("the writer of %s didn't go on", all[i].dir)
				}
			}
			if r.Start.Before(began) || r.Frozen.Before(r.Start) || r.Frozen.After(frozen) || r.End.Before(frozen) ||
				r.End.After(done) {
				t.Errorf("times are not in order: began %v, result %v, done %v", began, r, done)
			}
			if len(r.Volumes) != n {
				t.Fatalf("%d volume results, want %d", len(r.Volumes), n)
			}
			for i, v := range r.Volumes {
				if v.Name != all[i].dir || v.Start.Before(r.Start) || v.Frozen.Before(v.Start) ||
					v.Frozen.After(r.Frozen) ||
					v.End.Before(r.Frozen) ||
					v.End.After(r.End) {
					t.Errorf("volume result %+v doesn't fit into %+v", v, r)
				}
			}
			if records(t, scratch) != 0 {
				t.Error("RUN/held lists something after the release")
			}
			if err := g.Hold(t.Context()); !errors.Is(err, vss.ErrBadState) {
				t.Errorf("second Hold: %v, want VSS_E_BAD_STATE", err)
			}
		})
	}
}

func records(t *testing.T, run string) int {
	t.Helper()
	e, err := os.ReadDir(filepath.Join(run, heldDir))
	if err != nil {
		t.Fatal(err)
	}
	return len(e)
}

func TestOverrun(t *testing.T) {
	scratch := setUp(t)
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			fs := makeFS(t, scratch, kind, 320)
			g := start(t, scratch, time.Second, fs)
			if err := g.Hold(t.Context()); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			mustWrite(t, 1200*time.Millisecond, fs)
			if d := time.Since(began); d < 500*time.Millisecond {
				t.Errorf("the writer went on after %v already", d)
			}
			r, err := g.Release()
			if !errors.Is(err, vss.ErrHoldWritesTimeout) {
				t.Errorf("Release: %v, want VSS_E_HOLD_WRITES_TIMEOUT", err)
			}
			if d := r.End.Sub(r.Start); d < time.Second || d > 1200*time.Millisecond {
				t.Errorf("held for %v, want 1 s", d)
			}
		})
	}
}

// TestFlushOverrun: one volume has more to flush than the limit allows for, the other is released at the limit.
func TestFlushOverrun(t *testing.T) {
	scratch := setUp(t)
	slow, quick := makeFS(t, scratch, "ext4", 1200), makeFS(t, scratch, "xfs", 320)
	const limit = 150 * time.Millisecond
	g := start(t, scratch, limit, quick, slow)
	slow.dirty(t, 600)
	began := time.Now()
	err := g.Hold(t.Context())
	took := time.Since(began)
	if !errors.Is(err, vss.ErrFlushWritesTimeout) {
		t.Fatalf("Hold: %v, want VSS_E_FLUSH_WRITES_TIMEOUT", err)
	}
	if took > limit+grace+300*time.Millisecond {
		t.Errorf("Hold came back after %v", took)
	}
	mustWrite(t, 500*time.Millisecond, quick)
	if _, err := g.Release(); !errors.Is(err, vss.ErrFlushWritesTimeout) {
		t.Errorf("Release after it: %v, want the same", err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	mustWrite(t, time.Second, slow)
	t.Logf("Hold %v, all %v", took, time.Since(began))
}

// TestForeign: another program's freeze is respected, before, during and after.
func TestForeign(t *testing.T) {
	scratch := setUp(t)
	ours, other := makeFS(t, scratch, "xfs", 320), makeFS(t, scratch, "ext4", 64)
	fd := int(other.root.Fd())
	g := start(t, scratch, 2*time.Second, ours, other)
	if err := freezeSuper(fd); err != nil {
		t.Fatal(err)
	}
	err := g.Hold(t.Context())
	if !errors.Is(err, vss.ErrVolumeInUse) || vss.Hint(err) == "" {
		t.Errorf("Hold: %v, want VSS_E_VOLUME_IN_USE", err)
	}
	var e *vss.Error
	if errors.As(err, &e) && e.Object != other.dir {
		t.Errorf("the error is about %s, want %s", e.Object, other.dir)
	}
	mustWrite(t, time.Second, ours)
	mustBlock(t, other)
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	time.Sleep(100 * time.Millisecond)
	if err := thawSuper(fd); err != nil {
		t.Errorf("the foreign freeze was thawed: %v", err)
	}
}

// TestForeignAfterOurs: at the deadline all three processes try to thaw. A freeze right after the first of them isn't
// thawed by the second.
func TestForeignAfterOurs(t *testing.T) {
	scratch := setUp(t)
	fs := makeFS(t, scratch, "ext4", 64)
	fd := int(fs.root.Fd())
	for range 5 {
		g := start(t, scratch, 300*time.Millisecond, fs)
		if err := g.Hold(t.Context()); err != nil {
			t.Fatal(err)
		}
		for began := time.Now(); ; {
			err := freezeSuper(fd)
			if err == nil {
				break
			}
			if err != syscall.EBUSY || time.Since(began) > 2*time.Second {
				t.Fatalf("freeze after the deadline: %v", err)
			}
		}
		time.Sleep(killAfter + 200*time.Millisecond)
		if _, err := g.Release(); !errors.Is(err, vss.ErrHoldWritesTimeout) {
			t.Errorf("Release: %v", err)
		}
		g.Close()
		if err := thawSuper(fd); err != nil {
			t.Errorf("the foreign freeze was thawed: %v", err)
		}
	}
}

func TestThawedBySomebodyElse(t *testing.T) {
	scratch := setUp(t)
	a, b := makeFS(t, scratch, "xfs", 320), makeFS(t, scratch, "ext4", 64)
	g := start(t, scratch, 2*time.Second, a, b)
	if err := g.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := thawSuper(int(b.root.Fd())); err != nil {
		t.Fatal(err)
	}
	_, err := g.Release()
	if !errors.Is(err, vss.ErrHoldWritesTimeout) {
		t.Errorf("Release: %v, want VSS_E_HOLD_WRITES_TIMEOUT", err)
	}
	var e *vss.Error
	if errors.As(err, &e) && e.Object != b.dir {
		t.Errorf("the error is about %q, want %q", e.Object, b.dir)
	}
	mustWrite(t, time.Second, a, b)
}

func TestNotSupported(t *testing.T) {
	scratch := setUp(t)
	fs := makeFS(t, scratch, "ext4", 64)
	shm, err := os.Open("/dev/shm")
	if err != nil {
		t.Fatal(err)
	}
	defer shm.Close()
	g, err := Start(
		t.Context(),
		Config{RunDir: scratch, Limit: time.Second},
		append(volumes(fs), Volume{Name: "tmpfs", Root: shm}),
	)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Hold(t.Context()); !errors.Is(err, vss.ErrVolumeNotSupported) {
		t.Errorf("Hold of a tmpfs: %v, want VSS_E_VOLUME_NOT_SUPPORTED", err)
	}
	mustWrite(t, time.Second, fs)
}

func TestTwoGuards(t *testing.T) {
	scratch := setUp(t)
	a, b := makeFS(t, scratch, "xfs", 320), makeFS(t, scratch, "ext4", 64)
	ga, gb := start(t, scratch, 2*time.Second, a), start(t, scratch, 2*time.Second, b)
	if err := errors.Join(ga.Hold(t.Context()), gb.Hold(t.Context())); err != nil {
		t.Fatal(err)
	}
	mustBlock(t, a, b)
	if _, err := ga.Release(); err != nil {
		t.Error(err)
	}
	mustWrite(t, time.Second, a)
	mustBlock(t, b)
	if _, err := gb.Release(); err != nil {
		t.Error(err)
	}
	mustWrite(t, time.Second, b)
}

// TestClose: after any use of a Guard, Close leaves nothing frozen and no process.
func TestClose(t *testing.T) {
	scratch := setUp(t)
	fs := makeFS(t, scratch, "ext4", 64)
	for _, c := range []struct {
		name string
		do   func(t *testing.T, g *Guard)
	}{
		{"unused", func(*testing.T, *Guard) {}},
		{"held", func(t *testing.T, g *Guard) {
			if err := g.Hold(t.Context()); err != nil {
				t.Fatal(err)
			}
		}},
		{"released", func(t *testing.T, g *Guard) {
			if err := g.Hold(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := g.Release(); err != nil {
				t.Fatal(err)
			}
		}},
		{"cancelled before", func(t *testing.T, g *Guard) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := g.Hold(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("Hold: %v", err)
			}
			if err := g.Preflush(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("Preflush: %v", err)
			}
		}},
		{"guards stopped", func(t *testing.T, g *Guard) {
			_ = g.freezer.proc.Signal(syscall.SIGSTOP)
			_ = g.sentinel.proc.Signal(syscall.SIGSTOP)
		}},
		{"guards killed", func(t *testing.T, g *Guard) {
			g.freezer.kill()
			g.sentinel.kill()
			<-g.freezer.exited
			if err := g.Hold(t.Context()); err == nil {
				t.Error("Hold without guards succeeded")
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := start(t, scratch, 5*time.Second, fs)
			c.do(t, g)
			began := time.Now()
			for range 2 {
				if err := g.Close(); err != nil {
					t.Error(err)
				}
			}
			if d := time.Since(began); d > 2*time.Second {
				t.Errorf("Close took %v", d)
			}
			mustWrite(t, time.Second, fs)
			if _, err := g.Release(); !errors.Is(err, vss.ErrBadState) {
				t.Errorf("Release after Close: %v", err)
			}
			if records(t, scratch) != 0 {
				t.Error("RUN/held lists something")
			}
		})
	}
}

func TestStartRefuses(t *testing.T) {
	scratch := setUp(t)
	fs := makeFS(t, scratch, "btrfs", 128)
	command(t, "btrfs", "-q", "subvolume", "create", filepath.Join(fs.dir, "sub"))
	sub, err := os.Open(filepath.Join(fs.dir, "sub"))
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	one := volumes(fs)
	for _, c := range []struct {
		name   string
		config Config
		vols   []Volume
		want   vss.Code
	}{
		{"no limit", Config{}, one, vss.ErrInvalidArg},
		{"limit too long", Config{Limit: MaxLimit + 1}, one, vss.ErrInvalidArg},
		{"no volume", Config{Limit: time.Second}, nil, vss.ErrInvalidArg},
		{"one file system twice", Config{Limit: time.Second}, []Volume{one[0], {Name: "sub", Root: sub}},
			vss.ErrInvalidArg},
		{"program missing", Config{Limit: time.Second, Exe: "/nonexistent"}, one, vss.ErrUnexpected},
		{"program ends at once", Config{Limit: time.Second, Exe: "/bin/true"}, one, vss.ErrUnexpected},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.config.RunDir = scratch
			if _, err := Start(t.Context(), c.config, c.vols); !errors.Is(err, c.want) {
				t.Errorf("Start: %v, want %s", err, c.want.Name())
			}
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if g, err := Start(ctx, Config{RunDir: scratch, Limit: time.Second, Exe: "/bin/sleep"}, one); err == nil {
			g.Close()
			t.Error("Start with an ended context succeeded")
		}
	})
}
