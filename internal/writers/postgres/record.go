package postgres

import (
	"errors"
	"fmt"
	"time"

	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
)

// recordFormat is raised when older programs can't restore by the record any more.
const recordFormat = 2 // 2: backups that are restored on top of another

// Sizes of WAL files. Source: PostgreSQL, xlog_internal.h.
const (
	minSegment = 1 << 20
	maxSegment = 1 << 30
)

// record is the backup metadata of a component: what a restore needs to know of the cluster, and what the copy holds.
type record struct {
	Format int `json:"format"`
	Cluster
	Layout layout `json:"layout"`
	System string `json:"system_identifier"`
	Server string `json:"server_version"`
	Line   string `json:"timeline"`
	// A server that starts on the copy recovers at least up to LSN: WAL up to there was on disk at Frozen, before the copy
	// was made. Thaw is the same after it: the copy can't hold more.
	LSN            string    `json:"lsn"`
	Thaw           string    `json:"lsn_at_thaw"`
	Frozen         time.Time `json:"frozen"`
	Standby        bool      `json:"standby,omitempty"`
	FullPageWrites bool      `json:"full_page_writes"`
	// After is the stamp that the backup goes on from, "" for one that stands for itself; Stamp its own, from which others go
	// on, "" where none can.
	After   string `json:"after,omitempty"`
	Stamp   string `json:"stamp,omitempty"`
	Segment uint64 `json:"wal_segment_size"` // bytes of a WAL file
}

// readRecord reads backup metadata. Errors: VSS_E_WRITERERROR_NONRETRYABLE for those of another writer or a newer one.
func readRecord(text string) (*record, error) {
	r := &record{}
	err := engine.ReadMetadata(text, recordFormat, r, func() error {
		switch {
		case r.Format < 1 || r.Data == "" || r.Layout.Data != r.Data || r.Program == "":
			return errors.New("they don't describe a cluster")
		case r.After != "" && (r.Segment < minSegment || r.Segment > maxSegment):
			return fmt.Errorf("they have WAL in files of %d bytes", r.Segment)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}
