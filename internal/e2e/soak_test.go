package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/counters"
	"github.com/stillpoint-vss/stillpoint/internal/counters/counterstest"
)

// soakTime is how long the soak goes: VSS_SOAK_TIME, 30 minutes in `make soak`, else as long as a test may take.
func soakTime(t testing.TB) time.Duration {
	if d, err := time.ParseDuration(os.Getenv("VSS_SOAK_TIME")); err == nil {
		return d
	}
	if os.Getenv("VSS_SOAK") != "" {
		return 30 * time.Minute
	}
	return 20 * time.Second
}

// TestSoak is a host in trouble: four clients create, expose, look into, break, delete, import and run commands on
// copies at random, while the service, its guards and the clients themselves are killed at random, and the counter
// load goes on. Every now and then all stand still and the host is looked at: nothing acknowledged is lost, nothing is
// left over. In the last quarter the service is left alone, and doesn't grow.
func TestSoak(t *testing.T) {
	w := newWorld(t)
	w.configure("[service]\nidle_exit = \"1h\"\n")
	s := &soak{world: w, results: map[string]int{}}
	for i, kind := range []string{"ext4", "xfs", "ext4"} {
		s.volumes = append(s.volumes, w.volume(fmt.Sprintf("v%d", i),
			map[string]string{"ext4": "64M", "xfs": "320M"}[kind], kind, []string{"gpt", "mbr", "whole-disk"}[i]))
	}
	for i := range 4 {
		s.clients = append(s.clients, &client{soak: s, name: fmt.Sprintf("c%d", i)})
	}
	s.load = counterstest.Start(t, s.volumes...)
	n := seed(t)
	for i, c := range s.clients {
		c.random = rand.New(rand.NewPCG(n, uint64(i)))
	}
	s.random = rand.New(rand.NewPCG(n, 99))
	total := soakTime(t)
	end := time.Now().Add(total * 3 / 4)
	still := s.load.StoodStill(func() {
		for round := 0; time.Now().Before(end) && !t.Failed(); round++ {
			s.round(min(time.Until(end), total/4, 30*time.Second), round%2 == 0)
			s.flows(s.load, holdLimit+time.Second, "at rest")
			s.look()
		}
		if !t.Failed() {
			s.calm(total / 4)
		}
	})
	counterstest.End(t, s.load)
	s.look()
	t.Logf("%d commands, %d kills of the service, %d of guards, %d of clients; writes stood still for %v at most; "+
		"results %v", s.commands, s.killed["vssd"],
		s.killed["vss-freezer"]+s.killed["vss-sentinel"], s.killed["vss"], still, s.results)
	if s.commands == 0 || s.killed["vssd"] == 0 || s.checked == 0 {
		t.Errorf("%d commands, %d kills, %d sets looked into: this proves nothing", s.commands, s.killed["vssd"],
			s.checked)
	}
	log, err := os.ReadFile(filepath.Join(w.run, "vssd.log"))
	if err != nil || bytes.Contains(log, []byte("panic")) {
		t.Errorf("the log, %v, has a panic:\n%.4000s", err, log[max(0, bytes.Index(log, []byte("panic"))):])
	}
}

// soak is the whole of it.
type soak struct {
	*world
	volumes []string
	load    *counters.Load
	clients []*client
	random  *rand.Rand

	mu       sync.Mutex
	results  map[string]int
	killed   map[string]int
	commands int
	checked  int // sets that were looked into
}

// client is somebody with sets of his own.
type client struct {
	*soak
	name   string
	random *rand.Rand
	sets   []setDoc // acknowledged, and nothing was done to end them
	n      int
}

