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
	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// From the header of a database. Source: SQLite, database file format.
const (
	magic      = "SQLite format 3\x00"
	writeByte  = 18 // file format versions for writing and reading, 2: WAL
	readByte   = 19
	headerSize = 100
	walFormat  = 2
)

// paths returns the existing databases with links resolved: SQLite keeps log and journal beside the file itself. The
// second result are those whose path can't be the name of a component.
func (f *files) paths(ctx context.Context) (out []string, left []server.Left, err error) {
	for _, pattern := range f.Databases {
		found, err := glob(pattern)
		if err != nil {
			return nil, nil, vss.E("FindDatabases", vss.ErrWriterErrorNonRetryable, err).
				On(pattern).
				Advise("correct databases in the writer's configuration")
		}
		for _, name := range found {
			if err := ctx.Err(); err != nil {
				return nil, nil, vss.E("FindDatabases", vss.ErrUnexpected, err)
			}
			path, err := filepath.EvalSymlinks(name)
			if err != nil || slices.Contains(out, path) {
				continue // removed meanwhile, or a duplicate
			}
			if _, err := header(path); err != nil {
				continue
			}
			if strings.ContainsRune(path, '\\') {
				left = append(left, server.Left{Name: path, Dir: filepath.Dir(path),
					Err: errors.New(`a component's name has no \`)})
				continue
			}
			out = append(out, path)
		}
	}
	slices.Sort(out)
	return out, left, nil
}

// glob returns the files that match a pattern. Brackets in it stand for a class of characters and, as in the names of
// folders, for themselves.
func glob(pattern string) ([]string, error) {
	found, err := filepath.Glob(pattern)
	if err != nil || !strings.Contains(pattern, "[") {
		return found, err
	}
	literal, err := filepath.Glob(strings.ReplaceAll(pattern, "[", `\[`))
	return append(found, literal...), err
}

var errNoDatabase = errors.New("not a SQLite database")

// header reads the header of a database. An empty file has none, and nothing to back up.
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

// inWAL reports whether the database is in WAL mode.
func inWAL(header []byte) bool {
	return header[writeByte] == walFormat && header[readByte] == walFormat
}

// database is one file and the files that belong to it.
type database struct{ path string }

// Name implements engine.Instance.
func (d *database) Name() string { return d.path }

// Describe implements engine.Instance.
func (d *database) Describe(context.Context) (*engine.Description, error) {
	dir, name := filepath.Split(d.path)
	return &engine.Description{
		Caption: "SQLite " + d.path, Files: fileSets(d.path),
		// The index of the log, which is created anew from the log.
		Excludes: []document.FileSet{{Path: filepath.Clean(dir), FileSpec: name + "-shm"}},
	}, nil
}

// fileSets returns the files of a database: itself, log, journal, and journals that link several databases. All but
// the first may be missing, which only a pattern expresses.
func fileSets(path string) []document.FileSet {
	dir, name := filepath.Split(path)
	dir = filepath.Clean(dir)
	out := []document.FileSet{{Path: dir, FileSpec: name}}
	for _, end := range []string{"-wal*", "-journal*", "-mj*"} {
		out = append(out, document.FileSet{Path: dir, FileSpec: name + end})
	}
	return out
}

// Prepare implements engine.Instance. It opens the file, so that errors occur here. Applications may close theirs at
// any time.
func (d *database) Prepare(context.Context, engine.Backup) (engine.Held, error) {
	const op = "PrepareSnapshot"
	f, err := os.OpenFile(d.path, os.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.EROFS) {
		return nil, vss.E(op, vss.ErrWriterErrorNonRetryable, err).
			On(d.path).
			Advise("a database on a read-only volume can't change; remove it from the configuration")
	}
	if err != nil {
		return nil, vss.E(op, vss.ErrWriterErrorNonRetryable, err).
			On(d.path).
			Advise("make the file writable, which locks require")
	}
	h := &held{database: d, file: f}
	if err := h.checkSame(); err != nil {
		h.Release()
		return nil, err
	}
	return h, nil
}

// checkSame checks that the path still names the file that was opened.
func (h *held) checkSame() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file == nil {
		return errReleased
	}
	var open, there unix.Stat_t
	err := errors.Join(unix.Fstat(int(h.file.Fd()), &open), unix.Stat(h.path, &there))
	if err == nil && (open.Dev != there.Dev || open.Ino != there.Ino) {
		err = errors.New("another file has its name now")
	}
	if err != nil {
		return vss.E("Freeze", vss.ErrWriterErrorRetryable, fmt.Errorf("the database was replaced: %w", err)).
			On(h.path).
			Advise("try again")
	}
	return nil
}
