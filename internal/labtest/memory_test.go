package labtest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/counters"
	"github.com/stillpoint-vss/stillpoint/internal/counters/counterstest"
	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/lab"
)

// TestOutOfMemory exhausts the guest's memory during a hold. The kernel kills the service, or the process that used
// it, but never a guard: nothing is frozen longer than the hold may last, and the next start leaves nothing over.
func TestOutOfMemory(t *testing.T) {
	if !enter(t, lab.Guest{Memory: 384, Disks: []lab.Disk{{Size: 4 << 30}}, Timeout: limit}) {
		return
	}
	sh(t, "mkfs.xfs -q /dev/ubda; mkdir -p /srv/pool; mount /dev/ubda /srv/pool; echo -1000 >/proc/self/oom_score_adj")
	h := newHost(t, "/srv/pool/state", "/srv/pool/p")
	h.volume("a", "64M", "ext4", "gpt", "/srv/a")
	h.volume("b", "320M", "xfs", "mbr", "/srv/b")
	load := counterstest.Start(t, "/srv/a", "/srv/b")
	for i, point := range []string{"create/hold/after", "create/commit/after"} {
		for j, victim := range []string{"service", "eater"} {
			if lane.Soak(10) == 10 || i == j {
				h.starve(load, point, victim)
			}
		}
	}
	h.stop(unix.SIGTERM)
}

var killed = regexp.MustCompile(`Killed process \d+ \((\S+)\)`)

// eat takes memory until the kernel has killed so many processes, and gives their names. A process of such a guest
// can't have more than 256 MiB, so several are at it.
func eat(t testing.TB, score string, most int) []string {
	t.Helper()
	var eaters []*exec.Cmd
	for range 6 {
		c := exec.Command("sh", "-c",
			"echo "+score+" >/proc/self/oom_score_adj; (head -c 120M /dev/zero; sleep 60) | tail -c 120M >/dev/null")
		c.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		eaters = append(eaters, c)
	}
	defer func() {
		for _, c := range eaters {
			_ = unix.Kill(-c.Process.Pid, unix.SIGKILL)
			_ = c.Wait()
		}
	}()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		var names []string
		for _, m := range killed.FindAllStringSubmatch(sh(t, "dmesg"), -1) {
			names = append(names, m[1])
		}
		if len(names) >= most {
			return names
		}
		if time.Now().After(end) {
			t.Fatalf("the kernel killed %v within a minute", names)
		}
	}
}

// starve eats all memory while a creation stands at a point.
func (h *host) starve(load *counters.Load, point, victim string) {
	h.Helper()
	when := fmt.Sprintf("no memory at %s, the kernel takes the %s", point, victim)
	sh(h, "dmesg -C")
	goOn := h.pauseAt(point, 5*time.Second, "/srv/a", "/srv/b")
	service := h.service()
	score := "1000"
	if victim == "service" { // the eater is next
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", service), []byte("1000"), 0); err != nil {
			h.Fatal(err)
		}
		score = "0"
	}
	names := eat(h, score, map[string]int{"service": 2, "eater": 1}[victim])
	h.flows(load, 6*time.Second) // the service is dead, or its time is over
	out, ok := goOn()
	var doc struct{ Error struct{ Result, Hint string } }
	_ = json.Unmarshal(out, &doc)
	h.Logf("%s: the kernel killed %v; the set: %v, %s", when, names, ok, doc.Error.Result)
	if (victim == "eater") != !slices.ContainsFunc(names, func(n string) bool { return n != "tail" }) {
		h.Errorf("%s: it killed %v", when, names)
	}
	if ok || doc.Error.Hint == "" || victim == "eater" && doc.Error.Result != "VSS_E_HOLD_WRITES_TIMEOUT" {
		h.Errorf("%s: %s", when, out)
	}
	if now := h.look(); h.service() == service == (victim == "service") {
		h.Errorf("%s: the service was process %d, is %d", when, service, h.service())
	} else {
		h.clean(now, none)
	}
}
