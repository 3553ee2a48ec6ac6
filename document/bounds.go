package document

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits of documents that are read or written. They suffice for 64 writers with 200 components each and a kilobyte of
// metadata in each component, and keep the memory for any document below 100 MB.
const (
	MaxSize       = 16 << 20 // bytes, before and after decoding to UTF-8
	MaxDepth      = 64       // nested elements
	maxElements   = 1 << 16  // elements, comments and the like
	maxAttributes = 1 << 18  // in the whole document
	maxOwn        = 64       // attributes of one element
	maxName       = 4096     // bytes of a component's logical path and name
)

// utf8Text returns data as UTF-8 without a byte order mark. UTF-16 must have one; wide reports that it had.
func utf8Text(data []byte) (text []byte, wide bool, err error) {
	if len(data) > MaxSize {
		return nil, false, fmt.Errorf("%d bytes; the limit is %d", len(data), MaxSize)
	}
	switch {
	case bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		text, err = fromUTF16(data[2:], binary.BigEndian)
		return text, true, err
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}):
		text, err = fromUTF16(data[2:], binary.LittleEndian)
		return text, true, err
	}
	return bytes.TrimPrefix(data, []byte("\ufeff")), false, nil
}

func fromUTF16(data []byte, order binary.ByteOrder) ([]byte, error) {
	if len(data)%2 != 0 {
		return nil, errors.New("UTF-16 with an incomplete character")
	}
	text := make([]byte, 0, len(data)/2)
	for len(data) > 0 {
		r := rune(order.Uint16(data))
		data = data[2:]
		if utf16.IsSurrogate(r) {
			low := rune(0)
			if len(data) > 0 {
				low = rune(order.Uint16(data))
				data = data[2:]
			}
			if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
				return nil, errors.New("UTF-16 with an incomplete surrogate pair")
			}
		}
		if text = utf8.AppendRune(text, r); len(text) > MaxSize {
			return nil, fmt.Errorf("more than %d bytes as UTF-8", MaxSize)
		}
	}
	return text, nil
}

// bounded checks the limits before anything is decoded, since encoding/xml collects all attributes of an element
// before it returns them. For malformed text it may return nil; the decoder then stops at the same place.
func bounded(text []byte) error {
	if len(text) > MaxSize {
		return fmt.Errorf("%d bytes; the limit is %d", len(text), MaxSize)
	}
	elements, attrs := 0, 0
	for {
		i := bytes.IndexByte(text, '<')
		if i < 0 {
			return nil
		}
		if text = text[i+1:]; bytes.HasPrefix(text, []byte("/")) {
			continue // there are no more of them than of start tags
		}
		if elements++; elements > maxElements {
			return fmt.Errorf("more than %d elements", maxElements)
		}
		end := ""
		switch {
		case bytes.HasPrefix(text, []byte("!--")):
			text, end = text[len("!--"):], "-->"
		case bytes.HasPrefix(text, []byte("![CDATA[")):
			end = "]]>"
		case bytes.HasPrefix(text, []byte("?")):
			end = "?>"
		case bytes.HasPrefix(text, []byte("!")):
			return errors.New("a DTD")
		default:
			own := 0
			for {
				i := bytes.IndexAny(text, `>"'`)
				if i < 0 {
					return nil
				}
				quote := text[i]
				if text = text[i+1:]; quote == '>' {
					break
				}
				if i = bytes.IndexByte(text, quote); i < 0 {
					return nil
				}
				text = text[i+1:]
				if own++; own > maxOwn {
					return fmt.Errorf("an element with more than %d attributes", maxOwn)
				}
			}
			if attrs += own; attrs > maxAttributes {
				return fmt.Errorf("more than %d attributes", maxAttributes)
			}
			continue
		}
		if i = bytes.Index(text, []byte(end)); i < 0 {
			return nil
		}
		text = text[i+len(end):]
	}
}
