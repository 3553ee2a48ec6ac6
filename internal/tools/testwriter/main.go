package testwriter

import (
	"context"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/stillpoint-vss/stillpoint/internal/tools/cli"
	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

const help = `vss-testwriter - a writer controlled by a configuration, for tests

Usage:
  vss-testwriter [flags] FILE    run the writer that FILE describes, until SIGTERM

Flags:
  --run DIR      run directory of the service (default /run/vss); the socket is DIR/writers/NAME.sock
  --check        check the configuration and exit

FILE is a TOML file with the identity of the writer, its components and its faults; see docs/writers.md. The events that
the writer receives are written as JSON lines to standard output, or to the file that FILE names. A line with
"at":"complaint" is about a violation of VSS's rules by the requester.

Example:
  vss-testwriter --check writer.toml

Exit status: 0 success, 1 failure or complaints, 2 invalid command line, 9 the fault "die".
`

// Name is the name of the program. A program that contains it runs it when started with this name as argument 0.
const Name = "vss-testwriter"

// Main runs the program with its arguments, without its name, and returns its exit code.
func Main(args []string) int {
	return cli.Interruptible(func(ctx context.Context) int { return run(ctx, args, os.Stdout, os.Stderr) })
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	t := &cli.Tool{Name: Name, Stdout: stdout, Stderr: stderr}
	f := flag.NewFlagSet(Name, flag.ContinueOnError)
	dir := f.String("run", "/run/vss", "")
	check := f.Bool("check", false, "")
	if code, ok := t.ParseFlags(f, args, help); !ok {
		return code
	}
	if f.NArg() != 1 {
		return t.Misused("exactly one configuration is required", help)
	}
	s, err := load(f.Arg(0))
	if err == nil && !*check {
		var complaints int64
		complaints, err = serve(ctx, s, filepath.Join(*dir, "writers"), stdout, stderr)
		if complaints > 0 {
			t.Exit = cli.ExitFailed
		}
	}
	return t.Finish(err)
}

// serve runs the writer until ctx is done. It returns the number of complaints.
func serve(ctx context.Context, s *settings, folder string, stdout, stderr io.Writer) (complaints int64, err error) {
	out := stdout
	if s.Record != "" {
		f, err := os.OpenFile(s.Record, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return 0, vss.E("OpenRecord", vss.ErrUnexpected, err).On(s.Record).
				Advise("name another file with the key record")
		}
		defer f.Close()
		out = f
	}
	r := newRecord(s.Name, out)
	l, err := writer.Listen(folder, s.Socket)
	if err != nil {
		return 0, err
	}
	r.line(line{At: "ready", Event: "start", Socket: l.Addr().String()})
	err = writer.Serve(ctx, l, newWriter(s, r), slog.New(slog.NewTextHandler(stderr, nil)))
	return r.complaints.Load(), err
}
