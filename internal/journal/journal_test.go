package journal

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	systemd "github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
)

type sent struct {
	message  string
	priority systemd.Priority
	fields   map[string]string
}

func TestSender(t *testing.T) {
	var got []sent
	s := &sender{
		text:  slog.DiscardHandler,
		level: slog.LevelInfo,
		send: func(m string, p systemd.Priority, f map[string]string) error {
			got = append(got, sent{m, p, f})
			return nil
		},
	}
	log := slog.New(s)
	log.Debug("not wanted")
	log.Info("plain")
	log.With("set-id", "{1}").
		WithGroup("hold").
		With("n", 2).
		Warn("late by far", "why", "it is so", slog.Group("t", "ms", 3), "ünt", "")
	log.Error("bad", "err", errors.New("a=b\nc"))
	want := []sent{
		{"plain", systemd.PriInfo, map[string]string{}},
		{
			`late by far set-id={1} hold.n=2 hold.why="it is so" hold.t.ms=3 hold.ünt=""`, systemd.PriWarning,
			map[string]string{
				"VSS_SET_ID":    "{1}",
				"VSS_HOLD_N":    "2",
				"VSS_HOLD_WHY":  "it is so",
				"VSS_HOLD_T_MS": "3",
				"VSS_HOLD__NT":  "",
			},
		},
		{`bad err="a=b\nc"`, systemd.PriErr, map[string]string{"VSS_ERR": "a=b\nc"}},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(sent{})); d != "" {
		t.Error(d)
	}
}

func TestFieldName(t *testing.T) {
	if got := field(strings.Repeat("x", 100)); len(got) != 64 {
		t.Errorf("%d characters: the journal refuses more than 64", len(got))
	}
}

// What the journal doesn't take is not lost.
func TestSenderFallsBack(t *testing.T) {
	o := &out{}
	s := &sender{
		text:  bare(o),
		level: slog.LevelInfo,
		send:  func(string, systemd.Priority, map[string]string) error { return errors.New("no journal") },
	}
	slog.New(s).With("a", 1).WithGroup("g").Info("hello", "b", 2)
	if o.String() != "msg=hello a=1 g.b=2\n" {
		t.Errorf("got %q", o)
	}
}

// An inherited JOURNAL_STREAM that isn't our standard error changes nothing.
func TestInheritedStream(t *testing.T) {
	t.Setenv("JOURNAL_STREAM", "1:2")
	o := &out{}
	slog.New(handler(o, slog.LevelWarn)).Warn("hello")
	slog.New(handler(o, slog.LevelWarn)).Info("not wanted")
	if !strings.Contains(o.String(), "msg=hello") || strings.Contains(o.String(), "not wanted") {
		t.Errorf("got %q", o)
	}
}
