// Package demo is the main job of a Volume Shadow Copy Service from end to end, on live volumes: it makes two volumes with a
// PostgreSQL under load, takes a shadow copy set of them, proves what a set promises, breaks it to stand in for the originals,
// and leaves nothing behind. It is a requester like any other; its service and all its files are in a scratch folder.
package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	vssv1 "github.com/stillpoint-vss/stillpoint/api/vss/v1"
	"github.com/stillpoint-vss/stillpoint/internal/demo/pgserver"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const signalLag = 100 * time.Millisecond

// Listener hears of the demo as it goes.
type Listener interface {
	Step(number, of int, title string) // one begins
	Note(label, text string)           // what was done, or found
	Set(requester.SnapshotSet)         // the set was created
}

// Config of a demo.
type Config struct {
	Folder   string // where the scratch folder is made; "": TMPDIR, else /var/tmp
	Exe      string // the program that is the service, as in requester.ConnectOptions
	Listener Listener
	At       func(step string) error // tests break the demo by it, at the end of a step; nil: nothing
}

// Proof is one thing that the demo claims, and what it found.
type Proof struct {
	Name   string // short, the same for ever
	Claim  string
	Found  string
	Proven bool
}

// Figures are what was measured.
type Figures struct {
	Create        time.Duration // the whole creation, as the requester sees it
	CommitsBefore float64       // commits a second before it
	LongestBefore time.Duration // that one of them took
	LongestCommit time.Duration // that one took while the set was created
	Acknowledged  int64         // commits that clients knew of when writes were held
	Recovered     int64         // commits on the copies
	Counters      [2]uint64     // on the copies of data and WAL
	Whole         time.Duration // from the start to the end, with cleaning up
}

// Report is what a demo that came to its end has found.
type Report struct {
	Set     requester.SnapshotSet
	Broken  []requester.BrokenLUN
	Proofs  []Proof
	Figures Figures
}

// Proven says whether everything was.
func (r *Report) Proven() bool {
	for _, p := range r.Proofs {
		if !p.Proven {
			return false
		}
	}
	return len(r.Proofs) == claims
}

// run is one demo under way.
type run struct {
	Config
	dir      string   // the scratch folder
	lock     *os.File // on it, as long as the demo lives
	client   *requester.Client
	disks    vssv1.DisksClient
	data     *volume
	wal      *volume
	server   *pgserver.Server // the original; later the same on the broken set
	load     load
	made     *requester.Created
	examined *examination // of the copies
	report   Report
}

// steps are the demo, in order.
var steps = []struct {
	name, title string
	do          func(*run, context.Context) error
}{
	{"volumes", "Two volumes on the array that is built in", (*run).makeVolumes},
	{"load", "PostgreSQL and a pair of counters write to them", (*run).startLoad},
	{"create", "A shadow copy set of both, while they go on", (*run).create},
	{"copies", "What the copies hold", (*run).lookIntoCopies},
	{"break", "The originals are masked, the set is broken to stand in for them", (*run).breakSet},
	{"broken", "PostgreSQL goes on where the originals were", (*run).useBroken},
}

// Run is the demo. It cleans up whatever happens, and after former ones that were killed. A report without an error may still
// have claims that were not proven. Errors: E_ACCESSDENIED for other users than root; VSS_E_NOT_SUPPORTED where a program or
// loop devices are missing; VSS_S_ASYNC_CANCELLED when ctx was; else the step at which it ended with its cause.
func Run(ctx context.Context, c Config) (*Report, error) {
	began := time.Now()
	if err := c.ready(); err != nil {
		return nil, err
	}
	r, err := begin(c)
	if err != nil {
		return nil, err
	}
	cleaned := false
	defer func() {
		if !cleaned { // a panic, which goes on
			_ = r.clean()
		}
	}()
	err = r.perform(ctx)
	if err != nil {
		select { // Ctrl-C ends our children, too, and what comes of that may be faster than the signal
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
	r.prove("nothing left", "nothing of the demo is left", left == nil, "%s", told(left, "no mount, loop device, process or file"))
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
		return vss.E("Demo", vss.CodeOf(err), err).On(s.name).Advise("run it again; if it ends here again, report what it printed")
	}
	return nil
}

// claims is how many things a whole demo proves.
const claims = 12

// prove notes whether a claim holds.
func (r *run) prove(name, claim string, proven bool, format string, args ...any) {
	r.report.Proofs = append(r.report.Proofs, Proof{name, claim, fmt.Sprintf(format, args...), proven})
}

// told is an error's text, or well.
func told(err error, well string) string {
	if err != nil {
		return err.Error()
	}
	return well
}
