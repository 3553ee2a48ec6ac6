package redis

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
	Name   string    `json:"name"` // of the component
	Config string    `json:"config,omitempty"`
	Layout layout    `json:"layout"`
	Server string    `json:"server_version"`
	Run    string    `json:"run_id"`
	Frozen time.Time `json:"frozen"`
	Dumped time.Time `json:"dumped,omitzero"` // without append-only file: the time that the copy represents
	// With append-only file: the position that the server had reached at Frozen, or a later one.
	Replication string `json:"replication_id,omitempty"`
	Offset      string `json:"replication_offset,omitempty"`
}

// stamp returns the backup stamp; "" for a dump, on which no backup can build.
func (r *record) stamp() string {
	if !r.Layout.Appends {
		return ""
	}
	return fmt.Sprintf("replication=%s offset=%s", r.Replication, r.Offset)
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
		if r.Layout.Dir == "" || r.Layout.RDB == "" || r.Layout.AOF == "" || r.Program == "" {
			return errors.New("the metadata don't describe a Redis server")
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
	Name    string         `json:"name"`
	Config  string         `json:"config"`
	Layout  layout         `json:"layout"`
}

// Decisive implements engine.Saved.
func (s *saved) Decisive() any { return decisive{s.Process, s.Name, s.Config, s.Layout} }

// Decide implements engine.Saved.
func (s *saved) Decide(text []byte) error {
	var d decisive
	err := json.Unmarshal(text, &d)
	s.Process, s.Name, s.Config, s.Layout = d.Process, d.Name, d.Config, d.Layout
	return err
}

// Adopt implements engine.Saved.
func (s *saved) Adopt(ctx context.Context) error {
	if s.Config == "" && s.Unit == "" {
		return errors.New("the backup is of a server without a configuration file")
	}
	i, err := s.running(ctx)
	if err == nil && i == nil {
		err = fmt.Errorf("no server with the working directory %s is running", s.Name)
	}
	if err != nil {
		return err
	}
	c, err := i.connect(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	l, info, err := c.ask(ctx)
	if err != nil {
		return err
	}
	s.Process, s.Layout = *i.Process, *l
	s.begin(info["config_file"])
	return nil
}

// Files implements engine.Saved.
func (s *saved) Files() ([]document.FileSet, aside.Owner) {
	return s.Layout.replaced(), aside.Owner{UID: s.UID, GID: s.GID}
}

// running returns the running server that corresponds to the saved one, nil if there is none.
func (s *saved) running(ctx context.Context) (*instance, error) {
	all, _, err := s.all.running(ctx)
	if err != nil {
		return nil, err
	}
	for _, i := range all {
		if i.name == s.Name {
			return i, nil
		}
	}
	return nil, nil
}

// Stop implements engine.Saved. Errors: VSS_E_WRITERERROR_NONRETRYABLE for a server that couldn't be started again.
func (s *saved) Stop(ctx context.Context) (ran bool, err error) {
	if s.Config == "" && s.Unit == "" {
		return false, vss.E("PreRestore", vss.ErrWriterErrorNonRetryable,
			errors.New("the server was started without a configuration file, so its arguments are unknown")).
			On(s.Name).
			Advise("stop the server and restore its files manually")
	}
	i, err := s.running(ctx)
	if err != nil || i == nil {
		return false, err
	}
	return true, i.Stop(ctx)
}

// Start implements engine.Saved. It returns when the server has loaded its data.
func (s *saved) Start(ctx context.Context) error {
	return s.Process.Start(ctx, server.Up(s.running, func(ctx context.Context, i *instance) error {
		c, err := i.connect(ctx)
		if err != nil {
			return err
		}
		defer c.close()
		p, err := c.info(ctx, "persistence")
		if err == nil && p["loading"] != "0" {
			err = errors.New("the server is loading its data")
		}
		return err
	}))
}
