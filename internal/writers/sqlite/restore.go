package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

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

// saved is a database as recorded in a backup.
type saved struct {
	record
	all *files
}

var _ engine.Saved = (*saved)(nil)

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
	return &saved{*r, f}, nil
}

// decisive is what Decisive returns.
type decisive struct {
	Path string `json:"path"`
	UID  int    `json:"uid"`
	GID  int    `json:"gid"`
}

// Decisive implements engine.Saved.
func (s *saved) Decisive() any { return decisive{s.Path, s.UID, s.GID} }

// Decide implements engine.Saved.
func (s *saved) Decide(text []byte) error {
	var d decisive
	err := json.Unmarshal(text, &d)
	s.Path, s.UID, s.GID = d.Path, d.UID, d.GID
	return err
}

// Adopt implements engine.Saved. The configuration must name the database, and its folder must exist.
func (s *saved) Adopt(context.Context) error {
	dir, err := filepath.EvalSymlinks(filepath.Dir(s.Path))
	if err != nil {
		return err
	}
	if path := filepath.Join(dir, filepath.Base(s.Path)); path != s.Path {
		return fmt.Errorf("%s is a link: the database would be %s", s.Path, path)
	}
	if !slices.ContainsFunc(s.all.Databases, func(pattern string) bool {
		match, err := filepath.Match(pattern, s.Path)
		return err == nil && match || pattern == s.Path
	}) {
		return fmt.Errorf("the configuration doesn't name the database %s", s.Path)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return err
	}
	s.UID, s.GID = int(st.Uid), int(st.Gid)
	return nil
}

// Files implements engine.Saved. It includes a log or journal of the former database, which SQLite would apply to the
// restored one.
func (s *saved) Files() ([]document.FileSet, aside.Owner) {
	dir, name := filepath.Split(s.Path)
	all := append(fileSets(s.Path), document.FileSet{Path: filepath.Clean(dir), FileSpec: name + "-shm"})
	return all, aside.Owner{UID: s.UID, GID: s.GID}
}

// Stop implements engine.Saved. There is no server to stop; it fails if any process has the database open. Errors:
// VSS_E_WRITERERROR_RETRYABLE, which names the processes.
func (s *saved) Stop(ctx context.Context) (ran bool, err error) {
	users, err := users(ctx, s.Path)
	if err == nil && len(users) > 0 {
		err = vss.E("PreRestore", vss.ErrWriterErrorRetryable,
			fmt.Errorf("it is open in %s", strings.Join(users, ", "))).
			On(s.Path).
			Advise("stop the applications that use the database, and try again")
	}
	return false, err
}

// Start implements engine.Saved. The next process that opens the database recovers it.
func (s *saved) Start(context.Context) error {
	_, err := header(s.Path)
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
