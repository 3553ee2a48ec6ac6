package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Exit codes. A tool that runs a command of the user exits with the status of that command; the last four are for the
// cases in which there is none, as in env(1).
const (
	ExitDone    = 0
	ExitFailed  = 1
	ExitUsage   = 2
	ExitTool    = 125 // the tool failed
	ExitNotRun  = 126 // the command cannot be executed
	ExitMissing = 127 // the command was not found
	ExitSignal  = 128 // plus the number of the signal that ended the command
)

// Tool is one run of a command-line tool.
type Tool struct {
	Name           string // name of the program, which precedes its messages
	JSON           bool   // write one JSON document to Stdout, and nothing else there
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Service        requester.ConnectOptions
	// Exit is the exit code of a run that ends without an error and, if it isn't ExitDone, of one that fails. A usage
	// error always has ExitUsage.
	Exit int
}

// output is a writer that keeps its first error.
type output struct {
	io.Writer
	err error
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	n, err := o.Writer.Write(b)
	if o.err == nil {
		o.err = err
	}
	return n, err
}

// Watch makes Finish report a failure to write to standard output, which would otherwise be lost. A *os.File that a
// command is to inherit must be taken before.
func (t *Tool) Watch() {
	if _, ok := t.Stdout.(*output); !ok {
		t.Stdout = &output{Writer: t.Stdout}
	}
}

// Inherited returns standard output for a command of the user: the writer that Watch has replaced.
func (t *Tool) Inherited() io.Writer {
	if o, ok := t.Stdout.(*output); ok {
		return o.Writer
	}
	return t.Stdout
}

// With connects to the service, calls f and closes the connection.
func (t *Tool) With(ctx context.Context, f func(*requester.Client) error) error {
	c, err := requester.Connect(ctx, t.Service)
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}

// Session opens a requester object with the given context, calls f and closes it.
func (t *Tool) Session(
	ctx context.Context, context vss.Context, f func(*requester.Client, *requester.BackupComponents) error,
) error {
	return t.With(ctx, func(c *requester.Client) error {
		b, err := c.Open(ctx, t.Name)
		if err != nil {
			return err
		}
		defer b.Close()
		if err := b.InitializeForBackup(ctx, nil); err != nil {
			return err
		}
		if err := b.SetContext(ctx, context); err != nil {
			return err
		}
		return f(c, b)
	})
}

// Finish prints the error with which the tool ends, if any, and returns the exit code.
func (t *Tool) Finish(err error) int {
	if err == nil {
		if o, ok := t.Stdout.(*output); ok && o.err != nil {
			fmt.Fprintf(t.Stderr, "%s: standard output: %v\n", t.Name, o.err)
			return cmp.Or(t.Exit, ExitFailed)
		}
		return t.Exit
	}
	t.PrintError(err)
	var u *UsageError
	switch {
	case errors.As(err, &u):
		return ExitUsage
	case t.Exit != ExitDone:
		return t.Exit
	}
	return ExitFailed
}

// Warnf prints a warning to standard error.
func (t *Tool) Warnf(format string, args ...any) {
	fmt.Fprintf(t.Stderr, t.Name+": warning: "+format+"\n", args...)
}

// PrintJSON writes the JSON document of the run.
func (t *Tool) PrintJSON(v any) {
	e := json.NewEncoder(t.Stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		t.Exit = ExitFailed // standard output is closed, so a message would not help
	}
}
