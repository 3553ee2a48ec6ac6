package vsscmd

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stillpoint-vss/stillpoint/internal/mount"
	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/vss"
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
	volumes = slices.Clone(volumes)
	for i, v := range volumes {
		if !isRelative(v) {
			continue
		}
		if volumes[i], err = filepath.Abs(v); err != nil {
			return nil, nil, cli.Usagef("name the volume by its full path", "the path %s: %v", v, err)
		}
	}
	return volumes, command, nil
}

// isRelative reports whether the name of a volume is a path in the working directory, which the service doesn't know.
// UUID= and LABEL=, and letters such as P: are names of their own.
func isRelative(volume string) bool {
	letter := len(volume) >= 2 && volume[1] == ':'
	return volume != "" && !filepath.IsAbs(volume) && !letter && !strings.ContainsRune(volume, '=') &&
		!strings.HasPrefix(volume, `\\`)
}

// wholeVolumes returns an error for a name that is a folder or a file in a volume: where a disk is not mounted, the
// folder of its mount point lies on another volume. Names that don't exist are left to the service.
func wholeVolumes(volumes []string) error {
	for _, v := range volumes {
		real, err := filepath.EvalSymlinks(v)
		if err != nil {
			continue
		}
		st, err := os.Stat(real)
		if err != nil || !st.IsDir() && !st.Mode().IsRegular() || mount.IsPoint(real) {
			continue
		}
		at, err := mount.Of(real)
		if err != nil {
			continue
		}
		return vss.E("AddToSnapshotSet", vss.ErrInvalidArg,
			fmt.Errorf("it isn't a mount point but lies on the volume %s", at.Point)).On(v).
			Advise("mount the volume there, or name " + at.Point + "; --volume-of makes a copy of the volume that " +
				"contains a path")
	}
	return nil
}

func errNoCommand() error { return cli.Usagef("write the command after --", "missing argument CMD") }
