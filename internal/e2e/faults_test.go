package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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

// sequence is something that the service does in steps, with what it needs before.
type sequence struct {
	name string
	// prepare makes ready and gives the command of the sequence; the set it works on, if any, may come and go.
	prepare func(f *faultWorld) (args []string, set string)
	prefix  []string // points that are the sequence's
	fails   bool     // its points are made to fail, too
}

var sequences = []sequence{
	{"create", func(f *faultWorld) ([]string, string) {
		return append([]string{"create", "--hold-limit", holdLimit.String()}, f.volumes...), ""
	}, []string{"create/", "provider/"}, true},
	{"abort", func(f *faultWorld) ([]string, string) {
		f.fault += ";create/verify-flags/after fail 0x80042306"
		return append([]string{"create", "--hold-limit", holdLimit.String()}, f.volumes...), ""
	}, []string{"abort/"}, false},
	{"delete", func(f *faultWorld) ([]string, string) {
		s := f.create(append([]string{"--no-writers"}, f.volumes...)...)
		return []string{"delete", s.SetID}, s.SetID
	}, []string{"delete/", "array/"}, true},
	{"break", func(f *faultWorld) ([]string, string) {
		s := f.create(append([]string{"--no-writers"}, f.volumes...)...)
		at := filepath.Join(f.dir, "exposed")
		if err := os.MkdirAll(at, 0o700); err != nil {
			f.Fatal(err)
		}
		f.vss(nil, "expose", s.ShadowCopies[0].ID, at)
		return []string{"break", s.SetID, "--read-write", "--keep-identity"}, s.SetID
	}, []string{"break/"}, true},
	{"break and mask", func(f *faultWorld) ([]string, string) {
		s := f.create(append([]string{"--no-writers"}, f.volumes...)...)
		return []string{"break", s.SetID, "--mask"}, s.SetID
	}, []string{"break/uninstall", "break/mask"}, true},
	{"import", func(f *faultWorld) ([]string, string) {
		bc := filepath.Join(f.dir, "bc.xml")
		s := f.create(append([]string{"--no-writers", "--transportable", "--bc", bc}, f.volumes...)...)
		return []string{"import", "--bc", bc}, s.SetID
	}, []string{"import/"}, true},
}

// faultWorld is a host with two volumes under load.
type faultWorld struct {
	*world
	volumes []string
	load    *counters.Load
	base    setDoc // acknowledged, and there for ever
}

func newFaultWorld(t testing.TB) *faultWorld {
	f := &faultWorld{world: newWorld(t)}
	f.configure("[service]\nidle_exit = \"1h\"\n")
	f.volumes = []string{f.volume("a", "64M", "ext4", "gpt"), f.volume("b", "320M", "xfs", "mbr")}
	f.load = counterstest.Start(t, f.volumes...)
	f.base = f.create(append([]string{"--no-writers"}, f.volumes...)...)
	return f
}

// points lists those that the sequence passes, in order, each once.
func (f *faultWorld) points(q *sequence) []string {
	f.Helper()
	file := filepath.Join(f.dir, "points")
	f.stop(unix.SIGTERM)
	f.fault = "list " + file
	args, set := q.prepare(f)
	if err := os.Truncate(file, 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		f.Fatal(err)
	}
	f.try(args...)
	text, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	var out []string
	for _, p := range strings.Fields(string(text)) {
		if !slices.Contains(out, p) && slices.ContainsFunc(q.prefix,
			func(x string) bool { return strings.HasPrefix(p, x) }) {
			out = append(out, p)
		}
	}
	f.fault = ""
	f.restart()
	f.forget(set)
	if len(out) == 0 {
		f.Fatalf("%s passes no point", q.name)
	}
	return out
}

// restart has the next command start a service that works.
func (f *faultWorld) restart() {
	f.Helper()
	f.stop(unix.SIGKILL)
	f.fault = ""
	f.vss(nil, "list", "providers")
}

