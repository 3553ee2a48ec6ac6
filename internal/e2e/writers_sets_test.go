package e2e

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestThawOfItsOwnSet: what a writer is told of a set carries that set, a set is answered when its writers have
// thawed, and no Thaw of a set comes once the next one has begun, though a writer didn't answer it in time.
func TestThawOfItsOwnSet(t *testing.T) {
	s := newStage(t, "")
	slow := s.play(part{name: "Slow", faults: at("thaw", "delay", `for = "400ms"`)})
	mute := s.play(part{name: "Mute", freezeLimit: writerLimit.String(),
		faults: at("thaw", "hang", `for = "3s"`, "times = 1")})
	s.shadows() // starts the service
	var sets []string
	for range 3 {
		set := s.backup(func(set string) {
			for _, event := range []string{"freeze", "thaw"} {
				if n := slow.count("end", event, set); n != 1 {
					t.Errorf("set %s is answered, and the writer has ended its %s %d times", set, event, n)
				}
			}
		})
		sets = append(sets, set)
	}
	for end := time.Now().Add(20 * time.Second); mute.count("end", "thaw",
		sets[0]) == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the mute writer's Thaw doesn't end")
		}
	}
	for _, p := range []*player{slow, mute} {
		var order []string
		for _, l := range p.lines() {
			if l.At != "begin" ||
				!slices.Contains([]string{"prepare-snapshot", "freeze", "thaw", "abort", "post-snapshot"}, l.Event) {
				continue
			}
			if !slices.Contains(sets, l.SetID) {
				t.Errorf("%s was told %s of the set %q", p.name, l.Event, l.SetID)
			}
			if l.Event != "abort" { // which the mute one hears again, of its session, when it has its tongue back
				order = append(order, l.SetID)
			}
		}
		if got := slices.Compact(order); !slices.Equal(got, sets) {
			t.Errorf("%s was told of the sets %q, which were made as %q", p.name, got, sets)
		}
	}
	s.flowing("after all", slow, mute)
}

// backup makes a set with all writers; answered is called as soon as DoSnapshotSet is over.
func (s *stage) backup(answered func(set string)) string {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	must := func(err error) {
		s.Helper()
		if err != nil {
			s.Fatalf("%v\n%s", err, s.log())
		}
	}
	wait := func(a *requester.Async, err error) {
		s.Helper()
		must(err)
		_, err = a.Wait(ctx, nil)
		must(err)
	}
	c, err := requester.Connect(ctx, requester.ConnectOptions{State: s.state, Run: s.run, Config: s.config})
	must(err)
	defer c.Close()
	b, err := c.Open(ctx, "sets")
	must(err)
	defer b.Close()
	must(b.InitializeForBackup(ctx, nil))
	must(b.SetContext(ctx, vss.ContextBackup))
	must(b.SetBackupState(ctx, false, false, vss.BackupFull, false))
	wait(b.GatherWriterMetadata(ctx))
	set, err := b.StartSnapshotSet(ctx)
	must(err)
	_, err = b.AddToSnapshotSet(ctx, s.volumes[0], "")
	must(err)
	wait(b.PrepareForBackup(ctx))
	wait(b.DoSnapshotSet(ctx, 0))
	answered(set.String())
	wait(b.BackupComplete(ctx))
	return set.String()
}

// count is how many lines of a kind a writer's record has of a set.
func (p *player) count(at, event, set string) (n int) {
	for _, l := range p.lines() {
		if l.At == at && l.Event == event && l.SetID == set {
			n++
		}
	}
	return n
}
