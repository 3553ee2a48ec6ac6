package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Layout of a dm-log-writes log, all numbers little-endian. Source: Linux, drivers/md/dm-log-writes.c.
//
//	sector 0   magic u64, version u64, number of entries u64, bytes of a sector u32
//	then for each entry a sector with:
//	           first sector u64, sectors u64, flags u64, bytes of data in this sector u64, for marks their text
//	           and, but for discards and marks, its data
const (
	logMagic   = 0x6A736677736872
	logVersion = 1
)

// LogFlags is the kind of an entry.
type LogFlags uint64

// Flags of entries.
const (
	LogFlush    LogFlags = 1 << iota // the disk's cache was flushed before this write
	LogFUA                           // the write itself bypassed the cache
	LogDiscard                       // no data
	LogMark                          // from Mark, no data
	LogMetadata                      // marked as metadata by the file system
)

// LogEntry is one write, discard, flush or mark.
type LogEntry struct {
	Offset, Length int64 // bytes of the disk
	Flags          LogFlags
	Mark           string
	data           int64 // offset of its data in the log
}

// Log has the writes to a disk of LogWrites, in order.
type Log struct {
	Entries []LogEntry
	f       *os.File
}

// ReadLog reads a log from the file of a guest's disk. The caller must close it.
func ReadLog(path string) (_ *Log, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
			err = fmt.Errorf("log %s: %w", path, err)
		}
	}()
	var super struct {
		Magic, Version, Entries uint64
		Sector                  uint32
	}
	if err := binary.Read(io.NewSectionReader(f, 0, 28), binary.LittleEndian, &super); err != nil {
		return nil, err
	}
	if super.Magic != logMagic || super.Version != logVersion || super.Sector < 512 || super.Sector > 1<<16 {
		return nil, fmt.Errorf("not a log of dm-log-writes: %+v", super)
	}
	l := &Log{f: f}
	sector := int64(super.Sector)
	head := make([]byte, sector)
	at := sector
	for range super.Entries {
		if _, err := f.ReadAt(head, at); err != nil {
			return nil, fmt.Errorf("entry %d: %w", len(l.Entries), err)
		}
		at += sector
		var e struct{ Sector, Sectors, Flags, Length uint64 }
		if err := binary.Read(bytes.NewReader(head), binary.LittleEndian, &e); err != nil {
			return nil, err
		}
		entry := LogEntry{Offset: int64(e.Sector) * sector, Length: int64(e.Sectors) * sector, Flags: LogFlags(e.Flags),
			data: at}
		switch {
		case entry.Flags&LogMark != 0:
			entry.Length = 0
			entry.Mark = string(bytes.TrimRight(head[32:min(32+int64(e.Length), sector)], "\x00"))
		case entry.Flags&LogDiscard == 0:
			at += entry.Length
		}
		l.Entries = append(l.Entries, entry)
	}
	return l, nil
}

// Close closes the log's file.
func (l *Log) Close() error { return l.f.Close() }

// Mark returns the number of the entry of a mark, -1 if there is none.
func (l *Log) Mark(name string) int {
	return slices.IndexFunc(l.Entries, func(e LogEntry) bool { return e.Flags&LogMark != 0 && e.Mark == name })
}

// Flushes returns the numbers of the entries with LogFlush or LogFUA, at which data becomes durable: all entries
// before the first kind, and the second kind itself, are on the disk in any case. The order of the log is the order in
// which writes became durable: a write that isn't flushed yet appears after marks that were made later.
func (l *Log) Flushes() []int {
	var out []int
	for i, e := range l.Entries {
		if e.Flags&(LogFlush|LogFUA) != 0 {
			out = append(out, i)
		}
	}
	return out
}

// Replay applies the entries from (inclusive) to (exclusive) to the file disk, which has the state at from: empty for
// 0. It may be called again to continue. Entries for which lost returns true, if it isn't nil, are omitted like those
// lost by a cache.
func (l *Log) Replay(disk *os.File, from, to int, lost func(i int) bool) error {
	for i := from; i < to; i++ {
		e := l.Entries[i]
		if e.Length == 0 || lost != nil && lost(i) {
			continue
		}
		if e.Flags&LogDiscard != 0 {
			const punch = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
			if err := unix.Fallocate(int(disk.Fd()), punch, e.Offset, e.Length); err != nil {
				return fmt.Errorf("discard of entry %d: %w", i, err)
			}
			continue
		}
		if _, err := io.Copy(io.NewOffsetWriter(disk, e.Offset),
			io.NewSectionReader(l.f, e.data, e.Length)); err != nil {
			return fmt.Errorf("write of entry %d: %w", i, err)
		}
	}
	return nil
}

// Image creates the file path of size bytes, a disk in the state before entry to.
func (l *Log) Image(path string, size int64, to int) error {
	if err := image(path, size); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return l.Replay(f, 0, to, nil)
}
