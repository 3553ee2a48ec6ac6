package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/aside"
	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// recordFormat is the version of record. It is raised when older programs can no longer restore by it.
const recordFormat = 1

// record is the backup metadata of a component.
type record struct {
	Format int       `json:"format"`
	Path   string    `json:"path"`
	Mode   string    `json:"mode"` // "wal" or "rollback"
	UID    int       `json:"uid"`  // of the folder's owner, as which files are moved
	GID    int       `json:"gid"`  //
	Frozen time.Time `json:"frozen"`
}

var _ engine.Saved = (*record)(nil)

// Recall implements engine.Engine. Errors: VSS_E_WRITERERROR_NONRETRYABLE for metadata of another writer or of a newer
// version.
func (f *files) Recall(metadata string) (engine.Saved, error) {
	r, err := engine.ReadMetadata(metadata, recordFormat, func(r *record) error {
		if !filepath.IsAbs(r.Path) {
			return errors.New("the metadata don't describe a SQLite database")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Files implements engine.Saved. It includes a log or journal of the former database, which SQLite would apply to the
// restored one.
func (r *record) Files() ([]document.FileSet, aside.Owner) {
	dir, name := filepath.Split(r.Path)
	return append(
			fileSets(r.Path),
			document.FileSet{Path: filepath.Clean(dir), FileSpec: name + "-shm"},
		), aside.Owner{
			UID: r.UID,
			GID: r.GID,
		}
}

// Stop implements engine.Saved. There is no server to stop; it fails if any process has the database open. Errors:
// VSS_E_WRITERERROR_RETRYABLE, which names the processes.
func (r *record) Stop(ctx context.Context) (ran bool, err error) {
	users, err := users(ctx, r.Path)
	if err == nil && len(users) > 0 {
		err = vss.E("PreRestore", vss.ErrWriterErrorRetryable,
			fmt.Errorf("it is open in %s", strings.Join(users, ", "))).
			On(r.Path).
			Advise("stop the applications that use the database, and try again")
	}
	return false, err
}

// Start implements engine.Saved. The next process that opens the database recovers it.
func (r *record) Start(context.Context) error {
	_, err := header(r.Path)
	return err
}

// users returns the processes that have a file open, as text for messages.
func users(ctx context.Context, path string) ([]string, error) {
	target, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range procs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		fds, err := os.ReadDir(p + "/fd")
		if err != nil {
			continue // the process has ended
		}
		for _, fd := range fds {
			if st, err := os.Stat(p + "/fd/" + fd.Name()); err == nil && os.SameFile(st, target) {
				name, _ := os.ReadFile(p + "/comm") // "" if it has just ended
				out = append(out, fmt.Sprintf("process %s (%s)", filepath.Base(p), strings.TrimSpace(string(name))))
				break
			}
		}
	}
	return out, nil
}
