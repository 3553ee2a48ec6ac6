package postgres

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/atomicfile"
	"github.com/stillpoint-vss/stillpoint/internal/writers/aside"
	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// chainFile is a file in the data directory while a restore of several backups is in progress. Each backup has its own
// document and may be restored by another process, so the state is kept with the files.
const (
	chainFile = "vss-restore.json"
	maxChain  = 1 << 20 // bytes
)

// chain is the state of a restore of several backups.
type chain struct {
	Stamp   string        `json:"stamp"`           // of the last restored backup; the next one must build on it
	Control string        `json:"control"`         // digest of pg_control, which a server changes when it starts
	Running bool          `json:"running"`         // the server was running before the restore
	Aside   []aside.Moved `json:"aside,omitempty"` // folders to delete at the end
}

// chain reads the file. Errors: fs.ErrNotExist if no such restore is in progress.
func (c *Cluster) chain() (out *chain, err error) {
	err = server.As(c.UID, c.GID, func() error {
		f, err := c.openOwn(chainFile)
		if err != nil {
			return err
		}
		defer f.Close()
		text, err := io.ReadAll(io.LimitReader(f, maxChain))
		if err != nil {
			return err
		}
		return json.Unmarshal(text, &out)
	})
	if err != nil {
		return nil, err
	}
	if out == nil {
		return nil, fmt.Errorf("%s is empty", chainFile)
	}
	// the owner of the files may have written it, so only folders of this writer are accepted for deletion
	for _, m := range out.Aside {
		if m.To != filepath.Clean(m.To) || !filepath.IsAbs(m.To) || !strings.Contains(filepath.Base(m.To), aside.Mark) {
			return nil, fmt.Errorf("%s names %q as a folder of this writer", chainFile, m.To)
		}
	}
	return out, nil
}

// setChain writes the file.
func (c *Cluster) setChain(n chain) error {
	return server.As(c.UID, c.GID, func() (err error) {
		if n.Control, err = c.control(); err != nil {
			return err
		}
		text, err := json.Marshal(n)
		if err != nil {
			return err
		}
		return atomicfile.Write(filepath.Join(c.Data, chainFile), text)
	})
}

// endChain removes the file.
func (c *Cluster) endChain() error {
	err := server.As(c.UID, c.GID, func() error { return os.Remove(filepath.Join(c.Data, chainFile)) })
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// control returns the digest of pg_control. It must be called as the owner of the files.
func (c *Cluster) control() (string, error) {
	f, err := c.openOwn("global/pg_control")
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, io.LimitReader(f, maxChain))
	return fmt.Sprintf("%x", h.Sum(nil)), err
}

func (c *Cluster) openOwn(name string) (*os.File, error) {
	return os.OpenFile(filepath.Join(c.Data, name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}

// follows checks that a backup's WAL continues what was restored so far, and returns the state of the restore. Errors:
// VSS_E_WRITERERROR_NONRETRYABLE.
func (r *record) follows() (*chain, error) {
	const op = "PreRestore"
	advice := "restore the full backup, then each one that builds on it, in order; announce for each but the last " +
		"that more restores follow (SetAdditionalRestores)"
	n, err := r.chain()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = errors.New("it builds on another backup, which is not being restored")
	case err != nil:
	case n.Stamp != r.After:
		err = fmt.Errorf("it builds on the backup with stamp %q, but the last restored backup has %q", r.After, n.Stamp)
	default:
		var now string
		err = server.As(r.UID, r.GID, func() (err error) { now, err = r.control(); return err })
		if err == nil && now != n.Control {
			err = errors.New("the server was started on the restored files, so that its WAL differs")
		}
	}
	if err != nil {
		return nil, vss.E(op, vss.ErrWriterErrorNonRetryable, err).Advise(advice)
	}
	return n, nil
}

// newSpaces sets aside the files in tablespaces that were created after the backups restored so far. Recovery creates
// them again, in folders that must exist.
func (r *record) newSpaces(n *chain, tag string) error {
	for _, dir := range r.Layout.Tablespaces {
		if slices.ContainsFunc(n.Aside, func(m aside.Moved) bool { return m.Dir == dir }) {
			continue
		}
		if restored, err := os.ReadDir(dir); err == nil && len(restored) > 0 && r.linked(filepath.Dir(dir)) {
			continue // the full backup has it, and there was nothing to set aside
		}
		if _, err := os.Stat(filepath.Dir(dir)); errors.Is(err, fs.ErrNotExist) {
			dir = filepath.Dir(dir)
		}
		moved, err := r.owner().Set(folder(dir), tag)
		n.Aside = append(n.Aside, moved...)
		if err != nil {
			return err
		}
	}
	return nil
}

// linked reports whether the data directory has a tablespace at this path.
func (r *record) linked(place string) bool {
	links, _ := filepath.Glob(filepath.Join(r.Data, "pg_tblspc", "*"))
	return slices.ContainsFunc(links, func(link string) bool {
		to, err := filepath.EvalSymlinks(link)
		return err == nil && to == place
	})
}

// complete checks that the WAL of a backup that builds on another is present as it was saved.
func (r *record) complete() error {
	from, err := parseStamp(r.After)
	if err != nil {
		return err
	}
	to, err := parsePosition(r.LSN)
	if err != nil {
		return err
	}
	w := &wal{Cluster: &r.Cluster, dir: r.Layout.walFolder(), line: from.line, segment: r.Segment, level: "restored"}
	if _, err := w.since("PostRestore", from, to); err != nil {
		return err
	}
	if r.Stamp == "" {
		return nil
	}
	own, err := parseStamp(r.Stamp)
	if err != nil {
		return err
	}
	if sum, err := w.digest(own.line, own.at); err != nil || sum != own.wal {
		return errors.Join(err, fmt.Errorf("the WAL up to %s differs from the saved one", own.at))
	}
	return nil
}
