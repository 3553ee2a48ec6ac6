package vsscmd

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
)

// group is the action of a command that only has subcommands: it fails and lists them.
func (a *app) group(cmd *cobra.Command, args []string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	text := "missing command"
	if len(args) > 0 {
		text = "unknown command " + cmd.CommandPath() + " " + args[0]
	}
	return &cli.UsageError{Text: text, Hint: "commands are " + strings.Join(names, ", ")}
}

// exactly checks that a command has one argument for each name.
func exactly(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return cli.Usagef("", "missing argument %s", names[len(args)])
		case len(args) > len(names):
			return cli.Usagef("", "too many arguments: %s", strings.Join(args[len(names):], " "))
		}
		return nil
	}
}

// split separates the volumes from the command after --.
func split(cmd *cobra.Command, args []string) (volumes, command []string, err error) {
	volumes = args
	if n := cmd.ArgsLenAtDash(); n >= 0 {
		volumes, command = args[:n], args[n:]
		if len(command) == 0 {
			return nil, nil, errNoCommand()
		}
	}
	if len(volumes) == 0 {
		return nil, nil, cli.Usagef("name volumes by mount point, device, UUID= or LABEL=", "missing argument VOLUME")
	}
	return volumes, command, nil
}

func errNoCommand() error { return cli.Usagef("write the command after --", "missing argument CMD") }
