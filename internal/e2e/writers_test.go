package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// mode is a way in which a writer goes wrong at an event.
type mode struct {
	name  string
	fault func(event string) string
	code  string // its failure; "": none
	fatal bool   // it returns an error: in Freeze and Thaw that fails the set
}

var modes = []mode{
	{"Veto", func(e string) string {
		return at(e, "veto", `code = "VSS_E_WRITERERROR_RETRYABLE"`, `message = "not now"`)
	}, "VSS_E_WRITERERROR_RETRYABLE", false},
	{"Fail", func(e string) string { return at(e, "fail", `code = "VSS_E_WRITERERROR_OUTOFRESOURCES"`) },
		"VSS_E_WRITERERROR_OUTOFRESOURCES", true},
	{"Stall", func(e string) string { return at(e, "stall") }, "VSS_E_WRITER_NOT_RESPONDING", false},
	{"Hang", func(e string) string { return at(e, "hang") }, "VSS_E_WRITER_NOT_RESPONDING", false},
	{"Die", func(e string) string { return at(e, "die") }, "VSS_E_WRITER_NOT_RESPONDING", false},
	{"Panic", func(e string) string { return at(e, "panic") }, "VSS_E_WRITERERROR_NONRETRYABLE", true},
	{"Foreign", func(e string) string { return at(e, "lie", `lie = "code"`) }, "VSS_E_WRITERERROR_NONRETRYABLE", true},
	{"Forger", func(e string) string { return at(e, "lie", `lie = "components"`) }, "", false},
}

// TestWriterFaults: a writer that goes wrong in any way at any event is in the documented state with the documented
// code, the set fails only where it returns an error in Freeze or Thaw, the other writers are not disturbed, nothing
// stays frozen.
func TestWriterFaults(t *testing.T) {
	s := newStage(t, "")
	for _, e := range []struct {
		event, failed string
		frozenBy      bool // an error returned here fails the set
		complete      bool // it comes with BackupComplete
	}{
		{"prepare-backup", "failed-at-prepare-backup", false, false},
		{"prepare-snapshot", "failed-at-prepare-snapshot", false, false},
		{"freeze", "failed-at-freeze", true, false},
		{"thaw", "failed-at-thaw", true, false},
		{"post-snapshot", "failed-at-post-snapshot", false, false},
		{"backup-complete", "failed-at-backup-complete", false, true},
	} {
		// What doesn't fail the set is tried in one backup, the rest one by one.
		var casts [][]mode
		var together []mode
		for _, m := range modes {
			if e.frozenBy && m.fatal {
				casts = append(casts, []mode{m})
			} else {
				together = append(together, m)
			}
		}
		for _, cast := range append(casts, together) {
			fatal := len(cast) == 1
			name := e.event + "/local"
			if fatal {
				name = e.event + "/" + cast[0].name
			}
			t.Run(name, func(t *testing.T) {
				s := s.in(t)
				good := s.play(part{name: "Good"})
				players := []*player{good}
				for _, m := range cast {
					p := part{name: m.name, faults: m.fault(e.event)}
					if m.name == "Stall" || m.name == "Hang" {
						p.freezeLimit = writerLimit.String() // that of Freeze and Thaw is its own
					}
					players = append(players, s.play(p))
				}
				lines := s.backupOf(players...)
				if fatal {
					lines = append(append(append(lines, "DoSnapshotSet => VSS_E_UNEXPECTED_WRITER_ERROR"),
						askStatus...), "QuerySnapshots => S_OK", "AbortBackup => S_OK")
				} else {
					lines = append(append(append(lines, "DoSnapshotSet => VSS_S_ASYNC_FINISHED"), askStatus...),
						completed(players...)...)
					lines = append(lines, "GetWriterComponents => S_OK")
				}
				all := s.script(lines...)
				s.flowing(name, players...)
				n := 0
				if e.complete {
					n = 1
				}
				got := standings(t, all, n)
				for _, m := range cast {
					want := standing{State: e.failed, Failure: m.code}
					if m.code == "" {
						want = standing{State: "waiting-for-backup-complete", Failure: "S_OK"}
						if e.complete {
							want.State = "stable"
						}
					}
					if w := got[m.name]; w.State != want.State || w.Failure != want.Failure {
						t.Errorf("%s at %s: %s, %s (%s), want %s, %s", m.name, e.event, w.State, w.Failure, w.Message,
							want.State, want.Failure)
					}
				}
				wantGood, wantEvents := "stable",
					"prepare-backup prepare-snapshot freeze thaw post-snapshot backup-complete backup-shutdown"
				switch {
				case fatal && e.event == "freeze": // Abort may come several times
					wantEvents = "prepare-backup prepare-snapshot freeze abort backup-shutdown"
				case fatal:
					wantEvents = "prepare-backup prepare-snapshot freeze thaw abort backup-shutdown"
				case !e.complete:
					wantGood = "waiting-for-backup-complete"
				}
				if w := got["Good"]; w.State != wantGood || w.Failure != "S_OK" {
					t.Errorf("the good one: %s, %s", w.State, w.Failure)
				}
				if events := strings.Join(slices.Compact(good.events()), " "); events != wantEvents {
					t.Errorf("the good one was told %s, want %s", events, wantEvents)
				}
				if c := good.complaints(); len(c) > 0 {
					t.Errorf("the good one complains: %q", c)
				}
				if text := string(all[len(all)-1].Value); !fatal && strings.Contains(text, "forged") {
					t.Errorf("a writer changed what is the requester's: %s", text)
				}
				if copies := s.shadows(); len(copies) > 0 {
					t.Errorf("%d copies are left", len(copies))
				}
				s.clean()
			})
		}
	}
}

