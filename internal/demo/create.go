package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/counters"
	"github.com/stillpoint-vss/stillpoint/internal/demo/pgserver"
	"github.com/stillpoint-vss/stillpoint/internal/hold"
	"github.com/stillpoint-vss/stillpoint/internal/writers/postgres"
	"github.com/stillpoint-vss/stillpoint/requester"
	"github.com/stillpoint-vss/stillpoint/vss"
)

const program = "vss demo" // name of the requester in the log of the service

func (r *run) create(ctx context.Context) error {
	f := &r.report.Figures
	began := time.Now()
	var err error
	r.made, err = r.client.Create(ctx, requester.Options{
		Program: program, Context: vss.ContextAppRollback, Volumes: []string{r.data.point, r.wal.point},
		BackupType: vss.BackupCopy,
	}, nil)
	f.Create = time.Since(began)
	if err != nil {
		return err
	}
	_, _, _, f.LongestCommit = r.load.journal.Pauses()
	set := r.made.Set
	r.report.Set = set
	r.Listener.Set(set)
	if len(set.Snapshots) != 2 {
		return fmt.Errorf("the set has %d copies, not 2", len(set.Snapshots))
	}

	r.prove("application consistent", "the set is application consistent, by PostgreSQL's writer",
		tookPart(set) == nil && set.Consistency == "application",
		"%s", outcome(tookPart(set), "the writer was frozen for "+ms(set.WriterWindow)))
	r.prove("short hold", "writes are held for less than the 10 s allowed", set.Hold > 0 && set.Hold < hold.MaxLimit,
		"held for %s, the longest commit took %s (%s before)", ms(set.Hold), ms(f.LongestCommit), ms(f.LongestBefore))
	return nil
}

// tookPart returns an error unless PostgreSQL's writer took part in the set and did not fail.
func tookPart(set requester.SnapshotSet) error {
	i := slices.IndexFunc(set.Writers, func(w requester.WriterStatus) bool { return w.ID == postgres.ID })
	switch {
	case i < 0:
		return errors.New("the " + postgres.Name + " did not take part")
	case set.Writers[i].Failure.Failed():
		return fmt.Errorf("the writer failed: %s: %s", set.Writers[i].Failure.Name(), set.Writers[i].Message)
	}
	return nil
}

// moments returns the times just before writes were held and just after they were released.
func moments(set requester.SnapshotSet) (held, released time.Time, err error) {
	for _, s := range set.Timeline {
		switch s.Name {
		case "hold":
			held = set.Created.Add(s.Start)
		case "release":
			released = set.Created.Add(s.End)
		}
	}
	if held.IsZero() || released.IsZero() {
		return held, released, errors.New("the timeline has no hold")
	}
	return held, released, nil
}

func (r *run) lookIntoCopies(ctx context.Context) error {
	held, released, err := moments(r.made.Set)
	if err != nil {
		return err
	}
	before, after := r.load.before(held), r.load.after(released)
	var roots [2]string
	for i, s := range r.made.Set.Snapshots {
		m, err := r.made.Session.MountSnapshot(ctx, s.ID)
		if err != nil {
			return err
		}
		roots[i] = m.Path
	}
	counted, err := counters.Read(roots[:]...)
	if err != nil {
		return err
	}
	r.report.Figures.Counters = [2]uint64(counted)
	r.prove("one instant", "both copies are of the same instant, during the hold",
		counters.OneInstant(counted) && counted[1] >= before.count && counted[0] <= after.count+1,
		"counters are %d and %d; %d before the hold, %d after it", counted[0], counted[1], before.count, after.count)
	r.Listener.Note("counters", fmt.Sprintf("data %d, WAL %d", counted[0], counted[1]))

	server, err := r.readOut(ctx, roots)
	if err != nil {
		return err
	}
	r.Listener.Note("PostgreSQL", "recovers the data of the copies, in copies/ because these are read-only")
	e := &examination{}
	err = server.Start(ctx)
	if err == nil {
		e, err = examine(ctx, server)
		err = errors.Join(err, server.Stop(ctx))
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.examined = e
	r.prove("PostgreSQL starts", "PostgreSQL starts on the copies, its tables are intact", err == nil && e.fault == nil,
		"%s", outcome(errors.Join(err, e.fault), "recovered; pg_amcheck finds no error"))
	r.report.Figures.Acknowledged, r.report.Figures.Recovered = before.commits(), e.commits()
	why := e.holds(before, after)
	r.prove("no commit lost", "no acknowledged commit is missing, and none is too new", why == nil,
		"%s", outcome(why, fmt.Sprintf("%d acknowledged before the hold, %d on the copies, %d after the hold",
			before.commits(), e.commits(), after.commits())))
	r.prove("balanced", "the sums of pgbench's tables agree on the copies", e.balanced, "%s", e.sums)
	r.Listener.Note("commits", fmt.Sprintf("%d acknowledged before the hold, %d on the copies", before.commits(),
		e.commits()))
	r.Listener.Note("pgbench", e.sums)
	if a, err := r.made.Session.BackupComplete(ctx); err != nil {
		return err
	} else if _, err := a.Wait(ctx, nil); err != nil {
		return err
	}
	return nil
}

// readOut copies the database from the copies, which are read-only, and returns a server for it.
func (r *run) readOut(ctx context.Context, roots [2]string) (*pgserver.Server, error) {
	dir := r.path("copies")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	s := &pgserver.Server{
		Data: filepath.Join(dir, r.data.name), WAL: filepath.Join(dir, r.wal.name), Run: r.path("pg-copies"),
		Settings: r.server.Settings,
	}
	for i, to := range []string{s.Data, s.WAL} {
		if err := tool(ctx, "cp", "-a", filepath.Join(roots[i], "pg"), to); err != nil {
			return nil, err
		}
	}
	link := filepath.Join(s.Data, "pg_wal")
	if err := os.Remove(link); err != nil {
		return nil, err
	}
	return s, errors.Join(os.Symlink(s.WAL, link), forgetOwner(s.Data))
}

// forgetOwner removes the lock file of the server that was running when the copy was made.
func forgetOwner(data string) error { return os.Remove(filepath.Join(data, "postmaster.pid")) }

// tool runs a program. Its error contains the output.
func tool(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }
