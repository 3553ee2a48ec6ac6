package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestConsistency: what each copy and the set promise, with the reason, and that a set which promises less than is
// required is deleted again.
func TestConsistency(t *testing.T) {
	s := newStage(t, "")
	a, b := s.volumes[0], s.volumes[1]
	s.vss(nil, "lun", "create", "raw", "--size", "64M")
	s.vss(nil, "lun", "format", "raw", "--fs", "ext4", "--gpt")
	raw := s.lun("raw").Disk.Partitions[0].Device
	for _, tc := range []struct {
		name    string
		cast    []part
		args    []string // beside the volumes
		volumes []string
		labels  []string // of the copies
		set     string
		reason  []string
	}{
		{"a writer vouches", []part{{name: "DB"}}, nil, []string{a}, []string{"application"}, "application", nil},
		{"writers vouch on both volumes", []part{{name: "DB"}, {name: "Log", path: b}}, nil, []string{a, b},
			[]string{"application", "application"}, "application", nil},
		{"no writer has data on one", []part{{name: "DB"}}, nil, []string{a, b}, []string{"application", "file-system"},
			"file-system", []string{"no writer has data on", b}},
		{"one of two vetoes", []part{{name: "DB"},
			{name: "Bad", faults: at("freeze", "veto", `code = "VSS_E_WRITERERROR_RETRYABLE"`)}}, nil, []string{a},
			[]string{"file-system"}, "file-system", []string{"Bad", "failed-at-freeze", "VSS_E_WRITERERROR_RETRYABLE"}},
		{"a veto elsewhere", []part{{name: "DB"}, {name: "Bad", path: b, faults: at("prepare-snapshot", "veto")}}, nil,
			[]string{a, b}, []string{"application", "file-system"}, "file-system", []string{"Bad"}},
		{"a veto of nobody's volume", []part{{name: "DB"},
			{name: "Bad", path: "/nowhere", faults: at("prepare-snapshot", "veto")}}, nil, []string{a},
			[]string{"application"}, "application", nil},
		{"one dies while it is frozen", []part{{name: "DB"}, {name: "Bad", faults: at("thaw", "die")}}, nil,
			[]string{a}, []string{"file-system"}, "file-system", []string{"Bad", "VSS_E_WRITER_NOT_RESPONDING"}},
		{"post-snapshot fails", []part{{name: "DB", faults: at("post-snapshot", "fail")}}, nil, []string{a},
			[]string{"file-system"}, "file-system", []string{"DB", "failed-at-post-snapshot"}},
		{"left out", []part{{name: "DB"}}, []string{"--writer-exclude", "DB"}, []string{a}, []string{"file-system"},
			"file-system", []string{"no writer has data on"}},
		{"no writers", []part{{name: "DB"}}, []string{"--no-writers"}, []string{a}, []string{"file-system"},
			"file-system", []string{"no writers were involved"}},
		{"not mounted", []part{{name: "DB"}}, nil, []string{a, raw}, []string{"application", "crash"}, "crash",
			[]string{"no mounted file system"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := s.in(t)
			var players []*player
			for _, p := range tc.cast {
				players = append(players, s.play(p))
			}
			set := s.create(append(slices.Clone(tc.args), tc.volumes...)...)
			s.flowing(tc.name, players...)
			if set.Consistency != tc.set || len(set.ShadowCopies) != len(tc.labels) {
				t.Errorf("the set is %s consistent (%s), want %s", set.Consistency, set.ConsistencyReason, tc.set)
			}
			for i, c := range set.ShadowCopies {
				if c.Consistency != tc.labels[i] {
					t.Errorf("copy of %s: %s, want %s", c.OriginalVolume, c.Consistency, tc.labels[i])
				}
			}
			for _, r := range tc.reason {
				if !strings.Contains(set.ConsistencyReason, r) {
					t.Errorf("the reason %q doesn't name %s", set.ConsistencyReason, r)
				}
			}
			if (set.ConsistencyReason == "") != (tc.set == "application") {
				t.Errorf("%s for the reason %q", tc.set, set.ConsistencyReason)
			}
			for _, p := range players {
				if c := p.complaints(); len(c) > 0 {
					t.Errorf("%s complains: %q", p.name, c)
				}
			}
			s.vss(nil, "delete", set.SetID)
		})
	}
	t.Run("required", func(t *testing.T) {
		s := s.in(t)
		players := []*player{s.play(part{name: "DB"}),
			s.play(part{name: "Bad", faults: at("freeze", "veto", `code = "VSS_E_WRITERERROR_OUTOFRESOURCES"`,
				`message = "out of paper"`)})}
		why := s.refused("VSS_E_WRITERERROR_OUTOFRESOURCES", "create", "--require", "application", a)
		if !strings.Contains(why.Cause, "out of paper") || !strings.Contains(why.Cause, "Bad") {
			t.Errorf("%+v", why)
		}
		s.flowing("required", players...)
		if left := s.shadows(); len(left) > 0 {
			t.Errorf("%d copies are left", len(left))
		}
		if set := s.create("--require", "file-system", a); set.Consistency != "file-system" {
			t.Errorf("%s", set.Consistency)
		} else {
			s.vss(nil, "delete", set.SetID)
		}
		s.refused("VSS_E_WRITERERROR_OUTOFRESOURCES", "create", "--require", "file-system", raw)
		if left := s.shadows(); len(left) > 0 {
			t.Errorf("%d copies are left", len(left))
		}
		s.clean()
	})
}