// TestWriterCleanUpFaults: what goes wrong in Identify keeps the writer out; in Abort and BackupShutdown it disturbs
// nobody.
func TestWriterCleanUpFaults(t *testing.T) {
	s := newStage(t, "identify = \"1500ms\"\n")
	t.Run("identify", func(t *testing.T) {
		s := s.in(t)
		good := s.play(part{name: "Good"})
		players := []*player{good}
		for name, fault := range map[string]string{
			"Fail": at("identify", "fail"), "Stall": at("identify", "stall"), "Die": at("identify", "die"),
			"Panic": at("identify", "panic"), "Class": at("identify", "lie", `lie = "class"`),
			"Metadata": at("identify", "lie", `lie = "metadata"`), "Nothing": at("identify", "lie", `lie = "nothing"`),
			"Liar": at("info", "lie", `lie = "class"`),
		} {
			players = append(players, s.play(part{name: name, faults: fault}))
		}
		lines := append(s.backupOf()[:3], "EnableWriterClasses "+strings.Join(classes(players), " "),
			"GatherWriterMetadata => VSS_S_ASYNC_FINISHED",
			"GetWriterMetadata => S_OK", "AddComponent Good filegroup '' data => S_OK", "StartSnapshotSet => S_OK",
			"AddToSnapshotSet "+s.volumes[0]+" => S_OK",
			"PrepareForBackup => VSS_S_ASYNC_FINISHED", "DoSnapshotSet => VSS_S_ASYNC_FINISHED")
		all := s.script(append(append(lines, askStatus...), completed(good)...)...)
		s.flowing("identify", players...)
		got := standings(t, all, 0)
		for _, p := range players {
			if w := got[p.name]; (p.name == "Good") != (w.Failure == "S_OK") ||
				p.name != "Good" && w.State != "failed-at-identify" {
				t.Errorf("%s: %s, %s", p.name, w.State, w.Failure)
			}
		}
		for _, p := range players[1:] {
			if e := p.events(); len(e) > 0 && e[0] != "info" {
				t.Errorf("%s was told %v", p.name, e)
			}
		}
	})
	for _, event := range []string{"abort", "backup-shutdown"} {
		t.Run(event, func(t *testing.T) {
			s := s.in(t)
			good := s.play(part{name: "Good"})
			players := []*player{good}
			for _, m := range modes {
				players = append(players, s.play(part{name: m.name, faults: m.fault(event)}))
			}
			lines := append(s.backupOf(players...), "AbortBackup => S_OK")
			all := s.script(append(append(lines, askStatus...), "Release => S_OK", "Open => S_OK",
				"InitializeForBackup => S_OK", "StartSnapshotSet => S_OK")...)
			s.flowing(event, players...)
			for name, w := range standings(t, all, 0) {
				silent := event == "abort" && slices.Contains([]string{"Stall", "Hang", "Die"}, name)
				if w.State != "stable" && !silent || silent && w.Failure != "VSS_E_WRITER_NOT_RESPONDING" {
					t.Errorf("%s: %s, %s", name, w.State, w.Failure)
				}
			}
			if d := cmp.Diff([]string{"prepare-backup", "abort", "backup-shutdown"}, good.events()); d != "" {
				t.Errorf("the good one: %s", d)
			}
			s.clean()
		})
	}
}

