package postgres

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/writers/server"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// wal describes the WAL of a cluster. Its files are read as the cluster's owner.
type wal struct {
	*Cluster
	dir     string
	line    uint32 // the server's current timeline
	segment uint64 // bytes of a file
	level   string // wal_level
}

// askWAL queries a server about its WAL. For a standby it doesn't, since the WAL is the primary's.
func askWAL(ctx context.Context, conn *pgx.Conn, c *Cluster, l *layout) (*wal, error) {
	w := &wal{Cluster: c, dir: l.walFolder()}
	const query = `SELECT current_setting('wal_level'), (SELECT bytes_per_wal_segment FROM pg_control_init()),
		CASE WHEN pg_is_in_recovery() THEN '' ELSE pg_walfile_name(pg_current_wal_flush_lsn()) END`
	var segment int64
	var file string
	if err := conn.QueryRow(ctx, query).Scan(&w.level, &segment, &file); err != nil {
		return nil, err
	}
	w.segment = uint64(segment)
	if w.segment < minSegment || w.segment > maxSegment {
		return nil, fmt.Errorf("invalid size of WAL files: %d bytes", segment)
	}
	if file == "" {
		return w, nil
	}
	line, err := strconv.ParseUint(file[:min(8, len(file))], 16, 32)
	w.line = uint32(line)
	return w, err
}

// whyIncomplete returns the reason why the WAL doesn't contain all changes; "" if it does.
func (w *wal) whyIncomplete() string {
	switch {
	case w.line == 0:
		return "the server is a standby"
	case w.level == "minimal":
		return "with wal_level = minimal not all changes are in the WAL"
	}
	return ""
}

// name returns the name of the file with the byte at a position. Source: PostgreSQL, xlog_internal.h.
func (w *wal) name(line uint32, at position) string {
	perID := (1 << 32) / w.segment
	n := uint64(at) / w.segment
	return fmt.Sprintf("%08X%08X%08X", line, n/perID, n%perID)
}

// open opens the file with the byte at a position, which must have its full size. It must be called as the owner.
func (w *wal) open(line uint32, at position) (*os.File, fs.FileInfo, error) {
	path := filepath.Join(w.dir, w.name(line, at))
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil && (!st.Mode().IsRegular() || uint64(st.Size()) != w.segment) {
		err = fmt.Errorf("%s is incomplete: it has %d of %d bytes", path, st.Size(), w.segment)
	}
	if err != nil {
		_ = f.Close()
		return nil, nil, err
	}
	return f, st, nil
}

// digest returns the digest of the WAL before a position, from the beginning of its file. That part no longer changes.
func (w *wal) digest(line uint32, at position) (sum string, err error) {
	err = server.As(w.UID, w.GID, func() error {
		f, _, err := w.open(line, at-1)
		if err != nil {
			return err
		}
		defer f.Close()
		h := sha256.New()
		_, err = io.CopyN(h, f, int64((uint64(at)-1)%w.segment+1))
		sum = fmt.Sprintf("%x", h.Sum(nil)[:16])
		return err
	})
	return sum, err
}

// stamp returns the stamp of a backup that has the WAL up to a position.
func (w *wal) stamp(system string, at position) (stamp, error) {
	sum, err := w.digest(w.line, at)
	return stamp{system, w.line, at, sum}, err
}

// since checks that the WAL from a stamp to a position is available, without a gap and of the same history. It returns
// the time of the oldest change of its files. Errors: VSS_E_WRITERERROR_NONRETRYABLE.
func (w *wal) since(op string, from stamp, to position) (oldest time.Time, err error) {
	refuse := func(err error) (time.Time, error) {
		return time.Time{}, vss.E(op, vss.ErrWriterErrorNonRetryable, err).On(w.Name).Advise("make a full backup")
	}
	if why := w.whyIncomplete(); why != "" {
		return refuse(errors.New(why))
	}
	if from.line != w.line || to < from.at {
		return refuse(
			fmt.Errorf(
				"the server is at %s of timeline %d, the backup that this one builds on at %s of timeline %d: it was "+
					"restored or promoted since",
				to,
				w.line,
				from.at,
				from.line,
			),
		)
	}
	err = server.As(w.UID, w.GID, func() error {
		for n := (uint64(from.at) - 1) / w.segment; n <= (uint64(to)-1)/w.segment; n++ {
			f, st, err := w.open(w.line, position(n*w.segment))
			if err != nil {
				return err
			}
			_ = f.Close() // it was only read
			if oldest.IsZero() || st.ModTime().Before(oldest) {
				oldest = st.ModTime()
			}
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, vss.E(op, vss.ErrWriterErrorNonRetryable,
			fmt.Errorf("WAL since the last backup was removed: %w", err)).
			On(w.Name).
			Advise("make a full backup; to retain WAL for the next one raise wal_keep_size, or set hold_wal in " +
				"[writers.postgres]")
	}
	if err != nil {
		return refuse(err)
	}
	sum, err := w.digest(from.line, from.at)
	if err == nil && sum != from.wal {
		err = errors.New(
			"its WAL differs from that of the last backup: the cluster was restored to an earlier state, or is a " +
				"copy that was started",
		)
	}
	if err != nil {
		return refuse(err)
	}
	return oldest, nil
}
