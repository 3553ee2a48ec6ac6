package demo

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/lane"
	"github.com/stillpoint-vss/stillpoint/internal/writers/postgres"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// TestProven checks that a claim that was not verified, or is missing, is not a success.
func TestProven(t *testing.T) {
	r := &run{}
	if r.report.Proven() {
		t.Error("a demo without proofs is complete")
	}
	for range claims {
		r.prove("name", "claim", true, "found %d", 1)
	}
	if !r.report.Proven() {
		t.Error("a demo with all proofs is not complete")
	}
	r.report.Proofs[3].Proven = false
	if r.report.Proven() {
		t.Error("a demo with a failed proof is complete")
	}
}

// TestHolds checks that a copy must contain all commits acknowledged before the hold, and none that began after it.
func TestHolds(t *testing.T) {
	before, after := sample{acked: []int64{10, 20}}, sample{acked: []int64{12, 20}}
	for _, c := range []struct {
		name string
		last []int64
		gap  error
		want string
	}{
		{"all", []int64{10, 20}, nil, ""},
		{"those under way, too", []int64{13, 21}, nil, ""},
		{"a commit is lost", []int64{9, 20}, nil, "client 0: commit 10 was acknowledged"},
		{"a commit of the other client is lost", []int64{13, 19}, nil, "client 1: commit 20 was acknowledged"},
		{"a commit of later", []int64{10, 22}, nil, "client 1: commit 21 was the last"},
		{"a gap", []int64{10, 20}, errors.New("some are missing"), "some are missing"},
		{"nothing", nil, nil, "no commit was acknowledged"},
	} {
		err := (&examination{last: c.last, gap: c.gap}).holds(before, after)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if (&examination{last: []int64{0, 0}}).holds(sample{acked: []int64{0, 0}}, after) == nil {
		t.Error("a load that committed nothing proves something")
	}
}

func TestSamples(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	l := &load{seen: []sample{{from: at(1), to: at(2), count: 1}, {from: at(3), to: at(5), count: 2},
		{from: at(6), to: at(7), count: 3}}}
	for _, c := range []struct {
		at            int
		before, after uint64
	}{{3, 1, 3}, {5, 1, 3}, {6, 2, 0}, {2, 0, 2}} {
		if got := l.before(at(c.at)).count; got != c.before {
			t.Errorf("before %d: sample %d, want %d", c.at, got, c.before)
		}
		if c.after > 0 {
			if got := l.after(at(c.at)).count; got != c.after {
				t.Errorf("after %d: sample %d, want %d", c.at, got, c.after)
			}
		}
	}
}

func TestTookPart(t *testing.T) {
	ours := requester.WriterStatus{ID: postgres.ID, State: vss.WriterStable}
	failed := ours
	failed.Failure = vss.ErrWriterErrorRetryable
	for _, c := range []struct {
		name    string
		writers []requester.WriterStatus
		well    bool
	}{
		{"none", nil, false},
		{"another", []requester.WriterStatus{{Name: "another"}}, false},
		{"ours", []requester.WriterStatus{{Name: "another"}, ours}, true},
		{"failed", []requester.WriterStatus{failed}, false},
	} {
		if err := tookPart(requester.SnapshotSet{Writers: c.writers}); (err == nil) != c.well {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestReady checks that an unmet requirement is reported, with the package to install, before anything is created.
func TestReady(t *testing.T) {
	lane.Host(t)
	for _, c := range []struct {
		name        string
		set         func(t *testing.T, folder string)
		code        vss.Code
		cause, hint string
	}{
		{"programs", func(t *testing.T, _ string) { t.Setenv("PATH", "/nowhere") }, vss.ErrNotSupported, "mkfs.xfs",
			"apt-get install xfsprogs e2fsprogs btrfs-progs"},
		{"folder", func(t *testing.T, folder string) {
			if err := os.Chmod(folder, 0o700); err != nil {
				t.Fatal(err)
			}
		}, vss.ErrUnexpected, "no permission to enter", "TMPDIR"},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := lane.Scratch(t)
			if err := os.Chmod(folder, 0o755); err != nil {
				t.Fatal(err)
			}
			c.set(t, folder)
			_, err := Run(t.Context(), Config{Folder: folder, Exe: "/nowhere/vss"})
			if !errors.Is(err, c.code) || !strings.Contains(err.Error(), c.cause) || !strings.Contains(vss.Hint(err),
				c.hint) {
				t.Errorf("%v; hint %q", err, vss.Hint(err))
			}
			if found, err := os.ReadDir(folder); err != nil || len(found) > 0 {
				t.Errorf("made: %v, %v", found, err)
			}
		})
	}
}
