package labtest

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/counters"
	"github.com/stillpoint-vss/stillpoint/internal/counters/counterstest"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/lab"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// TestClockJumps sets the guest's clock forward and back while sets are made, and in the middle of a hold: time is
// measured by a clock that can't be set, and what came first stays first.
func TestClockJumps(t *testing.T) {
	if !enter(t, lab.Guest{Memory: 1024, Disks: []lab.Disk{{Size: 4 << 30}}, Timeout: limit}) {
		return
	}
	sh(t, "mkfs.xfs -q /dev/ubda; mkdir -p /srv/pool; mount /dev/ubda /srv/pool")
	w := &jumps{host: newHost(t, "/var/lib/vss", "/srv/pool/p"), began: time.Now()}
	t.Cleanup(func() { w.set(0) })
	w.volume("a", "64M", "ext4", "gpt", "/srv/a")
	w.volume("b", "320M", "xfs", "mbr", "/srv/b")
	w.load = counterstest.Start(t, w.volumes()...)
	service := w.service()

	w.creations()
	w.session()
	if now := w.service(); now != service { // that a service may be idle for an hour is over by years
		t.Errorf("the service was process %d, is %d", service, now)
	}
	for _, to := range []time.Duration{20 * year, -20 * year} {
		w.held(to)
		w.overrun(to)
	}
	w.order()
	w.clean(w.look(), none)
	w.idleExit()
}

type jumps struct {
	*host
	began time.Time // by both clocks
	load  *counters.Load
}

func (*jumps) volumes() []string { return []string{"/srv/a", "/srv/b"} }

// set puts the clock so far off what it would be.
func (w *jumps) set(off time.Duration) {
	w.Helper()
	ts := unix.NsecToTimespec(w.began.Add(time.Since(w.began) + off).UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		w.Fatal(err)
	}
}

// creations makes sets while the clock jumps all the time, by minutes, days and years.
func (w *jumps) creations() {
	w.Helper()
	stop, n := make(chan struct{}), 0
	var jumping sync.WaitGroup
	jumping.Go(func() {
		for ; ; n++ {
			by := []time.Duration{3 * time.Minute, day, 7 * day, year, 10 * year}[rand.IntN(5)]
			if n%2 == 1 {
				by = -by
			}
			w.set(by)
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(rand.IntN(200)) * time.Millisecond):
			}
		}
	})
	still := w.load.StoodStill(func() {
		for range lane.Soak(30) {
			set := w.create(w.volumes()...)
			var got []uint64
			for _, c := range set.ShadowCopies {
				b := w.read(c, counters.Name)
				if len(b) != 8 {
					w.Fatalf("the counter in the copy of %s: %q", c.OriginalVolume, b)
				}
				got = append(got, binary.LittleEndian.Uint64([]byte(b)))
			}
			if len(got) != 2 || !counters.OneInstant(got) {
				w.Errorf("the copies' counters are %d: not of one instant", got)
			}
			w.vss(nil, "delete", set.SetID)
		}
	})
	close(stop)
	jumping.Wait()
	w.set(0)
	w.TB.Logf("%d jumps; writes stood still for %v at most", n, still)
	if still > 11*time.Second {
		w.Errorf("writes stood still for %v", still)
	}
}

// held: a jump doesn't end a hold that is within its limit.
func (w *jumps) held(to time.Duration) {
	w.Helper()
	goOn := w.pauseAt("create/hold/after", 10*time.Second, w.volumes()...)
	before := w.load.Written()
	w.set(to)
	time.Sleep(time.Second)
	w.set(-to)
	time.Sleep(time.Second)
	if now := w.load.Written(); now > before+1 { // one may have been written before the hold and counted in it
		w.Errorf("a jump of %v released what is held: %d writes", to, now-before)
	}
	if out, ok := goOn(); !ok {
		w.Errorf("a jump of %v in a hold within its limit: %s", to, out)
	} else {
		var s setDoc
		if err := json.Unmarshal(out, &s); err != nil {
			w.Fatal(err)
		}
		w.vss(nil, "delete", s.SetID)
	}
	w.set(0)
}

