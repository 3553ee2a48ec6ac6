package postgres

import (
	"errors"
	"fmt"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
)

// recordFormat is the version of record. It is raised when older programs can no longer restore by it.
const recordFormat = 2 // 2: backups that are restored on top of another

// Sizes of WAL files. Source: PostgreSQL, xlog_internal.h.
const (
	minSegment = 1 << 20
	maxSegment = 1 << 30
)

// record is the backup metadata of a component: what a restore requires, and what the copy holds.
type record struct {
	Format int `json:"format"`
	Cluster
	Layout layout `json:"layout"`
	System string `json:"system_identifier"`
	Server string `json:"server_version"`
	Line   string `json:"timeline"`
	// A server that starts on the copy recovers at least up to LSN: WAL up to there was on disk at Frozen, before the
	// copy was made. Thaw is the position after the copy, which can't hold more.
	LSN            string    `json:"lsn"`
	Thaw           string    `json:"lsn_at_thaw"`
	Frozen         time.Time `json:"frozen"`
	Standby        bool      `json:"standby,omitempty"`
	FullPageWrites bool      `json:"full_page_writes"`
	// After is the stamp of the backup that this one builds on, "" for none. Stamp is its own stamp, "" if no backup
	// can build on it.
	After   string `json:"after,omitempty"`
	Stamp   string `json:"stamp,omitempty"`
	Segment uint64 `json:"wal_segment_size"` // bytes of a WAL file
}

// readRecord decodes backup metadata. Errors: VSS_E_WRITERERROR_NONRETRYABLE for those of another writer or of a newer
// version.
func readRecord(text string) (*record, error) {
	return engine.ReadMetadata(text, recordFormat, func(r *record) error {
		switch {
		case r.Data == "" || r.Layout.Data != r.Data || r.Program == "":
			return errors.New("the metadata don't describe a PostgreSQL cluster")
		case r.After != "" && (r.Segment < minSegment || r.Segment > maxSegment):
			return fmt.Errorf("invalid size of WAL files: %d bytes", r.Segment)
		}
		return nil
	})
}
