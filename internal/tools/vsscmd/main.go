// Package vsscmd is the command vss, the command-line interface of the service for users and scripts. It uses the
// service only through package requester. Commands, flags and JSON documents are a contract with scripts: they may be
// added, and are never renamed or removed.
package vsscmd

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/requester"
)

const programName = "vss"

// app is one run of the program.
type app struct {
	cli.Tool
	parsed bool // the command line was valid
}

// Main runs the program with os.Args and returns its exit code.
func Main(args []string) int {
	if isHelper(args) {
		return runHelper(args[1])
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	a := &app{Tool: cli.Tool{Name: programName, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}}
	a.Watch()
	a.Service.Exe = "/proc/self/exe"
	return a.run(ctx, args[1:])
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	root.SetIn(a.Stdin)
	// If parsing the flags fails, --json may not have been seen yet, but the error must be printed accordingly.
	own, _, _ := strings.Cut(strings.Join(args, "\x00")+"\x00", "\x00--\x00")
	a.JSON = slices.Contains(strings.Split(own, "\x00"), "--json")
	cmd, err := root.ExecuteContextC(ctx)
	var u *cli.UsageError
	if err != nil && !errors.As(err, &u) && !a.parsed {
		u = &cli.UsageError{Text: err.Error()}
		err = u
	}
	if u != nil && u.Hint == "" {
		u.Hint = "see `" + cmd.CommandPath() + " --help`"
	}
	return a.Finish(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   programName,
		Short: "Create and manage shadow copies of volumes",
		Long: `vss creates and manages shadow copies: consistent point-in-time copies of one volume, or of up to
64 volumes at the same instant, made while applications keep writing.

A volume is named by mount point, device, UUID=... or LABEL=...; a directory inside a volume
stands for the volume. If the service is not running and the caller is root, vss starts it. It
exits when it is no longer needed.

Exit status: 0 success, 1 failure, 2 invalid command line. With --json, exactly one JSON document
is written to standard output, also if the command fails.`,
		Example: "  vss create /srv/data /srv/log\n  vss list shadows\n" +
			"  vss exec /srv/data -- tar -C /srv/data -cf - . > data.tar",
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          a.group,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.parsed = true
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	f := root.PersistentFlags()
	f.BoolVar(&a.JSON, "json", false, "write one JSON document to standard output")
	f.StringVar(&a.Service.State, "state", "", "state directory `DIR` (default "+requester.DefaultState+")")
	f.StringVar(&a.Service.Run, "run", "", "directory `DIR` of the socket and other runtime files (default "+
		requester.DefaultRun+")")
	f.StringVar(&a.Service.Config, "config", "", "configuration `FILE` (default "+requester.DefaultConfig+")")
	root.AddCommand(
		a.createCommand(), a.execCommand(), a.backupCommand(), a.restoreCommand(), a.importCommand(), a.listCommand(),
		a.showCommand(), a.exposeCommand(), a.unexposeCommand(), a.breakCommand(), a.deleteCommand(), a.eventsCommand(),
		a.doctorCommand(), a.arrayCommand(), a.lunCommand(), a.demoCommand(), a.versionCommand(), a.completionCommand(),
	)
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			c.Example = "  vss help create"
		}
	}
	return root
}