// overrun: a hold that isn't given up ends at its limit, and the set fails, for any time of the clock.
func (w *jumps) overrun(to time.Duration) {
	w.Helper()
	const limit = 3 * time.Second
	var goOn func() ([]byte, bool)
	still := w.load.StoodStill(func() {
		goOn = w.pauseAt("create/hold/after", limit, w.volumes()...)
		w.set(to)
		w.flows(w.load, 2*limit)
	})
	w.TB.Logf("a jump of %v in a hold: writes stood still for %v, the limit is %v", to, still, limit)
	if still < limit/2 {
		w.Errorf("a jump of %v: writes stood still for %v only, the limit is %v", to, still, limit)
	}
	out, ok := goOn()
	var doc struct{ Error struct{ Result string } }
	if err := json.Unmarshal(out, &doc); ok || err != nil || doc.Error.Result != "VSS_E_HOLD_WRITES_TIMEOUT" {
		w.Errorf("a hold that overran, with a jump of %v: %s", to, out)
	}
	w.set(0)
	w.clean(w.look(), none)
}

// session: one that has a set open for a moment isn't idle, however far the clock goes.
func (w *jumps) session() {
	w.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	must := func(err error) {
		w.Helper()
		if err != nil {
			w.Fatalf("%v\n%s", err, w.log())
		}
	}
	c, err := requester.Connect(ctx, requester.ConnectOptions{State: w.state, Run: w.run, Config: w.config})
	must(err)
	defer c.Close()
	b, err := c.Open(ctx, "clock")
	must(err)
	defer b.Close()
	must(b.InitializeForBackup(ctx, nil))
	must(b.SetContext(ctx, vss.ContextFileShareBackup))
	_, err = b.StartSnapshotSet(ctx)
	must(err)
	for _, to := range []time.Duration{day, -year} {
		w.set(to)
		time.Sleep(time.Second)
	}
	for _, v := range w.volumes() {
		_, err := b.AddToSnapshotSet(ctx, v, "")
		must(err)
	}
	w.set(year)
	a, err := b.DoSnapshotSet(ctx, 0)
	must(err)
	_, err = a.Wait(ctx, nil)
	must(err)
	w.set(-day)
	time.Sleep(time.Second)
	if all, err := b.QuerySnapshots(ctx); err != nil || len(all) != 2 {
		w.Errorf("the copies of a session that lives: %v, %v", all, err)
	}
	b.Close()
	if v := w.look(); len(v.copies) != 0 {
		w.Errorf("the session is over, its copies stayed: %+v", v.copies)
	}
	w.set(0)
}

// order: what was made and told first stays first when the clock is set back in between.
func (w *jumps) order() {
	w.Helper()
	first := w.create("/srv/a")
	asked := time.Now()
	w.set(-day)
	second := w.create("/srv/a")
	w.stop(unix.SIGTERM)
	w.fault = "create/commit/before fail " + strconv.Itoa(int(vss.ErrProviderVeto.HRESULT()))
	if out, ok := w.try("create", "--no-writers", "/srv/a"); ok {
		w.Errorf("the fault was not met: %s", out)
	}
	w.fault = ""
	var ids []string
	for _, c := range w.look().copies {
		ids = append(ids, c.SetID)
	}
	if !slices.Equal(ids, []string{first.SetID, second.SetID}) {
		w.Errorf("listed as %q, made as %q, %q", ids, first.SetID, second.SetID)
	}
	out, ok := w.try("events", "--since", asked.Format(time.RFC3339Nano))
	if !ok || !strings.Contains(string(out), "VSS_E_PROVIDER_VETO") {
		w.Errorf("a failure that came after the clock was set back isn't among the events since then: %s", out)
	}
	w.vss(nil, "delete", "--oldest", "/srv/a")
	if left := w.look().copies; len(left) != 1 || left[0].SetID != second.SetID {
		w.Errorf("the oldest of two was deleted, %+v stayed", left)
	}
	w.vss(nil, "delete", second.SetID)
	w.set(0)
}

// idleExit: a service without a LUN to watch ends, although the clock is set back by a year meanwhile.
func (w *jumps) idleExit() {
	w.Helper()
	counterstest.End(w.TB, w.load)
	for _, name := range []string{"a", "b"} {
		sh(w.TB, "umount /srv/"+name)
		w.vss(nil, "lun", "mask", name)
	}
	w.stop(unix.SIGTERM)
	sh(w.TB, "sed -i 's/idle_exit = .*/idle_exit = \"2s\"/' "+w.config)
	w.look()
	w.set(-year)
	for end := time.Now().Add(time.Minute); w.service() != 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			w.Fatalf("the service stays\n%s", w.log())
		}
	}
	w.set(0)
}
