package vsscmd

import (
	"fmt"
	"io"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/demo"
	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/requester"
)

func (a *app) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Demonstrate the service with PostgreSQL volumes",
		Long: `Demo creates two volumes with a PostgreSQL server under load (its data on one, its WAL on the
other), creates a shadow copy set of both, starts PostgreSQL on the copies, breaks the set to
replace the originals, and starts PostgreSQL there. It checks the guarantees of a shadow copy set
and prints a table of the results. It takes about half a minute, works in a temporary directory
and removes everything it made, also if it is interrupted; if it is killed, the next demo cleans
up.

It uses a service and an array of its own, regardless of --state, --run and --config. It requires
Debian's packages postgresql, xfsprogs, e2fsprogs and btrfs-progs, and 4 GiB of space in TMPDIR,
or else in /var/tmp. Root only. The exit status is 0 if all checks succeeded.`,
		Example: "  vss demo\n  vss demo --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			// These would end the program before it has cleaned up.
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGQUIT, unix.SIGPIPE)
			defer stop()
			out := &demoOutput{a, a.Stdout}
			if a.JSON {
				out.to = io.Discard
			}
			r, err := demo.Run(ctx, demo.Config{Exe: a.Service.Exe, Listener: out})
			if err != nil {
				return err
			}
			if !r.Proven() {
				a.Exit = cli.ExitFailed
			}
			if a.JSON {
				a.PrintJSON(demoShape(r))
				return nil
			}
			a.printDemo(r)
			return nil
		},
	}
}

// demoOutput prints the progress of the demo.
type demoOutput struct {
	a  *app
	to io.Writer
}

func (t *demoOutput) Step(number, of int, title string) {
	fmt.Fprintf(t.to, "[%d/%d] %s\n", number, of, title)
}

func (t *demoOutput) Note(label, text string) {
	if text != "" {
		fmt.Fprintf(t.to, "      %-12s%s\n", label, text)
	}
}

func (t *demoOutput) Set(s requester.SnapshotSet) {
	if t.a.JSON {
		return
	}
	t.Note("set", fmt.Sprintf("%v, %s, %s consistent", s.ID, s.Context.ContextName(), s.Consistency))
	t.Note("", s.ConsistencyReason)
	t.Note("hold", fmt.Sprintf("writes were held for %.1f ms", cli.Milliseconds(s.Hold)))
	t.Note("writers", fmt.Sprintf("frozen for %.1f ms; their limit is 60 s", cli.Milliseconds(s.WriterWindow)))
	fmt.Fprintln(t.to)
	t.a.PrintTimeline(s.Timeline)
	fmt.Fprintln(t.to)
}

func (a *app) printDemo(r *demo.Report) {
	fmt.Fprintln(a.Stdout)
	a.Table("", []string{"VERIFIED", "CLAIM", "RESULT"}, cli.Each(r.Proofs, func(p demo.Proof) []string {
		proven := "yes"
		if !p.Proven {
			proven = "NO"
		}
		found, _, _ := strings.Cut(p.Found, "\n")
		return []string{proven, p.Claim, found}
	}))
	f := r.Figures
	fmt.Fprintf(a.Stdout, "\nWrites held for %.1f ms, writers frozen for %.1f ms, set created in %.0f ms, "+
		"demo took %.1f s.\n",
		cli.Milliseconds(r.Set.Hold), cli.Milliseconds(r.Set.WriterWindow), cli.Milliseconds(f.Create),
		f.Whole.Seconds())
	if r.Proven() {
		return
	}
	for _, p := range r.Proofs {
		if !p.Proven {
			fmt.Fprintf(a.Stderr, "vss: not verified: %s: %s\n", p.Name, p.Found)
		}
	}
}

type demoJSON struct {
	Proven  bool        `json:"proven"`
	Proofs  []proofJSON `json:"proofs"`
	Figures figuresJSON `json:"figures"`
	Set     cli.Set     `json:"set"`
	Broken  cli.Broken  `json:"broken"`
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
	LongestBeforeMS float64 `json:"longest_before_ms"` // longest commit before the creation
	LongestCommitMS float64 `json:"longest_commit_ms"` // longest commit during the creation
	Acknowledged    int64   `json:"acknowledged"`      // commits just before the hold
	Recovered       int64   `json:"recovered"`         // commits on the copies
	CounterData     uint64  `json:"counter_data"`
	CounterWAL      uint64  `json:"counter_wal"`
	WholeMS         float64 `json:"whole_ms"`
}

func demoShape(r *demo.Report) demoJSON {
	f, ms := r.Figures, cli.Milliseconds
	return demoJSON{
		Proven: r.Proven(),
		Proofs: cli.Each(r.Proofs, func(p demo.Proof) proofJSON { return proofJSON(p) }),
		Figures: figuresJSON{
			HoldMS: ms(r.Set.Hold), WriterWindowMS: ms(r.Set.WriterWindow), CreateMS: ms(f.Create),
			CommitsPerS: f.CommitsBefore, LongestBeforeMS: ms(f.LongestBefore), LongestCommitMS: ms(f.LongestCommit),
			Acknowledged: f.Acknowledged, Recovered: f.Recovered, CounterData: f.Counters[0], CounterWAL: f.Counters[1],
			WholeMS: ms(f.Whole),
		},
		Set: cli.NewSet(r.Set), Broken: cli.NewBroken(r.Set.ID, r.Broken),
	}
}