// round lets everybody loose for a while; with the service among the victims, or not.
func (s *soak) round(length time.Duration, service bool) {
	s.Helper()
	if s.killed == nil {
		s.killed = map[string]int{}
	}
	end := time.Now().Add(length)
	var all sync.WaitGroup
	for _, c := range s.clients {
		all.Go(func() {
			for time.Now().Before(end) && !s.Failed() {
				c.act()
			}
		})
	}
	victims := []string{"vss-freezer", "vss-sentinel"}
	if service {
		victims = []string{"vssd", "vssd", "vss-freezer", "vss-sentinel"}
	}
	for time.Now().Before(end) && !s.Failed() {
		time.Sleep(time.Duration(s.random.Int64N(int64(1500 * time.Millisecond))))
		name := victims[s.random.IntN(len(victims))]
		for wait := time.Now().Add(time.Second); name != "vssd" && len(s.processes(name)) == 0 &&
			time.Now().Before(wait); time.Sleep(time.Millisecond) {
		}
		for _, pid := range s.processes(name) {
			if unix.Kill(pid, unix.SIGKILL) == nil {
				s.mu.Lock()
				s.killed[name]++
				s.mu.Unlock()
			}
		}
	}
	all.Wait()
}

// look restarts the service while all stand still, and looks at the host.
func (s *soak) look() {
	s.Helper()
	s.stop(unix.SIGTERM)
	s.clean()
	there := map[string]bool{}
	for _, c := range s.shadows() {
		there[c.SetID] = true
	}
	for id := range s.acknowledged() {
		if !there[id] {
			s.Errorf("the acknowledged set %s is lost", id)
		}
	}
	s.sweep()
}

// acknowledged are the sets that must be there.
func (s *soak) acknowledged() map[string]bool {
	out := map[string]bool{}
	for _, c := range s.clients {
		for _, set := range c.sets {
			out[set.SetID] = true
		}
	}
	return out
}

// sweep deletes what was made for a client that was killed, or that was not told.
func (s *soak) sweep() {
	s.Helper()
	known := s.acknowledged()
	for _, c := range s.shadows() {
		if !known[c.SetID] {
			known[c.SetID] = true // gone with its first copy
			s.vss(nil, "delete", c.SetID, "--force")
		}
	}
	var luns []lunDoc
	s.vss(&luns, "lun", "list")
	for _, l := range luns {
		if l.Kind == "plain" && l.Origin != "" { // of a break whose client was killed
			s.vss(nil, "lun", "delete", l.ID, "--force")
		}
	}
}

// calm lets everybody loose without a kill of the service, whose use of the machine is the same after the last two
// thirds as after the first.
func (s *soak) calm(length time.Duration) {
	s.Helper()
	use := func(length time.Duration) usage {
		s.round(length, false)
		for _, c := range s.clients {
			c.sets = nil
		}
		s.sweep()
		return s.usage()
	}
	before := s.commands
	first, pid := use(length/3), s.service()
	use(length - length/3)
	last := s.settle(first, 24<<10)
	if s.service() != pid {
		s.Error("the service didn't run through")
	}
	s.Logf("the service, before: %v; %d commands later: %v", first, s.commands-before, last)
}

// excuses are the results that a client may get: others are at work, and the service dies.
var excuses = []string{"", "VSS_E_SNAPSHOT_SET_IN_PROGRESS", "VSS_E_UNEXPECTED", "E_UNEXPECTED",
	"VSS_E_HOLD_WRITES_TIMEOUT", "VSS_E_FLUSH_WRITES_TIMEOUT", "VSS_E_OBJECT_NOT_FOUND",
	"VSS_E_OBJECT_ALREADY_EXISTS", "VSS_E_BAD_STATE", "VSS_E_NO_SNAPSHOTS_IMPORTED", "VSS_E_VOLUME_IN_USE",
	"VDS_E_OBJECT_NOT_FOUND"}

