package catalog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"os"
)

// pages checks the structure of a bbolt file: that every page of the tree lies in the file, is of its kind, is used
// once and has its keys in order, and that no page is both free and in use. bbolt has a check of its own, which
// follows what pages say: a damaged one sends it out of the mapping, or round in a circle.
type pages struct {
	file io.ReaderAt
	size int    // of a page, in bytes
	end  uint64 // the first page that was never used
	used map[uint64]bool
}

// The file's layout, in the byte order of the machine that wrote it. Source: bbolt, internal/common.
const (
	pageHeader   = 16 // id uint64, kind uint16, count uint16, further pages uint32
	kindBranch   = 1
	kindLeaf     = 2
	kindFreeList = 16
	// branch: position, key size uint32, page uint64; leaf: flags, position, key size, value size uint32
	elementSize = 16
	// of a leaf's element: its value is a bucket, root page uint64, sequence uint64 and, without a root, a page
	bucketFlag   = 1
	bucketHeader = 16

	headSize     = 64 // magic, version, page size, flags uint32; then, uint64 each:
	headRoot     = 16
	headFreeList = 32
	headEnd      = 40
	headTx       = 48
	headSum      = 56
	headMagic    = 0xed0cdaed

	noFreeList = math.MaxUint64
	manyFree   = 0xffff // a count that is too large for its field stands before the free list's first id
)

var ne = binary.NativeEndian

// checkPages checks the tree of the newest valid head, and returns how many of the two heads are valid.
func checkPages(file *os.File, size int) (heads int, err error) {
	st, err := file.Stat()
	if err != nil {
		return 0, err
	}
	p := &pages{file: file, size: size, used: map[uint64]bool{}}
	head, heads := p.newest()
	if head == nil {
		return 0, errors.New("both of its heads are wrong")
	}
	if p.end = ne.Uint64(head[headEnd:]); p.end > uint64(st.Size())/uint64(size) {
		return 0, fmt.Errorf(
			"it is cut off: %d pages of %d bytes are missing",
			p.end-uint64(st.Size())/uint64(size),
			size,
		)
	}
	if err := p.tree(ne.Uint64(head[headRoot:]), true, nil, nil); err != nil {
		return 0, err
	}
	if free := ne.Uint64(head[headFreeList:]); free != noFreeList {
		return heads, p.free(free)
	}
	return heads, nil
}

// newest returns the valid head of the later transaction, and how many heads are valid.
func (p *pages) newest() (head []byte, valid int) {
	for i := range 2 {
		b := make([]byte, headSize)
		if _, err := p.file.ReadAt(b, int64(i*p.size+pageHeader)); err != nil {
			continue
		}
		sum := fnv.New64a()
		sum.Write(b[:headSum])
		if ne.Uint32(b) != headMagic || ne.Uint64(b[headSum:]) != sum.Sum64() {
			continue
		}
		valid++
		if head == nil || ne.Uint64(b[headTx:]) > ne.Uint64(head[headTx:]) {
			head = b
		}
	}
	return head, valid
}

// take reads a page, with those that belong to it, for its one use.
func (p *pages) take(id uint64) ([]byte, error) {
	if id < 2 || id >= p.end {
		return nil, fmt.Errorf("there is no page %d", id)
	}
	header := make([]byte, pageHeader)
	if _, err := p.file.ReadAt(header, int64(id)*int64(p.size)); err != nil {
		return nil, err
	}
	n := 1 + uint64(ne.Uint32(header[12:]))
	if ne.Uint64(header) != id || id+n > p.end {
		return nil, fmt.Errorf("the header of page %d is wrong", id)
	}
	for i := id; i < id+n; i++ {
		if p.used[i] {
			return nil, fmt.Errorf("page %d is used twice", i)
		}
		p.used[i] = true
	}
	b := make([]byte, n*uint64(p.size))
	_, err := p.file.ReadAt(b, int64(id)*int64(p.size))
	return b, err
}

