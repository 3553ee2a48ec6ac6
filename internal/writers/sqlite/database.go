package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/document"
	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Of a database's header. Source: SQLite, database file format.
const (
	magic      = "SQLite format 3\x00"
	writeByte  = 18 // file format versions for writing and reading, 2: WAL
	readByte   = 19
	headerSize = 100
	walFormat  = 2
)

// paths are the databases that are there, links resolved: SQLite keeps log and journal beside the file itself.
func (f *files) paths(ctx context.Context) ([]string, error) {
	var out []string
	for _, pattern := range f.Databases {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, vss.E("FindDatabases", vss.ErrWriterErrorNonRetryable, err).On(pattern).Advise("correct databases in the writer's configuration")
		}
		for _, name := range found {
			if err := ctx.Err(); err != nil {
				return nil, vss.E("FindDatabases", vss.ErrUnexpected, err)
			}
			path, err := filepath.EvalSymlinks(name)
			if err != nil || slices.Contains(out, path) || strings.ContainsRune(path, '\\') {
				continue // gone; named twice; no name for a component
			}
			if _, err := header(path); err == nil {
				out = append(out, path)
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

var errNoDatabase = errors.New("no SQLite database")

// header reads the header of a database. An empty file has none yet: there is nothing in it to vouch for.
func header(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readHeader(f)
}

func readHeader(f *os.File) ([]byte, error) {
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(errNoDatabase, err)
	}
	b := make([]byte, headerSize)
	if _, err := f.ReadAt(b, 0); errors.Is(err, io.EOF) || err == nil && string(b[:len(magic)]) != magic {
		return nil, errNoDatabase
	} else if err != nil {
		return nil, err
	}
	return b, nil
}

// inWAL says whether the mode is WAL.
func inWAL(header []byte) bool {
	return header[writeByte] == walFormat && header[readByte] == walFormat
}

// database is one file with what belongs to it.
type database struct{ path string }

// Name implements engine.Instance.
func (d *database) Name() string { return d.path }

// Describe implements engine.Instance.
func (d *database) Describe(context.Context) (*engine.Description, error) {
	dir, name := filepath.Split(d.path)
	return &engine.Description{
		Caption: "SQLite " + d.path, Files: fileSets(d.path),
		// An index of the log that is made anew from it.
		Excludes: []document.FileSet{{Path: filepath.Clean(dir), FileSpec: name + "-shm"}},
	}, nil
}

// fileSets are a database and what makes it whole: log, journal, and journals that tie several databases together. Those needn't
// be there, which only a pattern says.
func fileSets(path string) []document.FileSet {
	dir, name := filepath.Split(path)
	dir = filepath.Clean(dir)
	out := []document.FileSet{{Path: dir, FileSpec: name}}
	for _, end := range []string{"-wal*", "-journal*", "-mj*"} {
		out = append(out, document.FileSet{Path: dir, FileSpec: name + end})
	}
	return out
}

// Prepare implements engine.Instance: it opens the file, so that what fails fails here. Others of the same process close theirs
// whenever they like.
func (d *database) Prepare(context.Context, engine.Backup) (engine.Held, error) {
	const op = "PrepareSnapshot"
	f, err := os.OpenFile(d.path, os.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.EROFS) {
		return nil, vss.E(op, vss.ErrWriterErrorNonRetryable, err).On(d.path).Advise("a database on a read-only volume can't change: leave it out of the configuration")
	}
	if err != nil {
		return nil, vss.E(op, vss.ErrWriterErrorNonRetryable, err).On(d.path).Advise("see why the file can't be opened for writing, as locks need it")
	}
	h := &held{database: d, file: f}
	if err := h.same(); err != nil {
		h.Release()
		return nil, err
	}
	return h, nil
}

// same makes sure that the path still has the file that was opened.
func (h *held) same() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file == nil {
		return errLetGo
	}
	var open, there unix.Stat_t
	err := errors.Join(unix.Fstat(int(h.file.Fd()), &open), unix.Stat(h.path, &there))
	if err == nil && (open.Dev != there.Dev || open.Ino != there.Ino) {
		err = errors.New("another file has taken its name")
	}
	if err != nil {
		return vss.E("Freeze", vss.ErrWriterErrorRetryable, fmt.Errorf("the database was replaced: %w", err)).On(h.path).Advise("try again")
	}
	return nil
}