// do runs a command, which may be killed at any moment, and reads its document. It says whether it succeeded.
func (c *client) do(v any, args ...string) bool {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := c.command(ctx, append([]string{"--json"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		c.Error(err)
		return false
	}
	if c.random.IntN(12) == 0 {
		timer := time.AfterFunc(time.Duration(c.random.Int64N(int64(600*time.Millisecond))), func() {
			if cmd.Process.Signal(unix.SIGKILL) == nil {
				c.mu.Lock()
				c.killed["vss"]++
				c.mu.Unlock()
			}
		})
		defer timer.Stop()
	}
	err := cmd.Wait()
	if ctx.Err() != nil {
		c.Errorf("%s: vss %v doesn't end", c.name, args)
	}
	var doc struct{ Error failure }
	if err != nil && out.Len() > 0 {
		_ = json.Unmarshal(out.Bytes(), &doc)
	}
	c.mu.Lock()
	c.commands++
	c.results[args[0]+" "+doc.Error.Result]++
	c.mu.Unlock()
	if !slices.Contains(excuses, doc.Error.Result) {
		c.Errorf("%s: vss %s: %s: %s (%s)", c.name, strings.Join(args, " "), doc.Error.Result, doc.Error.Message,
			doc.Error.Cause)
	}
	if err != nil {
		return false
	}
	if v != nil {
		if err := json.Unmarshal(out.Bytes(), v); err != nil {
			c.Errorf("%s: vss %s: %v: %s", c.name, strings.Join(args, " "), err, out.String())
		}
	}
	return true
}

// some gives one or more of the volumes, in their order.
func (c *client) some() []string {
	first := c.random.IntN(len(c.volumes))
	return c.volumes[first : first+1+c.random.IntN(len(c.volumes)-first)]
}

// take takes one of the client's sets out of those that must be there.
func (c *client) take() (setDoc, bool) {
	if len(c.sets) == 0 {
		return setDoc{}, false
	}
	i := c.random.IntN(len(c.sets))
	set := c.sets[i]
	c.sets = slices.Delete(c.sets, i, i+1)
	return set, true
}

// act does one thing.
func (c *client) act() {
	c.Helper()
	c.n++
	create := []string{"create", "--no-writers", "--hold-limit", holdLimit.String(), "--wait", "20s"}
	switch c.random.IntN(10) {
	case 0, 1, 2: // a set to keep
		if len(c.sets) < 3 {
			var s setDoc
			if c.do(&s, append(create, c.some()...)...) {
				c.sets = append(c.sets, s)
			}
		}
	case 3: // made here, imported here
		bc := filepath.Join(c.dir, c.name+".xml")
		_ = os.Remove(bc)
		var s setDoc
		if len(c.sets) < 3 && c.do(nil, append(append(create, "--transportable", "--bc", bc), c.some()...)...) &&
			c.do(&s, "import", "--bc", bc) {
			c.sets = append(c.sets, s)
		}
	case 4, 5: // a look into a set
		if set, ok := c.take(); ok {
			c.lookInto(set)
			c.sets = append(c.sets, set)
		}
	case 6: // a break
		if set, ok := c.take(); ok {
			var b breakDoc
			if c.do(&b, "break", set.SetID, []string{"--read-write", "--mask"}[c.random.IntN(2)]) {
				for _, l := range b.LUNs {
					c.do(nil, "lun", "delete", l.LUN, "--force")
				}
			}
		}
	case 7, 8:
		if set, ok := c.take(); ok {
			c.do(nil, "delete", set.SetID, "--force")
		}
	default:
		volume := c.some()[0]
		c.do(nil, "exec", "--no-writers", "--wait", "20s", "--hold-limit", holdLimit.String(), volume, "--", "test",
			"-s", filepath.Join(volume, counters.Name))
	}
}

// lookInto exposes the copies of a set and reads their counters.
func (c *client) lookInto(set setDoc) {
	c.Helper()
	var roots []string
	for i, copied := range set.ShadowCopies {
		at := filepath.Join(c.run, "exposed", fmt.Sprintf("%s-%d-%d", c.name, c.n, i))
		if !c.do(nil, "expose", copied.ID, at) {
			break
		}
		roots = append(roots, at)
	}
	if len(roots) == len(set.ShadowCopies) {
		counterstest.OneInstant(c, roots)
		c.mu.Lock()
		c.checked++
		c.mu.Unlock()
	}
	for _, copied := range set.ShadowCopies[:len(roots)] {
		c.do(nil, "unexpose", copied.ID)
	}
}
