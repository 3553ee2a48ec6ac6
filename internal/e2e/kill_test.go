package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/counters"
	"github.com/stillpoint-vss/stillpoint/internal/counters/counterstest"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
)

// TestKill kills the service, the freezer or the sentinel at a random moment of a creation under load: nothing is
// frozen one second after the hold limit, and after a restart nothing is left over and no acknowledged persistent copy
// is lost.
func TestKill(t *testing.T) {
	w := newWorld(t)
	volumes := []string{w.volume("a", "64M", "ext4", "gpt"), w.volume("b", "320M", "xfs", "mbr")}
	load := counterstest.Start(t, volumes...)
	k := &killer{world: w, load: load, volumes: volumes, seed: rand.Uint64()}
	t.Logf("seed %d", k.seed)
	k.random = rand.New(rand.NewPCG(k.seed, 0))
	w.create("--no-writers", volumes[0], volumes[1]) // how long one takes
	began := time.Now()
	k.acknowledged = []setDoc{w.create("--no-writers", volumes[0], volumes[1])}
	k.span = time.Since(began)
	for i := range lane.Soak(100) {
		k.round([]string{"vssd", "vss-freezer", "vss-sentinel"}[i%3])
		if t.Failed() {
			break
		}
	}
	counterstest.End(t, load)
	k.sound()
	t.Logf("creations that were cut off: %d, that succeeded all the same: %d", k.cut, len(k.acknowledged)-1+k.dropped)
}

// holdLimit is what the tests of faults use, so that they don't take ten seconds each.
const holdLimit = time.Second

type killer struct {
	*world
	load         *counters.Load
	volumes      []string
	seed         uint64
	random       *rand.Rand
	span         time.Duration
	acknowledged []setDoc
	cut, dropped int
}

func (k *killer) round(victim string) {
	k.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := k.command(ctx, "--json", "create", "--no-writers", "--hold-limit", holdLimit.String(), k.volumes[0],
		k.volumes[1])
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		k.Fatal(err)
	}
	delay := time.Duration(k.random.Int64N(int64(k.span)))
	time.Sleep(delay)
	if victim != "vssd" { // guards live for a part of the creation only
		for end := time.Now().Add(k.span); len(k.processes(victim)) == 0 &&
			time.Now().Before(end); time.Sleep(time.Millisecond) {
		}
		time.Sleep(time.Duration(k.random.Int64N(int64(k.span / 3))))
	}
	victims := k.processes(victim)
	for _, pid := range victims {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	k.flows(fmt.Sprintf("%s killed %v into a creation", victim, delay))
	err := cmd.Wait()
	if err != nil {
		k.cut++
	} else {
		var s setDoc
		if err := json.Unmarshal([]byte(out.String()), &s); err != nil {
			k.Fatalf("an acknowledged set without a document: %v", err)
		}
		k.acknowledged = append(k.acknowledged, s)
	}
	k.check()
}

// processes finds this host's processes of that name.
func (w *world) processes(name string) []int {
	if name == "vssd" {
		if pid := w.service(); pid != 0 {
			return []int{pid}
		}
		return nil
	}
	var out []int
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range all {
		b, err := os.ReadFile(p)
		args := strings.Split(string(b), "\x00")
		var pid int
		if err != nil || args[0] != name || len(args) < 3 || !strings.HasPrefix(args[2], w.run+"/") {
			continue
		}
		if _, err := fmt.Sscanf(p, "/proc/%d/", &pid); err == nil {
			out = append(out, pid)
		}
	}
	return out
}

// flows sees to it that the load goes on: nothing is frozen one second after the hold limit.
func (k *killer) flows(when string) {
	k.Helper()
	k.world.flows(k.load, holdLimit+time.Second, fmt.Sprintf("seed %d: %s", k.seed, when))
}

// check restarts the service if it is gone, and looks for what is left over or lost.
func (k *killer) check() {
	k.Helper()
	k.clean()
	var ids []string
	for _, c := range k.shadows() {
		if !slices.Contains(ids, c.SetID) {
			ids = append(ids, c.SetID)
		}
	}
	for _, s := range k.acknowledged {
		if !slices.Contains(ids, s.SetID) {
			k.Fatalf("seed %d: acknowledged set %s is lost\n%s", k.seed, s.SetID, k.log())
		}
	}
	for _, id := range ids { // created, but its requester was told nothing any more
		if !slices.ContainsFunc(k.acknowledged, func(s setDoc) bool { return s.SetID == id }) {
			k.vss(nil, "delete", id)
		}
	}
	if n := len(k.acknowledged); n > 4 {
		k.readable(k.acknowledged[0])
		k.vss(nil, "delete", k.acknowledged[0].SetID)
		k.acknowledged, k.dropped = k.acknowledged[1:], k.dropped+1
	}
}

// clean checks what must be true of an idle host after any event: doctor finds nothing, originals have no flags, and
// there is no LUN but the originals and those of finished copies.
func (w *world) clean() {
	w.Helper()
	var d struct {
		OK       bool
		Findings []struct{ Severity, What, Hint string }
	}
	r := w.try("doctor")
	if err := json.Unmarshal(r.stdout, &d); err != nil || !d.OK || r.code != 0 {
		w.Fatalf("doctor: exit %d, %+v, %v\n%s", r.code, d.Findings, err, w.log())
	}
	known := map[string]bool{}
	for _, c := range w.shadows() {
		for _, l := range c.LUNs {
			known[l] = true
		}
	}
	var luns []lunDoc
	w.vss(&luns, "lun", "list")
	for _, l := range luns {
		switch {
		case l.Kind == "shadow-copy" && !known[l.ID]:
			w.Errorf("LUN %s (%s) is of no copy", l.Name, l.ID)
		case l.Origin != "": // a broken one keeps no-auto-mount
		case l.Kind == "plain" && (len(l.Disk.Flags) > 0 || l.ReadOnly):
			w.Errorf("original %s has flags %v, read-only %v", l.Name, l.Disk.Flags, l.ReadOnly)
		}
		for _, p := range l.Disk.Partitions {
			if l.Origin == "" && len(p.Flags) > 0 {
				w.Errorf("original %s has flags %v on partition %d", l.Name, p.Flags, p.Number)
			}
		}
	}
}

// readable mounts the copies of a set and looks into them.
func (k *killer) readable(s setDoc) {
	k.Helper()
	var roots []string
	for i, c := range s.ShadowCopies {
		at := filepath.Join(k.run, "exposed", fmt.Sprintf("c%d", i))
		k.vss(nil, "expose", c.ID, at)
		roots = append(roots, at)
	}
	counterstest.OneInstant(k, roots)
	for _, c := range s.ShadowCopies {
		k.vss(nil, "unexpose", c.ID)
	}
}

// sound checks the originals' file systems.
func (k *killer) sound() {
	k.Helper()
	for i, name := range []string{"a", "b"} {
		k.vss(nil, "lun", "unmount", name)
		node := k.lun(name).Disk.Partitions[0].Device
		if i == 0 {
			k.tool("e2fsck", "-fn", node)
		} else {
			k.tool("xfs_repair", "-n", node)
		}
	}
}
