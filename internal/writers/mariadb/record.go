package mariadb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/aside"
	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// recordFormat is the version of record. It is raised when older programs can no longer restore by it.
const recordFormat = 1

// record is the backup metadata of a component: what a restore requires, and what the copy holds.
type record struct {
	Format int `json:"format"`
	server.Process
	Layout   layout    `json:"layout"`
	Server   string    `json:"server_version"`
	ServerID string    `json:"server_id"`
	Frozen   time.Time `json:"frozen"`
	// The copy holds the binary log up to this position and nothing beyond it: a replica made from the copy, or a
	// recovery to a later time, continues here. File is "" without binary log.
	File     string `json:"binlog_file,omitempty"`
	Position uint64 `json:"binlog_position,omitempty"`
	GTID     string `json:"gtid_binlog,omitempty"`
	Current  string `json:"gtid_current,omitempty"` // including changes from a primary
}

// stamp returns the backup stamp: the position at which the next backup of the same server continues.
func (r *record) stamp() string {
	if r.File == "" {
		return ""
	}
	return fmt.Sprintf("server=%s file=%s position=%d gtid=%s", r.ServerID, r.File, r.Position, r.GTID)
}

// saved is a server as recorded in a backup.
type saved struct {
	record
	all *servers
}

var _ engine.Saved = (*saved)(nil)

// Recall implements engine.Engine. Errors: VSS_E_WRITERERROR_NONRETRYABLE for metadata of another writer or of a newer
// version.
func (s *servers) Recall(metadata string) (engine.Saved, error) {
	r, err := engine.ReadMetadata(metadata, recordFormat, func(r *record) error {
		if r.Layout.Data == "" || r.Layout.Data != r.Dir || r.Program == "" {
			return errors.New("the metadata don't describe a MariaDB server")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &saved{*r, s}, nil
}

// decisive is what Decisive returns.
type decisive struct {
	Process server.Process `json:"process"`
	Layout  layout         `json:"layout"`
}

// Decisive implements engine.Saved.
func (s *saved) Decisive() any { return decisive{s.Process, s.Layout} }

// Decide implements engine.Saved.
func (s *saved) Decide(text []byte) error {
	var d decisive
	err := json.Unmarshal(text, &d)
	s.Process, s.Layout = d.Process, d.Layout
	return err
}

// Adopt implements engine.Saved.
func (s *saved) Adopt(ctx context.Context) error {
	i, err := s.running(ctx)
	if err == nil && i == nil {
		err = fmt.Errorf("no server with the data directory %s is running", s.Dir)
	}
	if err != nil {
		return err
	}
	c, err := i.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	l, err := c.layout(ctx, i.Dir)
	if err != nil {
		return err
	}
	s.Process, s.Layout = *i.Process, *l
	return nil
}

// Files implements engine.Saved.
func (s *saved) Files() ([]document.FileSet, aside.Owner) {
	return s.Layout.files(), aside.Owner{UID: s.UID, GID: s.GID}
}

// running returns the running server with the data directory, nil if there is none.
func (s *saved) running(ctx context.Context) (*instance, error) {
	p, err := s.all.finder().In(ctx, s.Dir)
	if err != nil || p == nil {
		return nil, err
	}
	return s.all.instance(p), nil
}

// Stop implements engine.Saved. A server that stops writes everything to disk.
func (s *saved) Stop(ctx context.Context) (ran bool, err error) {
	i, err := s.running(ctx)
	if err != nil || i == nil {
		return false, err
	}
	return true, i.Stop(ctx)
}

// Start implements engine.Saved. It returns when the server accepts the session, or refuses it for a lasting reason.
func (s *saved) Start(ctx context.Context) error {
	return s.Process.Start(ctx, server.Up(s.running, func(ctx context.Context, i *instance) error {
		c, err := i.connect(ctx)
		if err == nil {
			c.close()
		}
		// A server that answers is up; its accounts are those of the copy.
		if vss.CodeOf(err) == vss.ErrWriterErrorNonRetryable {
			return nil
		}
		return err
	}))
}
