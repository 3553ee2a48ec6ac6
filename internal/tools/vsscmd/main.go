// Package vsscmd is the command vss: what people and scripts ask of the service. It talks to it through package requester only.
// Names, JSON and exit codes are a contract with scripts: fields are added, never renamed or dropped.
package vsscmd

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/requester"
)

// Exit codes. Those of exec and of `create -- CMD` are the command's own, and follow env(1) where it has none.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2
	exitOurs    = 125 // exec failed before CMD ran
	exitNotRun  = 126 // CMD can't be run
	exitMissing = 127 // CMD not found
	exitSignal  = 128 // + number of the signal that ended CMD
)

// app is one run of the program.
type app struct {
	json           bool
	options        requester.ConnectOptions
	stdin          io.Reader
	stdout, stderr io.Writer
	connect        func(context.Context, requester.ConnectOptions) (*requester.Client, error)
	began          bool // arguments were fine
	exit           int  // of a command that did its work, but not with 0
}

// Main is the program: os.Args in, exit code out.
func Main(args []string) int {
	if isHelper(args) {
		return runHelper()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, connect: requester.Connect}
	a.options.Exe = "/proc/self/exe"
	return a.run(ctx, args[1:])
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetIn(a.stdin)
	// Until flags are parsed nobody knows --json, but a failure to parse them must be told in it.
	own, _, _ := strings.Cut(strings.Join(args, "\x00")+"\x00", "\x00--\x00")
	a.json = slices.Contains(strings.Split(own, "\x00"), "--json")
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return a.exit
	}
	var u *usageError
	usage := errors.As(err, &u)
	if !a.began && !usage {
		u, usage = &usageError{text: err.Error()}, true
	}
	if usage && u.hint == "" {
		u.hint = "see `" + cmd.CommandPath() + " --help`"
	}
	switch {
	case usage:
		a.fail(u)
		return exitUsage
	case a.exit != 0:
		a.fail(err)
		return a.exit
	}
	a.fail(err)
	return exitFailed
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "vss",
		Short: "Shadow copies of volumes, taken while applications go on writing",
		Long: `vss asks the Volume Shadow Copy Service for shadow copies of volumes: consistent point-in-time copies, of one volume
or of up to 64 at the same instant, while applications go on writing.

Volumes are named by mount point, device, UUID=... or LABEL=...; a folder inside a volume means its volume. If no
service answers and you are root, one is started; it goes away when nothing needs it any more.

Exit status: 0 done, 1 refused or failed, 2 wrong usage. With --json there is exactly one JSON document on standard
output, also for a failure.`,
		Example:       "  vss create /srv/data /srv/log\n  vss list shadows\n  vss exec /srv/data -- tar -C /srv/data -cf - . > data.tar",
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          a.group,
		PersistentPreRun: func(*cobra.Command, []string) {
			a.began = true
		},
	}
	root.CompletionOptions.DisableDefaultCmd = true
	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "print one JSON document")
	f.StringVar(&a.options.State, "state", "", "folder of what must last (default "+requester.DefaultState+")")
	f.StringVar(&a.options.Run, "run", "", "folder of the socket and of what lasts until a restart (default "+requester.DefaultRun+")")
	f.StringVar(&a.options.Config, "config", "", "configuration (default "+requester.DefaultConfig+")")
	root.AddCommand(
		a.createCommand(), a.execCommand(), a.backupCommand(), a.restoreCommand(), a.importCommand(),
		a.listCommand(), a.showCommand(), a.exposeCommand(), a.unexposeCommand(), a.breakCommand(), a.deleteCommand(),
		a.eventsCommand(), a.doctorCommand(), a.arrayCommand(), a.lunCommand(), a.demoCommand(), a.versionCommand(), a.completionCommand(),
	)
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			c.Example = "  vss help create"
		}
	}
	return root
}

// group is what a command does that only holds others.
func (a *app) group(cmd *cobra.Command, args []string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	what := "a command is missing"
	if len(args) > 0 {
		what = "there is no command " + cmd.CommandPath() + " " + args[0]
	}
	return &usageError{text: what, hint: "commands are " + strings.Join(names, ", ")}
}

// client connects to the service.
func (a *app) client(ctx context.Context) (*requester.Client, error) {
	return a.connect(ctx, a.options)
}

// with runs f with a connection.
func (a *app) with(ctx context.Context, f func(*requester.Client) error) error {
	c, err := a.client(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}