// TestWriterPolicy: a writer that is required fails the set wherever it fails, with its own code, also when it isn't
// there; a requester can leave it out.
func TestWriterPolicy(t *testing.T) {
	s := newStage(t, "[writers.policy]\nNeeded = \"require\"\nOther = \"report\"\n")
	for _, tc := range []struct{ name, fault, code string }{
		{"prepare-backup", at("prepare-backup", "veto", `code = "VSS_E_WRITERERROR_RETRYABLE"`),
			"VSS_E_WRITERERROR_RETRYABLE"},
		{"prepare-snapshot", at("prepare-snapshot", "fail", `code = "VSS_E_WRITERERROR_INCONSISTENTSNAPSHOT"`),
			"VSS_E_WRITERERROR_INCONSISTENTSNAPSHOT"},
		{"freeze", at("freeze", "veto", `code = "VSS_E_WRITERERROR_RETRYABLE"`), "VSS_E_WRITERERROR_RETRYABLE"},
		{"freeze, for good", at("freeze", "fail", `code = "VSS_E_WRITERERROR_OUTOFRESOURCES"`),
			"VSS_E_WRITERERROR_OUTOFRESOURCES"},
		{"thaw", at("thaw", "veto", `code = "VSS_E_WRITERERROR_OUTOFRESOURCES"`), "VSS_E_WRITERERROR_OUTOFRESOURCES"},
		{"thaw, dead", at("thaw", "die"), "VSS_E_WRITER_NOT_RESPONDING"},
		{"post-snapshot", at("post-snapshot", "veto"), "VSS_E_WRITERERROR_NONRETRYABLE"},
		{"identify", at("identify", "fail"), "VSS_E_WRITER_NOT_RESPONDING"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := s.in(t)
			players := []*player{s.play(part{name: "Other"}), s.play(part{name: "Needed", faults: tc.fault})}
			s.refused(tc.code, "create", s.volumes[0])
			s.flowing(tc.name, players...)
			if left := s.shadows(); len(left) > 0 {
				t.Errorf("%d copies are left", len(left))
			}
			s.clean()
		})
	}
	t.Run("absent", func(t *testing.T) {
		s := s.in(t)
		other := s.play(part{name: "Other", faults: at("freeze", "veto")})
		s.refused("VSS_E_WRITER_NOT_RESPONDING", "create", s.volumes[0])
		for _, args := range [][]string{{"--writer-exclude", "Needed"}, {"--writer-include", "Other"},
			{"--no-writers"}} {
			s.vss(nil, "delete", s.create(append(args, s.volumes[0])...).SetID)
		}
		s.script(append(s.backupOf(other), "DoSnapshotSet => VSS_S_ASYNC_FINISHED")...) // components of others only
		s.flowing("absent", other)
	})
	t.Run("well", func(t *testing.T) {
		s := s.in(t)
		s.play(part{name: "Needed"})
		if set := s.create(s.volumes[0]); set.Consistency != "application" {
			t.Errorf("%s: %s", set.Consistency, set.ConsistencyReason)
		}
	})
}

