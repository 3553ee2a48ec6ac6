package vsscmd

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestCommandsAreDocumented: docs/commands.md names every command with each of its flags.
func TestCommandsAreDocumented(t *testing.T) {
	b, err := os.ReadFile("../../../docs/commands.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Runnable() && !c.HasSubCommands() && c.Name() != "help" && !strings.Contains(text, c.CommandPath()) {
			t.Errorf("docs/commands.md doesn't name `%s`", c.CommandPath())
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !strings.Contains(text, "--"+f.Name) {
				t.Errorf("docs/commands.md doesn't name --%s of `%s`", f.Name, c.CommandPath())
			}
		})
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(new(app).root())
}

// TestHelp checks that each command explains itself.
func TestHelp(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" || c.Long == "" || !strings.HasPrefix(c.Example, "  vss ") && !strings.Contains(c.Example,
			"vss completion") {
			t.Errorf("%s: short %q, long %q, example %q", c.CommandPath(), c.Short, c.Long, c.Example)
		}
		c.LocalFlags()
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(new(app).root())
	w := &world{run: t.TempDir()}
	if code, out, _ := w.vss(t, "create", "--help"); code != 0 || !strings.Contains(out, "vss create /srv/data") {
		t.Errorf("exit %d: %s", code, out)
	}
}
