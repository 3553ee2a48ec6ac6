package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/aside"
	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// saved is a cluster as recorded in a backup.
type saved struct {
	*record
	all     *clusters
	stopped *Cluster // set by Stop: the cluster as it ran
}

var _ engine.Layer = (*saved)(nil)

// Recall implements engine.Engine. Errors: VSS_E_WRITERERROR_NONRETRYABLE for metadata of another writer or of a newer
// version.
func (s *clusters) Recall(metadata string) (engine.Saved, error) {
	r, err := readRecord(metadata)
	if err != nil {
		return nil, err
	}
	return &saved{record: r, all: s}, nil
}

// decisive is what Decisive returns.
type decisive struct {
	Cluster Cluster `json:"cluster"`
	Layout  layout  `json:"layout"`
}

// Decisive implements engine.Saved.
func (s *saved) Decisive() any { return decisive{s.Cluster, s.Layout} }

// Decide implements engine.Saved.
func (s *saved) Decide(text []byte) error {
	var d decisive
	err := json.Unmarshal(text, &d)
	s.Cluster, s.Layout = d.Cluster, d.Layout
	return err
}

// Adopt implements engine.Saved.
func (s *saved) Adopt(ctx context.Context) error {
	running, err := s.all.find(ctx, s.Data)
	if err == nil && running == nil {
		err = fmt.Errorf("no server with the data directory %s is running", s.Data)
	}
	if err != nil {
		return err
	}
	l, err := running.layout()
	if err != nil {
		return err
	}
	s.Cluster, s.Layout = *running, *l
	return nil
}

// Files implements engine.Saved. With a backup of WAL alone, files that were restored before stay in place.
func (s *saved) Files() ([]document.FileSet, aside.Owner) {
	if s.After != "" {
		return nil, s.owner()
	}
	return s.Layout.replaced(), s.owner()
}

// Stop implements engine.Saved. Errors: VSS_E_WRITERERROR_NONRETRYABLE for a running server, to whose data WAL can't
// be added.
func (s *saved) Stop(ctx context.Context) (ran bool, err error) {
	running, err := s.all.find(ctx, s.Data)
	if err != nil || running == nil {
		return false, err
	}
	if s.After != "" {
		return true, vss.E("PreRestore", vss.ErrWriterErrorNonRetryable,
			errors.New("the server is running, and the backup contains only WAL")).
			Advise("restore the full backup that it builds on first, and announce that more restores follow " +
				"(SetAdditionalRestores)")
	}
	s.stopped = running
	return true, running.stopFast(ctx)
}

// Resume implements engine.Layer. WAL must continue what was restored before; files of a full backup replace it.
func (s *saved) Resume(tag string) (ran bool, earlier []aside.Moved, err error) {
	if s.After == "" {
		if n, err := s.chain(); err == nil { // an earlier restore is being repeated
			return n.Running, n.Aside, nil
		}
		return false, nil, nil
	}
	n, err := s.follows()
	if err != nil {
		return false, nil, err
	}
	err = s.newSpaces(n, tag)
	if err == nil {
		err = s.setChain(*n)
	}
	if err != nil {
		return false, nil, vss.E("PreRestore", vss.ErrWriterErrorNonRetryable, err).
			Advise("give the folders of all tablespaces to the account that owns the cluster")
	}
	return n.Running, n.Aside, nil
}

// CheckRestored implements engine.Layer. With WAL of the backup missing a server would start without an error, with
// the data of an earlier time.
func (s *saved) CheckRestored(all bool) error {
	switch {
	case !all && s.After != "":
		return errors.New("not all of its WAL was restored, so the server stays stopped")
	case !all:
		return nil
	}
	if err := s.fill(); err != nil || s.After == "" {
		return err
	}
	if err := s.complete(); err != nil {
		return vss.E("PostRestore", vss.ErrWriterErrorNonRetryable, err).
			Advise("the server stays stopped; restore all WAL of this backup again")
	}
	return nil
}

// Next implements engine.Layer.
func (s *saved) Next(more, ran bool, all []aside.Moved) error {
	if more {
		return s.setChain(chain{Stamp: s.Stamp, Running: ran, Aside: all})
	}
	if s.Config != "" {
		if _, err := os.Stat(filepath.Join(s.Config, "postgresql.conf")); err != nil {
			return vss.E("PostRestore", vss.ErrWriterErrorNonRetryable, err).
				Advise("restore " + s.Config + ", too, and start the cluster")
		}
	}
	return s.endChain()
}

// Start implements engine.Saved.
func (s *saved) Start(ctx context.Context) error {
	if s.stopped != nil {
		return s.all.start(ctx, s.stopped)
	}
	err := s.all.start(ctx, &s.Cluster)
	if err == nil && s.After != "" {
		err = s.reached(ctx)
	}
	return err
}

// reached checks that recovery came to the end of the backup. A record that was being written at that time may be
// missing.
func (s *saved) reached(ctx context.Context) error {
	want, err := parsePosition(s.LSN)
	if err != nil {
		return err
	}
	running, err := s.all.find(ctx, s.Data)
	if err == nil && running == nil {
		err = errors.New("the server isn't running")
	}
	if err != nil {
		return err
	}
	return s.all.with(ctx, running, func(conn *pgx.Conn) error {
		var text string
		if err := conn.QueryRow(ctx, "SELECT pg_current_wal_lsn()::text").Scan(&text); err != nil {
			return err
		}
		at, err := parsePosition(text)
		if err == nil && uint64(at)+s.Segment < uint64(want) {
			err = fmt.Errorf("recovery ended at %s, but the backup ends at %s: its WAL is damaged", at, want)
		}
		return err
	})
}
