package vsscmd

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
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
		Short: "Print the event log of the service",
		Long: `Events prints the event log: failures of providers and writers, copies that were dropped, and
others, with what can be done about them. With --json each event is a JSON object on a line of its
own.`,
		Example: "  vss events --since 1h\n  vss events --follow --json",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			from, err := cli.ParseTime(since, time.Now())
			if err != nil {
				return err
			}
			return a.With(cmd.Context(), func(c *requester.Client) error {
				return c.Events(cmd.Context(), from, follow, a.event)
			})
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "wait for new events until interrupted")
	cmd.Flags().StringVar(&since, "since", "",
		"only events after `TIME`, in RFC 3339 or as a duration before now (10m)")
	return cmd
}

func (a *app) event(e requester.Event) error {
	if a.JSON {
		return json.NewEncoder(a.Stdout).Encode(eventJSON{
			e.Time, e.Severity, e.What, e.Provider, e.SetID, e.Object, e.Result, fmt.Sprintf("0x%08x", e.HRESULT),
			e.Message, e.Hint,
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
	_, err := fmt.Fprintln(a.Stdout, line)
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
		Short: "Check the service's records against the host",
		Long: `Doctor compares the records of the service with the state of the host and prints the differences:
copies without LUNs, LUNs without records, volumes that are held, shadow copy flags on originals,
pools that are nearly full. Each finding includes what to do about it. With --repair it repairs
what can be repaired safely, and prints that as information; without, it changes nothing. Root
only. The exit status is 1 if there is a warning or an error.`,
		Example: "  vss doctor\n  vss doctor --repair",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.With(cmd.Context(), func(c *requester.Client) error {
				found, err := c.Check(cmd.Context(), repair)
				if err != nil {
					return err
				}
				ok := true
				for _, f := range found {
					ok = ok && f.Severity == "info"
				}
				if !ok {
					a.Exit = cli.ExitFailed
				}
				if a.JSON {
					a.PrintJSON(struct {
						OK       bool          `json:"ok"`
						Findings []findingJSON `json:"findings"`
					}{ok, cli.Each(found, func(f requester.Finding) findingJSON { return findingJSON(f) })})
					return nil
				}
				header := []string{"SEVERITY", "FINDING", "WHAT TO DO"}
				a.Table("No problems found.", header, cli.Each(found, func(f requester.Finding) []string {
					return []string{f.Severity, f.What, cli.Dash(f.Hint)}
				}))
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "repair what can be repaired safely")
	return cmd
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Long: `Version prints the version of this program and of the Go toolchain that built it. It does not use
the service.`,
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
			if a.JSON {
				a.PrintJSON(struct {
					Version  string `json:"version"`
					Revision string `json:"revision"`
					Go       string `json:"go"`
				}{version, revision, runtime.Version()})
				return nil
			}
			fmt.Fprintf(a.Stdout, "vss %s %s\n", version, runtime.Version())
			return nil
		},
	}
}

func (a *app) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "completion bash|zsh|fish",
		Short:     "Print a completion script for a shell",
		Long:      "Completion prints a script with which the named shell completes commands and flags.",
		Example:   "  source <(vss completion bash)",
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args:      exactly("bash|zsh|fish"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[0] {
			case "bash":
				return cmd.Root().GenBashCompletionV2(a.Stdout, true)
			case "zsh":
				return cmd.Root().GenZshCompletion(a.Stdout)
			case "fish":
				return cmd.Root().GenFishCompletion(a.Stdout, true)
			}
			return cli.Usagef("shells are bash, zsh and fish", "unsupported shell %s", args[0])
		},
	}
}
