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

	"github.com/stillpoint-vss/stillpoint/internal/writers/aside"
	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// chainFile lies in a data directory while a restore of several backups is under way there: each has its own document, and
// perhaps its own service, so what one must know of those before is with the files.
const (
	chainFile = "vss-restore.json"
	maxChain  = 1 << 20 // bytes
)

// chain is what was restored so far.
type chain struct {
	Stamp   string        `json:"stamp"`           // of the last backup: the next one must go on from there
	Control string        `json:"control"`         // digest of pg_control: a server that was started since has changed it
	Running bool          `json:"running"`         // the server ran before all this
	Aside   []aside.Moved `json:"aside,omitempty"` // what is to be deleted at the end
}

// chain reads the file. Errors: fs.ErrNotExist where no restore is under way.
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
	for _, m := range out.Aside { // the owner could have written it: nothing but folders of ours is deleted by it
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
		path := filepath.Join(c.Data, chainFile)
		if err := os.WriteFile(path+".new", text, 0o600); err != nil {
			return err
		}
		return os.Rename(path+".new", path)
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

// control is the digest of what the server notes its state in. Only as the owner.
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

// follows makes sure that a backup's WAL goes on from what was restored so far, and gives that. Errors:
// VSS_E_WRITERERROR_NONRETRYABLE.
func (r *record) follows() (*chain, error) {
	const op = "PreRestore"
	advice := "restore the full backup, then each one that goes on from it, in their order, each but the last with the word that more restores follow (SetAdditionalRestores)"
	n, err := r.chain()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = errors.New("it goes on from another backup, and no restore of that is under way")
	case err != nil:
	case n.Stamp != r.After:
		err = fmt.Errorf("it goes on from the backup with stamp %q, but the last one that was restored has %q", r.After, n.Stamp)
	default:
		var now string
		err = server.As(r.UID, r.GID, func() (err error) { now, err = r.control(); return err })
		if err == nil && now != n.Control {
			err = errors.New("the server was started on what was restored, so its WAL went another way")
		}
	}
	if err != nil {
		return nil, vss.E(op, vss.ErrWriterErrorNonRetryable, err).Advise(advice)
	}
	return n, nil
}

// newSpaces sets aside what is in tablespaces that were made after the backups restored so far: recovery makes them again, in
// folders that must be there.
func (r *record) newSpaces(n *chain, tag string) error {
	for _, dir := range r.Layout.Tablespaces {
		if slices.ContainsFunc(n.Aside, func(m aside.Moved) bool { return m.Dir == dir }) {
			continue
		}
		if restored, err := os.ReadDir(dir); err == nil && len(restored) > 0 && r.linked(filepath.Dir(dir)) {
			continue // by the full backup, where there was nothing to set aside
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

// linked says whether the data directory has a tablespace at this place already.
func (r *record) linked(place string) bool {
	links, _ := filepath.Glob(filepath.Join(r.Data, "pg_tblspc", "*"))
	return slices.ContainsFunc(links, func(link string) bool {
		to, err := filepath.EvalSymlinks(link)
		return err == nil && to == place
	})
}

// complete makes sure that the WAL of a backup that goes on from another is there as it was saved.
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
		return errors.Join(err, fmt.Errorf("the WAL up to %s isn't the one that was saved", own.at))
	}
	return nil
}
