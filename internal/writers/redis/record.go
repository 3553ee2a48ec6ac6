package redis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/aside"
	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// recordFormat is raised when older programs can't restore by the record any more.
const recordFormat = 1

// record is the backup metadata of a component: what a restore needs to know of the server, and what the copy holds.
type record struct {
	Format int `json:"format"`
	server.Process
	Name   string    `json:"name"` // the component's
	Config string    `json:"config,omitempty"`
	Layout layout    `json:"layout"`
	Server string    `json:"server_version"`
	Run    string    `json:"run_id"`
	Frozen time.Time `json:"frozen"`
	Dumped time.Time `json:"dumped,omitzero"` // without append-only file: the copy is of this moment
	// With append-only file: what the server had at Frozen at least, in its own count.
	Replication string `json:"replication_id,omitempty"`
	Offset      string `json:"replication_offset,omitempty"`
}

// stamp is the backup stamp; nothing builds on that of a dump.
func (r *record) stamp() string {
	if !r.Layout.Appends {
		return ""
	}
	return fmt.Sprintf("replication=%s offset=%s", r.Replication, r.Offset)
}

// isProgram says whether a name is another one of a program.
func isProgram(name, program string) bool {
	a, err := os.Stat(name)
	if err != nil {
		return false
	}
	b, err := os.Stat(program)
	return err == nil && os.SameFile(a, b)
}

// saved is a server as a backup has it.
type saved struct {
	record
	all *servers
}

var _ engine.Saved = (*saved)(nil)

// Recall implements engine.Engine. Errors: VSS_E_WRITERERROR_NONRETRYABLE for metadata of another writer or a newer one.
func (s *servers) Recall(metadata string) (engine.Saved, error) {
	r := record{}
	err := engine.ReadMetadata(metadata, recordFormat, &r, func() error {
		if r.Format < 1 || r.Layout.Dir == "" || r.Layout.RDB == "" || r.Layout.AOF == "" || r.Program == "" {
			return errors.New("they don't describe a server")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &saved{r, s}, nil
}

// Files implements engine.Saved.
func (s *saved) Files() ([]document.FileSet, aside.Owner) {
	return s.Layout.replaced(), aside.Owner{UID: s.UID, GID: s.GID}
}

// running is the server that runs now as the saved one did, nil if there is none.
func (s *saved) running(ctx context.Context) (*instance, error) {
	all, err := s.all.running(ctx)
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
		return false, vss.E("PreRestore", vss.ErrWriterErrorNonRetryable, errors.New("the server was started without a file of settings: nobody knows its arguments")).
			On(s.Name).Advise("restore its files by hand while it is stopped")
	}
	i, err := s.running(ctx)
	if err != nil || i == nil {
		return false, err
	}
	return true, i.Stop(ctx)
}

// Start implements engine.Saved: the server is up when it has read its data.
func (s *saved) Start(ctx context.Context) error {
	return s.Process.Start(ctx, func(ctx context.Context) error {
		i, err := s.running(ctx)
		if err != nil {
			return err
		}
		if i == nil {
			return errors.New("it ended, or never began")
		}
		c, err := i.connect(ctx)
		if err != nil {
			return err
		}
		defer c.close()
		p, err := c.info(ctx, "persistence")
		if err == nil && p["loading"] != "0" {
			err = errors.New("it reads its data")
		}
		return err
	})
}