// TestFaults kills the service, and lets it fail, at every point of every sequence, with writes going on.
func TestFaults(t *testing.T) {
	for i := range sequences {
		q := &sequences[i]
		t.Run(q.name, func(t *testing.T) {
			f := newFaultWorld(t)
			all := f.points(q)
			kinds := []string{"kill"}
			if q.fails {
				kinds = append(kinds, "fail 0x80042306")
			}
			for _, kind := range kinds {
				for _, p := range all {
					if kind != "kill" && lane.Soak(10) < 10 && strings.HasSuffix(p, "/after") {
						continue // `make soak` fails every step after it was done, too
					}
					f.breakAt(q, p, kind)
					if t.Failed() {
						return
					}
				}
			}
			t.Logf("%d points, %d kinds of fault", len(all), len(kinds))
			counterstest.End(t, f.load)
		})
	}
}

func (f *faultWorld) breakAt(q *sequence, point, kind string) {
	f.Helper()
	f.stop(unix.SIGTERM)
	f.fault = ""
	var args []string
	var set string
	if q.name == "create" || q.name == "abort" {
		f.fault = point + " " + kind
		args, set = q.prepare(f)
	} else { // what the sequence needs is made by a service that works
		args, set = q.prepare(f)
		f.stop(unix.SIGTERM)
		f.fault = point + " " + kind
	}
	r := f.try(args...)
	when := fmt.Sprintf("%s at %s: exit %d", kind, point, r.code)
	if kind == "kill" && r.code == 0 {
		f.Fatalf("%s: the service was not reached: %s", when, r.stdout)
	}
	f.flowing(when)
	if kind == "kill" {
		f.restart()
	}
	f.fault = ""
	if kind != "kill" { // what could not be done at once is done by the next start, or now
		f.try("doctor", "--repair")
		f.restart()
	}
	f.whole(when, r, set)
}

// flowing: nothing is frozen one second after the hold limit.
func (f *faultWorld) flowing(when string) {
	f.Helper()
	f.flows(f.load, holdLimit+time.Second, when)
}

// whole: nothing is left over, nothing acknowledged is lost, a second start changes nothing; then what the sequence
// made or left is cleared away.
func (f *faultWorld) whole(when string, r result, set string) {
	f.Helper()
	failed := f.Failed()
	f.clean()
	base := 0
	for _, c := range f.shadows() {
		if c.SetID == f.base.SetID {
			base++
		}
	}
	if base != len(f.base.ShadowCopies) {
		f.Errorf("of the acknowledged set %d copies are left", base)
	}
	f.wellCopies(set)
	if r.code == 0 && set == "" {
		var s setDoc
		if err := json.Unmarshal(r.stdout, &s); err != nil {
			f.Errorf("acknowledged without a document: %v", err)
		}
		f.vss(nil, "show", s.SetID)
	}
	before := f.picture()
	f.stop(unix.SIGKILL)
	if after := f.picture(); !bytes.Equal(before, after) {
		f.Errorf("a second start changes something: before\n%s\nafter\n%s", before, after)
	}
	if !failed && f.Failed() {
		f.Fatalf("%s: %s\n%s", when, r.stdout, f.log())
	}
	f.forget(set)
}

// wellCopies checks that copies which still exist are unchanged, after any operation that was begun.
func (f *faultWorld) wellCopies(set string) {
	f.Helper()
	exposed := filepath.Join(f.dir, "exposed")
	_, err := os.Stat(filepath.Join(exposed, counters.Name))
	shown := err == nil
	for _, c := range f.shadows() {
		l := f.lun(c.LUNs[0])
		if len(l.Disk.Partitions) == 0 { // not imported
			continue
		}
		copied, original := l.Disk.Partitions[0], f.lun(l.Origin).Disk.Partitions[0]
		if copied.UUID != original.UUID {
			f.Errorf("copy %s of %s has the UUID %s, its original %s", c.ID, c.OriginalVolume, copied.UUID,
				original.UUID)
		}
		if original.FileSystem == "ext4" {
			f.tool("e2fsck", "-fn", copied.Device)
		}
		if c.SetID == set && c.ExposedAt != "" && !shown {
			f.Errorf("copy %s is not to be seen at %s any more", c.ID, c.ExposedAt)
		}
	}
}

