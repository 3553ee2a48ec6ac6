// Package conform is the program vss-conform, which runs the suites of providertest and writertest against a socket.
package conform

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/stillpoint-vss/stillpoint/conformance"
	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/provider"
)

const help = `vss-conform - test a provider or a writer

Usage:
  vss-conform [flags] SOCKET    run the suite for the provider or writer that serves at SOCKET

Flags:
  --volume VOLUME     a volume that the software provider copies, by mount point or device; give two. The cases write
                      a file .vss-conform into mounted volumes, and freeze them while copies are taken
  --luns FILE         the LUNs that the hardware provider copies: a JSON list of two LUN descriptions
  --restart COMMAND   kills the provider and starts it again; without it, cases about restarts are skipped
  --copies COMMAND    prints the number of copies in the provider's storage, finished or not; without it, leftovers
                      are not noticed
  --frozen COMMAND    succeeds while the writer's application is frozen; without it, that is not checked
  --cases PATTERN     run only the cases whose name matches the regular expression
  --json              write one JSON document to standard output

The service must not use the provider or writer meanwhile: use a socket outside of /run/vss. Commands are run
by /bin/sh. The cases are those of the Go packages providertest and writertest; see docs/providers.md.

Example:
  vss-conform --volume /mnt/a --volume /mnt/b --copies 'ls /images/copies/*.img | wc -l' /tmp/p/images.sock

Exit status: 0 no case failed, 1 a case failed or the suite could not run, 2 invalid command line.
`

// Name is the name of the program.
const Name = "vss-conform"

// Main runs the program with its arguments, without its name, and returns its exit code.
func Main(args []string) int {
	return cli.Interruptible(func(ctx context.Context) int { return run(ctx, args, os.Stdout, os.Stderr) })
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	t := &cli.Tool{Name: Name, Stdout: stdout, Stderr: stderr}
	o := options{find: func(names []string) ([]provider.Volume, error) { return findVolumes(ctx, names) }}
	f := flag.NewFlagSet(Name, flag.ContinueOnError)
	f.Func("volume", "", func(s string) error {
		o.volumes = append(o.volumes, s)
		return nil
	})
	f.StringVar(&o.luns, "luns", "", "")
	f.Func("restart", "", func(command string) error {
		o.restart = func() error {
			_, err := sh(ctx, command)
			return err
		}
		return nil
	})
	f.Func("copies", "", func(command string) error {
		o.copies = func() (int, error) {
			out, err := sh(ctx, command)
			if err != nil {
				return 0, err
			}
			return strconv.Atoi(out)
		}
		return nil
	})
	f.Func("frozen", "", func(command string) error {
		o.frozen = func() bool {
			_, err := sh(ctx, command)
			return err == nil
		}
		return nil
	})
	pattern := f.String("cases", "", "")
	f.BoolVar(&t.JSON, "json", false, "")
	if code, ok := t.ParseFlags(f, args, help); !ok {
		return code
	}
	if f.NArg() != 1 {
		return t.Misused("exactly one socket is required", help)
	}
	o.socket = f.Arg(0)
	only, err := regexp.Compile(*pattern)
	if err != nil {
		return t.Misused("--cases: "+err.Error(), help)
	}
	return t.Finish(report(ctx, t, o, only))
}

// result is the JSON document of a run.
type result struct {
	Socket  string    `json:"socket"`
	Kind    string    `json:"kind"` // "hardware provider", "software provider" or "writer"
	Name    string    `json:"name"`
	Cases   []verdict `json:"cases"`
	Passed  int       `json:"passed"`
	Failed  int       `json:"failed"`
	Skipped int       `json:"skipped"`
}

type verdict struct {
	Name         string              `json:"name"`
	Outcome      conformance.Outcome `json:"outcome"`
	Messages     []string            `json:"messages,omitempty"`
	Milliseconds float64             `json:"milliseconds"`
}

// errInterrupted ends a run that a signal cut short.
var errInterrupted = errors.New("interrupted before the last case")

// report runs the suite and prints a verdict on each case.
func report(ctx context.Context, t *cli.Tool, o options, only *regexp.Regexp) error {
	s, err := o.suite(ctx)
	if err != nil {
		return err
	}
	r := result{Socket: o.socket, Kind: s.kind, Name: s.name, Cases: []verdict{}}
	if !t.JSON {
		fmt.Fprintf(t.Stdout, "%s %q at %s\n", s.kind, s.name, o.socket)
	}
	var cases []conformance.Case
	for _, c := range s.cases {
		if only.MatchString(c.Name) {
			cases = append(cases, c)
		}
	}
	conformance.Run(ctx, cases, func(v conformance.Verdict) {
		r.Cases = append(r.Cases, verdict{v.Case, v.Outcome, v.Messages, cli.Milliseconds(v.Elapsed)})
		switch v.Outcome {
		case conformance.Pass:
			r.Passed++
		case conformance.Fail:
			r.Failed++
		case conformance.Skip:
			r.Skipped++
		}
		if !t.JSON {
			printVerdict(t.Stdout, v)
		}
	})
	if t.JSON {
		t.PrintJSON(r)
	} else {
		fmt.Fprintf(t.Stdout, "%d passed, %d failed, %d skipped\n", r.Passed, r.Failed, r.Skipped)
	}
	if r.Failed > 0 {
		t.Exit = cli.ExitFailed
	}
	if len(r.Cases) < len(cases) {
		return errInterrupted
	}
	return nil
}

// printVerdict prints one line for a case, and its messages indented below it.
func printVerdict(w io.Writer, v conformance.Verdict) {
	if v.Outcome == conformance.Skip {
		fmt.Fprintf(w, "skip  %s: %s\n", v.Case, strings.Join(v.Messages, "; "))
		return
	}
	fmt.Fprintf(w, "%s  %s\n", v.Outcome, v.Case)
	for _, m := range v.Messages {
		fmt.Fprintf(w, "      %s\n", strings.ReplaceAll(m, "\n", "\n      "))
	}
}