// tree checks the pages below one; all of its keys lie from first to before the next tree's. Only the root has buckets.
func (p *pages) tree(id uint64, root bool, first, next []byte) error {
	b, err := p.take(id)
	if err != nil {
		return err
	}
	if ne.Uint16(b[8:]) == kindLeaf {
		return p.leaf(b, id, root, first, next)
	}
	if ne.Uint16(b[8:]) != kindBranch {
		return fmt.Errorf("page %d has kind %#x", id, ne.Uint16(b[8:]))
	}
	keys, err := keysOf(b, id, 0, first, next)
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		return fmt.Errorf("page %d is a branch without leaves", id)
	}
	keys = append(keys, next)
	for i := range len(keys) - 1 {
		if err := p.tree(ne.Uint64(b[pageHeader+elementSize*i+8:]), root, keys[i], keys[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func (p *pages) leaf(b []byte, id uint64, root bool, first, next []byte) error {
	keys, err := keysOf(b, id, 4, first, next)
	if err != nil {
		return err
	}
	for i := range keys {
		at := pageHeader + elementSize*i
		e := b[at : at+elementSize]
		from := at + int(ne.Uint32(e[4:])) + len(keys[i])
		size := int(ne.Uint32(e[12:]))
		switch bucket := ne.Uint32(e)&bucketFlag != 0; {
		case size > len(b)-from:
			return fmt.Errorf("a value on page %d lies outside of it", id)
		case bucket != root:
			return fmt.Errorf("page %d has a bucket in a bucket, or a value outside of all", id)
		case !bucket:
			continue
		case size < bucketHeader:
			return fmt.Errorf("a bucket on page %d is cut off", id)
		}
		value := b[from : from+size]
		below := ne.Uint64(value)
		switch {
		case below != 0:
			err = p.tree(below, false, nil, nil)
		case len(value) < bucketHeader+pageHeader || ne.Uint16(value[bucketHeader+8:]) != kindLeaf:
			err = fmt.Errorf("a bucket on page %d has no page", id)
		default:
			err = p.leaf(value[bucketHeader:], id, false, nil, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// keysOf are the keys of a page, whose elements have position and size of them at an offset.
func keysOf(b []byte, id uint64, offset int, first, next []byte) ([][]byte, error) {
	n := int(ne.Uint16(b[10:]))
	if pageHeader+elementSize*n > len(b) {
		return nil, fmt.Errorf("page %d has %d elements, more than it holds", id, n)
	}
	var keys [][]byte
	for i := range n {
		at := pageHeader + elementSize*i
		from, size := at+int(ne.Uint32(b[at+offset:])), int(ne.Uint32(b[at+offset+4:]))
		if from < pageHeader+elementSize*n || from > len(b) || size > len(b)-from {
			return nil, fmt.Errorf("a key on page %d lies outside of it", id)
		}
		key := b[from : from+size]
		if i == 0 && first != nil && bytes.Compare(key, first) < 0 || i > 0 && bytes.Compare(key, keys[i-1]) <= 0 ||
			next != nil && bytes.Compare(key, next) >= 0 {
			return nil, fmt.Errorf("the keys on page %d are out of order", id)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// free checks the list of free pages.
func (p *pages) free(id uint64) error {
	b, err := p.take(id)
	if err != nil {
		return err
	}
	count, ids := uint64(ne.Uint16(b[10:])), b[pageHeader:]
	if count == manyFree {
		count, ids = ne.Uint64(ids), ids[8:]
	}
	if ne.Uint16(b[8:]) != kindFreeList || count > uint64(len(ids)/8) {
		return fmt.Errorf("page %d isn't a list of %d free pages", id, count)
	}
	for i := range count {
		f := ne.Uint64(ids[8*i:])
		if f < 2 || f >= p.end || p.used[f] {
			return fmt.Errorf("page %d is free and used, free twice, or outside of the file", f)
		}
		p.used[f] = true
	}
	return nil
}
