package testwriter

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
	"github.com/stillpoint-vss/stillpoint/writer"
)

const help = `vss-testwriter - a writer made of a configuration, for tests

Usage:
  vss-testwriter [flags] FILE    take part as FILE says, until SIGTERM

Flags:
  --run DIR      the service's folder (default /run/vss); the socket is DIR/writers/NAME.sock
  --check        read the configuration and end

FILE is TOML: who the writer is, its components, and what it does wrong; docs/writers.md explains it. What the writer is
told goes to standard output, or where FILE says, as JSON lines; one with "at":"complaint" says what the requester did wrong.

Exit status: 0 done, 1 failed, or there were complaints, 2 wrong usage, 9 died as FILE says.
`

// Name is the first argument by which a program that holds this one, too, knows that it is to be it.
const Name = "vss-testwriter"

// Main is the program: its arguments after the name in, exit code out.
func Main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	return run(ctx, args, os.Stdout, os.Stderr)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet(Name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	dir := f.String("run", "/run/vss", "")
	check := f.Bool("check", false, "")
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, help)
		return 0
	case err == nil && f.NArg() != 1:
		err = errors.New("want one configuration")
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n\n%s", Name, err, help)
		return 2
	}
	s, err := load(f.Arg(0))
	if err == nil && !*check {
		var complaints int64
		if complaints, err = serve(ctx, s, filepath.Join(*dir, "writers"), stdout, stderr); err == nil && complaints > 0 {
			return 1
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", Name, err)
		if h := vss.Hint(err); h != "" {
			fmt.Fprintf(stderr, "  hint: %s\n", h)
		}
		return 1
	}
	return 0
}

// serve takes part until ctx ends, and tells how often the writer had to complain.
func serve(ctx context.Context, s *settings, folder string, stdout, stderr io.Writer) (complaints int64, err error) {
	out := stdout
	if s.Record != "" {
		f, err := os.OpenFile(s.Record, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return 0, vss.E("OpenRecord", vss.ErrUnexpected, err).On(s.Record).Advise("name another file with record")
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