// picture is what a user sees of sets and LUNs.
func (f *faultWorld) picture() []byte {
	f.Helper()
	return append(f.try("list", "shadows").stdout, f.try("lun", "list").stdout...)
}

// forget deletes all but the originals and the acknowledged set.
func (f *faultWorld) forget(string) {
	f.Helper()
	done := map[string]bool{f.base.SetID: true}
	keep := map[string]bool{}
	for _, c := range f.shadows() {
		if c.SetID == f.base.SetID {
			for _, l := range c.LUNs {
				keep[l] = true
			}
		}
		if !done[c.SetID] {
			done[c.SetID] = true
			f.vss(nil, "delete", c.SetID, "--force")
		}
	}
	var luns []lunDoc
	f.vss(&luns, "lun", "list")
	for _, l := range luns {
		if l.Origin != "" && !keep[l.ID] {
			f.vss(nil, "lun", "delete", l.ID, "--force")
		}
	}
}

// TestRecoveryKilled kills recovery at each of its own points, and again in the second try: the third ends in the same
// state.
func TestRecoveryKilled(t *testing.T) {
	f := newFaultWorld(t)
	cuts, most := []string{"create/commit/after", "break/change/after", "import/arrive/before"}, 1
	if lane.Soak(10) == 10 {
		cuts, most = append(cuts, "create/set-flags/after", "create/post-final-commit/after", "break/make-plain/before",
			"delete/on-lun-empty/before"), 2
	}
	for _, cut := range cuts {
		t.Run(strings.ReplaceAll(cut, "/", " "), func(t *testing.T) {
			f := &faultWorld{world: &world{TB: t, dir: f.dir, state: f.state, run: f.run, config: f.config},
				volumes: f.volumes, load: f.load, base: f.base}
			file := filepath.Join(f.dir, "points")
			f.cutOff(cut)
			_ = os.Remove(file)
			f.fault = "list " + file
			f.vss(nil, "list", "providers")
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var points []string
			for _, p := range strings.Fields(string(text)) {
				if !slices.Contains(points, p) {
					points = append(points, p)
				}
			}
			want := f.result()
			f.forget("")
			for _, p := range points {
				for times := 1; times <= most; times++ {
					f.cutOff(cut)
					for range times {
						f.stop(unix.SIGKILL) // where the last one had nothing left to do there
						f.fault = p + " kill"
						f.try("list", "providers")
					}
					f.restart()
					f.flowing("recovery killed at " + p)
					f.clean()
					if got := f.result(); got != want {
						t.Fatalf("recovery killed %d times at %s ends with %s, undisturbed with %s\n%s", times, p, got,
							want, f.log())
					}
					f.forget("")
				}
			}
			t.Logf("%d points", len(points))
		})
	}
}

// cutOff has the service die at a point of the sequence that passes it.
func (f *faultWorld) cutOff(point string) {
	f.Helper()
	name, _, _ := strings.Cut(point, "/")
	for i := range sequences {
		if q := &sequences[i]; q.name == name {
			f.stop(unix.SIGTERM)
			f.fault = ""
			args, _ := q.prepare(f)
			f.stop(unix.SIGTERM)
			f.fault = point + " kill"
			if r := f.try(args...); r.code == 0 {
				f.Fatalf("%s was not reached", point)
			}
			f.fault = ""
			return
		}
	}
	f.Fatalf("no sequence passes %s", point)
}

// result is how many copies and LUNs of each kind there are.
func (f *faultWorld) result() string {
	f.Helper()
	var luns []lunDoc
	f.vss(&luns, "lun", "list")
	kinds := map[string]int{}
	for _, l := range luns {
		kinds[fmt.Sprintf("%s %s mapped %d", l.Kind, l.Method, len(l.MappedTo))]++
	}
	return fmt.Sprintf("%d copies, LUNs %v", len(f.shadows()), kinds)
}
