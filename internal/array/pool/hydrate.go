package pool

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/stillpoint-vss/stillpoint/vss"
)

// chunk is how much is moved in one piece of work. It also bounds the extents of a hydrated image.
const chunk = 4 << 20

// Hydrate gives an image blocks of its own. A shared run is read and written to a private file; then the kernel
// compares the two under its own locks and points the image at the private file's blocks (FIDEDUPERANGE). If the
// image's user wrote there meanwhile, the comparison fails; what he wrote is not shared any more, and the rest is
// looked up again. A crash at any moment leaves the image with its content. The extent map itself shows what is left
// to do, so nothing about progress is kept on disk.
func (p *Reflink) Hydrate(
	ctx context.Context,
	id vss.LUNID,
	step func(percent float64, piece func() error) error,
) error {
	image, work, done, err := p.openForMoving(id)
	if err != nil {
		return err
	}
	defer done()
	for at := int64(0); ; {
		size, err := image.Seek(0, 2) // it may grow meanwhile
		if err != nil {
			return hydrateError(id, err)
		}
		from, n, err := nextShared(image, at, size)
		if err != nil {
			return hydrateError(id, err)
		}
		if n == 0 && at == 0 {
			return nil // a complete round found nothing
		}
		if n == 0 {
			at = 0 // once more: a copy of this image may have been taken
			continue
		}
		moved := false
		err = step(100*float64(from)/float64(size), func() (err error) {
			moved, err = move(image, work, from, n)
			return err
		})
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return hydrateError(id, err)
		}
		if at = from; moved {
			at += n
		}
	}
}

func hydrateError(id vss.LUNID, err error) error {
	return vss.E("Hydrate", vss.CodeOf(err), err).On(id.String())
}

// openForMoving opens an image and a private file to move its blocks through.
func (p *Reflink) openForMoving(id vss.LUNID) (image, work *os.File, done func(), err error) {
	image, err = os.OpenFile(p.image(id), os.O_RDWR, 0)
	if err != nil {
		return nil, nil, nil, hydrateError(id, err)
	}
	work, err = os.CreateTemp(filepath.Join(p.dir, "work"), "hydrate-")
	if err != nil {
		image.Close()
		return nil, nil, nil, hydrateError(id, err)
	}
	return image, work, func() {
		image.Close()
		work.Close()
		_ = os.Remove(work.Name())
	}, nil
}

// nextShared finds the next run of shared blocks, at most a chunk long; length 0 means none. It may consist of many
// extents.
func nextShared(image *os.File, at, size int64) (from, length int64, err error) {
	err = extents(image, uint64(at), func(e extent) bool {
		start, end := max(int64(e.logical), at), min(int64(e.logical+e.length), size)
		shared := e.flags&extentShared != 0
		switch {
		case start >= size || length > 0 && (!shared || start != from+length):
			return false
		case shared && length == 0:
			from = start
		}
		if shared {
			length = min(end-from, chunk)
		}
		return length < chunk
	})
	return from, length, err
}

// move gives one run new blocks, unless it was written meanwhile. The private file is emptied at the end, so that the
// blocks are the image's alone.
func move(image, work *os.File, at, length int64) (moved bool, err error) {
	buf := make([]byte, length)
	if _, err := image.ReadAt(buf, at); err != nil {
		return false, err
	}
	if _, err := work.WriteAt(buf, 0); err != nil {
		return false, err
	}
	if err := work.Sync(); err != nil {
		return false, err
	}
	d := &unix.FileDedupeRange{
		Src_offset: 0,
		Src_length: uint64(len(buf)),
		Info:       []unix.FileDedupeRangeInfo{{Dest_fd: int64(image.Fd()), Dest_offset: uint64(at)}},
	}
	if err := unix.IoctlFileDedupeRange(int(work.Fd()), d); err != nil {
		return false, err
	}
	switch i := d.Info[0]; {
	case i.Status < 0:
		return false, unix.Errno(-i.Status)
	case i.Status == unix.FILE_DEDUPE_RANGE_SAME && i.Bytes_deduped != uint64(len(buf)):
		return false, fmt.Errorf("%d of %d bytes were moved", i.Bytes_deduped, len(buf))
	default:
		return i.Status == unix.FILE_DEDUPE_RANGE_SAME, work.Truncate(0)
	}
}
