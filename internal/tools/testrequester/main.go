package testrequester

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const help = `vss-testrequester - makes the calls of a script and prints their results

Usage:
  vss-testrequester [flags] FILE    run the script FILE; - is standard input

Flags:
  --run DIR   run directory of the service (default /run/vss)
  --json      print one JSON document per line
  --calls     list the calls and exit

A line contains a call and its arguments. Arguments with blanks are quoted. With & at the end of the line the script
does not wait for an asynchronous call. With => RESULT it expects that result. A comment begins with #. $SET, $COPY1,
$COPY2 and so on are the ids returned by StartSnapshotSet and AddToSnapshotSet. docs/writers.md has examples.

Example:
  echo 'SetContext backup => S_OK' | vss-testrequester -

Exit status: 0 success, 1 failure or a result that was not expected, 2 invalid command line.
`

// Name is the name of the program. A program that contains it runs it when started with this name as argument 0.
const Name = "vss-testrequester"

// Main runs the program with its arguments, without its name, and returns its exit code.
func Main(args []string) int {
	return cli.Interruptible(func(ctx context.Context) int { return run(ctx, args, os.Stdin, os.Stdout, os.Stderr) })
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	t := &cli.Tool{Name: Name, Stdin: stdin, Stdout: stdout, Stderr: stderr}
	f := flag.NewFlagSet(Name, flag.ContinueOnError)
	f.StringVar(&t.Service.Run, "run", requester.DefaultRun, "")
	json := f.Bool("json", false, "")
	list := f.Bool("calls", false, "")
	if code, ok := t.ParseFlags(f, args, help); !ok {
		return code
	}
	if *list {
		for i := range calls {
			fmt.Fprintln(stdout, calls[i].usage())
		}
		return cli.ExitDone
	}
	if f.NArg() != 1 {
		return t.Misused("exactly one script is required", help)
	}
	r := &runner{json: *json, out: stdout}
	err := r.file(ctx, t, f.Arg(0))
	if err == nil && r.wrong > 0 {
		fmt.Fprintf(stderr, "%s: %d results were not as the script expects\n", Name, r.wrong)
		t.Exit = cli.ExitFailed
	}
	return t.Finish(err)
}

// file runs the script in the file at path.
func (r *runner) file(ctx context.Context, t *cli.Tool, path string) error {
	in := t.Stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return vss.E("ReadScript", vss.ErrObjectNotFound, err).On(path)
		}
		defer f.Close()
		in = f
	}
	script, err := parse(in)
	if err != nil {
		return err
	}
	return t.With(ctx, func(c *requester.Client) error {
		r.client = c
		return r.run(ctx, script)
	})
}
