package service

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/hold"
	"github.com/stillpoint-vss/stillpoint/internal/wire"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const help = `vssd - the Volume Shadow Copy Service

Usage:
  vssd [flags]        run until SIGTERM
  vssd [flags] thaw   release the volumes that a dead service left held, and end

Flags:
  --state DIR    what must last (default ` + requester.DefaultState + `)
  --run DIR      the socket, and what lasts until a restart (default ` + requester.DefaultRun + `); a tmpfs
  --config FILE  configuration (default ` + requester.DefaultConfig + `)
  --host NAME    this host's name in masks and documents (default: the configuration's, else the hostname)
  --on-demand    end when nobody needs the service any more
  --verbose      log what is of use for debugging only

Exit status: 0 done, 1 failed, 2 wrong usage.
`

// Main runs vssd with its arguments, without the program's name, and returns the exit code.
func Main(args []string) int { return run(args, os.Stderr) }

func run(args []string, stderr io.Writer) int {
	var o Options
	f := flag.NewFlagSet("vssd", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.State, "state", requester.DefaultState, "")
	f.StringVar(&o.Run, "run", requester.DefaultRun, "")
	f.StringVar(&o.Config, "config", "", "")
	f.StringVar(&o.Host, "host", "", "")
	f.BoolVar(&o.OnDemand, "on-demand", false, "")
	f.BoolVar(&o.Verbose, "verbose", false, "")
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(os.Stdout, help)
		return 0
	case err == nil && f.NArg() == 0:
	case err == nil && f.NArg() == 1 && f.Arg(0) == "thaw":
		return thaw(o.Run, stderr)
	default:
		if err == nil {
			err = fmt.Errorf("unknown command %s", strings.Join(f.Args(), " "))
		}
		fmt.Fprintf(stderr, "vssd: %v\n\n%s", err, help)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	outlive()
	if o.OnDemand {
		becomeHost(o)
	}
	context.AfterFunc(ctx, func() {
		time.AfterFunc(exitLimit, func() { os.Exit(1) }) // the guards release what is held
	})
	if err := Run(ctx, o); err != nil {
		tell(stderr, err)
		if o.OnDemand {
			_ = os.WriteFile(requester.StartFailure(o.Run), wire.MarshalError(err), 0o600)
		}
		return 1
	}
	return 0
}

// exitLimit is how long the process may take to exit after a signal. What still runs ends then, and its locks go.
const exitLimit = 40 * time.Second

// outlive makes the process ignore that its terminal or the reader of its log has gone. The signals are caught, not
// ignored, because programs that the service starts would inherit that.
func outlive() {
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGPIPE)
}

// thaw releases the volumes that the run directory lists as held.
func thaw(dir string, stderr io.Writer) int {
	names, err := hold.ThawAll(dir)
	for _, n := range names {
		fmt.Fprintf(os.Stdout, "released %s\n", n)
	}
	if err != nil {
		tell(stderr, err)
		return 1
	}
	return 0
}

func tell(w io.Writer, err error) {
	fmt.Fprintf(w, "vssd: %v\n", err)
	if h := vss.Hint(err); h != "" {
		fmt.Fprintf(w, "  hint: %s\n", h)
	}
}