// TestWriterLevels: PrepareForSnapshot is over before the first Freeze; Freeze goes by levels 3, 2, 1 and Thaw the
// other way, a level begins when the last is done, and within a level all are told at once. Times are those of the
// writers.
func TestWriterLevels(t *testing.T) {
	s := newStage(t, "")
	slow := at("prepare-snapshot", "delay", `for = "300ms"`) + at("freeze", "delay", `for = "300ms"`) +
		at("thaw", "delay", `for = "300ms"`) + at("post-snapshot", "delay", `for = "300ms"`)
	var levels [][]*player
	var all []*player
	for _, level := range []string{"front-end", "back-end", "system"} {
		var l []*player
		for n := range 3 {
			l = append(l, s.play(part{name: fmt.Sprintf("%s-%d", level, n), level: level, faults: slow}))
		}
		levels, all = append(levels, l), append(all, l...)
	}
	s.script(append(append(s.backupOf(all...), "DoSnapshotSet => VSS_S_ASYNC_FINISHED"), completed(all...)...)...)
	s.flowing("levels", all...)
	times := func(players []*player, at, event string) (first, last time.Time) {
		for _, p := range players {
			when := p.when(at, event)
			if when.IsZero() {
				t.Fatalf("%s had no %s of %s", p.name, at, event)
			}
			if first.IsZero() || when.Before(first) {
				first = when
			}
			if when.After(last) {
				last = when
			}
		}
		return first, last
	}
	atOnce := func(players []*player, event string) {
		_, begun := times(players, "begin", event)
		if done, _ := times(players, "end", event); done.Before(begun) {
			t.Errorf("%s: one was done before another was told", event)
		}
	}
	barrier := func(what string, before []*player, e1 string, after []*player, e2 string) {
		_, done := times(before, "end", e1)
		if begun, _ := times(after, "begin", e2); begun.Before(done) {
			t.Errorf("%s: %s begins %v before %s is done", what, e2, done.Sub(begun), e1)
		}
	}
	atOnce(all, "prepare-snapshot")
	atOnce(all, "post-snapshot")
	barrier("preparation", all, "prepare-snapshot", levels[0], "freeze")
	for i, l := range levels {
		atOnce(l, "freeze")
		atOnce(l, "thaw")
		if i > 0 {
			barrier("levels", levels[i-1], "freeze", l, "freeze")
			barrier("levels", l, "thaw", levels[i-1], "thaw")
		}
	}
	barrier("all frozen", levels[2], "freeze", levels[2], "thaw")
	barrier("all thawed", levels[0], "thaw", all, "post-snapshot")
}

// TestWriterStalledFreeze: the time from a Freeze that stalls, or hangs in any event, to the thaw of all others and of
// itself is at most its limit and one second. The figure is noisy on a busy machine, so the best of three counts.
func TestWriterStalledFreeze(t *testing.T) {
	s := newStage(t, "")
	const limit = time.Second
	for _, tc := range []struct{ do, level string }{{"stall", "front-end"}, {"hang", "system"}} {
		t.Run(tc.do+"/"+tc.level, func(t *testing.T) {
			s := s.in(t)
			var took time.Duration
			for try := 1; ; try++ {
				bad := s.play(part{name: "Bad", level: tc.level, freezeLimit: limit.String(),
					faults: at("freeze", tc.do)})
				others := []*player{s.play(part{name: "Front"}), s.play(part{name: "Back", level: "back-end"}),
					s.play(part{name: "System", level: "system"})}
				all := s.script(append(append(s.backupOf(append(others, bad)...),
					"DoSnapshotSet => VSS_S_ASYNC_FINISHED"), askStatus...)...)
				s.flowing(tc.do, append(others, bad)...)
				if got := standings(t, all, 0)["Bad"]; got.State != "failed-at-freeze" ||
					got.Failure != "VSS_E_WRITER_NOT_RESPONDING" {
					t.Errorf("%+v", got)
				}
				last := bad.when("end", "abort")
				for _, p := range others {
					if thawed := p.when("end", "thaw"); thawed.After(last) {
						last = thawed
					}
				}
				took = last.Sub(bad.when("begin", "freeze"))
				for _, p := range append(others, bad) {
					p.end()
				}
				if took <= limit+time.Second {
					break
				}
				if try == 3 {
					t.Fatalf("all are thawed %v after a Freeze with a limit of %v", took, limit)
				}
			}
			t.Logf("all thawed %v after a Freeze with a limit of %v", took, limit)
		})
	}
}

