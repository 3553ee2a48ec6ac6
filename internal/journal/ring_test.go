package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/slogtest"
	"testing/synctest"
	"time"
)

// out collects text; while forbidden is set a write is a fault, and slow makes each write take its time.
type out struct {
	mu        sync.Mutex
	text      strings.Builder
	forbidden atomic.Bool
	faults    atomic.Int32
	slow      time.Duration
}

func (o *out) Write(p []byte) (int, error) {
	if o.forbidden.Load() {
		o.faults.Add(1)
	}
	time.Sleep(o.slow)
	if o.forbidden.Load() {
		o.faults.Add(1)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *out) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// bare writes message and attributes only.
func bare(o *out) slog.Handler {
	return slog.NewTextHandler(o, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}})
}

func flush(t *testing.T, r *Ring) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestRingKeepsOrder(t *testing.T) {
	o := &out{}
	r := NewRing(bare(o), 10)
	log := slog.New(r)
	log.Info("a")
	if o.String() != "msg=a\n" {
		t.Errorf("not written at once: %q", o)
	}
	r.Hold()
	log.Info("b")
	log.With("set", 1).WithGroup("g").Info("c", "k", "v")
	if o.String() != "msg=a\n" {
		t.Errorf("written while held: %q", o)
	}
	r.Release()
	log.Info("d")
	flush(t, r)
	if want := "msg=a\nmsg=b\nmsg=c set=1 g.k=v\nmsg=d\n"; o.String() != want {
		t.Errorf("got %q, want %q", o, want)
	}
}

func TestRingDropsOldest(t *testing.T) {
	o := &out{}
	r := NewRing(bare(o), 3)
	log := slog.New(r)
	for round := range 2 {
		r.Hold()
		for i := range 5 {
			log.Info(fmt.Sprint(round, i))
		}
		r.Release()
		flush(t, r)
	}
	lost := "msg=\"log records were lost while writes were held\" count=2\n"
	want := lost + "msg=\"0 2\"\nmsg=\"0 3\"\nmsg=\"0 4\"\n" + lost + "msg=\"1 2\"\nmsg=\"1 3\"\nmsg=\"1 4\"\n"
	if o.String() != want {
		t.Errorf("got %q, want %q", o, want)
	}
}

func TestHoldsAreCounted(t *testing.T) {
	o := &out{}
	r := NewRing(bare(o), 3)
	r.Release() // without Hold: nothing
	r.Hold()
	r.Hold()
	slog.New(r).Info("x")
	r.Release()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) || o.String() != "" {
		t.Errorf("%v, %q", err, o)
	}
	r.Release()
	flush(t, r)
	if o.String() != "msg=x\n" {
		t.Error(o)
	}
}

// Hold returns only when a write under way has ended; logging itself never waits while held.
func TestHoldWaitsForWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where time goes on only while somebody waits for it
		o := &out{slow: 100 * time.Millisecond}
		r := NewRing(bare(o), 3)
		go slog.New(r).Info("slow")
		for r.writes() == 0 {
			time.Sleep(time.Millisecond)
		}
		r.Hold()
		o.forbidden.Store(true)
		if o.String() != "msg=slow\n" {
			t.Error("Hold returned before the write did")
		}
		start := time.Now()
		slog.New(r).Info("kept")
		if d := time.Since(start); d > 0 {
			t.Errorf("logging took %v while held", d)
		}
		o.forbidden.Store(false)
		r.Release()
		flush(t, r)
		if o.faults.Load() != 0 {
			t.Error("written while held")
		}
	})
}

func (r *Ring) writes() int {
	r.core.mu.Lock()
	defer r.core.mu.Unlock()
	return r.core.writing
}

// Many goroutines log while the ring is held and released, also in the midst of its writing out: nothing is written in
// a hold, nothing is lost, and each goroutine's records stay in order.
func TestRingRace(t *testing.T) {
	const loggers, each = 8, 300
	o := &out{slow: 50 * time.Microsecond}
	r := NewRing(bare(o), loggers*each)
	var wg sync.WaitGroup
	for g := range loggers {
		wg.Go(func() {
			log := slog.New(r).With("g", g)
			for i := range each {
				log.Info("m", "i", i)
			}
		})
	}
	stop := make(chan struct{})
	var holder sync.WaitGroup
	holder.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			r.Hold()
			o.forbidden.Store(true)
			time.Sleep(2 * time.Millisecond)
			o.forbidden.Store(false)
			r.Release()
			time.Sleep(time.Millisecond)
		}
	})
	wg.Wait()
	close(stop)
	holder.Wait()
	flush(t, r)
	if n := o.faults.Load(); n != 0 {
		t.Errorf("%d writes while held", n)
	}
	next := map[int]int{}
	lines := strings.Split(strings.TrimSpace(o.String()), "\n")
	for _, line := range lines {
		var g, i int
		if _, err := fmt.Sscanf(line, "msg=m g=%d i=%d", &g, &i); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if i != next[g] {
			t.Fatalf("goroutine %d: record %d came where %d was due", g, i, next[g])
		}
		next[g]++
	}
	if len(lines) != loggers*each {
		t.Errorf("%d records of %d", len(lines), loggers*each)
	}
}

func TestRingIsAHandler(t *testing.T) {
	for _, held := range []bool{false, true} {
		o := &out{}
		r := NewRing(slog.NewTextHandler(o, nil), 100)
		if held {
			r.Hold()
		}
		err := slogtest.TestHandler(r, func() []map[string]any {
			if held {
				r.Release()
			}
			flush(t, r)
			return parseText(o.String())
		})
		if err != nil {
			t.Errorf("held %v: %v", held, err)
		}
	}
}

// parseText reads what slog.TextHandler wrote of records without blanks in their values.
func parseText(text string) []map[string]any {
	var all []map[string]any
	for line := range strings.Lines(text) {
		m := map[string]any{}
		for _, f := range strings.Fields(line) {
			key, value, ok := strings.Cut(f, "=")
			if !ok {
				continue
			}
			in := m
			parts := strings.Split(key, ".")
			for _, p := range parts[:len(parts)-1] {
				if in[p] == nil {
					in[p] = map[string]any{}
				}
				in = in[p].(map[string]any)
			}
			in[parts[len(parts)-1]] = value
		}
		all = append(all, m)
	}
	return all
}
