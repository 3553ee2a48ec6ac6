// Package demo demonstrates the service from end to end on volumes in use. It creates two volumes with a PostgreSQL
// server under load, creates a shadow copy set of them, verifies the guarantees of a set, breaks the set, puts it in
// the place of the originals, and removes everything it made. It is a requester like any other; its service and all its
// files are in a temporary directory.
package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/demo/pgserver"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// signalLag is how long to wait after a failure for the signal that may have caused it.
const signalLag = 100 * time.Millisecond

// Listener is notified of the progress of the demonstration.
type Listener interface {
	Step(number, of int, title string) // a step begins
	Note(label, text string)           // something was done or found
	Set(requester.SnapshotSet)         // the set was created
}

// Config is the configuration of a demonstration.
type Config struct {
	Folder   string // where the temporary directory is created; "": TMPDIR, or else /var/tmp
	Exe      string // the program to start as the service, as in requester.ConnectOptions
	Listener Listener
	At       func(step string) error // for tests: called at the end of each step; may be nil
}

// Proof is one claim of the demonstration and the result of its check.
type Proof struct {
	Name   string // short; never changes
	Claim  string
	Found  string
	Proven bool
}

// Figures are the measurements of the demonstration.
type Figures struct {
	Create        time.Duration // the creation of the set, as the requester sees it
	CommitsBefore float64       // commits per second before it
	LongestBefore time.Duration // longest commit before it
	LongestCommit time.Duration // longest commit while the set was created
	Acknowledged  int64         // commits acknowledged before writes were held
	Recovered     int64         // commits on the copies
	Counters      [2]uint64     // counters on the copies of data and WAL
	Whole         time.Duration // the demonstration, including cleaning up
}

// Report is the result of a demonstration that ran to its end.
type Report struct {
	Set     requester.SnapshotSet
	Broken  []requester.BrokenLUN
	Proofs  []Proof
	Figures Figures
}

// Proven reports whether every claim was verified.
func (r *Report) Proven() bool {
	for _, p := range r.Proofs {
		if !p.Proven {
			return false
		}
	}
	return len(r.Proofs) == claims
}

// run is one demonstration.
type run struct {
	Config
	dir      string   // the temporary directory
	lock     *os.File // the lock on it
	client   *requester.Client
	disks    *requester.Disks
	data     *volume
	wal      *volume
	server   *pgserver.Server // on the originals, later on the broken set
	load     load
	made     *requester.Created
	examined *examination // of the copies
	report   Report
}

// steps are the steps of the demonstration, in order.
var steps = []struct {
	name, title string
	do          func(*run, context.Context) error
}{
	{"volumes", "Create two volumes on the built-in array", (*run).makeVolumes},
	{"load", "Write to them with PostgreSQL and a pair of counters", (*run).startLoad},
	{"create", "Create a shadow copy set of both meanwhile", (*run).create},
	{"copies", "Check the copies", (*run).lookIntoCopies},
	{"break", "Mask the originals and break the set to replace them", (*run).breakSet},
	{"broken", "Start PostgreSQL in place of the originals", (*run).useBroken},
}

// Run runs the demonstration. It always cleans up, also after earlier demonstrations that were killed. The report may
// contain claims that were not verified. Errors: E_ACCESSDENIED if the caller isn't root; VSS_E_NOT_SUPPORTED if a
// program or loop devices are missing; VSS_S_ASYNC_CANCELLED if ctx is cancelled; otherwise the error names the step
// that failed.
func Run(ctx context.Context, c Config) (*Report, error) {
	began := time.Now()
	if err := c.checkReady(); err != nil {
		return nil, err
	}
	r, err := begin(c)
	if err != nil {
		return nil, err
	}
	cleaned := false
	defer func() {
		if !cleaned { // after a panic
			_ = r.clean()
		}
	}()
	err = r.perform(ctx)
	if err != nil {
		select { // Ctrl-C also ends child processes, whose failure may be noticed before the signal
		case <-ctx.Done():
		case <-time.After(signalLag):
		}
	}
	if ctx.Err() != nil {
		err = vss.E("Demo", vss.SuccessAsyncCancelled, context.Canceled)
	}
	if err == nil {
		r.Listener.Step(len(steps)+1, len(steps)+1, "Cleaning up")
	}
	cleaned = true
	left := r.clean()
	switch {
	case err != nil && left != nil:
		return nil, vss.E("Demo", vss.ErrUnexpected, errors.Join(err, left)).On(r.dir).Advise(vss.Hint(left))
	case err != nil:
		return nil, err
	}
	r.prove("nothing left", "the demo has removed all that it made", left == nil,
		"%s", outcome(left, "no mount, loop device, process or file is left"))
	r.report.Figures.Whole = time.Since(began)
	return &r.report, nil
}

func (r *run) perform(ctx context.Context) error {
	for i, s := range steps {
		r.Listener.Step(i+1, len(steps)+1, s.title)
		err := s.do(r, ctx)
		if err == nil && r.At != nil {
			err = r.At(s.name)
		}
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			continue
		}
		var known *vss.Error
		if errors.As(err, &known) && known.Hint != "" {
			return err
		}
		return vss.E("Demo", vss.CodeOf(err), err).On(s.name).
			Advise("run it again; if it fails again, report its output")
	}
	return nil
}

// claims is the number of claims that a complete demonstration checks.
const claims = 12

// prove records whether a claim was verified.
func (r *run) prove(name, claim string, proven bool, format string, args ...any) {
	r.report.Proofs = append(r.report.Proofs, Proof{name, claim, fmt.Sprintf(format, args...), proven})
}

// outcome returns the text of an error, or success if there is none.
func outcome(err error, success string) string {
	if err != nil {
		return err.Error()
	}
	return success
}