// TestWriterWindows: a writer whose window ends has thawed by itself. Before the copies are made that fails the set;
// after it, it is the writer's own failure.
func TestWriterWindows(t *testing.T) {
	s := newStage(t, "")
	t.Run("before the copies", func(t *testing.T) {
		s := s.in(t)
		short, slow := s.play(part{name: "Short", freezeLimit: "500ms"}),
			s.play(part{name: "Slow", level: "system", faults: at("freeze", "delay", `for = "1500ms"`)})
		all := s.script(append(append(s.backupOf(short, slow), "DoSnapshotSet => VSS_E_UNEXPECTED_WRITER_ERROR"),
			askStatus...)...)
		s.flowing("window", short, slow)
		for _, c := range all {
			if c.Call == "DoSnapshotSet" && !strings.Contains(c.Message, "VSS_E_WRITERERROR_TIMEOUT") {
				t.Errorf("the cause isn't named: %s", c.Message)
			}
		}
		if aborted, frozen := short.when("begin", "abort"), short.when("end", "freeze"); aborted.IsZero() ||
			frozen.IsZero() {
			t.Errorf("%v", short.events())
		}
	})
	t.Run("after the copies", func(t *testing.T) {
		s := s.in(t)
		short, slow := s.play(part{name: "Short", freezeLimit: "1500ms"}),
			s.play(part{name: "Slow", level: "system", faults: at("thaw", "delay", `for = "1900ms"`)})
		all := s.script(append(append(s.backupOf(short, slow), "DoSnapshotSet => VSS_S_ASYNC_FINISHED"),
			askStatus...)...)
		s.flowing("window", short, slow)
		if got := standings(t, all, 0)["Short"]; got.State != "failed-at-thaw" ||
			got.Failure != "VSS_E_WRITERERROR_TIMEOUT" {
			t.Errorf("%+v", got)
		}
		if slices.Contains(short.events(), "thaw") {
			t.Errorf("Thaw after the end of the window reached it: %v", short.events())
		}
	})
	t.Run("a thaw that hangs keeps nobody frozen", func(t *testing.T) {
		s := s.in(t)
		bad, front := s.play(part{name: "Bad", level: "system", freezeLimit: "3s", faults: at("thaw", "stall")}),
			s.play(part{name: "Front"})
		s.script(append(append(s.backupOf(bad, front), "DoSnapshotSet => VSS_S_ASYNC_FINISHED"), askStatus...)...)
		s.flowing("thaw", bad, front)
		if thawed, gaveUp := front.when("end", "thaw"), bad.when("end", "thaw"); !thawed.Before(gaveUp) {
			t.Errorf("the other one thawed %v after the one that stalls gave up", thawed.Sub(gaveUp))
		}
	})
}

