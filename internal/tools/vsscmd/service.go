package vsscmd

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

type eventJSON struct {
	Time     time.Time         `json:"time"`
	Severity string            `json:"severity"`
	What     string            `json:"what"`
	Provider string            `json:"provider"`
	SetID    vss.SnapshotSetID `json:"set_id"`
	Object   string            `json:"object"`
	Result   string            `json:"result"`
	HRESULT  string            `json:"hresult"`
	Message  string            `json:"message"`
	Hint     string            `json:"hint"`
}

func (a *app) eventsCommand() *cobra.Command {
	var follow bool
	var since string
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what the service recorded",
		Long: `Events shows what happened: failures of providers with the method and the cure, writers that failed, copies that were
dropped. With --json each event is one JSON object on a line of its own.`,
		Example: "  vss events --since 1h\n  vss events --follow --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := parseTime(since, time.Now())
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(c *requester.Client) error { return c.Events(cmd.Context(), from, follow, a.event) })
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until interrupted")
	cmd.Flags().StringVar(&since, "since", "", "not what was before: a time as RFC 3339 has it, or how long ago (10m)")
	return cmd
}

func (a *app) event(e requester.Event) error {
	if a.json {
		return json.NewEncoder(a.stdout).Encode(eventJSON{
			e.Time, e.Severity, e.What, e.Provider, e.SetID, e.Object, e.Result, fmt.Sprintf("0x%08x", e.HRESULT), e.Message, e.Hint,
		})
	}
	line := fmt.Sprintf("%s %-7s %s", e.Time.Local().Format(time.DateTime), e.Severity, e.What)
	for _, s := range []string{e.Provider, e.Object, e.Message} {
		if s != "" {
			line += " " + s
		}
	}
	if e.Hint != "" {
		line += "\n    hint: " + e.Hint
	}
	_, err := fmt.Fprintln(a.stdout, line)
	return err
}

type findingJSON struct {
	Severity string `json:"severity"`
	What     string `json:"what"`
	Hint     string `json:"hint"`
}

func (a *app) doctorCommand() *cobra.Command {
	var repair bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Compare what is recorded with what is there",
		Long: `Doctor looks for what is amiss: copies without LUNs, LUNs without records, volumes that are held, flags that were left on
disks, pools that run full. Each finding comes with what to do. It changes nothing, but with --repair it does what is
safe: what was mended is then told as information. Root only. Exit status 1 if it found a warning or an error.`,
		Example: "  vss doctor\n  vss doctor --repair",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(c *requester.Client) error {
				found, err := c.Check(cmd.Context(), repair)
				if err != nil {
					return err
				}
				ok := true
				for _, f := range found {
					ok = ok && f.Severity == "info"
				}
				if !ok {
					a.exit = exitFailed
				}
				if a.json {
					a.print(struct {
						OK       bool          `json:"ok"`
						Findings []findingJSON `json:"findings"`
					}{ok, each(found, func(f requester.Finding) findingJSON { return findingJSON(f) })})
					return nil
				}
				a.table("Nothing is amiss.", []string{"SEVERITY", "FINDING", "WHAT TO DO"}, each(found, func(f requester.Finding) []string {
					return []string{f.Severity, f.What, dash(f.Hint)}
				}))
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "mend what is safe to mend")
	return cmd
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this program",
		Long:    "Version prints the version of this program and of the Go that built it. It doesn't ask the service.",
		Example: "  vss version --json",
		Args:    exactly(),
		RunE: func(*cobra.Command, []string) error {
			version, revision := "(devel)", ""
			if info, ok := debug.ReadBuildInfo(); ok {
				if info.Main.Version != "" {
					version = info.Main.Version
				}
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						revision = s.Value
					}
				}
			}
			if a.json {
				a.print(struct {
					Version  string `json:"version"`
					Revision string `json:"revision"`
					Go       string `json:"go"`
				}{version, revision, runtime.Version()})
				return nil
			}
			fmt.Fprintf(a.stdout, "vss %s %s\n", version, runtime.Version())
			return nil
		},
	}
}

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "completion bash|zsh|fish",
		Short:     "Print a script that completes commands in a shell",
		Long:      "Completion prints a script for the shell named; with it the Tab key completes commands and flags.",
		Example:   "  source <(vss completion bash)",
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args:      exactly("bash|zsh|fish"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return cmd.Root().GenBashCompletionV2(a.stdout, true)
			case "zsh":
				return cmd.Root().GenZshCompletion(a.stdout)
			case "fish":
				return cmd.Root().GenFishCompletion(a.stdout, true)
			}
			return usage("shells are bash, zsh, fish", "there is no completion for %s", args[0])
		},
	}
}
