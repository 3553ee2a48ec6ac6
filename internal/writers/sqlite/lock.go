package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/internal/writers/engine"
	"github.com/stillpoint-vss/stillpoint/vss"
)

// Bytes that are locked; they lie beyond the data that SQLite stores. Source: SQLite, os.h.
const (
	pendingByte  = 0x40000000
	reservedByte = pendingByte + 1
	sharedFirst  = pendingByte + 2
	sharedSize   = 510
)

const (
	pollInterval = 2 * time.Millisecond // interval of attempts to get a lock. Writers poll as well, but less often
	// how long locks are kept while others are missing: transactions wait meanwhile
	collectLimit = 500 * time.Millisecond
	// how long no lock is held before the next attempt, so that transactions that waited can end
	releaseTime = 100 * time.Millisecond
)

// held is a database between PrepareSnapshot and Thaw.
type held struct {
	*database

	mu     sync.Mutex // the fields below
	file   *os.File   // nil after Release
	locked bool
	record record
}

var errReleased = errors.New("the database was released")

// errBusy means that another process holds a lock.
var errBusy = errors.New("another process holds the lock")

// Freeze implements engine.Engine. It collects the locks of all databases as they become free: many databases are never
// free at the same moment. A transaction over several databases may hold one and wait for another that
// is locked already, so all locks are released after collectLimit, and the next round begins.
func (f *files) Freeze(ctx context.Context, all []engine.Taken) engine.Failures {
	ctx, cancel := context.WithTimeout(ctx, f.LockWait)
	defer cancel()
	for {
		h, err := collect(ctx, all)
		if err == nil {
			return engine.Each("Freeze", all, func(h engine.Held) error { return h.(*held).checkSame() })
		}
		locked := engine.Each("Freeze", all, func(h engine.Held) error { return h.(*held).unlock() })
		if len(locked) > 0 || !errors.Is(err, errBusy) {
			return engine.Failures{
				h.path: errors.Join(
					vss.E("Freeze", vss.ErrWriterErrorRetryable, err).On(h.path).Advise("try again"),
					locked.Err(),
				),
			}
		}
		select {
		case <-ctx.Done():
			return engine.Failures{
				h.path: vss.E("Freeze", vss.ErrWriterErrorRetryable,
					fmt.Errorf("a transaction holds the database for more than %v: %w", f.LockWait, ctx.Err())).
					On(h.path).
					Advise("try again when it has ended, or raise lock_wait; an application with locking_mode " +
						"EXCLUSIVE must be stopped for a backup"),
			}
		case <-time.After(releaseTime):
		}
	}
}

// collect locks all databases, within collectLimit. On failure it returns one that it couldn't lock; others may be
// locked then.
func collect(ctx context.Context, all []engine.Taken) (*held, error) {
	ctx, cancel := context.WithTimeout(ctx, collectLimit)
	defer cancel()
	missing := slices.Clone(all)
	for {
		var failed *held
		var other error
		missing = slices.DeleteFunc(missing, func(t engine.Taken) bool {
			h := t.Held.(*held)
			err := h.take()
			if err != nil && other == nil {
				failed = h
				if !errors.Is(err, errBusy) {
					other = err
				}
			}
			return err == nil
		})
		switch {
		case other != nil:
			return failed, other
		case failed == nil:
			return nil, nil
		}
		select {
		case <-ctx.Done():
			return failed, errBusy
		case <-time.After(pollInterval):
		}
	}
}

func (h *held) take() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file == nil {
		return errReleased
	}
	err := h.try()
	if err != nil { // one that is about to commit waits for readers
		err = errors.Join(err, h.lock(unix.F_UNLCK, pendingByte, sharedFirst+sharedSize-pendingByte))
	}
	h.record.Frozen = time.Now().UTC()
	h.locked = err == nil
	return err
}

// try takes the lock of a reader, by way of PENDING, so that a writer that waits for readers has priority. In other
// modes than WAL it then takes the lock of a writer. The mode can't change while the SHARED lock is held.
func (h *held) try() error {
	if err := h.lock(unix.F_RDLCK, pendingByte, 1); err != nil {
		return err
	}
	if err := h.lock(unix.F_RDLCK, sharedFirst, sharedSize); err != nil {
		return err
	}
	if err := h.lock(unix.F_UNLCK, pendingByte, 1); err != nil {
		return err
	}
	b, err := readHeader(h.file)
	if err != nil {
		return err
	}
	h.record = record{Format: recordFormat, Path: h.path, Mode: "wal"}
	if !inWAL(b) {
		h.record.Mode = "rollback"
		if err := h.lock(unix.F_WRLCK, reservedByte, 1); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Dir(h.path), &st); err != nil {
		return err
	}
	h.record.UID, h.record.GID = int(st.Uid), int(st.Gid)
	return nil
}

// lock takes or releases a lock. Errors: errBusy, others of fcntl.
func (h *held) lock(kind int16, start, length int64) error {
	err := unix.FcntlFlock(h.file.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: kind, Start: start, Len: length})
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return errBusy
	}
	return err
}

// unlock releases all locks.
func (h *held) unlock() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file == nil {
		return nil
	}
	h.locked = false
	return h.lock(unix.F_UNLCK, pendingByte, sharedFirst+sharedSize-pendingByte)
}

// Thaw implements engine.Held. No other process can have released the locks.
func (h *held) Thaw(context.Context) error {
	h.mu.Lock()
	locked := h.locked
	h.mu.Unlock()
	if !locked {
		return errReleased
	}
	return errors.Join(h.checkSame(), h.unlock())
}

// Release implements engine.Held. Closing the file releases its locks.
func (h *held) Release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file != nil {
		_ = h.file.Close() // nothing was written
		h.file, h.locked = nil, false
	}
}

// Metadata implements engine.Held.
func (h *held) Metadata() (engine.Metadata, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return engine.NewMetadata(h.record, "")
}