// TestWriterSelection: classes and instances that are let in and kept out, by id and name.
func TestWriterSelection(t *testing.T) {
	s := newStage(t, "")
	a := s.play(part{name: "A"})
	b := s.play(part{name: "B"})
	c1 := s.play(part{name: "C", instance: "one"})
	c2 := s.play(part{name: "C", instance: "two", class: c1.class})
	ours := func(doc json.RawMessage) (all []string) {
		var list []struct {
			Name       string
			InstanceID string `json:"instance_id"`
			Components []struct {
				LogicalPath string `json:"logical_path"`
			}
		}
		if err := json.Unmarshal(doc, &list); err != nil {
			t.Fatal(err)
		}
		for _, w := range list {
			if p := []string{"A", "B", "C"}; slices.Contains(p, w.Name) {
				all = append(all, w.Name+w.Components[0].LogicalPath)
			}
		}
		slices.Sort(all)
		return all
	}
	first := s.script("InitializeForBackup", "GatherWriterMetadata", "GetWriterMetadata => S_OK")
	var all []struct {
		Name       string
		InstanceID string `json:"instance_id"`
		Components []struct {
			LogicalPath string `json:"logical_path"`
		}
	}
	if err := json.Unmarshal(first[2].Value, &all); err != nil {
		t.Fatal(err)
	}
	two := ""
	for _, w := range all {
		if w.Name == "C" && w.Components[0].LogicalPath == "two" {
			two = w.InstanceID
		}
	}
	for _, tc := range []struct {
		name  string
		calls []string
		want  []string
	}{
		{"all", nil, []string{"A", "B", "Cone", "Ctwo"}},
		{"one class, by id", []string{"EnableWriterClasses " + a.class.String()}, []string{"A"}},
		{"two classes, by name and in two calls", []string{"EnableWriterClasses A", "EnableWriterClasses c"},
			[]string{"A", "Cone", "Ctwo"}},
		{"all but one class", []string{"DisableWriterClasses C " + b.class.Plain()}, []string{"A"}},
		{"enable cancels an earlier disable", []string{"DisableWriterClasses A", "EnableWriterClasses A B"},
			[]string{"A", "B"}},
		{"disable takes away from enabled ones", []string{"EnableWriterClasses A B", "DisableWriterClasses B"},
			[]string{"A"}},
		{"all but one instance", []string{"DisableWriterInstances " + two}, []string{"A", "B", "Cone"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := s.in(t)
			lines := append([]string{"InitializeForBackup => S_OK"}, tc.calls...)
			lines = append(lines, "GatherWriterMetadata => VSS_S_ASYNC_FINISHED", "DisableWriterClasses A => S_OK",
				"GetWriterMetadata => S_OK")
			got := s.script(lines...)
			if d := cmp.Diff(tc.want, ours(got[len(got)-1].Value)); d != "" {
				t.Error(d)
			}
		})
	}
	// The same as text; a writer that is excluded isn't called at all.
	before := len(b.lines())
	set := s.create("--writer-exclude", "B", "--writer-exclude", c1.class.String(), s.volumes[0])
	if len(b.lines()) != before || slices.ContainsFunc(set.Writers,
		func(w writerDoc) bool { return w.Name == "B" || w.Name == "C" }) {
		t.Errorf("left out, and yet there: %+v", set.Writers)
	}
	if e := c2.events(); len(e) > 0 {
		t.Errorf("an excluded class was told %v", e)
	}
	if e := a.events(); !slices.Contains(e, "freeze") || a.frozen() {
		t.Errorf("A was told %v", e)
	}
	// A writer with the class and instance name of another is rejected, without effect on the other.
	d := s.play(part{name: "D", instance: "only"})
	s.script("InitializeForBackup => S_OK", "EnableWriterClasses "+d.class.String(),
		"GatherWriterMetadata => VSS_S_ASYNC_FINISHED")
	s.play(part{name: "Double", instance: "only", class: d.class})
	twice := s.script("InitializeForBackup => S_OK", "EnableWriterClasses "+d.class.String(),
		"GatherWriterMetadata => VSS_S_ASYNC_FINISHED", "GetWriterMetadata => S_OK")
	if text := string(twice[len(twice)-1].Value); !strings.Contains(text, `"D"`) || strings.Contains(text, "Double") {
		t.Errorf("a double takes part: %s", text)
	}
	// A stranger's component, and calls out of order, are the script's to try.
	s.script("InitializeForBackup => S_OK", "InitializeForBackup => VSS_E_BAD_STATE",
		"PrepareForBackup => VSS_E_BAD_STATE", "DoSnapshotSet => VSS_E_BAD_STATE",
		"SetBackupState component full => S_OK", "GatherWriterMetadata => VSS_S_ASYNC_FINISHED",
		"GatherWriterMetadata => VSS_E_BAD_STATE",
		"AddComponent "+b.class.String()+"/{00000000-0000-0000-0000-000000000001} filegroup '' data => "+
			"VSS_E_OBJECT_NOT_FOUND",
		"AddComponent A database '' data => VSS_E_OBJECT_NOT_FOUND", "AddComponent A filegroup '' data => S_OK",
		"AddComponent A filegroup '' data => VSS_E_OBJECT_ALREADY_EXISTS",
		"BackupComplete => VSS_E_BAD_STATE", "AbortBackup => S_OK", "SetContext 0x99999999 => E_INVALIDARG")
}
