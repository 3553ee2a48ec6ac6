package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// ParseFlags parses the flags of a tool without subcommands. If it returns false the tool must exit with code: the
// flags were invalid, or help was requested and printed.
func (t *Tool) ParseFlags(f *flag.FlagSet, args []string, help string) (code int, ok bool) {
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(t.Stdout, help)
		return ExitDone, false
	case err != nil:
		return t.Misused(err.Error(), help), false
	}
	return ExitDone, true
}

// Misused prints an error of the command line, followed by the help of the tool, and returns the exit code.
func (t *Tool) Misused(text, help string) int {
	fmt.Fprintf(t.Stderr, "%s: %s\n\n%s", t.Name, text, help)
	return ExitUsage
}

// ParseCode parses a result code, by name or number.
func ParseCode(s string) (vss.Code, error) {
	if c, ok := vss.CodeByName(s); ok {
		return c, nil
	}
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil {
		return 0, fmt.Errorf("unknown result code %q", s)
	}
	return vss.Code(n), nil
}
