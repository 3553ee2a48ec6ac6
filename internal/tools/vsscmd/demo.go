package vsscmd

import (
	"fmt"
	"io"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/demo"
	"github.com/stillpoint-vss/stillpoint/requester"
)

func (a *app) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Make, prove and break a set of live PostgreSQL volumes",
		Long: `Demo shows what a shadow copy set is worth, in about half a minute and in a scratch folder: two volumes with a PostgreSQL
under load (its data on one, its WAL on the other), a set of both, PostgreSQL on the copies, the set broken to stand in for
the originals, PostgreSQL there. It ends with a table of what was proven. It leaves nothing behind, also if it is
interrupted; if it is killed, the next demo cleans up.

It has a service and an array of its own (--state, --run and --config don't matter to it), needs Debian's packages postgresql,
xfsprogs, e2fsprogs and btrfs-progs, and 4 GiB of space in TMPDIR, or else in /var/tmp. Root only. Exit status 0 means that
everything was proven.`,
		Example: "  vss demo\n  vss demo --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			// These would end us before anything is cleaned up.
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGQUIT, unix.SIGPIPE)
			defer stop()
			tell := &demoTeller{a, a.stdout}
			if a.json {
				tell.to = io.Discard
			}
			r, err := demo.Run(ctx, demo.Config{Exe: a.options.Exe, Listener: tell})
			if err != nil {
				return err
			}
			if !r.Proven() {
				a.exit = exitFailed
			}
			if a.json {
				a.print(demoShape(r))
				return nil
			}
			a.demo(r)
			return nil
		},
	}
}

// demoTeller tells people how the demo goes.
type demoTeller struct {
	a  *app
	to io.Writer
}

func (t *demoTeller) Step(number, of int, title string) {
	fmt.Fprintf(t.to, "[%d/%d] %s\n", number, of, title)
}

func (t *demoTeller) Note(label, text string) {
	if text != "" {
		fmt.Fprintf(t.to, "      %-12s%s\n", label, text)
	}
}

func (t *demoTeller) Set(s requester.SnapshotSet) {
	if t.a.json {
		return
	}
	t.Note("set", fmt.Sprintf("%v, %s, %s consistent", s.ID, s.Context.ContextName(), s.Consistency))
	t.Note("", s.ConsistencyReason)
	t.Note("hold", fmt.Sprintf("writes were held for %.1f ms", milliseconds(s.Hold)))
	t.Note("writers", fmt.Sprintf("frozen for %.1f ms, of the 60 s that they allow", milliseconds(s.WriterWindow)))
	fmt.Fprintln(t.to)
	t.a.timeline(s.Timeline)
	fmt.Fprintln(t.to)
}

func (a *app) demo(r *demo.Report) {
	fmt.Fprintln(a.stdout)
	a.table("", []string{"PROVEN", "WHAT", "FOUND"}, each(r.Proofs, func(p demo.Proof) []string {
		proven := "yes"
		if !p.Proven {
			proven = "NO"
		}
		found, _, _ := strings.Cut(p.Found, "\n")
		return []string{proven, p.Claim, found}
	}))
	f := r.Figures
	fmt.Fprintf(a.stdout, "\nHeld for %.1f ms, writers frozen for %.1f ms, created in %.0f ms, all in %.1f s.\n",
		milliseconds(r.Set.Hold), milliseconds(r.Set.WriterWindow), milliseconds(f.Create), f.Whole.Seconds())
	if r.Proven() {
		return
	}
	for _, p := range r.Proofs {
		if !p.Proven {
			fmt.Fprintf(a.stderr, "vss: not proven: %s: %s\n", p.Name, p.Found)
		}
	}
}

type demoJSON struct {
	Proven  bool        `json:"proven"`
	Proofs  []proofJSON `json:"proofs"`
	Figures figuresJSON `json:"figures"`
	Set     setJSON     `json:"set"`
	Broken  brokenJSON  `json:"broken"`
}

type proofJSON struct {
	Name   string `json:"name"`
	Claim  string `json:"claim"`
	Found  string `json:"found"`
	Proven bool   `json:"proven"`
}

type figuresJSON struct {
	HoldMS          float64 `json:"hold_ms"`
	WriterWindowMS  float64 `json:"writer_window_ms"`
	CreateMS        float64 `json:"create_ms"`
	CommitsPerS     float64 `json:"commits_per_s"`     // before the creation
	LongestBeforeMS float64 `json:"longest_before_ms"` // that a commit took
	LongestCommitMS float64 `json:"longest_commit_ms"` // while the set was created
	Acknowledged    int64   `json:"acknowledged"`      // commits, just before the hold
	Recovered       int64   `json:"recovered"`         // commits on the copies
	CounterData     uint64  `json:"counter_data"`
	CounterWAL      uint64  `json:"counter_wal"`
	WholeMS         float64 `json:"whole_ms"`
}

func demoShape(r *demo.Report) demoJSON {
	f := r.Figures
	return demoJSON{
		Proven: r.Proven(), Proofs: each(r.Proofs, func(p demo.Proof) proofJSON { return proofJSON{p.Name, p.Claim, p.Found, p.Proven} }),
		Figures: figuresJSON{milliseconds(r.Set.Hold), milliseconds(r.Set.WriterWindow), milliseconds(f.Create), f.CommitsBefore, milliseconds(f.LongestBefore),
			milliseconds(f.LongestCommit), f.Acknowledged, f.Recovered, f.Counters[0], f.Counters[1], milliseconds(f.Whole)},
		Set: setShape(r.Set), Broken: brokenShape(r.Set.ID, r.Broken),
	}
}
