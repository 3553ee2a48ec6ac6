package vss

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"strings"
)

// GUID is a 128-bit identifier in the byte order of its text (big-endian). GPT stores GUIDs in mixed byte order, see
// MixedEndian. The zero GUID means "no object" (GUID_NULL).
type GUID [16]byte

// NewGUID returns a random (version 4) GUID.
func NewGUID() GUID {
	var g GUID
	_, _ = rand.Read(g[:]) // crypto/rand.Read never fails
	g[6] = g[6]&0x0f | 0x40
	g[8] = g[8]&0x3f | 0x80
	return g
}

// ParseGUID parses a GUID with or without braces, in upper or lower case. Errors: E_INVALIDARG.
func ParseGUID(s string) (GUID, error) {
	var g GUID
	t := s
	if strings.HasPrefix(t, "{") && strings.HasSuffix(t, "}") {
		t = t[1 : len(t)-1]
	}
	if len(t) != 36 || t[8] != '-' || t[13] != '-' || t[18] != '-' || t[23] != '-' {
		return g, &Error{
			Op:     "ParseGUID",
			Code:   ErrInvalidArg,
			Object: s,
			Hint:   "write it as {xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}",
		}
	}
	b, err := hex.DecodeString(strings.ReplaceAll(t, "-", ""))
	if err != nil || len(b) != 16 {
		return g, &Error{
			Op:     "ParseGUID",
			Code:   ErrInvalidArg,
			Object: s,
			Hint:   "write it as {xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}",
		}
	}
	copy(g[:], b)
	return g, nil
}

// MustGUID is ParseGUID for constants; it panics if the text is malformed.
func MustGUID(s string) GUID {
	g, err := ParseGUID(s)
	if err != nil {
		panic(err)
	}
	return g
}

// IsZero reports whether g is GUID_NULL.
func (g GUID) IsZero() bool { return g == GUID{} }

// Plain returns the lower-case text without braces, as in documents.
func (g GUID) Plain() string {
	var b [36]byte
	hex.Encode(b[0:8], g[0:4])
	hex.Encode(b[9:13], g[4:6])
	hex.Encode(b[14:18], g[6:8])
	hex.Encode(b[19:23], g[8:10])
	hex.Encode(b[24:36], g[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// String returns the lower-case text in braces.
func (g GUID) String() string { return "{" + g.Plain() + "}" }

// MixedEndian returns the GUID in the byte order of GPT.
func (g GUID) MixedEndian() [16]byte {
	var o [16]byte
	binary.LittleEndian.PutUint32(o[0:], binary.BigEndian.Uint32(g[0:]))
	binary.LittleEndian.PutUint16(o[4:], binary.BigEndian.Uint16(g[4:]))
	binary.LittleEndian.PutUint16(o[6:], binary.BigEndian.Uint16(g[6:]))
	copy(o[8:], g[8:])
	return o
}

// GUIDFromMixedEndian returns a GUID from the byte order of GPT.
func GUIDFromMixedEndian(b [16]byte) GUID { return GUID(GUID(b).MixedEndian()) }

// MarshalText implements encoding.TextMarshaler with braces.
func (g GUID) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler for all forms that ParseGUID accepts; the empty text is GUID_NULL.
func (g *GUID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*g = GUID{}
		return nil
	}
	p, err := ParseGUID(string(b))
	if err == nil {
		*g = p
	}
	return err
}

// A type for each kind of object, so that they can't be confused.
type (
	SnapshotID       struct{ GUID } // one shadow copy
	SnapshotSetID    struct{ GUID } // one shadow copy set
	ProviderID       struct{ GUID } // a provider; never changes
	WriterID         struct{ GUID } // a writer class; never changes
	WriterInstanceID struct{ GUID } // one start of a writer, assigned by the service
	SessionID        struct{ GUID } // one session of a requester
	LUNID            struct{ GUID } // a LUN of an array
)
