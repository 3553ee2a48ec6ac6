package mariadb

import (
	"context"
	"errors"
	"fmt"
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
	Layout   layout    `json:"layout"`
	Server   string    `json:"server_version"`
	ServerID string    `json:"server_id"`
	Frozen   time.Time `json:"frozen"`
	// The copy holds all that is in the binary log up to here, and nothing else: a replica that is made of it, or a recovery
	// to a later moment, goes on here. File is "" without binary log.
	File     string `json:"binlog_file,omitempty"`
	Position uint64 `json:"binlog_position,omitempty"`
	GTID     string `json:"gtid_binlog,omitempty"`
	Current  string `json:"gtid_current,omitempty"` // with what came from a primary
}

// stamp is the backup stamp: where the next backup of the same server goes on.
func (r *record) stamp() string {
	if r.File == "" {
		return ""
	}
	return fmt.Sprintf("server=%s file=%s position=%d gtid=%s", r.ServerID, r.File, r.Position, r.GTID)
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
		if r.Format < 1 || r.Layout.Data == "" || r.Layout.Data != r.Dir || r.Program == "" {
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
	return s.Layout.files(), aside.Owner{UID: s.UID, GID: s.GID}
}

// running is the server that runs in the data directory now, nil if there is none.
func (s *saved) running(ctx context.Context) (*instance, error) {
	p, err := server.In(ctx, s.Dir, programs...)
	if err != nil || p == nil {
		return nil, err
	}
	return s.all.instance(p), nil
}

// Stop implements engine.Saved. A server that is being stopped writes all it has.
func (s *saved) Stop(ctx context.Context) (ran bool, err error) {
	i, err := s.running(ctx)
	if err != nil || i == nil {
		return false, err
	}
	return true, i.Stop(ctx)
}

// Start implements engine.Saved: the server is up when it lets us in, or tells us that it doesn't.
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
		if err == nil {
			c.close()
		}
		if vss.CodeOf(err) == vss.ErrWriterErrorNonRetryable { // it answers: its accounts are those of the copy
			return nil
		}
		return err
	})
}