// TestServiceKilledWhileFrozen: writers that are frozen when the service dies are told Abort by their own side of the
// socket.
func TestServiceKilledWhileFrozen(t *testing.T) {
	s := newStage(t, "")
	for _, point := range []string{"create/pre-commit/before", "create/hold/after", "create/thaw/before"} {
		t.Run(strings.ReplaceAll(point, "/", " "), func(t *testing.T) {
			s := s.in(t)
			s.stop(unix.SIGTERM)
			s.fault = point + " kill"
			s.vss(nil, "list", "providers")
			players := []*player{s.play(part{name: "Front"}), s.play(part{name: "System", level: "system"})}
			if r := s.try("create", s.volumes[0]); r.code == 0 {
				t.Fatal("the service was not reached")
			}
			for end := time.Now().Add(10 * time.Second); players[0].frozen() ||
				players[1].frozen(); time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("frozen without a service: %v, %v", players[0].events(), players[1].events())
				}
			}
			for _, p := range players {
				if e := p.events(); !slices.Contains(e, "freeze") || !slices.Contains(e, "abort") ||
					slices.Contains(e, "thaw") {
					t.Errorf("%s was told %v", p.name, e)
				}
			}
			s.flowing(point, players...)
			s.fault = ""
			s.stop(unix.SIGKILL)
			s.clean()
			for _, p := range players {
				p.end()
			}
		})
	}
}

// dispatcher is what qemu-ga comes with as its fsfreeze-hook, in short: it runs the scripts of a folder beside it.
const dispatcher = `#!/bin/sh
FSFREEZE_D=$(dirname -- "$0")/fsfreeze-hook.d
for file in "$FSFREEZE_D"/*.sh; do
	[ -x "$file" ] || continue
	"$file" "$@" || STATUS=$?
done
exit ${STATUS:-0}
`

// TestFsfreezeHook: scripts that were written for qemu-ga work unchanged.
func TestFsfreezeHook(t *testing.T) {
	hooks := t.TempDir()
	s := newStage(t, fmt.Sprintf("[writers]\nhooks = [%q]\n", hooks))
	log := filepath.Join(s.dir, "hooks.log")
	hook := func(name, more, script string) {
		dir := filepath.Join(hooks, name)
		for _, d := range []string{dir, filepath.Join(dir, "fsfreeze-hook.d")} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		text := fmt.Sprintf("id = \"{9d3f2f5e-0000-4000-8000-0000000000%02d}\"\nname = %q\nstyle = "+
			"\"fsfreeze-hook\"\npaths = [%q]\n%s", len(name), name, s.volumes[0], more)
		for file, content := range map[string]string{"writer.toml": text, "fsfreeze-hook": dispatcher,
			"fsfreeze-hook.d/10-app.sh": "#!/bin/sh\n" + script} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	logged := func() string {
		b, _ := os.ReadFile(log)
		_ = os.Remove(log)
		return strings.Join(strings.Fields(string(b)), " ")
	}
	for _, tc := range []struct {
		name, more, script string
		result, label, log string
	}{
		{"well", "", "echo $1 >>" + log, "", "application", "freeze thaw"},
		{"vetoes", "", "echo $1 >>" + log + "\n[ $1 = thaw ] || { echo no room >&2; exit 3; }", "", "file-system",
			"freeze thaw"},
		{"retries later", "", "[ $1 = thaw ] || exit 75", "", "file-system", ""},
		{"fails the set", "on_failure = \"abort\"\n", "echo $1 >>" + log + "\n[ $1 = thaw ] || exit 3",
			"VSS_E_UNEXPECTED_WRITER_ERROR", "", "freeze thaw"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := s.in(t)
			s.stop(unix.SIGTERM)
			hook(tc.name, tc.more, tc.script)
			defer os.RemoveAll(filepath.Join(hooks, tc.name))
			if tc.result != "" {
				s.refused(tc.result, "create", s.volumes[0])
			} else {
				set := s.create(s.volumes[0])
				if set.Consistency != tc.label {
					t.Errorf("%s (%s)", set.Consistency, set.ConsistencyReason)
				}
				s.vss(nil, "delete", set.SetID)
			}
			s.flowing(tc.name)
			if got := logged(); got != tc.log && !strings.HasPrefix(got, tc.log+" thaw") {
				t.Errorf("the script was run with %q, want %q", got, tc.log)
			}
			s.clean()
		})
	}
}
