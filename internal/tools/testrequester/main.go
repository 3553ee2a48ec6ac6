package testrequester

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const help = `vss-testrequester - makes the calls of a script, right or wrong, and prints what each gave

Usage:
  vss-testrequester [flags] FILE    FILE: one call a line; - is standard input

Flags:
  --run DIR   the service's folder (default /run/vss)
  --json      print one JSON document a line
  --calls     list the calls and end

A line is a call with its arguments, in quotation marks where they have blanks; & at its end doesn't wait for an
asynchronous one; => RESULT is what the script expects; # begins a comment. $SET and $COPY1, $COPY2 ... are the ids that
StartSnapshotSet and AddToSnapshotSet gave. docs/writers.md has examples.

Exit status: 0 done, 1 failed, or a result was not the expected one, 2 wrong usage.
`

// Name is the first argument by which a program that holds this one, too, knows that it is to be it.
const Name = "vss-testrequester"

// Main is the program: its arguments after the name in, exit code out.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	return run(ctx, args, os.Stdin, os.Stdout, os.Stderr)
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet(Name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	dir := f.String("run", requester.DefaultRun, "")
	json := f.Bool("json", false, "")
	list := f.Bool("calls", false, "")
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, help)
		return 0
	case err == nil && *list:
		for i := range calls {
			fmt.Fprintln(stdout, calls[i].usage())
		}
		return 0
	case err == nil && f.NArg() != 1:
		err = errors.New("want one script")
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n\n%s", Name, err, help)
		return 2
	}
	r := &runner{json: *json, out: stdout}
	if err := r.file(ctx, f.Arg(0), *dir, stdin); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", Name, err)
		if h := vss.Hint(err); h != "" {
			fmt.Fprintf(stderr, "  hint: %s\n", h)
		}
		return 1
	}
	if r.wrong > 0 {
		fmt.Fprintf(stderr, "%s: %d results are not what the script expects\n", Name, r.wrong)
		return 1
	}
	return 0
}

// file runs the script at a path.
func (r *runner) file(ctx context.Context, path, dir string, stdin io.Reader) error {
	in := stdin
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
	if r.client, err = requester.Connect(ctx, requester.ConnectOptions{Run: dir}); err != nil {
		return err
	}
	defer r.client.Close()
	return r.run(ctx, script)
}
