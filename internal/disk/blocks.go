package disk

import (
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// blocks reads and writes a disk. On a device it does so past the page cache, in exactly the sectors asked for.
// Through the cache a write of one sector would write the 4 KiB around it, and with it any old content that the cache
// has of a neighbour: the first sectors of a partition that begins at LBA 63 or 34, or the last of one that ends
// before the backup table, while a file system writes there through the partition's own cache.
type blocks struct {
	file   *os.File
	size   int64
	sector int64 // 0 for an image file: unknown, and no need to care
}

func openBlocks(device string, mode int) (*blocks, error) {
	st, err := os.Stat(device)
	if err == nil && st.Mode()&(os.ModeDevice|os.ModeCharDevice) == os.ModeDevice {
		mode |= unix.O_DIRECT
	}
	f, err := os.OpenFile(device, mode, 0)
	if err != nil {
		return nil, err
	}
	return newBlocks(f, mode)
}

// newBlocks takes an open disk.
func newBlocks(f *os.File, mode int) (*blocks, error) {
	b := &blocks{file: f}
	var err error
	if b.size, err = f.Seek(0, io.SeekEnd); err != nil {
		f.Close()
		return nil, err
	}
	if mode&unix.O_DIRECT != 0 {
		n, err := unix.IoctlGetInt(int(f.Fd()), unix.BLKSSZGET)
		if err != nil {
			f.Close()
			return nil, &os.PathError{Op: "BLKSSZGET", Path: f.Name(), Err: err}
		}
		b.sector = int64(n)
	}
	return b, nil
}

// sectorSizes are the sizes that a sector may have here.
func (b *blocks) sectorSizes() []int64 {
	if b.sector != 0 {
		return []int64{b.sector}
	}
	return []int64{512, 4096}
}

// around returns the range of complete sectors that hold n bytes at off, and a buffer for them that is aligned for
// direct I/O.
func (b *blocks) around(n int, off int64) (room []byte, start int64) {
	start = off / b.sector * b.sector
	end := (off + int64(n) + b.sector - 1) / b.sector * b.sector
	const page = 4096
	raw := make([]byte, end-start+page)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(raw))) % page
	return raw[skip : int64(skip)+end-start], start
}

// ReadAt is io.ReaderAt.
func (b *blocks) ReadAt(p []byte, off int64) (int, error) {
	if b.sector == 0 {
		return b.file.ReadAt(p, off)
	}
	room, start := b.around(len(p), off)
	n, err := b.file.ReadAt(room, start)
	if got := n - int(off-start); got < len(p) {
		if err == nil {
			err = io.ErrUnexpectedEOF
		}
		return copy(p, room[min(off-start, int64(n)):n]), err
	}
	return copy(p, room[off-start:]), nil
}

// WriteAt is io.WriterAt; what shares a sector with p stays as it is.
func (b *blocks) WriteAt(p []byte, off int64) (int, error) {
	if b.sector == 0 {
		return b.file.WriteAt(p, off)
	}
	room, start := b.around(len(p), off)
	if len(room) != len(p) {
		if _, err := b.file.ReadAt(room, start); err != nil {
			return 0, err
		}
	}
	copy(room[off-start:], p)
	if _, err := b.file.WriteAt(room, start); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Sync makes all writes durable; on a device it flushes the disk's own cache too.
func (b *blocks) Sync() error { return b.file.Sync() }

// Close closes the disk.
func (b *blocks) Close() error { return b.file.Close() }
